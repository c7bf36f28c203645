"""A replica that is simulated, so that the truth about its lag is known; and what a drill thinks of what it told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

from drtests.core import events as e
from drtests.core.events import Event
from drtests.core.lag import Mark
from drtests.core.plan import REPLICATION, DrillPlan, Limit
from drtests.core.replication import judge_replication, replication_record
from drtests.core.trace import Trace
from drtests.drill.log import DrillLog
from drtests.drill.replicating import _OURS, Sampling
from drtests.errors import DrtestsError
from drtests.model.replication import ReplicationRecord
from drtests.model.system import Replica
from drtests.model.verdict import Verdict
from drtests.protocols.replication import Behind, Replication
from drtests.replications.lag import Positions

WINDOW, INTERVAL = 10.0, 1.0


@dataclass
class Simulated:
    """A source that is written to without end, its replica, and the clock of both: fulfils Clock and Replication.

    `stretches`: for so many seconds the replica is so many seconds behind, or
    stands still (None). What the source has at t arrived up to `reached(t)`.
    """

    behind_at_first: float
    stretches: Sequence[tuple[float, float | None]]
    asking: float
    answering: float
    writing: float
    t: float = 0.0
    sampling: Sampling | None = None
    looks: list[tuple[float, float]] = field(default_factory=list)
    told: list[Mapping[str, Any]] = field(default_factory=list)
    silent: list[Mapping[str, Any]] = field(default_factory=list)
    quiet: bool = False
    failing: DrtestsError | None = None
    """Why the replica, or both sides, do not answer."""
    failing_source: bool = False
    marks: list[Mark] = field(default_factory=list)
    _ledger: dict[int, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.positions = Positions(self.monotonic)
        moment = 0.0
        while moment < 4 * WINDOW:
            self.marks.append(Mark(len(self.marks) + 1, moment, moment + self.writing))
            moment += max(INTERVAL, self.writing)

    @property
    def clock(self) -> Simulated:
        return self

    def monotonic(self) -> float:
        return self.t

    def sleep(self, seconds: float) -> None:
        self.t += seconds

    def write(self, kind: str, **data: Any) -> None:
        if kind == e.REPLICA_SAMPLED:
            self.told.append(data)
        if kind == e.REPLICA_SILENT:
            self.silent.append(data)

    def reached(self, moment: float, before: bool = False) -> float:
        """All up to then has arrived; `before`: just before `moment`."""
        start, reached = 0.0, -self.behind_at_first
        for lasts, delay in (*self.stretches, (1e9, 0.0)):
            if start > moment or (before and start == moment):
                break
            end = min(moment, start + lasts)
            if delay is not None:
                reached = max(reached, end - delay)
            start += lasts
        return reached

    def worst(self, begin: float, end: float) -> float:
        """The most that the replica truly was behind from `begin` to `end`."""
        ends = [sum(lasts for lasts, _ in self.stretches[: n + 1]) for n in range(len(self.stretches))]
        jumps = [moment - self.reached(moment, before=True) for moment in ends if begin < moment <= end]
        return max(begin - self.reached(begin), end - self.reached(end), *jumps, 0.0)

    def newest(self) -> int | None:
        asked = self.t
        self.t += self.asking
        if self.failing is not None and not self.failing_source:
            raise self.failing
        reached = self.reached(self.t)
        there = [mark for mark in self.marks if mark.started + self.writing / 2 <= reached]
        self.t += self.answering
        self._tell_ledger()
        self.looks.append((asked, self.t))
        return there[-1].number if there else None

    def _tell_ledger(self) -> None:
        """What the thread that writes has told by now."""
        assert self.sampling is not None
        ledger = self.sampling._ledger
        for mark in self.marks:
            if mark.started <= self.t and mark.number not in self._ledger:
                ledger.start(mark.started)
                self._ledger[mark.number] = False
            if mark.committed is not None and mark.committed <= self.t and not self._ledger[mark.number]:
                ledger.commit(mark.number, mark.committed)
                self._ledger[mark.number] = True

    def behind(self) -> Behind:
        if len(self.looks) > len(self.told):
            return Behind(None, None)
        if self.failing is not None:
            raise self.failing
        asked = self.t
        self.positions.source_is_at(self.t)
        self.t += self.asking
        seconds = self.positions.lag(self.reached(self.t))
        self.t += self.answering
        self.looks.append((asked, self.t))
        return Behind(seconds, None, "measured")


def drilled(
    simulated: Simulated, markers: bool, rpo: float, ours: tuple[type[DrtestsError], ...] = _OURS
) -> tuple[Verdict, ReplicationRecord]:
    """What the drill's own loop sees, and what is thought of it."""
    declared = Replica(
        id="r", kind="x", markers=markers, window=timedelta(seconds=WINDOW), interval=timedelta(seconds=INTERVAL)
    )
    sampling = Sampling(cast(Replication, simulated), declared, False, True, cast(DrillLog, simulated), ours)
    simulated.sampling = sampling
    sampling._look_on(WINDOW, markers)
    return judged(simulated.told, rpo, simulated.silent)


def judged(
    told: Sequence[Mapping[str, Any]], rpo: float, silent: Sequence[Mapping[str, Any]] = ()
) -> tuple[Verdict, ReplicationRecord]:
    plan = DrillPlan("d", "n", "s", "s", REPLICATION, "", "high", "o", (), "", None, Limit(rpo, "app"), "r")
    trace = Trace(started={"replica_kind": "x", "window": WINDOW, "interval": INTERVAL})
    trace.replication = [Event(e.REPLICA_IDENTIFIED, "", 0.0, data={"facts": {}, "problems": []})]
    trace.replication += [Event(e.REPLICA_SAMPLED, "", 0.0, data=data) for data in told]
    trace.replication += [Event(e.REPLICA_SILENT, "", 0.0, data=data) for data in silent]
    record = replication_record(plan, trace)
    assert record is not None
    verdicts = [verdict for verdict, _ in judge_replication(plan, trace)]
    worst = [verdict for verdict in (Verdict.MISSED, Verdict.INCONCLUSIVE) if verdict in verdicts]
    return (worst[0] if worst else Verdict.MET), record
