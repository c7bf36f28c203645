"""The smoking hole: did the system come back with nothing but the offsite copy and the kit? Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from drtests.model.units import format_duration
from drtests.model.verdict import Verdict
from drtests.protocols.check import Judgement


@dataclass(frozen=True, slots=True)
class Alone:
    """All that was seen of the restore."""

    isolated: bool
    isolation: Mapping[str, Any] = field(default_factory=dict)
    """What proves it."""
    not_isolated: str = ""
    """Why it was not."""
    kit: str = ""
    """Which copy of the kit was used; empty when there was none."""
    program: str = ""
    """Where the backup program came from: `kit`, or `host` when the kit does not hold it."""
    program_as_listed: bool | None = None
    """Whether its hash is the one that the kit names; None when the kit names none."""
    keys: str = ""
    """Where references to keys were taken from: `kit`, or `declarations`."""
    unkept: tuple[str, ...] = ()
    """Keys that are not known to be kept apart, so that production's own were used."""
    checks: int = 0
    passed: int = 0
    missed: int = 0
    stopped: str = ""
    """Why it did not come to its end."""
    refused: str = ""
    """Why nothing of the kit was used: it is not what was put there."""
    seconds: float | None = None
    """From the declaration to the last check that passed."""


def judge_alone(seen: Alone) -> Judgement:
    """Only a whole recovery, cut off from everything else, with tools and keys of the kit, will do.

    Whether it was quick enough is judged by the RTO of the drill.
    """
    against = _not_back(seen) or _helped(seen)
    if against is not None:
        return against
    told = f" in {format_duration(seen.seconds)}" if seen.seconds is not None else ""
    by = "the kit's own program and the keys that are kept"
    return Judgement(Verdict.MET, f"isolated, it came back{told} by {by}; {seen.checks} checks passed")


def _not_back(seen: Alone) -> Judgement | None:
    """Why it did not come back, or nobody knows."""
    if seen.missed:
        what = f"{seen.missed} of {seen.checks} checks of the system missed"
        return Judgement(Verdict.MISSED, what, mend="see the checks: what is offsite does not bring the system back")
    if seen.refused:
        mend = "write the kit anew with `drtests kit`; when nobody changed anything, find out who else can write there"
        return Judgement(Verdict.MISSED, f"nothing was restored by it: {seen.refused}", mend=mend)
    if seen.stopped:
        return Judgement(Verdict.INCONCLUSIVE, f"it did not come to its end: {seen.stopped}")
    if not seen.checks or seen.passed < seen.checks:
        return Judgement(Verdict.INCONCLUSIVE, f"{seen.passed} of {seen.checks} checks of the system passed")
    return None


def _helped(seen: Alone) -> Judgement | None:
    """What helped it back that may be lost, too."""
    if seen.program_as_listed is False:
        what = "the backup program is another one than the kit names: nobody knows whether the kit's works"
        return Judgement(Verdict.MISSED, what, mend="write the kit anew with `drtests kit`, with the tools in it")
    if not seen.isolated:
        what = f"it came back, but was not isolated, so production may have helped: {seen.not_isolated}"
        return Judgement(Verdict.INCONCLUSIVE, what, mend="run the drill where it can be cut off from production")
    if not seen.kit or seen.keys != "kit":
        what = "it came back, but tools and keys were not taken from the recovery kit"
        mend = "declare `kit` with a copy away from production, and run `drtests kit`"
        return Judgement(Verdict.INCONCLUSIVE, what, mend=mend)
    if seen.unkept:
        what = (
            f"it came back, but by production's own keys: where else {', '.join(seen.unkept)} is kept is not declared"
        )
        mend = "under `kit: keys`, give `password` and `environment` as references to what is kept there"
        return Judgement(Verdict.INCONCLUSIVE, what, mend=mend)
    if seen.program != "kit" or seen.program_as_listed is None:
        what = "it came back, but by a backup program that was found on the host: the kit does not hold it"
        mend = "let `drtests kit` put the tools in, where the program can be found"
        return Judgement(Verdict.INCONCLUSIVE, what, mend=mend)
    return None
