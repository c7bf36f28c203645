"""Engine: the backup program that holds recovery points."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar, Protocol, runtime_checkable

from drtests.model.estate import Repository
from drtests.model.system import Snapshots
from drtests.protocols.host import Host
from drtests.protocols.store import Store


@dataclass(frozen=True, slots=True)
class RecoveryPoint:
    """A moment that can be restored. `time` is aware; paths are those that were backed up."""

    id: str
    time: datetime
    host: str
    paths: tuple[str, ...]
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a restore is. `total_bytes` is None where the engine does not tell.

    `basis` is `measured` when the engine counts, `estimated` when the room
    taken on the destination stands in for it.
    """

    done_bytes: int
    total_bytes: int | None
    basis: str


ProgressSink = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """What the engine says it restored; None where it does not say."""

    seconds: float
    bytes: int | None = None
    files: int | None = None
    unproved: int = 0
    """Files that nothing the repository holds could be held against."""
    why: str = ""
    """Why that is so, of one of them."""


@dataclass(frozen=True, slots=True)
class IntegrityResult:
    """Outcome of reading part `part` of `parts` back. `problems` is empty when all was well.

    `units_read` of `units` are what the engine stores data in (packs), None where it does not say.
    """

    part: int
    parts: int
    seconds: float
    problems: tuple[str, ...] = ()
    units_read: int | None = None
    units: int | None = None
    unproved: int = 0
    """Units that were read, and that nothing the repository holds could be held against."""
    why: str = ""
    """Why that is so, of one of them."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Size of a recovery point once restored."""

    bytes: int
    files: int


@dataclass(frozen=True, slots=True)
class EngineContext:
    """All that an engine is given.

    `environment` holds resolved secrets: pass it on as environment only.
    `location` is ready to use. `cache` is an empty directory of the engine's
    own on that host, or None: a disaster leaves no warm cache behind. `store`
    is the bucket that the repository lies in, where that is declared.
    """

    repository: Repository
    location: str
    host: Host
    environment: Mapping[str, str] = field(repr=False)
    cache: str | None = None
    store: Store | None = None


@runtime_checkable
class Engine(Protocol):
    """Reads one repository, from one host. Built as `Engine(context)`.

    Never writes to the repository, nor takes or removes a lock in it. All
    methods raise the EngineError that fits, and HostError.
    """

    PASSWORD_VARIABLE: ClassVar[str]
    """Where in `EngineContext.environment` the repository's password goes; empty when it has none."""

    def version(self) -> str:
        """Name and version of the program. Raises EngineMissing, EngineTooOld."""

    def recovery_points(self, snapshots: Snapshots) -> Sequence[RecoveryPoint]:
        """Those that match, oldest first."""

    def guard(self) -> None:
        """Raises RepositoryLocked while somebody else's exclusive lock makes reading unsafe."""

    def restore(
        self,
        point: RecoveryPoint,
        destination: str,
        *,
        include: Sequence[str] = (),
        verify: bool = False,
        timeout: float,
        progress: ProgressSink | None = None,
    ) -> RestoreResult:
        """Restores below `destination`, an empty directory on the host."""

    def verify(self, part: int, parts: int, timeout: float) -> IntegrityResult:
        """Reads part `part` (1 to `parts`) of all data back. Damage is in the result, not raised."""

    def statistics(self, point: RecoveryPoint, timeout: float) -> Statistics: ...
