"""One line of the table."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Result:
    """A ratio and what it has to be. `ours` and `theirs` are medians, in `unit`."""

    what: str
    ours: float
    theirs: float
    ratio: float
    target: str
    holds: bool
    pairs: int
    spread: str
    """Smallest and largest ratio of the pairs."""
    unit: str = "s"

    def data(self) -> dict[str, Any]:
        return asdict(self)


def compared(
    what: str,
    pairs: Sequence[tuple[float, float]],
    *,
    at_most: float | None = None,
    at_least: float | None = None,
    unit: str = "s",
) -> Result:
    """From pairs of (ours, theirs), in seconds or another unit.

    `at_most` bounds ours / theirs (time); `at_least` bounds theirs / ours (speed). The
    ratio is the median of the pairs' ratios, since both of a pair saw the same machine.
    """
    ratios = [theirs / ours if at_least is not None else ours / theirs for ours, theirs in pairs]
    ratio = statistics.median(ratios)
    target = f">= {at_least:g}" if at_least is not None else f"<= {at_most:g}"
    holds = ratio >= at_least if at_least is not None else at_most is not None and ratio <= at_most
    return Result(
        what,
        statistics.median(ours for ours, _ in pairs),
        statistics.median(theirs for _, theirs in pairs),
        ratio,
        target,
        holds,
        len(pairs),
        f"{min(ratios):.2f} to {max(ratios):.2f}",
        unit,
    )


def paired(count: int, ours: Callable[[], float], theirs: Callable[[], float]) -> Iterator[tuple[float, float]]:
    """`count` pairs, taking turns in who goes first: a machine that grows slower or faster favours neither."""
    for number in range(count):
        if number % 2:
            second = theirs()
            yield ours(), second
        else:
            first = ours()
            yield first, theirs()


def timed(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
