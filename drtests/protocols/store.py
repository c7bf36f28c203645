"""Store: a bucket of objects, or a part of one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from drtests.model.connections import Store as Declared


@dataclass(frozen=True, slots=True)
class ObjectFact:
    """One version of one object. `version` is None where the bucket keeps none; `deleted` marks a delete marker."""

    key: str
    size: int
    modified: datetime
    etag: str
    version: str | None = None
    latest: bool = True
    deleted: bool = False


@dataclass(slots=True)
class Usage:
    """What was asked of the store so far: counted at the wire, retries included."""

    reads: int = 0
    """GET and HEAD requests."""
    writes: int = 0
    """PUT, COPY, POST, LIST and DELETE requests."""
    bytes_out: int = 0
    """Bytes of objects that left the store."""
    bytes_in: int = 0
    reserved: int = 0
    """Bytes of downloads that are under way, not yet in `bytes_out`; they count against the budget."""
    estimated: int = 0
    """Bytes that a backup program fetches by itself, estimated: they count against the budget alone."""
    aside: int = 0
    """Deletions that are still to come, and have to stay affordable; they count against the budget."""


@dataclass(frozen=True, slots=True)
class StoreContext:
    """All that a store adapter is given; an adapter is a callable `(StoreContext) -> Store`.

    `credentials` are resolved: access_key, secret_key and perhaps
    session_token. `role` is `reader` or `writer`. Whatever is opened of the
    same store during a drill shares one `usage`: the budget is the drill's.
    """

    declared: Declared
    role: str
    credentials: Mapping[str, str] = field(repr=False)
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True)
class DeletionRule:
    """A rule of the bucket's lifecycle by which the store itself deletes objects or versions."""

    id: str
    prefix: str = ""
    current_days: float | None = None
    """Days after which the latest version is deleted; where versions are kept, hidden by a delete marker."""
    noncurrent_days: float | None = None
    """Days after which a version is deleted for good, counted from when it was overwritten or deleted."""
    narrowed: bool = False
    """It takes only some of the objects below its prefix, told by tags or sizes."""


@dataclass(frozen=True, slots=True)
class BucketFacts:
    """What the store tells of the bucket. None: it did not tell, which is never taken for an answer.

    `unknown` says, by field, why it is not known.
    """

    versioning: str | None = None
    """enabled, suspended or off."""
    lock: bool | None = None
    """Whether object lock is on. Without a default retention it protects only what is written with one."""
    lock_mode: str | None = None
    """Default retention: compliance, governance or none."""
    lock_seconds: float | None = None
    """Default retention in seconds; 0 for none."""
    encryption: str | None = None
    """Default encryption, e.g. AES256 or aws:kms; none."""
    public: bool | None = None
    """Whether anybody at all may read, write or list."""
    deletions: tuple[DeletionRule, ...] | None = None
    """Lifecycle rules that are on and delete objects or versions below the declared prefix."""
    replication: str | None = None
    """Where it is replicated to, and whether that is enabled; none."""
    replicated: Mapping[str, int] | None = None
    """Of some objects older than `REPLICATED_WITHIN`, how many have each replication status: completed, pending,
    failed, replica, none."""
    location: str | None = None
    """Region or location."""
    owner: str | None = None
    """The account that the bucket belongs to, as the store calls it."""
    probes: int | None = None
    """Versions and delete markers of probe objects that are there, of this drill and of earlier ones; at most
    `MOST_PROBES` are counted."""
    probe_days: float | None = None
    """Days after which the store itself removes probe objects, once no retention keeps them; None when it never does,
    or does not tell."""
    unknown: Mapping[str, str] = field(default_factory=dict)
    raw: Mapping[str, Any] = field(default_factory=dict)
    """For the evidence, without secrets."""


MOST_PROBES = 1000


@dataclass(frozen=True, slots=True)
class ObjectState:
    """What protects one version of an object, as the store tells. Times in UTC."""

    version: str | None
    lock_mode: str | None = None
    """governance or compliance; None without retention."""
    retain_until: datetime | None = None
    legal_hold: bool = False


REPLICATED_WITHIN = timedelta(minutes=15)
"""What S3 promises where replication time is controlled; a younger object may be on its way still."""


