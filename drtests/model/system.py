"""`targets/systems/<system>.yaml`: what is backed up, how it comes back, and what proves it.

The system's id is the file's name without its ending.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from drtests.model.base import Declaration, Dependencies, Flag, Id, Level, Text, gather_options
from drtests.model.units import Duration, Instant


class Biv(Declaration):
    """BIV classification (Dutch for CIA): availability, integrity, confidentiality."""

    availability: Level
    integrity: Level
    confidentiality: Level


class Source(Declaration):
    """A place in production where the data lives; nothing is ever restored here."""

    path: str
    host: Id | None = None


class Snapshots(Declaration):
    """Which of a repository's recovery points are this system's."""

    host: str | None = None
    tags: tuple[Text, ...] = ()
    """All of these."""
    paths: tuple[str, ...] = ()
    """All of these."""


class Backup(Declaration):
    """One stream of recovery points."""

    id: Id = "backup"
    repository: Id
    snapshots: Snapshots = Snapshots()
    interval: Duration
    """How often a backup starts."""
    duration: Duration = timedelta(0)
    """How long a backup takes (declared)."""
    transfer: Duration = timedelta(0)
    """How long it takes until the copy is offsite (declared)."""
    window: Duration = timedelta(days=30)
    """How far back the history of recovery points is judged."""


class Before(Declaration):
    """The newest recovery point at or before a moment."""

    before: Instant


class At(Declaration):
    """A moment to which databases are recovered by their logs: out of the first recovery point at or after it,
    since that holds the logs up to there; out of the newest when none is as young."""

    at: Instant


class RandomWithin(Declaration):
    """Any recovery point of the last so long; the choice is seeded and recorded."""

    random_within: Duration


_POINT_TEXT = "latest|[0-9a-f]{8,64}"


def _point(value: Any) -> Any:
    """One message for whatever is wrong, instead of one for each thing it could have been."""
    if isinstance(value, (Before, At, RandomWithin)):
        return value
    if isinstance(value, dict) and set(value) in ({"before"}, {"at"}, {"random_within"}):
        return value
    if isinstance(value, str) and re.fullmatch(_POINT_TEXT, value):
        return value
    raise ValueError(
        f"{value!r} is no choice of a recovery point; write latest, an id of 8 to 64 hexadecimal digits (in quotes), "
        '{before: "2026-03-01T04:00:00+01:00"}, {at: "2026-03-01T04:00:00+01:00"} or {random_within: 30d}'
    )


Point = Annotated[
    Annotated[str, Field(pattern=f"^({_POINT_TEXT})$")] | Before | At | RandomWithin, BeforeValidator(_point)
]


class Restore(Declaration):
    """Which recovery point goes where."""

    backup: Id | None = None
    """Of the system's backups; the first when not given."""
    staging: Id
    point: Point = "latest"
    """`latest`, a recovery point's id, `{before: time}`, `{at: time}` (point-in-time recovery) or
    `{random_within: 30d}`."""
    include: tuple[str, ...] = ()
    """Only these paths; all of the recovery point when empty."""
    verify: Flag = False
    """Let the engine read back and compare what it wrote."""
    timeout: Duration = timedelta(hours=4)


class Ready(Declaration):
    """When a started service counts as up."""

    http: str | None = None
    """URL that answers with a status below 500."""
    tcp: str | None = None
    """host:port that accepts a connection."""
    within: Duration = timedelta(seconds=60)

    @model_validator(mode="after")
    def _one(self) -> Ready:
        if (self.http is None) == (self.tcp is None):
            raise ValueError("give exactly one of `http` and `tcp`")
        return self


class Step(Declaration):
    """One recovery step: a command in the restored tree, as an argument list, never a shell string."""

    name: str
    run: tuple[Text, ...] = Field(min_length=1)
    environment: dict[str, Text] = Field(default_factory=dict)
    cwd: str = "."
    """Below the restored tree."""
    background: Flag = False
    """A service: started, waited for, and stopped in clean up."""
    ready: Ready | None = None
    timeout: Duration = timedelta(minutes=10)


class ManualStep(Declaration):
    """Time that people need and no drill measures: a decision, hardware. Added visibly, marked declared."""

    name: str
    duration: Duration


class Check(Declaration):
    """One check: its kind and that kind's own options."""

    kind: str
    name: str = ""
    options: dict[str, Any] = Field(default_factory=dict)


