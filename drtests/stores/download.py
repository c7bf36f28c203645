"""One version of an object to a file: bounded memory, resumed where it broke off, held against the store's hashes."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from tenacity import RetryCallState

from drtests.errors import ObjectDamaged, StoreError
from drtests.protocols.store import ObjectFact
from drtests.stores.client import ATTEMPTS, Client, retrying
from drtests.stores.failures import FAILURES
from drtests.stores.meter import Download, Meter

_CHUNK = 1 << 20
_PLAIN_MD5 = 32
"""Length of an ETag that is an MD5."""


class _Sum(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def digest(self) -> bytes: ...


def download(client: Client, meter: Meter, fact: ObjectFact, path: Path) -> str:
    """The object's SHA-256 in hex. `path` is replaced; an object that is not whole is not left there."""
    with meter.download(f"the download of {fact.key}", fact.size) as coming:
        one = _Coming(client, fact, coming)
        try:
            with path.open("wb") as file:
                one.bring(file)
            return one.verified()
        except BaseException:
            path.unlink(missing_ok=True)
            raise


class _Coming:
    def __init__(self, client: Client, fact: ObjectFact, coming: Download) -> None:
        self._client = client
        self._fact = fact
        self._coming = coming
        self._where = f"{fact.key}, bucket {client.bucket} at {client.endpoint}"
        self._told: Mapping[str, Any] = {}
        self._fruitless = 0
        self._begin()

    def _begin(self) -> None:
        self._done = 0
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sums: dict[str, _Sum] = {}

    def bring(self, file: Any) -> None:
        """Goes on after every break, until nothing more comes at all."""

        def again(error: BaseException) -> bool:
            return isinstance(error, StoreError) and not error.permanent

        def stop(_: RetryCallState) -> bool:
            return self._fruitless >= ATTEMPTS

        retrying(again, stop)(self._leg, file)

    def _leg(self, file: Any) -> None:
        before = self._done
        self._fruitless += 1
        try:
            self._read(file)
        finally:
            # What brings next to nothing each time would never end.
            if self._done - before >= min(_CHUNK, max(1, self._fact.size // 100)):
                self._fruitless = 0

    def _read(self, file: Any) -> None:
        asked: dict[str, Any] = {"Key": self._fact.key}
        if self._fact.version is not None:
            asked["VersionId"] = self._fact.version
        if self._fact.etag:
            asked["IfMatch"] = f'"{self._fact.etag}"'
        if self._done:
            asked["Range"] = f"bytes={self._done}-"
        answer = self._client.once("get_object", self._fact.key, **asked)
        with _closing(answer["Body"]) as body:
            self._continues(answer, file)
            while True:
                try:
                    chunk = body.read(_CHUNK)
                except FAILURES as error:
                    raise self._client.fails(error, f"get_object {self._fact.key}") from None
                if not chunk:
                    break
                self._take(chunk, file)
        if self._done < self._fact.size:
            raise self._client.fails(OSError("it ended early"), f"get_object {self._fact.key}")

    def _continues(self, answer: Mapping[str, Any], file: Any) -> None:
        """Sees to it that what comes now follows what is there."""
        # Some servers send a part with status 200: the header tells.
        said = str(answer.get("ContentRange") or "")
        if self._done and not said:
            # It does not know of ranges: all of it comes again.
            file.seek(0)
            file.truncate()
            self._begin()
        if self._done:
            if said != f"bytes {self._done}-{self._fact.size - 1}/{self._fact.size}":
                raise self._damaged(f"asked for what follows byte {self._done}, the store sent {said}")
            return
        self._told = answer
        size = answer.get("ContentLength")
        if size != self._fact.size:
            raise self._damaged(f"the store lists {self._fact.size} bytes, and sends {size}")
        self._sums = _sums(answer)

    def _take(self, chunk: bytes, file: Any) -> None:
        self._coming.came(len(chunk))
        file.write(chunk)
        for one in (self._sha256, self._md5, *self._sums.values()):
            one.update(chunk)
        self._done += len(chunk)
        if self._done > self._fact.size:
            raise self._damaged(f"more than the {self._fact.size} bytes that the store lists came")

    def verified(self) -> str:
        """The SHA-256. Raises ObjectDamaged when one of the store's own hashes is another."""
        etag = self._fact.etag or str(self._told.get("ETag", "")).strip('"')
        if _is_md5(etag, self._told) and self._md5.hexdigest() != etag.lower():
            raise self._damaged(f"its MD5 is {self._md5.hexdigest()}, and the store's ETag is {etag}")
        for name, one in self._sums.items():
            told = self._told[name]
            if base64.b64encode(one.digest()).decode() != told:
                raise self._damaged(f"its {name.removeprefix('Checksum')} is not the store's own, {told}")
        return self._sha256.hexdigest()

    def _damaged(self, what: str) -> ObjectDamaged:
        mend = "see whether it reads the same again; if it does, the object or its storage is damaged"
        return ObjectDamaged(f"{self._fact.key}: {what}", where=self._where, mend=mend)


@contextmanager
def _closing(body: Any) -> Iterator[Any]:
    try:
        yield body
    finally:
        body.close()


def _is_md5(etag: str, answer: Mapping[str, Any]) -> bool:
    """It is none of objects that came in parts, and of those encrypted with keys of their own."""
    encrypted = str(answer.get("ServerSideEncryption") or "")
    own_key = encrypted.startswith("aws:kms") or answer.get("SSECustomerAlgorithm")
    return len(etag) == _PLAIN_MD5 and all(c in "0123456789abcdefABCDEF" for c in etag) and not own_key


class _Crc32:
    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


def _sums(answer: Mapping[str, Any]) -> dict[str, _Sum]:
    """Of the whole object only: a checksum of checksums (`...-3`) cannot be had without knowing the parts."""
    made: dict[str, Callable[[], _Sum]] = {
        "ChecksumSHA256": hashlib.sha256,
        "ChecksumSHA1": lambda: hashlib.sha1(usedforsecurity=False),
        "ChecksumCRC32": _Crc32,
    }
    return {name: make() for name, make in made.items() if answer.get(name) and "-" not in str(answer[name])}
