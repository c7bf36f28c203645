"""The manifest of a tree: its form, how it is read, and what a tree is held against. No files here.

JSON Lines, UTF-8 with `\\uXXXX` escapes; bytes of a name that are no UTF-8 are
lone surrogates (`surrogateescape`), so every name survives:

    {"drtests_manifest":1,"algorithm":"sha256","sealed_at":"2026-03-01T03:00:00.000Z","ignore":[]}
    ["a/b.txt",12,"<SHA-256 of the content>"]
    ["a/link","link","<SHA-256 of the link's target as text>"]
    {"files":1,"links":1,"bytes":12,"sha256":"<over all lines before this one>"}

Entries are sorted by their path's components, a size is in bytes. Directories,
sockets and devices are not in it. The last line shows truncation and accidents;
who can write the manifest can also forge it.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from json.encoder import encode_basestring_ascii
from typing import Any

from drtests.errors import PackError
from drtests.protocols.host import FileFact

MANIFEST_NAME = ".drtests-manifest.jsonl"
NAMES_SHOWN = 20

_HEX = re.compile(r"[0-9a-f]{64}").fullmatch
_CHUNK = 1024
_MEND = "seal the tree again at the next backup; until then this copy cannot be proved complete"


class ManifestError(PackError):
    """A manifest that is truncated, altered or no manifest at all."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a tree held when it was sealed. `sha256` is over the whole manifest but its last line."""

    sealed_at: str
    ignore: tuple[str, ...]
    files: Mapping[str, tuple[int, str]] = field(repr=False)
    """Size in bytes and SHA-256, by path."""
    links: Mapping[str, str] = field(repr=False)
    """SHA-256 of the target, by path."""
    bytes: int
    sha256: str

    def without(self, ignored: Callable[[str], bool]) -> Manifest:
        """The same without the paths that are ignored."""
        files = {path: entry for path, entry in self.files.items() if not ignored(path)}
        links = {path: digest for path, digest in self.links.items() if not ignored(path)}
        return replace(self, files=files, links=links, bytes=sum(size for size, _ in files.values()))


@dataclass(frozen=True, slots=True)
class Names:
    """How many, and the first of them by name."""

    count: int
    first: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TreeDifference:
    """A tree against its manifest."""

    missing: Names
    changed: Names
    extra: Names

    @property
    def intact(self) -> bool:
        """Whether all that was sealed is there unchanged; extra files aside."""
        return not self.missing.count and not self.changed.count


def header_line(sealed_at: str, ignore: Sequence[str]) -> bytes:
    """The first line."""
    return _line({"drtests_manifest": 1, "algorithm": "sha256", "sealed_at": sealed_at, "ignore": list(ignore)})


def file_line(path: str, size: int, sha256: str) -> str:
    """A file's line."""
    return f'[{encode_basestring_ascii(path)},{size},"{sha256}"]\n'


def link_line(path: str, target: str) -> str:
    """A link's line."""
    return f'[{encode_basestring_ascii(path)},"link","{link_digest(target)}"]\n'


def trailer_line(files: int, links: int, size: int, sha256: str) -> bytes:
    """The last line."""
    return _line({"files": files, "links": links, "bytes": size, "sha256": sha256})


def link_digest(target: str) -> str:
    """SHA-256 of a link's target, in the bytes it has on disk."""
    return hashlib.sha256(target.encode("utf-8", errors="surrogateescape")).hexdigest()


