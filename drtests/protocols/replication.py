"""Replication: how far a copy that is kept up to date lags behind its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel

from drtests.protocols.reach import Reach


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells that the replica is one of this source. Empty `problems`: it is."""

    facts: Mapping[str, Any]
    """For the evidence: versions, identifiers, slots, modes."""
    problems: tuple[str, ...] = ()
    """E.g. follows another source; accepts writes; its slot is not active. Each is a miss."""


@dataclass(frozen=True, slots=True)
class Behind:
    """How far behind by what the servers themselves say. None where they do not say.

    `basis`: `measured` when `seconds` follows from facts on both sides (equal
    positions, times of snapshots), `estimated` when it is a server's own idea.
    """

    seconds: float | None
    bytes: int | None
    basis: str = "estimated"


@dataclass(frozen=True, slots=True)
class Skew:
    """How far the replica's clock is ahead of the source's, in seconds, give or take `uncertainty`."""

    seconds: float
    uncertainty: float


@dataclass(frozen=True, slots=True)
class Compared:
    """One thing that was compared on both sides, such as a table. `same` is None when it could not be told."""

    what: str
    same: bool | None
    detail: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


class Replication(Protocol):
    """One kind of replication. Built as `Replication(spec, reach)` with an instance of its own `Spec`.

    Everything but `begin`, `mark` and `end` only reads. All methods raise the
    DatabaseError, EngineError, StoreError or HostError that fits. Every adapter
    passes `drtests.testing.replication_contract`.
    """

    Spec: ClassVar[type[BaseModel]]
    marks: ClassVar[bool]
    """Whether markers can be written at all for this kind."""
    steady: ClassVar[bool]
    """True when one look tells all (backup copies), so that sampling over a window would say nothing more."""

    def __init__(self, spec: Any, reach: Reach) -> None: ...

    def identify(self) -> Identity: ...

    def skew(self) -> Skew | None:
        """None when there are no two clocks to compare."""

    def begin(self) -> None:
        """Makes the place for markers at the source: a schema, key or file of drtests' own."""

    def mark(self, number: int) -> None:
        """Writes marker `number`; returns when the source has committed it."""

    def newest(self) -> int | None:
        """The newest marker that is visible at the replica; None when there is none yet."""

    def behind(self) -> Behind: ...

    def compare(self) -> Sequence[Compared]:
        """Divergence of what was declared to be compared; empty when nothing was."""

    def end(self) -> Sequence[str] | None:
        """Removes every trace of markers. Nothing happens when there is none.

        Tells, in words, what had to stay and goes by itself or is nothing of
        the source's; raises the error that fits for what should have gone.
        """
