"""Keys of hosts that are known, as OpenSSH writes them down (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

_FIELDS = re.compile(r"(?:(@\S+)\s+)?(\S+)\s+(\S+)\s+(\S+)")


@dataclass(frozen=True, slots=True)
class Known:
    """What a file says of one host: keys to trust as (type, key), and keys never to trust again."""

    keys: tuple[tuple[str, bytes], ...] = ()
    revoked: frozenset[bytes] = frozenset()


def name_of(address: str, port: int) -> str:
    """How a host is called in the file."""
    return address if port == 22 else f"[{address}]:{port}"


def line_of(name: str, kind: str, key: bytes) -> str:
    """The line that makes a key known."""
    return f"{name} {kind} {base64.b64encode(key).decode()}"


def fingerprint(key: bytes) -> str:
    """As ssh-keygen shows it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def known_keys(text: str, name: str) -> Known:
    """What is said of `name`. Lines of certificate authorities, and lines that are none, say nothing."""
    keys: list[tuple[str, bytes]] = []
    revoked: set[bytes] = set()
    for marker, names, kind, encoded in _lines(text):
        if marker not in ("", "@revoked") or not _matches(names, name):
            continue
        try:
            key = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            continue
        if marker:
            revoked.add(key)
        else:
            keys.append((kind, key))
    return Known(tuple(keys), frozenset(revoked))


def _lines(text: str) -> Iterator[tuple[str, str, str, str]]:
    for line in text.splitlines():
        found = _FIELDS.match(line.strip())
        if found and not line.lstrip().startswith("#"):
            marker, names, kind, key = found.groups()
            yield marker or "", names, kind, key


def _matches(names: str, name: str) -> bool:
    if names.startswith("|1|"):
        return _hashed(names, name)
    fits = False
    for pattern in names.lower().split(","):
        # Brackets stand around an address with a port, and are no pattern here.
        if fnmatchcase(name.lower(), pattern.lstrip("!").replace("[", "[[]")):
            if pattern.startswith("!"):
                return False
            fits = True
    return fits


def _hashed(names: str, name: str) -> bool:
    try:
        salt, wanted = (base64.b64decode(part, validate=True) for part in names.split("|")[2:4])
    except ValueError:
        return False
    return hmac.compare_digest(hmac.new(salt, name.encode(), hashlib.sha1).digest(), wanted)
