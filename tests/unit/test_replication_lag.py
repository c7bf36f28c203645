"""Lag as it is measured, against replicas that are simulated, so that the truth is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drtests.core import events as e
from drtests.core.events import Event
from drtests.core.lag import Bounds, Mark, marker_lag
from drtests.core.plan import REPLICATION, DrillPlan, Limit
from drtests.core.replication import judge_replication, replication_record
from drtests.core.trace import Trace
from drtests.drill.log import DrillLog
from drtests.drill.replicating import _Sampling
from drtests.model.replication import ReplicationRecord
from drtests.model.system import Replica
from drtests.model.verdict import Verdict
from drtests.protocols.replication import Behind, Replication
from drtests.replications.lag import Positions

WINDOW, INTERVAL = 10.0, 1.0
_ROUNDED = 1e-5


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
    sampling: _Sampling | None = None
    looks: list[tuple[float, float]] = field(default_factory=list)
    told: list[Mapping[str, Any]] = field(default_factory=list)
    quiet: bool = False
    marks: list[Mark] = field(default_factory=list)
    _told_to: dict[int, bool] = field(default_factory=dict)

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
            if mark.started <= self.t and mark.number not in self._told_to:
                ledger.start(mark.started)
                self._told_to[mark.number] = False
            if mark.committed is not None and mark.committed <= self.t and not self._told_to[mark.number]:
                ledger.commit(mark.number, mark.committed)
                self._told_to[mark.number] = True

    def behind(self) -> Behind:
        if len(self.looks) > len(self.told):
            return Behind(None, None)
        asked = self.t
        self.positions.source_is_at(self.t)
        self.t += self.asking
        seconds = self.positions.lag(self.reached(self.t))
        self.t += self.answering
        self.looks.append((asked, self.t))
        return Behind(seconds, None, "measured")


def drilled(simulated: Simulated, markers: bool, rpo: float) -> tuple[Verdict, ReplicationRecord]:
    """What the drill's own loop sees, and what is thought of it."""
    declared = Replica(
        id="r", kind="x", markers=markers, window=timedelta(seconds=WINDOW), interval=timedelta(seconds=INTERVAL)
    )
    sampling = _Sampling(cast(Replication, simulated), declared, False, True, cast(DrillLog, simulated))
    simulated.sampling = sampling
    sampling._look_on(WINDOW, markers)
    return judged(simulated.told, rpo)


def judged(told: Sequence[Mapping[str, Any]], rpo: float) -> tuple[Verdict, ReplicationRecord]:
    plan = DrillPlan("d", "n", "s", "s", REPLICATION, "", "high", "o", (), "", None, Limit(rpo, "app"), "r")
    trace = Trace(started={"replica_kind": "x", "window": WINDOW, "interval": INTERVAL})
    trace.replication = [Event(e.REPLICA_IDENTIFIED, "", 0.0, data={"facts": {}, "problems": []})]
    trace.replication += [Event(e.REPLICA_SAMPLED, "", 0.0, data=data) for data in told]
    record = replication_record(plan, trace)
    assert record is not None
    verdicts = [verdict for verdict, _ in judge_replication(plan, trace)]
    worst = [verdict for verdict in (Verdict.MISSED, Verdict.INCONCLUSIVE) if verdict in verdicts]
    return (worst[0] if worst else Verdict.MET), record


_short = st.floats(0, 1.5)
_stretch = st.tuples(st.floats(0.1, 12), st.none() | st.floats(0, 8) | st.sampled_from([0.0, 3600.0]))
_simulated = st.builds(
    Simulated,
    st.sampled_from([0.0, 3.0, 3600.0]),
    st.lists(_stretch, max_size=5),
    asking=_short,
    answering=_short,
    writing=_short,
)


