"""A store that holds its buckets in memory, and misbehaves where it is told to: for trying the rest of drtests."""

from __future__ import annotations

import hashlib
import itertools
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar, Literal

from drtests.core.stores import over_budget
from drtests.errors import (
    BudgetExceeded,
    ObjectDamaged,
    ObjectMissing,
    SafetyError,
    StoreError,
    StoreRefused,
    StoreUnreachable,
    StoreUnversioned,
)
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
from drtests.stores.attack import attack

Right = Literal["read", "write", "delete", "delete_version", "bypass", "retention", "hold", "versioning"]
Fault = Literal[
    "refuses_and_obeys",
    "accepts_and_ignores",
    "breaks_off",
    "ignores_locks",
    "stays_suspended",
    "hides_states",
    "hides_versioning",
    "keeps_no_versions",
    "loses_objects",
    "garbles",
]
"""`refuses_and_obeys`: a 403 for what it does; `accepts_and_ignores`: a 200 for what it does not do."""
EVERYTHING: frozenset[Right] = frozenset(
    ("read", "write", "delete", "delete_version", "bypass", "retention", "hold", "versioning")
)


@dataclass(slots=True)
class _Version:
    data: bytes | None
    modified: datetime
    version: str | None
    lock_mode: str | None = None
    until: datetime | None = None
    held: bool = False


@dataclass(slots=True)
class MemoryBucket:
    """What one bucket holds, and who may do what. `facts` overrules what it tells of itself."""

    versioning: str = "off"
    lock_mode: str | None = None
    lock: timedelta = timedelta(0)
    held: bool = False
    """What is written comes under legal hold."""
    rights: Mapping[str, frozenset[Right]] = field(
        default_factory=lambda: {"reader": frozenset({"read"}), "writer": frozenset({"read", "write"})}
    )
    facts: BucketFacts | None = None
    faults: set[Fault] = field(default_factory=set)
    versions: dict[str, list[_Version]] = field(default_factory=dict)
    """By key, oldest first."""
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """All that was asked: role, what, key."""

    def put(self, key: str, data: bytes | None) -> str | None:
        """As its owner does; None leaves a delete marker."""
        kept = self.versioning == "enabled" and "keeps_no_versions" not in self.faults
        made = _Version(data, _moment(), secrets.token_hex(8) if kept else None)
        if self.lock_mode is not None and data is not None:
            made.lock_mode, made.until = self.lock_mode, made.modified + self.lock
        made.held = self.held and data is not None
        if not kept:
            # Where versioning is suspended, older versions stay.
            self.versions[key] = [one for one in self.versions.get(key, ()) if one.version is not None]
        if kept or data is not None:
            self.versions.setdefault(key, []).append(made)
        if not self.versions.get(key):
            self.versions.pop(key, None)
        return made.version


_TICKS = itertools.count()
_BEGAN = datetime.now(UTC)


def _moment() -> datetime:
    """No two are the same."""
    return max(datetime.now(UTC), _BEGAN) + timedelta(microseconds=next(_TICKS))


