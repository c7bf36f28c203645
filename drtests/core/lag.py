"""Lag from what was looked at, on one clock: the runner's. Pure.

Marker n is written at the source between `started` and `committed`. A look at
the replica, between `asked` and `answered`, shows the newest marker that has
arrived. What the source committed arrives in the order in which it was
committed. So a look proves two things: the oldest marker that is missing has
been missing since it was committed (lag is at least that), and all that is
older than the newest marker that arrived is there (lag is at most that).
No clock but the runner's has a say: those of the servers may be wrong.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(slots=True)
class Mark:
    """A marker, numbered from 1. Seconds on the runner's monotonic clock; `committed` is None until it is known."""

    number: int
    started: float
    committed: float | None = None


@dataclass(frozen=True, slots=True)
class Lag:
    """What one look proves, in seconds. `at_most` is None when nothing older is known to have arrived."""

    at_least: float
    at_most: float | None


class Ledger:
    """The markers that were written, for one thread that writes and another that asks."""

    def __init__(self) -> None:
        self._marks: list[Mark] = []
        self._turn = threading.Lock()

    def start(self, now: float) -> int:
        """The number of the marker that is written from now on."""
        with self._turn:
            self._marks.append(Mark(len(self._marks) + 1, now))
            return len(self._marks)

    def commit(self, number: int, now: float) -> None:
        """The source has said that it has it."""
        with self._turn:
            self._marks[number - 1].committed = now

    @property
    def written(self) -> int:
        """How many were started."""
        return len(self._marks)

    @property
    def committed(self) -> Mark | None:
        """The newest that the source is known to have."""
        with self._turn:
            return next((mark for mark in reversed(self._marks) if mark.committed is not None), None)

    def lag(self, newest: int | None, asked: float, answered: float, complete: float | None = None) -> Lag:
        """As `marker_lag`."""
        with self._turn:
            return marker_lag(self._marks, newest, asked, answered, complete)


def marker_lag(
    marks: Sequence[Mark], newest: int | None, asked: float, answered: float, complete: float | None = None
) -> Lag:
    """The lag that a look shows, on the runner's clock.

    `marks` are in order, without gaps, from number 1; `newest` is the newest
    one that is visible at the replica, None when there is none. `complete` is
    a moment up to which the replica is known to have all.

        at least: asked - committed(oldest marker that was committed before, and is not visible), else 0
        at most:  answered - started(newest marker that is visible)

    Raises ValueError when `newest` was never written.
    """
    visible = newest or 0
    if not 0 <= visible <= len(marks):
        raise ValueError(f"marker {visible} was never written")
    missing = next((mark.committed for mark in marks[visible:] if mark.committed is not None), None)
    at_least = max(0.0, asked - missing) if missing is not None else 0.0
    known = [moment for moment in (complete, marks[visible - 1].started if visible else None) if moment is not None]
    return Lag(at_least, max(at_least, answered - max(known)) if known else None)


class Bounds:
    """Lag that was not exceeded from one look to the next.

    What has arrived does not go again: a look that shows all up to a moment
    holds until the look that follows it, and lag grows by no more than the
    time between them.
    """

    def __init__(self) -> None:
        self._complete: float | None = None
        """All up to then had arrived at the last look that got an answer."""

    def at_most(self, answered: float, lag: float | None) -> float | None:
        """How much lag was at most, at any moment from the look before (or at this one, if there was none) to this.

        `lag` is what it was at most when this one was answered. None: not known.
        """
        before, self._complete = self._complete, None if lag is None else answered - lag
        if self._complete is None:
            return None
        return answered - (self._complete if before is None else min(before, self._complete))


@dataclass(frozen=True, slots=True)
class Spread:
    """How values are distributed."""

    p50: float
    p95: float
    p99: float
    max: float


def percentile(values: Sequence[float], percent: float) -> float:
    """By nearest rank: the smallest value that at least `percent` % of all are not above (ISO 16269-4, C.2.1).

    It is always one of the values, never one in between. Raises ValueError when there are none.
    """
    if not values or not 0 < percent <= 100:
        raise ValueError("a percentile needs values, and a percentage above 0 and up to 100")
    ordered = sorted(values)
    return ordered[max(1, math.ceil(percent * len(ordered) / 100)) - 1]


def spread(values: Sequence[float]) -> Spread | None:
    """p50, p95, p99 and maximum; None of nothing."""
    if not values:
        return None
    return Spread(percentile(values, 50), percentile(values, 95), percentile(values, 99), max(values))
