"""Databases: running ones that are asked, and restored ones that are started for a drill and are gone after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Protocol, runtime_checkable

from pydantic import BaseModel

from drtests.model.connections import LiveDatabase
from drtests.protocols.clock import Clock
from drtests.protocols.host import Host

Rows = Sequence[Sequence[Any]]
"""JSON scalars only: numbers as numbers where the database tells, everything else as text, NULL as None."""


class Session(Protocol):
    """A way to ask one database, by its own client program on a host: no driver, and a trace to repeat by hand.

    Raises the DatabaseError that fits, and HostError.
    """

    @property
    def type(self) -> str:
        """postgres, mariadb, redis, sqlite or a plug-in's: which language `query` takes."""

    def version(self) -> str:
        """Name and version of the server, e.g. `PostgreSQL 15.8`."""

    def query(self, statement: str, timeout: float | None = None) -> Rows:
        """The rows of one statement that only reads; None: the declared timeout. Killed after `timeout` seconds."""


class Live(Session, Protocol):
    """A running server. Built by `(LiveContext) -> Live`; every adapter passes `drtests.testing.database_contract`."""

    @property
    def id(self) -> str: ...

    def execute(self, statement: str, timeout: float | None = None) -> None:
        """A statement that may write. Raises DatabaseRefused when the session was not opened to write, or the
        server refuses."""


@dataclass(frozen=True, slots=True)
class LiveContext:
    """All that a client is given. `password` is resolved: pass it on as environment only."""

    declared: LiveDatabase
    host: Host
    password: str | None = field(default=None, repr=False)
    writable: bool = False


@dataclass(frozen=True, slots=True)
class ScratchPlace:
    """Where a restored database is started.

    `root` is the restored tree on `host`; `folder` an empty directory for
    this database alone, removed by the drill afterwards. `run_as` is the user
    that the server runs as; None: the user of the host's commands, unless that
    is root, which servers refuse: then the adapter takes the database's usual
    user, else `nobody`. `moment` is the moment to which a point-in-time
    recovery goes; None: to the end of what was restored.
    """

    host: Host
    root: str
    folder: str
    clock: Clock
    run_as: str | None = None
    moment: datetime | None = None
    timeout: float = 3600.0
    """Seconds for the whole of loading and starting."""
    tell: Callable[[str, Any], None] = lambda _name, _value: None
    """Puts a fact into the evidence."""


@dataclass(frozen=True, slots=True)
class Integrity:
    """What reading all of a database came to."""

    read: int
    """How many of `what` were read. Nothing that was read proves nothing."""
    what: str
    """E.g. tables, keys."""
    by: tuple[str, ...]
    """What read them, e.g. pg_amcheck and pg_dump: how deep it went."""
    problems: tuple[str, ...] = ()
    """What is damaged; empty when all is well."""


class Scratch(Protocol):
    """A restored database that runs, on a socket or loopback port of its own."""

    @property
    def session(self) -> Session:
        """To ask it; reads only."""

    @property
    def environment(self) -> Mapping[str, str]:
        """How recovery steps reach it, in the variables that the database's own clients know (PGHOST, PGPORT ...)."""

    def integrity(self, timeout: float) -> Integrity:
        """Reads everything, as deeply as the database's own tools can.

        Raises DatabaseError when it could not be read to the end for another reason than damage.
        """

    def died(self) -> str | None:
        """Why it no longer runs, with its last words; None while it does."""

    def stop(self, timeout: float) -> None:
        """Ends it and removes what it keeps outside `ScratchPlace.folder`. Nothing happens when it is stopped."""


class Recipe(Protocol):
    """How one kind of backup becomes a running database. Built as `Recipe(spec)` with an instance of its own `Spec`.

    Every adapter passes `drtests.testing.recipe_contract`.
    """

    Spec: ClassVar[type[BaseModel]]
    type: ClassVar[str]
    """As `Session.type`."""
    point_in_time: ClassVar[bool]
    """Whether it can honour `ScratchPlace.moment`."""

    def __init__(self, spec: Any) -> None: ...

    def bring_up(self, place: ScratchPlace) -> Scratch:
        """Loads and starts. Whatever it started is ended again when it raises.

        Raises DatabaseMissing, DatabaseDamaged, DatabaseError, HostError.
        """


@runtime_checkable
class TellsPrograms(Protocol):
    """A recipe that can tell, without a backup, whether a host has what it needs: for `drtests doctor`."""

    def programs(self, host: Host) -> str:
        """Name and version of what it would use there. Raises DatabaseMissing, HostError."""


class Rehearsal(Protocol):
    """A failover without risk: a throwaway replica is built, follows, is promoted.

    Built as `Rehearsal(spec, open_live)`. The source and the standby are only
    read. Every adapter is tested against real servers.
    """

    Spec: ClassVar[type[BaseModel]]
    type: ClassVar[str]

    def __init__(self, spec: Any, open_live: Callable[[str], Live]) -> None: ...

    @property
    def from_backup(self) -> bool:
        """Whether it starts from the restored tree, so that the backup has to be restored first."""

    def position(self) -> str:
        """Where the source is now: what the replica has to reach. Called at the moment of disaster."""

    def build(self, place: ScratchPlace) -> None:
        """Makes the throwaway replica and starts it as one that follows."""

    def catch_up(self, position: str, timeout: float) -> None:
        """Waits until the replica has all up to `position`. Raises DatabaseError when it does not get there in time."""

    def promote(self) -> Scratch:
        """Makes it a server of its own, which follows no more."""

    def abandon(self, timeout: float) -> None:
        """Ends whatever of it runs; nothing happens when nothing does. `Scratch.stop` need not be called then."""
