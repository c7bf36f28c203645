"""A replication in memory: for trying the rest of drtests, and the smallest example."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import BaseModel

from drtests.errors import DatabaseRefused, DatabaseUnreachable, UsageError
from drtests.model.base import Declaration
from drtests.protocols.reach import Reach
from drtests.protocols.replication import Behind, Compared, Identity, Skew
from drtests.replications.lag import Positions


@dataclass(slots=True)
class MemoryServer:
    """Holds values by name. One that follows another takes over what that one writes, at once unless it is paused."""

    follows: MemoryServer | None = None
    paused: bool = False
    gone: bool = False
    refuses: bool = False
    """All writes."""
    log: list[tuple[str, Any]] = field(default_factory=list)
    applied: int = 0
    """How much of the other's log it has carried out."""
    turn: threading.RLock = field(default_factory=threading.RLock)

    def write(self, name: str, value: Any) -> None:
        """None removes it."""
        with self.turn:
            self.log.append((name, value))

    def values(self) -> Mapping[str, Any]:
        """As they are now."""
        with self.turn:
            source = self.follows
            if source is not None and not self.paused:
                self.applied = len(source.log)
            told = [*(source.log[: self.applied] if source is not None else ()), *self.log]
        return {name: value for name, value in dict(told).items() if value is not None}


class MemoryReplicationSpec(Declaration):
    """Options."""

    source: str
    replica: str
    compare: bool = False


class MemoryReplication:
    """Asks two MemoryServers; `servers` is what there is, by name."""

    Spec: ClassVar[type[BaseModel]] = MemoryReplicationSpec
    marks: ClassVar[bool] = True
    steady: ClassVar[bool] = False
    servers: ClassVar[dict[str, MemoryServer]] = {}

    def __init__(self, spec: MemoryReplicationSpec, reach: Reach) -> None:
        self._spec = spec
        self._key = f"marker {secrets.token_hex(4)}"
        self._marking = False
        self._positions = Positions()

    def _open(self, name: str) -> MemoryServer:
        found = self.servers.get(name)
        if found is None or found.gone:
            raise DatabaseUnreachable(f"there is no server {name}", where=name, mend="add it to `servers`")
        return found

    def identify(self) -> Identity:
        source, replica = self._open(self._spec.source), self._open(self._spec.replica)
        problems = []
        if replica.follows is not source:
            problems.append("the replica follows another source, or nobody")
        return Identity({"follows": replica.follows is not None}, tuple(problems))

    def skew(self) -> Skew | None:
        return None

    def begin(self) -> None:
        if self._open(self._spec.source).refuses:
            raise DatabaseRefused("it is read only", where=self._spec.source, mend="let it accept writes")
        self._marking = True

    def mark(self, number: int) -> None:
        if not self._marking:
            raise UsageError("markers are written after `begin` only")
        self._open(self._spec.source).write(self._key, number)

    def newest(self) -> int | None:
        found: int | None = self._open(self._spec.replica).values().get(self._key)
        return found

    def behind(self) -> Behind:
        source, replica = self._open(self._spec.source), self._open(self._spec.replica)
        here = len(source.log)
        self._positions.source_is_at(here)
        if replica.follows is not source:
            return Behind(None, None)
        replica.values()
        return Behind(self._positions.lag(replica.applied), max(0, here - replica.applied), "measured")

    def compare(self) -> Sequence[Compared]:
        if not self._spec.compare:
            return ()
        here, there = (self._open(name).values() for name in (self._spec.source, self._spec.replica))
        return (Compared("values", here == there, "" if here == there else "differ", {"source": len(here)}),)

    def end(self) -> None:
        if self._marking:
            self._open(self._spec.source).write(self._key, None)
        self._marking = False
