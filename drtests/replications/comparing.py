"""Compares something on two servers while the source goes on working."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from drtests.protocols.replication import Compared

TRIES = 3
PATIENCE = 10.0
"""Seconds in which the replica has to get to where the source was when it was read."""
_POLL = 0.1


class Patience:
    """Seconds of waiting that are left, for all that is compared."""

    def __init__(self) -> None:
        self._left = PATIENCE

    def wait(self, reached: Callable[[Any], bool], position: Any) -> bool:
        """Whether the replica gets there in time; it is asked at least once."""
        began = time.monotonic()
        try:
            while not reached(position):
                if time.monotonic() - began >= self._left:
                    return False
                time.sleep(_POLL)
            return True
        finally:
            self._left = max(0.0, self._left - (time.monotonic() - began))


def compare(
    what: str,
    source: Callable[[], Any],
    replica: Callable[[], Any],
    mark: Callable[[], Any],
    reached: Callable[[Any], bool],
    *,
    ordered: bool,
    facts: Mapping[str, Any],
    patience: Patience | None = None,
) -> Compared:
    """`mark` tells where the source is, `reached` whether the replica has got there.

    A difference counts only when the source stood still, so that lag and work
    are no divergence. `ordered`: what is read is a number, and a value between
    two of the source's is one of the source's. Comparisons that follow each
    other share one `patience`: a replica that is far behind is waited for once.
    """
    waiting = patience or Patience()
    before = source()
    for _ in range(TRIES):
        if not waiting.wait(reached, mark()):
            return Compared(what, None, f"the replica is more than {PATIENCE:g} s behind", facts)
        there = replica()
        after = source()
        told = {**facts, "source": after, "replica": there}
        between = ordered and there is not None and min(before, after) <= there <= max(before, after)
        if there in (before, after) or between:
            return Compared(what, True, "", told)
        if before == after:
            return Compared(what, False, "is not at the replica" if there is None else "differs", told)
        before = after
    return Compared(what, None, "changes at the source faster than it can be compared", told)
