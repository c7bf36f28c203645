"""Words of a command as redis-cli takes them apart."""

from __future__ import annotations

import re
from collections.abc import Sequence

_WORD = re.compile(
    r"""\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|([^\s"']+))(?=\s|\Z)""",
    re.DOTALL,
)
_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_LETTERS = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"a": b"\a"}


def split(line: str) -> list[bytes]:
    r"""Words between blanks; in double quotes `\n`, `\xff` and the like are meant, in single quotes only `\'`.

    Raises ValueError for quotes that do not close, or that close within a word.
    """
    words: list[bytes] = []
    at, end = 0, len(line.rstrip())
    while at < end:
        match = _WORD.match(line, at, end)
        if match is None:
            raise ValueError("its quotes do not fit")
        double, single, bare = match.groups()
        if double is not None:
            words.append(_ESCAPE.sub(_meant, double.encode("utf-8", errors="surrogateescape")))
        elif single is not None:
            words.append(single.replace("\\'", "'").encode("utf-8", errors="surrogateescape"))
        else:
            words.append(bare.encode("utf-8", errors="surrogateescape"))
        at = match.end()
    return words


def quoted(words: Sequence[bytes]) -> bytes:
    """One line that redis-cli takes apart into just these words."""
    return b" ".join(b'"' + b"".join(_safe(byte) for byte in word) + b'"' for word in words)


def _meant(match: re.Match[bytes]) -> bytes:
    if match[1] is not None:
        return bytes([int(match[1], 16)])
    return _LETTERS.get(match[2], match[2])


def _safe(byte: int) -> bytes:
    return bytes([byte]) if chr(byte).isascii() and chr(byte).isalnum() else b"\\x%02x" % byte
