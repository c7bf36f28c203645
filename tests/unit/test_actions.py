"""Findings, action items, and the one way to close them."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta

import pytest

from drtests.core import events as e
from drtests.core.actions import fingerprint, overdue, severity
from drtests.core.events import Event
from drtests.core.fold import fold
from drtests.model.record import ActionItem, Record
from drtests.model.units import parse_instant
from drtests.model.verdict import Verdict
from tests.support.journals import check, journal_of, plan, whole_run


def run_with(
    verdict: str,
    at: str,
    run: str,
    carried: tuple[ActionItem, ...] = (),
    system: str = "app",
    severity: str | None = None,
) -> Record:
    events = []
    for event in whole_run(plan(system)):
        data = dict(event.data)
        if event.type == e.CHECK_JUDGED:
            data = check(verdict, severity=severity)
        if event.type == e.RUN_STARTED:
            data["run"] = run
        if event.type == e.RUN_CARRIED:
            data = {"source": "earlier", "actions": [item.model_dump(mode="json") for item in carried]}
        events.append(dataclasses.replace(event, at=at, data=data))
    return fold([journal_of(events)])


DAY1, DAY2, DAY3 = (f"2026-03-0{n}T03:00:00.000Z" for n in (1, 2, 3))


def test_a_miss_opens_an_action_with_owner_severity_and_due_date() -> None:
    [item] = run_with("MISSED", DAY1, "r1").actions
    assert (item.status, item.severity, item.owner, item.owner_name) == ("open", "high", "jan", "Jan")
    assert item.due == "2026-03-15T03:00:00.000Z"
    assert item.fingerprint == fingerprint("app", "app::restore")
    assert not item.recurring
    assert "drtests run app::restore" in item.remediation
    assert [event.what for event in item.history] == ["opened"]


@pytest.mark.parametrize(
    ("verdict", "found", "wanted"),
    [
        ("MISSED", "critical", "critical"),
        ("MISSED", "low", "high"),
        ("MISSED", None, "high"),
        ("INCONCLUSIVE", "high", "high"),
        ("INCONCLUSIVE", None, "medium"),
    ],
)
def test_what_a_check_found_raises_the_severity_and_never_lowers_it(
    verdict: str, found: str | None, wanted: str
) -> None:
    """Whoever can delete all backups of a system is as bad as that, however important the system is."""
    [item] = run_with(verdict, DAY1, "r1", severity=found).actions
    assert item.severity == wanted
    days = {"critical": 8, "high": 15, "medium": 31}[wanted]
    assert parse_instant(item.due) == parse_instant("2026-03-01T03:00:00Z") + timedelta(days=days - 1)


def test_seen_again_it_is_recurring_not_new_and_its_due_date_does_not_move_back() -> None:
    first = run_with("MISSED", DAY1, "r1").actions
    [item] = run_with("MISSED", DAY2, "r2", first).actions
    assert item.id == first[0].id
    assert item.recurring
    assert item.times_seen == 2
    assert item.due == first[0].due
    assert item.detected_by == "r1"
    assert [event.what for event in item.history] == ["opened", "seen again"]


def test_inconclusive_is_the_same_finding_and_closes_nothing() -> None:
    first = run_with("MISSED", DAY1, "r1").actions
    [item] = run_with("INCONCLUSIVE", DAY2, "r2", first).actions
    assert item.fingerprint == first[0].fingerprint
    assert item.status == "open"


def test_worse_than_thought_brings_the_due_date_forward() -> None:
    first = run_with("INCONCLUSIVE", DAY1, "r1").actions
    assert (first[0].severity, first[0].due) == ("medium", "2026-03-31T03:00:00.000Z")
    [item] = run_with("MISSED", DAY2, "r2", first).actions
    assert (item.severity, item.due) == ("high", "2026-03-16T03:00:00.000Z")


def test_a_passing_retest_closes_it_and_says_which_run_did() -> None:
    first = run_with("MISSED", DAY1, "r1").actions
    [item] = run_with("MET", DAY2, "r2", first).actions
    assert (item.status, item.retest_run, item.closed_at) == ("closed", "r2", DAY2)
    assert [event.what for event in item.history] == ["opened", "closed"]


def test_a_run_of_another_system_leaves_it_alone() -> None:
    first = run_with("MISSED", DAY1, "r1").actions
    record = run_with("MET", DAY2, "r2", first, system="other")
    assert record.actions == first


def test_what_comes_back_is_reopened_with_its_history() -> None:
    first = run_with("MISSED", DAY1, "r1").actions
    closed = run_with("MET", DAY2, "r2", first).actions
    [item] = run_with("MISSED", DAY3, "r3", closed).actions
    assert (item.status, item.retest_run, item.closed_at) == ("open", None, None)
    assert item.detected_by == "r3"
    assert [event.what for event in item.history] == ["opened", "closed", "reopened"]


def test_an_interrupted_retest_closes_nothing() -> None:
    first = run_with("MISSED", DAY1, "r1").actions
    events = whole_run(plan())
    carried = {"source": "r1", "actions": [item.model_dump(mode="json") for item in first]}
    cut: list[Event] = []
    for event in events:
        if event.type == e.DRILL_FINISHED:
            break
        cut.append(dataclasses.replace(event, data=carried) if event.type == e.RUN_CARRIED else event)
    [item] = fold([journal_of(cut)]).actions
    assert item.status == "open"
    assert item.times_seen == 2


def test_overdue_is_computed() -> None:
    [item] = run_with("MISSED", DAY1, "r1").actions
    assert not overdue(item, parse_instant("2026-03-15T03:00:00Z"))
    assert overdue(item, parse_instant("2026-03-15T03:00:01Z"))
    assert not overdue(
        item.model_copy(update={"status": "closed"}), datetime.max.replace(tzinfo=parse_instant(DAY1).tzinfo)
    )


@pytest.mark.parametrize(
    ("criticality", "verdict", "expected"),
    [
        ("critical", Verdict.MISSED, "critical"),
        ("critical", Verdict.INCONCLUSIVE, "high"),
        ("low", Verdict.MISSED, "low"),
        ("low", Verdict.INCONCLUSIVE, "low"),
    ],
)
def test_severity_follows_criticality_and_verdict(criticality: str, verdict: Verdict, expected: str) -> None:
    assert severity(criticality, verdict) == expected