def _line(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def read_manifest(lines: Iterable[bytes]) -> Manifest:
    """Reads a manifest, its lines with their ends. Raises ManifestError unless it is whole and unaltered."""
    source = iter(lines)
    first = next(source, b"")
    header = _parse(first, 1)
    if not isinstance(header, dict) or header.get("drtests_manifest") != 1 or header.get("algorithm") != "sha256":
        raise _wrong(1, "is not the first line of a manifest that this version can read")
    ignore = header.get("ignore", [])
    if not isinstance(ignore, list):
        raise _wrong(1, "is not the first line of a manifest that this version can read")
    running = hashlib.sha256(first)
    files: dict[str, tuple[int, str]] = {}
    links: dict[str, str] = {}
    size = 0
    previous = ""
    number = 1
    while chunk := list(islice(source, _CHUNK)):
        trailer = None
        if not chunk[-1].startswith(b"["):
            trailer = chunk.pop()
        for path, second, digest in _entries(chunk, number + 1):
            number += 1
            # NUL is the least character, so this is the order of the paths' components.
            place = path.replace("/", "\0")
            if place <= previous:
                raise _wrong(number, "is not in its place: the entries are sorted by path")
            previous = place
            if second == "link":
                links[path] = digest
            else:
                files[path] = (second, digest)
                size += second
        running.update(b"".join(chunk))
        if trailer is not None:
            number += 1
            end = _parse(trailer, number)
            if next(source, None) is not None:
                raise _wrong(number + 1, "comes after the end of the manifest")
            sha256 = running.hexdigest()
            if end != {"files": len(files), "links": len(links), "bytes": size, "sha256": sha256}:
                raise ManifestError("the manifest was altered: it does not match the sums in its last line", mend=_MEND)
            return Manifest(str(header.get("sealed_at", "")), tuple(map(str, ignore)), files, links, size, sha256)
    raise ManifestError(f"the manifest is cut off after line {number}: its last line is missing", mend=_MEND)


def _parse(line: bytes, number: int) -> Any:
    if not line.endswith(b"\n"):
        raise ManifestError(
            f"the manifest is cut off in line {number}" if line else "the manifest is empty", mend=_MEND
        )
    try:
        return json.loads(line)
    except ValueError:
        raise _wrong(number, "cannot be read") from None


def _entries(chunk: list[bytes], number: int) -> Iterator[tuple[str, Any, str]]:
    """The entries of lines that begin with line `number`. One call of the parser for all is much faster."""
    entries: Any = None
    if all(line.endswith(b"]\n") for line in chunk):
        with suppress(ValueError):
            entries = json.loads(b"[" + b",".join(chunk) + b"]")
    if entries is None or len(entries) != len(chunk):
        entries = (_parse(line, place) for place, line in enumerate(chunk, number))
    for entry in entries:
        if isinstance(entry, list) and len(entry) == 3:
            path, second, digest = entry
            if (
                type(path) is str
                and type(digest) is str
                and _HEX(digest)
                and (second == "link" or (type(second) is int and second >= 0))
            ):
                yield path, second, digest
                number += 1
                continue
        raise _wrong(number, "is not an entry")


def _wrong(number: int, what: str) -> ManifestError:
    return ManifestError(f"line {number} of the manifest {what}", mend=_MEND)


def ignorer(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Whether a path is ignored: a pattern with `/` is held against the whole path, one without against
    every part of it. `*` matches across `/`."""
    whole = [re.compile(fnmatch.translate(pattern.strip("/"))).match for pattern in patterns if "/" in pattern]
    part = [re.compile(fnmatch.translate(pattern)).match for pattern in patterns if "/" not in pattern]

    def ignored(path: str) -> bool:
        parts = path.split("/")
        if any(match(name) for match in part for name in parts):
            return True
        return any(match("/".join(parts[:end])) for match in whole for end in range(1, len(parts) + 1))

    return ignored


def compare(manifest: Manifest, facts: Iterable[FileFact], digests: Mapping[str, str]) -> TreeDifference:
    """Holds a tree against its manifest.

    `facts` are the entries of the tree, without the manifest itself and what is ignored;
    `digests` the SHA-256 of at least those files that are in the manifest with the same
    size. A file whose digest is not known counts as changed, never as intact.
    """
    changed: list[str] = []
    extra: list[str] = []
    seen: set[str] = set()
    for fact in facts:
        path = fact.path
        if path in manifest.files:
            seen.add(path)
            size, digest = manifest.files[path]
            if fact.kind != "file" or fact.size != size or digests.get(path) != digest:
                changed.append(path)
        elif path in manifest.links:
            seen.add(path)
            if fact.kind != "link" or link_digest(fact.target) != manifest.links[path]:
                changed.append(path)
        elif fact.kind != "directory":
            extra.append(path)
    missing = [path for sealed in (manifest.files, manifest.links) for path in sealed if path not in seen]
    return TreeDifference(_names(missing), _names(changed), _names(extra))


def _names(paths: list[str]) -> Names:
    paths.sort()
    return Names(len(paths), tuple(paths[:NAMES_SHOWN]))
