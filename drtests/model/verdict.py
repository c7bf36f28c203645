"""The only three things a drill can say."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Verdict(StrEnum):
    """MET only when everything asked was done and passed; INCONCLUSIVE whenever we do not know."""

    MET = "MET"
    MISSED = "MISSED"
    INCONCLUSIVE = "INCONCLUSIVE"


def combine(verdicts: Iterable[Verdict]) -> Verdict:
    """A proven miss outweighs not knowing; not knowing outweighs success; nothing at all is not success."""
    seen = set(verdicts)
    if Verdict.MISSED in seen:
        return Verdict.MISSED
    if Verdict.INCONCLUSIVE in seen or not seen:
        return Verdict.INCONCLUSIVE
    return Verdict.MET


class Basis(StrEnum):
    """Where a number comes from."""

    MEASURED = "measured"
    DECLARED = "declared"
    ESTIMATED = "estimated"
