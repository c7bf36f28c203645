"""Lag as it is measured, against replicas that are simulated, so that the truth is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drtests.core.lag import Bounds, Mark, marker_lag
from drtests.drill.replicating import _OURS
from drtests.errors import (
    CommandNotFound,
    DatabaseMissing,
    DatabaseRefused,
    DatabaseUnreachable,
    DrtestsError,
    HostError,
    HostUnreachable,
)
from drtests.model.verdict import Verdict
from tests.support.simulated_replica import WINDOW, Simulated, drilled, judged

_ROUNDED = 1e-5

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


@pytest.mark.parametrize("markers", [True, False])
def test_a_replica_that_does_not_answer_is_a_miss(markers: bool) -> None:
    simulated = Simulated(0, [], 0.1, 0.1, 0.1, failing=DatabaseUnreachable("x"))
    assert drilled(simulated, markers, 5)[0] is Verdict.MISSED


def test_a_source_that_does_not_answer_is_not_known() -> None:
    simulated = Simulated(0, [], 0.1, 0.1, 0.1, failing=DatabaseUnreachable("x"), failing_source=True)
    assert drilled(simulated, markers=False, rpo=5)[0] is Verdict.INCONCLUSIVE
    assert {data["who"] for data in simulated.silent} == {"source"}


@pytest.mark.parametrize("markers", [True, False])
@pytest.mark.parametrize("error", [DatabaseRefused, DatabaseMissing, CommandNotFound])
def test_that_we_may_not_or_cannot_ask_says_nothing_of_the_replica(error: type[DrtestsError], markers: bool) -> None:
    """E.g. a wrong password of ours, or a client program that is not installed."""
    simulated = Simulated(0, [], 0.1, 0.1, 0.1, failing=error("x"))
    assert drilled(simulated, markers, 5)[0] is Verdict.INCONCLUSIVE
    assert {data["who"] for data in simulated.silent} == {"nobody"}


@pytest.mark.parametrize("markers", [True, False])
def test_a_host_is_a_side_only_where_no_client_runs_on_it(markers: bool) -> None:
    for ours, verdict in ((_OURS, Verdict.MISSED), ((*_OURS, HostError), Verdict.INCONCLUSIVE)):
        simulated = Simulated(0, [], 0.1, 0.1, 0.1, failing=HostUnreachable("x"))
        assert drilled(simulated, markers, 5, ours)[0] is verdict


def test_who_is_silent_for_more_than_one_reason_is_not_known() -> None:
    told = [{**one, "answered": False, "seconds": None, "within": None} for one in _looks((0, 0), (0, 0))]
    assert judged(told, 5, [{"who": "replica"}, {"who": "replica"}])[0] is Verdict.MISSED
    assert judged(told, 5, [{"who": "replica"}, {"who": "nobody"}])[0] is Verdict.INCONCLUSIVE