@settings(max_examples=200)
@given(_simulated, st.booleans(), st.floats(1, 12))
def test_lag_lies_between_what_is_told(simulated: Simulated, markers: bool, rpo: float) -> None:
    verdict, record = drilled(simulated, markers, rpo)
    before = None
    for told, (asked, answered) in zip(simulated.told, simulated.looks, strict=True):
        if told["seconds"] is not None:
            assert told["seconds"] <= simulated.worst(asked, answered) + _ROUNDED
        if told["within"] is not None:
            assert simulated.worst(answered if before is None else before, answered) <= told["within"] + _ROUNDED
            before = answered
    first = next((n for n, told in enumerate(simulated.told) if told["within"] is not None), None)
    end = simulated.looks[-1][1]
    if verdict is Verdict.MET:
        assert first is not None
        assert simulated.worst(simulated.looks[first][1], end) <= rpo + _ROUNDED
        # As long as it was not known how far behind it is: that is no time of which nothing is said.
        assert simulated.looks[first][0] == pytest.approx(record.waited_seconds)
        assert record.waited_seconds is not None
        assert record.waited_seconds <= rpo + _ROUNDED
        assert end - simulated.looks[first][0] >= WINDOW
    if verdict is Verdict.MISSED:
        assert simulated.worst(0, end) > rpo - _ROUNDED


@pytest.mark.parametrize("markers", [True, False])
@pytest.mark.parametrize(
    ("behind", "stretches", "verdict"),
    [
        (0, [], Verdict.MET),
        (0, [(99, 2.0)], Verdict.MET),
        (0, [(3, 0.0), (9, None)], Verdict.MISSED),
        # Too long to be sound, too short to be sure that it is not.
        (0, [(99, 4.2)], Verdict.INCONCLUSIVE),
        # An hour behind, which it makes up for while it is looked at.
        (3600, [(6.5, None)], Verdict.MISSED),
        (3600, [(99, None)], Verdict.MISSED),
    ],
)
def test_verdicts(markers: bool, behind: float, stretches: Any, verdict: Verdict) -> None:
    simulated = Simulated(behind, stretches, 0.01, 0.01, 0.01)
    found, record = drilled(simulated, markers, 5)
    if not markers and behind:
        # Positions do not tell how old what is missing was.
        verdict = Verdict.INCONCLUSIVE
    assert found is verdict, record


def _looks(*told: tuple[float | None, float | None]) -> list[Mapping[str, Any]]:
    rest = {"bytes": None, "answered": True, "how": "markers", "newest": None}
    return [{"at": float(at), "seconds": least, "within": most, **rest} for at, (least, most) in enumerate(told)]


@pytest.mark.parametrize(
    ("told", "verdict"),
    [
        (_looks((0, None), (1, None), (2, None), (0, 1)), Verdict.INCONCLUSIVE),
        (_looks((0, 1), (0, 1), (1, None), (0, 1)), Verdict.INCONCLUSIVE),
        (_looks((0, 1), (0, 1), (0, None)), Verdict.INCONCLUSIVE),
        (_looks((0, None), (0, None)), Verdict.INCONCLUSIVE),
        (_looks((0, None), (9, None)), Verdict.MISSED),
        (_looks((0, None), (1, 1), (0, 1)), Verdict.MET),
        ([*_looks(*[(0.0, None)] * 7), *({**one, "at": one["at"] + 7} for one in _looks((0, 1), (0, 1)))],
         Verdict.INCONCLUSIVE),
    ],
)  # fmt: skip
def test_lag_that_nobody_bounded_is_never_met(told: Sequence[Mapping[str, Any]], verdict: Verdict) -> None:
    assert judged(told, 5)[0] is verdict


def test_a_look_that_takes_long_is_part_of_the_bound() -> None:
    """Positions are as old as the look before: with 4 s between looks, an interval of 1 s bounds nothing."""
    simulated = Simulated(0, [(0.5, 0.0), (3.9, None), (99, 0.0)], 2.0, 2.0, 0.01)
    verdict, record = drilled(simulated, markers=False, rpo=3)
    assert record.within_seconds is not None
    assert simulated.worst(0.5, 4.4) > 3
    assert verdict is Verdict.INCONCLUSIVE
    bounds = Bounds()
    assert [bounds.at_most(10, 1), bounds.at_most(20, 1), bounds.at_most(21, None), bounds.at_most(22, 3)] == [
        1, 11, None, 3,
    ]  # fmt: skip


def test_a_marker_that_nobody_wrote_is_no_marker() -> None:
    with pytest.raises(ValueError, match="never written"):
        marker_lag([Mark(1, 0.0, 0.1)], 2, 1.0, 1.1)
