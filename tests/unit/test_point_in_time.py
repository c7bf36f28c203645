"""Recovery to a moment: which recovery point holds the logs, and what proves how near it came."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from drtests.core import events as e
from drtests.core.events import Event
from drtests.core.fold import fold
from drtests.drill.choose import IN_TIME, choose, moment_basis
from drtests.drill.recovery import parse_point
from drtests.model.system import At
from drtests.model.verdict import Verdict
from drtests.protocols.engine import RecoveryPoint
from tests.support.journals import check, journal_of, met_drill, plan, whole_run

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
POINTS = tuple(
    RecoveryPoint(id=f"{hours:064x}", time=NOON + timedelta(hours=hours), host="h", paths=("/srv",))
    for hours in range(-3, 3)
)


@pytest.mark.parametrize(
    ("minutes", "hours"),
    [(0, 0), (1, 1), (-1, 0), (-60, -1), (-600, -3), (120, 2)],
    ids=["exactly", "just after", "just before", "an hour before", "before all", "the newest"],
)
def test_the_first_point_that_holds_the_logs(minutes: int, hours: int) -> None:
    chosen = choose(POINTS, At(at=NOON + timedelta(minutes=minutes)), NOON, "")
    assert chosen.point.time == NOON + timedelta(hours=hours)


def test_beyond_the_newest_point_the_logs_have_to_do() -> None:
    chosen = choose(POINTS, At(at=NOON + timedelta(days=1)), NOON, "")
    assert chosen.point is POINTS[-1]
    assert "if its logs reach so far" in chosen.how


def test_as_given_on_the_command_line() -> None:
    wanted = parse_point("at:2026-03-01T13:00:00+01:00")
    assert wanted == At(at=NOON)
    assert moment_basis(wanted) == IN_TIME
    with pytest.raises(ValueError, match="tomorrow"):
        parse_point("at:tomorrow")


def _in_time(loss: float | None) -> list[Event]:
    """A drill to a point in time, whose marker tells that loss."""
    changed = []
    for event in met_drill(plan()):
        if event.type == e.FACT:
            continue
        data = dict(event.data)
        if event.type == e.DRILL_STARTED:
            data["moment_basis"] = IN_TIME
        if event.type == e.CHECK_JUDGED:
            data = check(loss=loss)
        changed.append(replace(event, data=data))
    return whole_run(plan(), drills=changed)


def test_a_marker_proves_how_near_it_came() -> None:
    [drill] = fold([journal_of(_in_time(2.0))]).drills
    assert drill.verdict is Verdict.MET, drill.reasons


def test_without_a_marker_nobody_knows() -> None:
    [drill] = fold([journal_of(_in_time(None))]).drills
    assert drill.verdict is Verdict.INCONCLUSIVE
    assert "no marker" in drill.reasons[0]
