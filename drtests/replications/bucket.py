"""bucket: a bucket of an object store that the store itself, or some job, keeps a copy of in another."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, model_validator

from drtests.errors import ObjectMissing, StoreDenied, StoreError, UsageError
from drtests.model.base import Declaration, StoreId
from drtests.model.units import Duration, format_duration, utc_text
from drtests.protocols.reach import Reach
from drtests.protocols.replication import Behind, Compared, Identity, Skew
from drtests.protocols.store import CLOCK, BucketFacts, Store, TellsState, TellsTime
from drtests.replications.bucket_compared import Differing, compare_buckets, merged, same_object

_SMALL = 32
"""Bytes of a marker, and more than it has."""
_PATIENCE = 10.0
"""Seconds in which the replica may still take over that the marker was deleted."""
_POLL = 0.5
_ENDING = 2
"""Deletions beside those of the versions: of the object, and of the delete marker that this makes."""


class BucketReplicationSpec(Declaration):
    """Options of `bucket`. Markers need the `writer` of the source, and its `probe_prefix` replicated, too."""

    source: StoreId
    """The bucket, or part of one, that is written to."""
    replica: StoreId
    """The one that it is copied to, with the same keys below its own prefix."""
    compare: Literal["sizes", "hashes"] | None = None
    """What is compared: which objects there are and how large, or also what is in them, by the stores' own hashes.
    Both buckets are listed once."""
    settled: Duration = timedelta(minutes=10)
    """Objects that changed at the source since then may still be on their way: differences in them do not count."""

    @model_validator(mode="after")
    def _two(self) -> BucketReplicationSpec:
        if self.source == self.replica:
            raise ValueError("`source` and `replica` are the same; give two stores")
        return self


class BucketReplication:
    """Only a marker writes, only at the source, and only one key of its own below the declared probe prefix."""

    Spec: ClassVar[type[BaseModel]] = BucketReplicationSpec
    marks: ClassVar[bool] = True
    steady: ClassVar[bool] = False

    def __init__(self, spec: BucketReplicationSpec, reach: Reach) -> None:
        self._spec = spec
        self._reach = reach
        self._source = reach.store(spec.source)
        self._replica = reach.store(spec.replica)
        self._key = f"{self._source.declared.probe_prefix}marker-{secrets.token_hex(8)}"
        self._lock_seconds: float | None = None
        self._plain = True
        """As far as is known, neither side encrypts with keys of its own: hashes can be compared."""
        self._writer: Store | None = None
        self._marking = False
        self._turn = threading.Lock()
        self._versions: list[str | None] = []
        """Of all markers that are at the source."""
        self._unsure = False
        """A write got no answer: what it made is not known."""

    def identify(self) -> Identity:
        sides = {"source": self._source, "replica": self._replica}
        facts: dict[str, Any] = {}
        problems = []
        told: dict[str, BucketFacts] = {}
        for name, store in sides.items():
            endpoint, bucket = _place(store)
            facts[name] = {"store": store.id, "endpoint": endpoint, "bucket": bucket, "prefix": store.prefix}
            try:
                told[name] = store.facts()
            except ObjectMissing as error:
                problems.append(f"the {name} is not there: {error.what}")
                continue
            facts[name] |= _told(told[name])
        self._plain = not any((one.encryption or "").startswith("aws:kms") for one in told.values())
        if _place(self._source) == _place(self._replica):
            problems.append("source and replica are one and the same bucket")
        if len(told) == len(sides):
            self._lock_seconds = told["source"].lock_seconds
            problems += _replicating(told["source"], told["replica"], self._replica.bucket)
        return Identity(facts, tuple(problems))

    def skew(self) -> Skew | None:
        source, replica = _ahead(self._source), _ahead(self._replica)
        if source is None or replica is None or self._source.declared.endpoint == self._replica.declared.endpoint:
            return None
        return Skew(round(replica - source, 6), 2 * CLOCK)

    def begin(self) -> None:
        """Writes one marker and removes it: where that is not possible, many would pile up."""
        if not self._key.startswith((self._replica.prefix, self._replica.declared.probe_prefix)):
            raise UsageError(
                f"markers at {self._key} cannot be read at the replica",
                where=f"store {self._replica.id!r}",
                mend="give both stores the same `probe_prefix`",
            )
        if self._lock_seconds:
            raise _refused(f"it locks all that is written for {format_duration(self._lock_seconds)}")
        try:
            self._writer = self._reach.store(self._spec.source, writer=True)
        except UsageError as error:
            raise StoreDenied(error.what, where=error.where, mend=error.mend) from None
        if isinstance(self._source, TellsState):
            # Who is not there says so before anything may have been written.
            with suppress(ObjectMissing):
                self._source.state(self._key)
        self._writer.set_aside(_ENDING)
        self.mark(0)
        until = self._locked(self._versions[-1])
        if until is not None:
            raise _refused(f"it locks what is written, this until {utc_text(until)}")
        try:
            self._remove()
        except StoreDenied as error:
            raise StoreDenied(
                f"its writer may write, and not delete, so that markers would pile up: {error.what}",
                where=error.where,
                mend=f"let it delete objects and their versions below {self._source.declared.probe_prefix}",
            ) from None
        self._marking = True

    def mark(self, number: int) -> None:
        if self._writer is None:
            raise UsageError("markers are written after `begin` only")
        self._writer.set_aside(1)
        with self._turn:
            self._unsure = True
            try:
                version = self._writer.write(self._key, str(number).encode())
            except StoreDenied:
                self._unsure = False
                raise
            self._unsure = False
            if version not in self._versions:
                self._versions.append(version)

    def newest(self) -> int | None:
        try:
            told = self._replica.read(self._key, limit=_SMALL)
        except ObjectMissing:
            return None
        return int(told) if told.isdigit() else None

    def behind(self) -> Behind:
        """Without markers: how old the oldest object is that the replica lacks, by a listing of both sides."""
        if self._marking:
            # A listing at every look would cost more than the markers.
            return Behind(None, None)
        # What the source got only while it was listed may not be in what was listed of the replica.
        began = self._now()
        differing = Differing(self._source, self._replica, self._plain)
        certain = True
        for here, there in merged(self._source, self._replica):
            if here is None or here.modified >= began:
                continue
            same = None if there is None else same_object(here, there, plain=self._plain)
            if there is None or same is False:
                differing.add(here)
            elif same is None and there.modified < here.modified:
                # It was written again since, and nobody can tell whether to the same.
                certain = False
        oldest = next(differing.confirmed(), None)
        seconds = 0.0 if oldest is None else max(0.0, (began - oldest.modified).total_seconds())
        return Behind(round(seconds, 6), differing.bytes if oldest else 0, "measured" if certain else "estimated")

    def _now(self) -> datetime:
        """By the clock of the source, as far as it tells: the times of objects are its own."""
        return datetime.now(UTC) + timedelta(seconds=_ahead(self._source) or 0.0)

    def compare(self) -> Sequence[Compared]:
        if self._spec.compare is None:
            return ()
        before, hashes = self._now() - self._spec.settled, self._spec.compare == "hashes"
        return (compare_buckets(self._source, self._replica, before, hashes=hashes, plain=self._plain),)

    def end(self) -> Sequence[str]:
        """Told is what the replica keeps, and what is locked; what else stays at the source is raised."""
        if self._writer is None or not (self._versions or self._unsure):
            return ()
        with self._turn:
            return self._ended(self._writer)

    def _ended(self, writer: Store) -> Sequence[str]:
        # With a delete marker, which a replication takes over, where one is made.
        made = None
        # Who may not, may perhaps delete versions; and of what is locked it is told until when.
        with suppress(StoreDenied):
            made = writer.delete(self._key)
        left = self._gone_there()
        if made is not None:
            self._versions.append(made)
        told = self._remove()
        if self._unsure:
            self._remove_unknown(writer)
        self._writer = None
        return (*told, *left)

    def _remove(self) -> Sequence[str]:
        """Every version that was written, newest first. Tells which are locked; raises why others stay."""
        writer = self._writer
        told: list[str] = []
        failed: StoreError | None = None
        for version in reversed(self._versions):
            if writer is None:
                break
            try:
                writer.delete(self._key, version)
            except ObjectMissing:
                pass
            except StoreError as error:
                until = self._locked(version)
                if until is None:
                    failed = error
                    continue
                told.append(f"{self._key} (version {version}) at the source, locked until {utc_text(until)}")
            self._versions.remove(version)
        if failed is not None:
            raise failed
        return told

    def _remove_unknown(self, writer: Store) -> None:
        """What was written by a request whose answer was lost."""
        while isinstance(self._source, TellsState):
            try:
                version = self._source.state(self._key).version
            except ObjectMissing:
                self._unsure = False
                return
            if self._locked(version) is not None:
                return
            writer.delete(self._key, version)

    def _locked(self, version: str | None) -> datetime | None:
        """Until when; None when it is not, or nobody tells."""
        if not isinstance(self._source, TellsState):
            return None
        try:
            return self._source.state(self._key, version).retain_until
        except StoreError:
            return None

    def _gone_there(self) -> Sequence[str]:
        """What the replica keeps of markers: it is read only, and nothing is deleted there."""
        deadline = time.monotonic() + _PATIENCE
        try:
            if self.newest() is None:
                return ()
            while time.monotonic() < deadline:
                time.sleep(_POLL)
                if self.newest() is None:
                    return ()
        except StoreError as error:
            return (f"perhaps {self._key} at the replica, which does not tell: {error.what}",)
        return (f"{self._key} at the replica, until its deletion is replicated or somebody deletes it",)


def _refused(why: str) -> StoreDenied:
    return StoreDenied(f"{why}, so that markers would pile up", where="the source")


def _ahead(store: Store) -> float | None:
    return store.ahead() if isinstance(store, TellsTime) else None


def _place(store: Store) -> tuple[str, str]:
    return store.declared.endpoint or "AWS", store.bucket


def _told(facts: BucketFacts) -> dict[str, Any]:
    told = {
        "versioning": facts.versioning,
        "lock": facts.lock_mode,
        "replication": facts.replication,
        "replicated": dict(facts.replicated) if facts.replicated is not None else None,
    }
    return {**told, "unknown": {name: why for name, why in facts.unknown.items() if name in told}}


def _replicating(source: BucketFacts, replica: BucketFacts, to: str) -> Sequence[str]:
    """What is wrong with the store's own replication; nothing where a job copies, of which no store knows."""
    problems = []
    said = source.replication or "none"
    if said != "none":
        for name, facts in (("source", source), ("replica", replica)):
            if facts.versioning in ("off", "suspended"):
                problems.append(f"the {name} keeps no versions, without which no store replicates")
        if not said.startswith("to "):
            problems.append(f"replication is {said}")
        elif to not in [arn.rpartition(":")[2] for arn in said.removeprefix("to ").split(", ")]:
            problems.append(f"the source is replicated {said}, and not to {to}")
    failed = (source.replicated or {}).get("failed", 0)
    if failed:
        looked_at = sum((source.replicated or {}).values())
        problems.append(f"replication failed of {failed} of the {looked_at} objects of the source that were looked at")
    return problems