def _check(value: Any) -> Any:
    if isinstance(value, dict) and "kind" not in value:
        kinds = [key for key in value if key != "name"]
        if len(kinds) != 1:
            raise ValueError("a check has one kind, written as its key: `- tree: {path: srv}`")
        options = value[kinds[0]]
        if not isinstance(options, dict):
            raise ValueError(f"the options of `{kinds[0]}` are missing; write `- {kinds[0]}: {{...}}`")
        return {"kind": kinds[0], "name": value.get("name", ""), "options": options}
    return value


CHECK_PLACEHOLDER: dict[str, Any] = {"$comment": "one check"}
"""Stands in the JSON Schema for what only those who know the installed checks can tell."""

Checks = tuple[Annotated[Check, BeforeValidator(_check), WithJsonSchema(CHECK_PLACEHOLDER)], ...]


DATABASE_PLACEHOLDER: dict[str, Any] = {"$comment": "one database"}
REPLICA_PLACEHOLDER: dict[str, Any] = {"$comment": "one replica"}
FAILOVER_PLACEHOLDER: dict[str, Any] = {"$comment": "one failover"}


class Database(Declaration):
    """A database that is restored and started for the drill; the recipe's own options stand beside these."""

    id: Id
    """How checks, and the variables of recovery steps, call it."""
    recipe: str
    """How the backup becomes a running database, e.g. postgres-dump."""
    live: Id | None = None
    """The running database it is a backup of: for checks that compare with it. Declared in estate.yaml."""
    run_as: str | None = None
    """User that the scratch server runs as, when drtests runs as root."""
    timeout: Duration = timedelta(hours=1)
    """For loading and starting it."""
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, value: Any) -> Any:
        return gather_options(cls, value)


class Replica(Declaration):
    """A copy that is kept up to date; the options of its kind stand beside these."""

    id: Id
    kind: str
    """E.g. postgres-streaming, postgres-logical, mariadb, redis, backup-copy, files or bucket."""
    markers: Flag = False
    """Whether the drill may write markers at the source, in a schema, key or file of its own, which it removes again.
    Without them lag is what the servers say of themselves."""
    window: Duration = timedelta(seconds=60)
    """How long lag is sampled."""
    interval: Duration = timedelta(seconds=1)
    """How often."""
    rpo: Duration | None = None
    """Stricter than the system's; the strictest counts."""
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, value: Any) -> Any:
        return gather_options(cls, value)

    @model_validator(mode="after")
    def _several(self) -> Replica:
        if self.interval <= timedelta(0) or self.window < 2 * self.interval:
            raise ValueError("`window` has to hold at least two intervals; lengthen `window` or shorten `interval`")
        return self


class Failover(Declaration):
    """A failover that is rehearsed on a throwaway replica; the options of its kind stand beside these."""

    id: Id
    kind: str
    """E.g. postgres."""
    stands_for: Id
    """Of this system's `databases`: the promoted replica takes its place for recovery steps and checks."""
    timeout: Duration = timedelta(hours=1)
    """For building the replica, and again for catching up."""
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, value: Any) -> Any:
        return gather_options(cls, value)


class System(Declaration):
    """The whole file."""

    version: Literal[1] = 1
    """Version of this file's format."""
    name: str
    description: str = ""
    owner: Id | None = None
    """Person in estate.yaml; the owner of the process that binds, when not given."""
    biv: Biv | None = None
    rto: Duration | None = None
    """Stricter than what the processes ask; the strictest counts."""
    rpo: Duration | None = None
    dependencies: Dependencies = ()
    """Systems it needs."""
    bootstrap: int | None = Field(default=None, ge=1)
    """Place in the order in which a cycle of systems is started; needed on all systems of a cycle."""
    sources: tuple[Source, ...] = ()
    backups: tuple[Backup, ...] = Field(min_length=1)
    restore: Restore
    databases: tuple[Annotated[Database, WithJsonSchema(DATABASE_PLACEHOLDER)], ...] = ()
    """Databases of the restored copy, started before the recovery steps."""
    replicas: tuple[Annotated[Replica, WithJsonSchema(REPLICA_PLACEHOLDER)], ...] = ()
    """Copies that are kept up to date."""
    failovers: tuple[Annotated[Failover, WithJsonSchema(FAILOVER_PLACEHOLDER)], ...] = ()
    """Failovers that are rehearsed."""
    start: tuple[Step, ...] = ()
    checks: Checks = ()
    manual: tuple[ManualStep, ...] = ()
