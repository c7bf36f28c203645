"""A bucket of an S3 store, by botocore."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import boto3
import botocore

from drtests.errors import SafetyError, StoreError, StoreUnversioned
from drtests.model.connections import Store as Declared
from drtests.protocols.store import (
    AttackReport,
    BucketFacts,
    ObjectFact,
    ObjectState,
    Store,
    StoreContext,
    TellsState,
    Usage,
)
from drtests.stores.attack import MOST_REQUESTS, attack
from drtests.stores.client import Client, retrying
from drtests.stores.download import download
from drtests.stores.facts import read_facts, read_versioning
from drtests.stores.failures import FAILURES
from drtests.stores.fetching import Fetcher
from drtests.stores.meter import Meter

PAGE = 1000
"""Keys of one answer; no store gives more."""
_LISTINGS = {"ListBucketResult", "ListVersionsResult"}


class S3Store:
    """Fulfils `Store`, `TellsState`, `TellsTime`, `FetchesMany` and `Attackable`."""

    def __init__(self, context: StoreContext) -> None:
        self._context = context
        self._meter = Meter(context.declared, context.usage)
        self._client = Client(context, self._meter)
        self._fetchers: list[Fetcher] = []

    @property
    def declared(self) -> Declared:
        return self._context.declared

    @property
    def id(self) -> str:
        return self.declared.id

    @property
    def bucket(self) -> str:
        return self.declared.bucket

    @property
    def prefix(self) -> str:
        return self.declared.prefix

    @property
    def usage(self) -> Usage:
        return self._meter.usage

    def version(self) -> str:
        return f"boto3 {boto3.__version__} (botocore {botocore.__version__})"

    def facts(self) -> BucketFacts:
        stranger = Client(self._context, self._meter, signed=False)
        return read_facts(self._client, stranger, self.declared)

    def versioning(self) -> str:
        return read_versioning(self._client)

    def objects(self, prefix: str = "") -> Iterator[ObjectFact]:
        """See `Store`."""
        for page in self._pages(
            "list_objects_v2", self._within(prefix), {"ContinuationToken": "NextContinuationToken"}
        ):
            for one in page.get("Contents") or ():
                if not self._is_probe(one["Key"]):
                    yield _fact(one)

    def versions(self, prefix: str = "") -> Iterator[ObjectFact]:
        """See `Store`."""
        within = self._within(prefix)
        if self.versioning() == "off":
            raise StoreUnversioned(
                f"bucket {self.bucket} keeps no versions",
                where=f"store {self.id!r}",
                mend="enable versioning; until then only the present state can be had",
            )
        tokens = {"KeyMarker": "NextKeyMarker", "VersionIdMarker": "NextVersionIdMarker"}
        for page in self._pages("list_object_versions", within, tokens):
            kinds = {"Version": iter(page.get("Versions") or ()), "DeleteMarker": iter(page.get("DeleteMarkers") or ())}
            # By time alone the order is not known: S3 tells it by the second.
            for kind in page.get("Order") or ():
                one = next(kinds[kind])
                if not self._is_probe(one["Key"]):
                    yield _fact(one, versioned=True, deleted=kind == "DeleteMarker")

    def _pages(self, operation: str, prefix: str, tokens: Mapping[str, str]) -> Iterator[Any]:
        following: dict[str, Any] = {}
        while True:
            page = self._client.ask(operation, prefix, Prefix=prefix, MaxKeys=PAGE, **following)
            if page.get("Root") not in _LISTINGS:
                # An empty bucket must not be what anybody's answer is taken for.
                raise StoreError(
                    "the answer is no listing of S3",
                    where=f"store {self.id!r}",
                    mend="see whether the endpoint is that of an object store, and no proxy answers in its place",
                )
            yield page
            if not page.get("IsTruncated"):
                return
            before = following
            following = {ask: page[told] for ask, told in tokens.items() if page.get(told)}
            if not following or following == before:
                raise StoreError(
                    "the listing does not go on, and does not end",
                    where=f"store {self.id!r}",
                    mend="the store breaks S3's rules for long listings: ask its maker",
                )

    def read(self, key: str, version: str | None = None, limit: int | None = None) -> bytes:
        """See `Store`."""
        self._looked_at(key)
        if limit is not None and limit <= 0:
            return b""
        asked = _object(key, version)
        if limit is not None:
            asked["Range"] = f"bytes=0-{limit - 1}"

        def again(error: BaseException) -> bool:
            return isinstance(error, StoreError) and not error.permanent

        data: bytes = retrying(again)(self._read, key, asked, limit)
        return data

    def _read(self, key: str, asked: Mapping[str, Any], limit: int | None) -> bytes:
        # Of an empty object there is no first byte.
        answer = self._client.once("get_object", key, absent=("InvalidRange", "416"), **asked)
        if answer is None:
            return b""
        body, size = answer["Body"], int(answer["ContentLength"])
        wanted = size if limit is None else min(size, limit)
        try:
            with self._meter.download(f"reading {key}", wanted) as coming:
                data: bytes = body.read(wanted)
                coming.came(len(data))
        except FAILURES as error:
            raise self._client.fails(error, f"get_object {key}") from None
        finally:
            body.close()
        if len(data) != wanted:
            raise self._client.fails(OSError("it ended early"), f"get_object {key}")
        return data

    def download(self, fact: ObjectFact, path: Path, unproved: Callable[[str], None] = lambda _: None) -> str:
        """See `Store`."""
        self._looked_at(fact.key)
        if fact.deleted:
            raise StoreError(f"{fact.key} was deleted: a delete marker holds nothing", where=f"store {self.id!r}")
        return download(self._client, self._meter, fact, path, unproved)

    @contextmanager
    def fetching(self) -> Iterator[Fetcher]:
        """See `FetchesMany`."""
        fetcher = Fetcher(self._client.for_helpers, self._meter)
        self._fetchers.append(fetcher)
        try:
            yield fetcher
        finally:
            fetcher.close()
            self._fetchers.remove(fetcher)

    def state(self, key: str, version: str | None = None) -> ObjectState:
        """See `TellsState`."""
        self._looked_at(key)
        told = self._client.ask("head_object", key, **_object(key, version))
        mode, until = told.get("ObjectLockMode"), told.get("ObjectLockRetainUntilDate")
        return ObjectState(
            told.get("VersionId"),
            str(mode).lower() if mode else None,
            until.astimezone(UTC) if until else None,
            told.get("ObjectLockLegalHoldStatus") == "ON",
        )

    def ahead(self) -> float | None:
        """See `TellsTime`."""
        return self._client.ahead

    def abandon(self) -> None:
        """See `Store`."""
        self._client.abandon()
        for fetcher in list(self._fetchers):
            fetcher.close()

    def set_aside(self, deletions: int) -> None:
        """See `Store`."""
        self._meter.set_aside(deletions)

    def write(self, key: str, data: bytes) -> str | None:
        """See `Store`."""
        return self._put(key, data, {})

    def write_probe(self, key: str, data: bytes) -> str | None:
        """With the retention that the backup program would give, where that is declared."""
        lock = self.declared.probe_lock
        if lock is None:
            return self._put(key, data, {})
        until = datetime.now(UTC) + lock.retention
        return self._put(key, data, {"ObjectLockMode": lock.mode.upper(), "ObjectLockRetainUntilDate": until})

    def _put(self, key: str, data: bytes, more: Mapping[str, Any]) -> str | None:
        self._only_probes(key)
        # Buckets with object lock take nothing without it.
        md5 = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        version = self._client.ask("put_object", key, Key=key, Body=data, ContentMD5=md5, **more).get("VersionId")
        return None if version is None else str(version)

    def delete(self, key: str, version: str | None = None) -> str | None:
        """See `Store`."""
        return self.remove(key, version)

    def remove(self, key: str, version: str | None, *, bypass: bool = False) -> str | None:
        """As `delete`; `bypass` asks to bypass governance retention."""
        self._only_probes(key)
        more: dict[str, Any] = {"BypassGovernanceRetention": True} if bypass else {}
        answer = self._client.ask("delete_object", key, **_object(key, version), **more)
        return str(answer["VersionId"]) if version is None and answer.get("VersionId") else None

    def set_retention(self, key: str, version: str, mode: str, until: datetime, *, bypass: bool) -> None:
        """Raises SafetyError outside the declared probe prefix."""
        self._only_probes(key)
        more: dict[str, Any] = {"BypassGovernanceRetention": True} if bypass else {}
        retention = {"Mode": mode.upper(), "RetainUntilDate": until}
        self._client.ask("put_object_retention", key, **_object(key, version), Retention=retention, **more)

    def release_hold(self, key: str, version: str) -> None:
        """Removes a legal hold. Raises SafetyError outside the declared probe prefix."""
        self._only_probes(key)
        self._client.ask("put_object_legal_hold", key, **_object(key, version), LegalHold={"Status": "OFF"})

    def set_versioning(self, status: Literal["Enabled", "Suspended"]) -> None:
        """Of the whole bucket. Raises SafetyError unless opened as writer; suspends only where that is declared."""
        if self._context.role != "writer" or (status == "Suspended" and not self._may_suspend()):
            raise SafetyError(
                f"versioning of bucket {self.bucket} was not set to {status}",
                where=f"store {self.id!r}",
                mend="declare `attack_versioning: true` if that is wanted",
            )
        with self._meter.anyway() if status == "Enabled" else nullcontext():
            self._client.ask("put_bucket_versioning", VersioningConfiguration={"Status": status})

    def _may_suspend(self) -> bool:
        return self.declared.attack_versioning or self.versioning() == "suspended"

    def attack(self, reader: Store) -> AttackReport:
        """See `Attackable`."""
        self._only_writer("attack")
        if reader.bucket != self.bucket or reader.id != self.id or not isinstance(reader, TellsState):
            raise SafetyError(
                "the reader looks at another bucket than the writer writes to",
                where=f"store {self.id!r}",
                mend="open both from the same declared store",
            )
        self._meter.afford("the attack", reads=MOST_REQUESTS, writes=MOST_REQUESTS)
        return attack(self, reader)

    def _only_writer(self, what: str) -> None:
        if self._context.role != "writer":
            raise SafetyError(
                f"{what} needs the writer's credentials, and these are the {self._context.role}'s",
                where=f"store {self.id!r}",
                mend="open the store as writer",
            )

    def _only_probes(self, key: str) -> None:
        probes = self.declared.probe_prefix
        if not key.startswith(probes) or key == probes:
            raise SafetyError(
                f"{key!r} is no probe object; nothing else is ever written or deleted",
                where=f"store {self.id!r}",
                mend=f"only keys below {probes!r} may be written",
            )
        self._only_writer("writing")

    def _looked_at(self, key: str) -> None:
        if not key.startswith(self.prefix) and not self._is_probe(key):
            raise self._outside(key)

    def _within(self, prefix: str) -> str:
        if self.prefix.startswith(prefix):
            return self.prefix
        if not prefix.startswith(self.prefix):
            raise self._outside(prefix)
        return prefix

    def _outside(self, key: str) -> SafetyError:
        return SafetyError(
            f"{key!r} lies outside the prefix {self.prefix!r}",
            where=f"store {self.id!r}",
            mend="declare a shorter `prefix`, or another store",
        )

    def _is_probe(self, key: str) -> bool:
        return key.startswith(self.declared.probe_prefix)


def _object(key: str, version: str | None) -> dict[str, Any]:
    return {"Key": key} if version is None else {"Key": key, "VersionId": version}


def _fact(one: Mapping[str, Any], *, versioned: bool = False, deleted: bool = False) -> ObjectFact:
    return ObjectFact(
        key=one["Key"],
        size=int(one.get("Size") or 0),
        modified=one["LastModified"].astimezone(UTC),
        etag=str(one.get("ETag") or "").strip('"'),
        version=str(one["VersionId"]) if versioned else None,
        latest=bool(one.get("IsLatest", True)),
        deleted=deleted,
    )