class MemoryStore:
    """One role's way to a MemoryBucket; `buckets` is what there is, by name."""

    buckets: ClassVar[dict[str, MemoryBucket]] = {}

    def __init__(self, context: StoreContext) -> None:
        self._context = context
        self._turn = threading.Lock()
        self.abandoned = False

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
        return self._context.usage

    def version(self) -> str:
        return "memory 1"

    def facts(self) -> BucketFacts:
        there = self._ask("read", "facts")
        if there.facts is not None:
            return there.facts
        return BucketFacts(
            versioning=there.versioning,
            lock=there.lock_mode is not None,
            lock_mode=there.lock_mode or "none",
            lock_seconds=there.lock.total_seconds(),
            encryption="none",
            public=False,
            deletions=(),
            replication="none",
            location="memory",
            owner="memory",
            probes=sum(
                len(found) for key, found in there.versions.items() if key.startswith(self.declared.probe_prefix)
            ),
        )

    def versioning(self) -> str:
        there = self._ask("read", "versioning")
        if "hides_versioning" in there.faults:
            raise self._denied("versioning")
        return there.versioning

    def objects(self, prefix: str = "") -> Iterator[ObjectFact]:
        """See `Store`."""
        for one in self._listed(prefix):
            if one.latest and not one.deleted:
                yield ObjectFact(one.key, one.size, one.modified, one.etag)

    def versions(self, prefix: str = "") -> Iterator[ObjectFact]:
        """See `Store`."""
        listed = self._listed(prefix)
        if self.versioning() == "off":
            raise StoreUnversioned("no versions are kept", where=self.bucket, mend="enable versioning")
        yield from listed

    def _listed(self, prefix: str) -> list[ObjectFact]:
        if not prefix.startswith(self.prefix) and not self.prefix.startswith(prefix):
            raise self._outside(prefix)
        there = self._ask("read", "list", write=True)
        return [
            _fact(key, one, latest=one is versions[-1])
            for key, versions in sorted(there.versions.items())
            if key.startswith(max(prefix, self.prefix, key=len)) and not key.startswith(self.declared.probe_prefix)
            for one in reversed(versions)
        ]

    def read(self, key: str, version: str | None = None, limit: int | None = None) -> bytes:
        """See `Store`."""
        data = self._found(key, version).data or b""
        if "garbles" in self._there().faults:
            data = data[::-1]
        data = data[:limit]
        self._came(len(data))
        return data

    def download(self, fact: ObjectFact, path: Path, unproved: Callable[[str], None] = lambda _: None) -> str:
        """See `Store`."""
        self._affordable(bytes_out=fact.size)
        data = self._found(fact.key, fact.version).data or b""
        if len(data) != fact.size or (fact.etag and _md5(data) != fact.etag):
            raise ObjectDamaged(f"{fact.key} is not as listed", where=self.bucket, mend="list again")
        path.write_bytes(data)
        self._came(len(data))
        return hashlib.sha256(data).hexdigest()

    def state(self, key: str, version: str | None = None) -> ObjectState:
        """See `TellsState`."""
        one = self._found(key, version)
        if "hides_states" in self._there().faults:
            raise self._denied("state")
        return ObjectState(one.version, one.lock_mode, one.until, one.held)

    def abandon(self) -> None:
        """See `Store`."""
        self.abandoned = True

    def set_aside(self, deletions: int) -> None:
        """See `Store`."""
        self._affordable(writes=deletions)
        self.usage.aside += deletions

    def write(self, key: str, data: bytes) -> str | None:
        """See `Store`."""
        self._only_probes(key)
        there = self._ask("write", "write", key, write=True)
        return there.put(key, data)

    def write_probe(self, key: str, data: bytes) -> str | None:
        """As `write`."""
        return self.write(key, data)

    def delete(self, key: str, version: str | None = None) -> str | None:
        """See `Store`."""
        return self.remove(key, version)

    def remove(self, key: str, version: str | None, *, bypass: bool = False) -> str | None:
        """As `delete`, perhaps bypassing governance retention."""
        self._only_probes(key)
        self.usage.aside = max(0, self.usage.aside - 1)

        def act(there: MemoryBucket) -> str | None:
            if version is None:
                return there.put(key, None)
            one = next((one for one in there.versions.get(key, ()) if one.version == version), None)
            if one is not None:
                self._unlocked(there, one, bypass=bypass)
                there.versions[key].remove(one)
                if not there.versions[key]:
                    del there.versions[key]
            return None

        return self._harm("delete" if version is None else "delete_version", "delete", key, act)

    def set_retention(self, key: str, version: str, mode: str, until: datetime, *, bypass: bool) -> None:
        """As the store's own rules have it."""
        self._only_probes(key)

        def act(there: MemoryBucket) -> None:
            one = self._found(key, version)
            if one.until is not None and until < one.until:
                self._unlocked(there, one, bypass=bypass)
            one.lock_mode, one.until = mode, until

        self._harm("retention", "set retention", key, act)

    def release_hold(self, key: str, version: str) -> None:
        """Removes a legal hold."""
        self._only_probes(key)
        self._harm("hold", "release hold", key, lambda _: setattr(self._found(key, version), "held", False))

    def set_versioning(self, status: Literal["Enabled", "Suspended"]) -> None:
        """Of the whole bucket."""

        def act(there: MemoryBucket) -> None:
            if there.versioning == "suspended" and "stays_suspended" in there.faults:
                raise self._denied("versioning")
            there.versioning = status.lower()

        self._harm("versioning", f"set versioning {status}", "", act)

    def attack(self, reader: Store) -> AttackReport:
        """See `Attackable`."""
        if self._context.role != "writer" or reader.bucket != self.bucket or not isinstance(reader, TellsState):
            raise SafetyError("no writer, or another bucket", where=self.bucket, mend="open both as declared")
        return attack(self, reader)

    def _harm(self, right: Right, what: str, key: str, act: Callable[[MemoryBucket], str | None]) -> str | None:
        there = self._there()
        if "refuses_and_obeys" in there.faults:
            act(there)
            raise self._denied(what)
        there = self._ask(right, what, key, write=True)
        if "breaks_off" in there.faults:
            raise StoreUnreachable("no answer", where=self.bucket, mend="try again")
        if "accepts_and_ignores" in there.faults:
            return None
        return act(there)

    def _unlocked(self, there: MemoryBucket, one: _Version, *, bypass: bool) -> None:
        if "ignores_locks" in there.faults:
            return
        bypass = bypass and one.lock_mode == "governance" and "bypass" in there.rights[self._context.role]
        if one.held or (one.until is not None and one.until > datetime.now(UTC) and not bypass):
            raise self._denied("delete a locked version")

    def _found(self, key: str, version: str | None) -> _Version:
        if not key.startswith((self.prefix, self.declared.probe_prefix)):
            raise self._outside(key)
        there = self._ask("read", "read", key)
        versions = there.versions.get(key, [])
        one = next((one for one in reversed(versions) if version in (None, one.version)), None)
        if one is None or one.data is None or "loses_objects" in there.faults:
            raise ObjectMissing(f"there is no {key}", where=self.bucket, mend="look at the key")
        return one

    def _there(self) -> MemoryBucket:
        if self.abandoned:
            raise StoreError("it was given up", where=self.bucket, mend="ask anew")
        if self.bucket not in self.buckets:
            raise ObjectMissing(f"there is no bucket {self.bucket}", where=self.id, mend="look at its name")
        return self.buckets[self.bucket]

    def _ask(self, right: Right, what: str, key: str = "", *, write: bool = False) -> MemoryBucket:
        there = self._there()
        self._affordable(reads=int(not write), writes=int(write))
        with self._turn:
            self.usage.reads += not write
            self.usage.writes += write
        there.asked.append((self._context.role, what, key))
        if right not in there.rights[self._context.role]:
            raise self._denied(what)
        return there

    def _affordable(self, **more: int) -> None:
        why = over_budget(self.declared.prices, self.usage, **more)
        if why:
            raise BudgetExceeded(why, where=self.id, mend="declare a larger budget")

    def _came(self, count: int) -> None:
        with self._turn:
            self.usage.bytes_out += count

    def _denied(self, what: str) -> StoreError:
        return StoreRefused(f"AccessDenied (403): {what}", where=self.bucket, mend="allow it")

    def _only_probes(self, key: str) -> None:
        probes = self.declared.probe_prefix
        if self._context.role != "writer" or not key.startswith(probes) or key == probes:
            raise SafetyError(f"{key!r} is no probe", where=self.bucket, mend=f"only keys below {probes!r} are written")

    def _outside(self, key: str) -> SafetyError:
        return SafetyError(f"{key!r} lies outside {self.prefix!r}", where=self.bucket, mend="declare another prefix")


def _fact(key: str, one: _Version, *, latest: bool) -> ObjectFact:
    data = one.data or b""
    etag = "" if one.data is None else _md5(data)
    return ObjectFact(key, len(data), one.modified, etag, one.version, latest, one.data is None)


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
