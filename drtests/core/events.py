"""The journal's vocabulary and its chain.

A journal is JSON Lines. Each line holds `seq` (0, 1, 2 ...), `prev` (SHA-256 of
the line before, empty on the first), `type`, `at` (UTC), `t` (seconds on
the writer's monotonic clock since the journal was opened), `drill` (or null)
and `data`. The chain makes lost, repeated and re-ordered lines visible.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

RUN_STARTED = "run.started"
RUN_PLANNED = "run.planned"
RUN_CARRIED = "run.carried"
RUN_FINISHED = "run.finished"
RUN_INTERRUPTED = "run.interrupted"
JOURNAL_CLOSED = "journal.closed"
DRILL_STARTED = "drill.started"
DRILL_FINISHED = "drill.finished"
LOCK_WAITED = "lock.waited"
PHASE_STARTED = "phase.started"
PHASE_FINISHED = "phase.finished"
COMMAND_STARTED = "command.started"
COMMAND_FINISHED = "command.finished"
POINT_LOCATED = "recovery_point.located"
HISTORY_JUDGED = "recovery_points.judged"
CHECK_JUDGED = "check.judged"
REPLICA_IDENTIFIED = "replication.identified"
REPLICA_SKEWED = "replication.skewed"
REPLICA_MARKED = "replication.marked"
REPLICA_SAMPLED = "replication.sampled"
REPLICA_SILENT = "replication.silent"
REPLICA_COMPARED = "replication.compared"
REPLICA_NOTED = "replication.noted"
MEASURED = "measured"
FACT = "fact"
PROGRESS = "progress"
PROBLEM = "problem"

OF_REPLICATION = frozenset(
    {
        REPLICA_IDENTIFIED,
        REPLICA_SKEWED,
        REPLICA_MARKED,
        REPLICA_SAMPLED,
        REPLICA_SILENT,
        REPLICA_COMPARED,
        REPLICA_NOTED,
    }
)
"""What a replication drill tells; `drtests.core.replication` reads it."""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a journal."""

    type: str
    at: str
    t: float
    drill: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


def canonical(value: object) -> str:
    """JSON with one form only: sorted keys, no spaces, UTF-8 kept."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def encode(event: Event, seq: int, prev: str) -> bytes:
    """The event as a line of the chain."""
    body = {"seq": seq, "prev": prev, "type": event.type, "at": event.at, "t": event.t}
    body |= {"drill": event.drill, "data": dict(event.data)}
    return canonical(body).encode() + b"\n"


def link(line: bytes) -> str:
    """What the next line's `prev` must be."""
    return hashlib.sha256(line).hexdigest()


@dataclass(frozen=True, slots=True)
class Journal:
    """A journal as read: the events up to the first line that does not fit, and what is wrong with the rest."""

    name: str
    events: tuple[Event, ...]
    intact: bool
    closed: bool
    problem: str = ""


def decode(name: str, lines: Iterable[bytes]) -> Journal:
    """Reads a journal. A torn last line (its writer was killed) is dropped; all else that is off breaks the chain."""
    events: list[Event] = []
    prev = ""
    for number, line in enumerate(lines, 1):
        if not line.endswith(b"\n"):
            return Journal(name, tuple(events), True, False, f"line {number} was cut off while it was written")
        problem = ""
        try:
            body = json.loads(line)
            if body["seq"] != number - 1 or body["prev"] != prev:
                problem = f"line {number} does not follow the line before it"
                # Either of the two was changed; neither can be believed.
                events = events[:-1]
            event = Event(body["type"], body["at"], float(body["t"]), body["drill"], body["data"])
        except (ValueError, KeyError, TypeError):
            problem = f"line {number} is not a journal line"
        if not problem and events and events[-1].type == JOURNAL_CLOSED:
            problem = f"line {number} was added after the journal was closed"
        if problem:
            return Journal(name, tuple(events), False, False, problem)
        events.append(event)
        prev = link(line)
    closed = bool(events) and events[-1].type == JOURNAL_CLOSED
    return Journal(name, tuple(events), True, closed, "" if closed else "the writer did not end by itself")
