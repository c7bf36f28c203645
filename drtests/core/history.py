"""Recovery point age and worst gap: how much would have been lost, at any moment of the window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class History:
    """What the times of recovery points say, in seconds.

    `age` is that of the newest at the end of the window. `worst_gap` is the
    largest age the newest one had at any moment of the window, the present
    included; `worst_gap_from` is when that gap began. `covered` says
    whether there was a recovery point when the window began.
    """

    points: int
    age: float
    worst_gap: float
    worst_gap_from: datetime
    covered: bool


def history(times: Sequence[datetime], now: datetime, window: timedelta) -> History | None:
    """Judges the recovery points of the window that ends `now`; None when there is none at all.

    A recovery point from the future (a clock that is off) is left out. The
    last one before the window counts as its beginning. When the oldest one
    is younger than the window, the window begins with it: before that there
    was nothing to have a gap in, and `covered` says so.
    """
    past = sorted(t for t in times if t <= now)
    if not past:
        return None
    start = now - window
    inside = [t for t in past if t > start]
    before = [t for t in past if t <= start]
    marks = [*before[-1:], *inside, now]
    # A gap that began before the window did is counted whole: that was the age on its first moment.
    gaps = [((later - earlier).total_seconds(), earlier) for earlier, later in pairwise(marks)]
    worst, since = max(gaps, key=lambda gap: (gap[0], -gap[1].timestamp()))
    return History(len(inside), (now - past[-1]).total_seconds(), worst, since, bool(before))


def worst_case(gap: float, duration: float, transfer: float) -> float:
    """Seconds lost when disaster strikes just before the next backup is safe: gap + backup duration + transfer.

    BIA rule 5: "interval <= RPO" is too weak, as a backup protects nothing
    until it has ended and is offsite.
    """
    return gap + duration + transfer
