"""One version of an object to a file: bounded memory, resumed where it broke off, held against the store's hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tenacity import RetryCallState

from drtests.errors import BudgetExceeded, ObjectDamaged, StoreError
from drtests.protocols.store import ObjectFact
from drtests.stores.client import ATTEMPTS, Client, retrying
from drtests.stores.failures import FAILURES
from drtests.stores.hashes import Claim, OfParts, guesses, of_its_parts, of_the_whole, why_not
from drtests.stores.meter import Download, Meter

_CHUNK = 1 << 20
_MOST_PARTS = 1000
"""Parts whose sizes are asked for one by one."""


def download(client: Client, meter: Meter, fact: ObjectFact, path: Path, unproved: Callable[[str], None]) -> str:
    """The object's SHA-256 in hex. `path` is replaced; an object that is not whole is not left there.

    `unproved` is told why, when no hash of the store's can be held against what came.
    """
    with meter.download(f"the download of {fact.key}", fact.size) as coming:
        one = _Coming(client, fact, coming)
        try:
            with path.open("wb") as file:
                one.bring(file)
            digest, doubt = one.verified(path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    if doubt:
        unproved(doubt)
    return digest


class _Coming:
    def __init__(self, client: Client, fact: ObjectFact, coming: Download) -> None:
        self._client = client
        self._fact = fact
        self._coming = coming
        self._where = f"{fact.key}, bucket {client.bucket} at {client.endpoint}"
        self._told: Mapping[str, Any] = {}
        self._parts: OfParts | None = None
        self._sizes_told = False
        self._fruitless = 0
        self._begin()

    def _begin(self) -> None:
        self._done = 0
        self._sha256 = hashlib.sha256()
        self._claims: list[Claim] = []
        self._guessed: list[Claim] = []
        """One of them holds, if the guess is right."""

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
        asked = self._this_version()
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
        self._claim(answer)

    def _take(self, chunk: bytes, file: Any) -> None:
        self._coming.came(len(chunk))
        file.write(chunk)
        self._sha256.update(chunk)
        for one in (*self._claims, *self._guessed):
            one.made.update(chunk)
        self._done += len(chunk)
        if self._done > self._fact.size:
            raise self._damaged(f"more than the {self._fact.size} bytes that the store lists came")

    def _claim(self, answer: Mapping[str, Any]) -> None:
        """Which hashes have to be made while it comes."""
        self._claims = list(of_the_whole(self._etag, answer))
        self._parts = of_its_parts(self._etag, answer)
        if self._claims or self._parts is None:
            return
        first = self._size_of_part(1, self._parts)
        sizes = guesses(self._fact.size, self._parts.count) if first is None else (first,)
        self._sizes_told = first is not None
        self._guessed = [self._parts.claim((size,)) for size in sizes]

    def _size_of_part(self, number: int, of: OfParts) -> int | None:
        """None where the store does not tell."""
        try:
            # Of a part some stores tell its own ETag: nothing to match.
            asked = self._this_version() | {"PartNumber": number}
            asked.pop("IfMatch", None)
            told = self._client.ask("head_object", self._fact.key, **asked)
            if told.get("PartsCount") == of.count:
                return int(told["ContentLength"])
        except BudgetExceeded:
            raise
        except StoreError:
            # Not all stores know of parts afterwards.
            return None
        return None

    def verified(self, path: Path) -> tuple[str, str]:
        """The SHA-256, and why it is not known whether that is the object's; empty when it is.

        Raises ObjectDamaged when one of the store's own hashes is another.
        """
        for one in self._claims:
            if not one.holds():
                raise self._damaged(f"its {one.name} is not the store's own, {one.told}")
        digest = self._sha256.hexdigest()
        if self._claims or any(one.holds() for one in self._guessed):
            return digest, ""
        doubt = why_not(self._etag, self._told)
        if self._parts is None or not self._sizes_told:
            return digest, doubt
        # Parts are seldom of different sizes: only now it is worth to ask for each.
        claim = self._of_each_part(self._parts)
        if claim is None:
            return digest, doubt
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                claim.made.update(chunk)
        if not claim.holds():
            raise self._damaged(f"its {claim.name}, made of its parts, is not the store's own, {claim.told}")
        return digest, ""

    def _of_each_part(self, of: OfParts) -> Claim | None:
        if of.count > _MOST_PARTS:
            return None
        sizes = [self._size_of_part(number, of) for number in range(1, of.count + 1)]
        known = [size for size in sizes if size is not None]
        return of.claim(known) if len(known) == of.count and sum(known) == self._fact.size else None

    @property
    def _etag(self) -> str:
        return self._fact.etag or str(self._told.get("ETag", "")).strip('"')

    def _this_version(self) -> dict[str, Any]:
        asked: dict[str, Any] = {"Key": self._fact.key}
        if self._fact.version is not None:
            asked["VersionId"] = self._fact.version
        if self._fact.etag:
            asked["IfMatch"] = f'"{self._fact.etag}"'
        return asked

    def _damaged(self, what: str) -> ObjectDamaged:
        mend = "see whether it reads the same again; if it does, the object or its storage is damaged"
        return ObjectDamaged(f"{self._fact.key}: {what}", where=self._where, mend=mend)


@contextmanager
def _closing(body: Any) -> Iterator[Any]:
    try:
        yield body
    finally:
        body.close()
