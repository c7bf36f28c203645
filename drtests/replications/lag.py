"""Lag from positions: what both servers say of themselves, and when they were asked."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar


class Ordered(Protocol):
    """A position that only grows, such as a number of bytes."""

    def __le__(self, other: Any, /) -> bool: ...


_Position = TypeVar("_Position", bound=Ordered)


class Positions:
    """Where the source was, and when: so a replica's position becomes an age.

    A replica that has reached where the source was at moment T lacks nothing
    older than T. An idle source stays where it is, and so its replica is never
    behind; a replica that stands still falls behind with every sample.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._seen: list[tuple[float, Any]] = []

    def forget(self) -> None:
        """Positions begin anew, such as after a failover of the source."""
        self._seen.clear()

    def source_is_at(self, position: _Position) -> None:
        """To be called before the source is followed by a look at the replica."""
        self._seen.append((self._now(), position))

    def lag(self, replica: _Position) -> float | None:
        """Seconds, rounded up to the last look at the source. None: further behind than was ever looked."""
        reached = [index for index, (_, position) in enumerate(self._seen) if position <= replica]
        if not reached:
            return None
        newest = reached[-1]
        age = self._seen[-1][0] - self._seen[newest][0]
        # What is older can tell no more.
        del self._seen[:newest]
        return age
