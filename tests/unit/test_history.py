"""Ages and gaps of recovery points."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drtests.core.history import history, worst_case

NOW = datetime(2026, 3, 1, 3, tzinfo=UTC)
HOUR = 3600.0


def ago(*hours: float) -> list[datetime]:
    return [NOW - timedelta(hours=h) for h in hours]


def test_age_is_that_of_the_newest_and_gap_the_largest_between_any_two() -> None:
    seen = history(ago(100, 76, 20, 4), NOW, timedelta(days=30))
    assert seen is not None
    assert seen.age == 4 * HOUR
    assert seen.worst_gap == 56 * HOUR
    assert seen.worst_gap_from == NOW - timedelta(hours=76)
    assert seen.points == 4
    assert not seen.covered


def test_the_time_since_the_newest_is_a_gap_too() -> None:
    seen = history(ago(30, 29, 28), NOW, timedelta(days=2))
    assert seen is not None
    assert seen.worst_gap == seen.age == 28 * HOUR


def test_a_gap_that_began_before_the_window_counts_whole() -> None:
    seen = history(ago(60, 20), NOW, timedelta(hours=24))
    assert seen is not None
    assert seen.worst_gap == 40 * HOUR
    assert seen.covered
    assert seen.points == 1


def test_a_gap_that_ended_before_the_window_does_not_count() -> None:
    seen = history(ago(500, 30, 20, 10), NOW, timedelta(hours=25))
    assert seen is not None
    assert seen.worst_gap == 10 * HOUR


def test_no_recovery_point_is_no_history() -> None:
    assert history([], NOW, timedelta(days=1)) is None
    assert history([NOW + timedelta(hours=1)], NOW, timedelta(days=1)) is None


def test_worst_case_adds_what_is_not_safe_yet() -> None:
    assert worst_case(24 * HOUR, HOUR, 2 * HOUR) == 27 * HOUR


hours = st.lists(st.floats(0.01, 2000, allow_nan=False), min_size=1, max_size=40)


@given(hours, st.floats(0.01, 2000))
def test_one_more_recovery_point_never_makes_the_gap_larger(past: list[float], extra: float) -> None:
    window = timedelta(days=90)
    before, after = history(ago(*past, max(past)), NOW, window), history(ago(*past, min(extra, max(past))), NOW, window)
    assert before is not None and after is not None  # noqa: PT018
    assert after.worst_gap <= before.worst_gap + 1e-6


@given(hours)
def test_order_does_not_matter_and_the_gap_is_at_least_the_age(past: list[float]) -> None:
    window = timedelta(days=90)
    seen = history(ago(*past), NOW, window)
    assert seen == history(ago(*reversed(past)), NOW, window)
    assert seen is not None
    assert seen.worst_gap >= seen.age == pytest.approx(min(past) * HOUR, abs=1e-3)
