"""How far the clocks of both sides differ."""

from __future__ import annotations

from collections.abc import Callable

from drtests.protocols.replication import Skew

_LOOKS = 3


def skew_of(source: Callable[[], float], replica: Callable[[], float]) -> Skew:
    """Both tell the time, in seconds. The source is asked before and after the replica, so that its clock had the
    middle of both when the replica was asked, give or take half of what lay between. The surest of several looks."""
    looks = []
    for _ in range(_LOOKS):
        first, there, second = source(), replica(), source()
        looks.append(Skew(round(there - (first + second) / 2, 6), round(abs(second - first) / 2, 6)))
    return min(looks, key=lambda look: look.uncertainty)
