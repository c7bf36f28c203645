"""The hashes that a store keeps of an object, and how to make the same of what came."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import chain, repeat
from typing import Any, Protocol

_PLAIN_MD5 = 32
"""Length of an ETag that is an MD5."""
_MIB = 1 << 20
_GUESSES = 6
"""Each costs one more MD5 of all that comes."""
_USUAL = (
    *(number * _MIB for number in (5, 8, 16, 64, 100, 10, 15, 25, 32, 50, 128, 256, 512, 1024)),
    *(number * 1_000_000 for number in (5, 8, 10, 16, 50, 100)),
)
"""Sizes of parts that programs use, the most usual first."""


class Sum(Protocol):
    """A hash that is being made."""

    def update(self, data: bytes, /) -> None: ...

    def digest(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Claim:
    """What the store says of the object: `told` is what `made` has to come to."""

    name: str
    told: str
    made: Sum
    text: Callable[[bytes], str]

    def holds(self) -> bool:
        return self.text(self.made.digest()) == self.told


@dataclass(frozen=True, slots=True)
class OfParts:
    """A hash of the hashes of an object's `count` parts."""

    name: str
    told: str
    count: int

    def claim(self, sizes: Sequence[int]) -> Claim:
        """`sizes` of the parts; the last one counts for all that follow."""
        make, text = (_md5, bytes.hex) if self.name == "ETag" else (_MAKERS[self.name], _base64)
        return Claim(self.name, self.told, _Parts(make, sizes), lambda digest: f"{text(digest)}-{self.count}")


def of_the_whole(etag: str, answer: Mapping[str, Any]) -> Iterator[Claim]:
    """What is told of the object as a whole, as far as it can be made here."""
    if len(etag) == _PLAIN_MD5 and _is_hex(etag) and not _has_own_key(answer):
        yield Claim("MD5", etag.lower(), _md5(), bytes.hex)
    for name, make in _MAKERS.items():
        told = answer.get(name)
        if told and "-" not in str(told):
            yield Claim(name.removeprefix("Checksum"), str(told), make(), _base64)


def of_its_parts(etag: str, answer: Mapping[str, Any]) -> OfParts | None:
    """What is told of the parts in which the object was uploaded."""
    told = {} if _has_own_key(answer) else {"ETag": etag.lower()}
    told |= {name: str(answer[name]) for name in _MAKERS if answer.get(name)}
    for name, value in told.items():
        digest, dash, count = value.rpartition("-")
        if dash and count.isdigit() and (name != "ETag" or (len(digest) == _PLAIN_MD5 and _is_hex(digest))):
            return OfParts(name, value, int(count))
    return None


def guesses(size: int, count: int) -> tuple[int, ...]:
    """Sizes of parts with which an object of `size` bytes comes to `count` parts; not all that there are."""
    if count == 1:
        return (size,)
    least, most = -(-size // count), (size - 1) // (count - 1)
    mebibytes = range(-(-least // _MIB) * _MIB, most + 1, _MIB)
    few = mebibytes if len(mebibytes) <= _GUESSES else ()
    usual = (one for one in _USUAL if least <= one <= most)
    return tuple(dict.fromkeys(chain(usual, few)))[:_GUESSES]


def why_not(etag: str, answer: Mapping[str, Any]) -> str:
    """Why nothing of what the store told can be held against what came."""
    missing = [name.removeprefix("Checksum") for name in _BY_ANYCRC if answer.get(name) and name not in _MAKERS]
    if missing:
        return f"the store keeps its {' and '.join(missing)}, which needs the package anycrc"
    if of_its_parts(etag, answer) is not None:
        return "it was uploaded in parts, and the store does not tell how large they were"
    if _has_own_key(answer):
        return "it is encrypted with a key of its own, and the store keeps no hash of what it held before"
    return "the store keeps no hash of it"


def _has_own_key(answer: Mapping[str, Any]) -> bool:
    """Then its ETag is no MD5."""
    encrypted = str(answer.get("ServerSideEncryption") or "")
    return encrypted.startswith("aws:kms") or bool(answer.get("SSECustomerAlgorithm"))


def _is_hex(text: str) -> bool:
    return all(one in "0123456789abcdefABCDEF" for one in text)


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def _md5() -> Sum:
    return hashlib.md5(usedforsecurity=False)


class _Crc:
    def __init__(self, step: Callable[[bytes, int], int], length: int) -> None:
        self._step = step
        self._length = length
        self._value = 0

    def update(self, data: bytes, /) -> None:
        self._value = self._step(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._length, "big")


class _Parts:
    def __init__(self, make: Callable[[], Sum], sizes: Sequence[int]) -> None:
        self._make = make
        self._sizes = chain(sizes, repeat(sizes[-1]))
        self._all = make()
        self._part: Sum | None = None
        self._left = 0

    def update(self, data: bytes, /) -> None:
        rest = memoryview(data)
        while rest:
            if self._part is None:
                self._part, self._left = self._make(), max(1, next(self._sizes))
            now = rest[: self._left]
            self._part.update(bytes(now) if len(now) < len(data) else data)
            self._left -= len(now)
            rest = rest[len(now) :]
            if not self._left:
                self._all.update(self._part.digest())
                self._part = None

    def digest(self) -> bytes:
        if self._part is not None:
            self._all.update(self._part.digest())
            self._part = None
        return self._all.digest()


_BY_ANYCRC = {"ChecksumCRC32C": ("CRC32C", 4), "ChecksumCRC64NVME": ("CRC64-NVME", 8)}


def _makers() -> Mapping[str, Callable[[], Sum]]:
    made: dict[str, Callable[[], Sum]] = {
        "ChecksumSHA256": hashlib.sha256,
        "ChecksumSHA1": lambda: hashlib.sha1(usedforsecurity=False),
        "ChecksumCRC32": lambda: _Crc(zlib.crc32, 4),
    }
    try:
        model = import_module("anycrc").Model
    except ImportError:
        return made
    # Not awscrt, which has both: where that is installed, botocore signs by another way than it is tested with here.
    for name, (known_as, length) in _BY_ANYCRC.items():
        made[name] = partial(_Crc, model(known_as).calc, length)
    return made


_MAKERS = _makers()