class Store(Protocol):
    """One bucket with one set of credentials. Every adapter passes `drtests.testing.store_contract`.

    Keys are whole keys, prefix included; what lies outside the declared
    prefix and probe prefix is refused with SafetyError. Raises the StoreError
    that fits; what is safe to ask again was asked again before it raises.
    May be used by several threads at once.
    """

    @property
    def declared(self) -> Declared: ...

    @property
    def id(self) -> str: ...

    @property
    def bucket(self) -> str: ...

    @property
    def prefix(self) -> str:
        """All keys that are looked at begin so; but probe objects, which no listing tells of."""

    @property
    def usage(self) -> Usage: ...

    def version(self) -> str:
        """Name and version of what speaks to the store, e.g. `boto3 1.40.1`."""

    def facts(self) -> BucketFacts: ...

    def objects(self, prefix: str = "") -> Iterator[ObjectFact]:
        """The latest of all objects whose keys begin so, in order of their keys. Memory does not grow with them."""

    def versions(self, prefix: str = "") -> Iterator[ObjectFact]:
        """All versions and delete markers of keys that begin so, by key, newest first.

        Raises StoreUnversioned where the bucket keeps none.
        """

    def read(self, key: str, version: str | None = None, limit: int | None = None) -> bytes:
        """The object, or its first `limit` bytes."""

    def download(self, fact: ObjectFact, path: Path, unproved: Callable[[str], None] = lambda _: None) -> str:
        """Writes that version to a file, resumed where it broke off; returns its SHA-256 in hex.

        Raises ObjectDamaged when what came is not what the store says it holds. Calls `unproved` with the reason
        when that cannot be told: the store keeps no hash that could be made of what came.
        """

    def abandon(self) -> None:
        """Ends whatever other threads are waiting for: that raises StoreError, and so does all that follows."""

    def set_aside(self, deletions: int) -> None:
        """Keeps so many more deletions affordable, whatever else is asked. Raises BudgetExceeded when they are not."""

    def write(self, key: str, data: bytes) -> str | None:
        """Writes an object; returns its version. Raises SafetyError outside the declared probe prefix."""

    def delete(self, key: str, version: str | None = None) -> str | None:
        """Deletes an object or a version; returns the delete marker's version, if one was made.

        Raises SafetyError outside the declared probe prefix.
        """


Action = Literal[
    "overwrite",
    "delete",
    "delete_version",
    "delete_version_bypassing",
    "shorten_retention",
    "shorten_retention_bypassing",
    "remove_legal_hold",
    "set_versioning",
    "suspend_versioning",
]
"""What an attacker tries. `bypassing` means governance retention; `set_versioning` sets what is set already."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One thing that an attacker tried on a probe object, and what came of it.

    `effect` is what counts: `none` (all is as it was), `done` (the attack
    succeeded, whatever the store answered) or `unknown`.
    """

    action: Action
    answer: Literal["refused", "accepted", "unknown"]
    told: str
    """The store's answer in words, e.g. `AccessDenied (403)`."""
    effect: Literal["none", "done", "unknown"]
    proof: str
    """How the effect was seen with the reader's credentials."""
    key: str = ""
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Leftover:
    """A probe object, or a delete marker of one, that could not be removed, and until when it is locked, if it is."""

    key: str
    version: str | None
    why: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class AttackReport:
    """What was tried with the backup writer's own credentials, in order."""

    attempts: tuple[Attempt, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)
    """What was not tried, by action, and why it does not apply."""
    failed: str = ""
    """Why the attack could not be carried out to its end; then nothing is proved by what is missing."""
    mend: str = ""
    """What to do about that."""
    left: tuple[Leftover, ...] = ()
    state: ObjectState | None = None
    """What protected the first probe when it was written."""
    versioned: bool | None = None
    harm: str = ""
    """Not empty when something could not be put back: to be mended by hand, at once."""


@runtime_checkable
class Attackable(Protocol):
    """A store, opened with the writer's credentials, that can be attacked as an attacker who holds them would."""

    def attack(self, reader: Store) -> AttackReport:
        """Tries to destroy probe objects which it wrote itself; looks at the effect with `reader`.

        No other object is touched. Raises SafetyError when this store was not
        opened as writer or `reader` is another bucket, BudgetExceeded before
        the first request.
        """


class Fetcher(Protocol):
    """Brings several small objects faster than one by one. May be used by several threads at once."""

    def fetch(self, jobs: Sequence[tuple[ObjectFact, Path]]) -> Sequence[str | None]:
        """Of each that was brought to its path, whole and as the store's own hash says, the SHA-256; its time is set.

        None for what has to be brought by `download`, for whatever reason. Raises nothing: that one tells why.
        """


@runtime_checkable
class FetchesMany(Protocol):
    """A store that can do so."""

    def fetching(self) -> AbstractContextManager[Fetcher]:
        """When it is left, whatever is still under way is ended."""


@runtime_checkable
class TellsState(Protocol):
    """A store that tells what protects an object."""

    def state(self, key: str, version: str | None = None) -> ObjectState:
        """Raises ObjectMissing."""

    def versioning(self) -> str:
        """enabled, suspended or off. Raises StoreError when the store does not tell."""


@runtime_checkable
class TellsTime(Protocol):
    """A store that tells the time with every answer."""

    def ahead(self) -> float | None:
        """Seconds that its clock was ahead of this machine's at its last answer, give or take `CLOCK` and how long the
        answer took; None when it told no time."""


CLOCK = 1.0
"""Seconds: no store tells the time better."""
