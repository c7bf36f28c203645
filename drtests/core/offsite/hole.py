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
    checks: int = 0
    passed: int = 0
    missed: int = 0
    stopped: str = ""
    """Why it did not come to its end."""
    seconds: float | None = None
    """From the declaration to the last check that passed."""


def judge_alone(seen: Alone) -> Judgement:
    """Only a whole recovery, cut off from everything else, with tools and keys as the kit has them, will do.

    Whether it was quick enough is judged by the RTO of the drill.
    """
    if seen.missed:
        what = f"{seen.missed} of {seen.checks} checks of the system missed"
        return Judgement(Verdict.MISSED, what, mend="see the checks: what is offsite does not bring the system back")
    if seen.stopped:
        return Judgement(Verdict.INCONCLUSIVE, f"it did not come to its end: {seen.stopped}")
    if not seen.checks or seen.passed < seen.checks:
        return Judgement(Verdict.INCONCLUSIVE, f"{seen.passed} of {seen.checks} checks of the system passed")
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
    if seen.program_as_listed is None:
        what = "it came back, but the kit does not name the backup program"
        return Judgement(Verdict.INCONCLUSIVE, what, mend="write the kit where the program can be found")
    told = f" in {format_duration(seen.seconds)}" if seen.seconds is not None else ""
    tools = "the kit's own program" if seen.program == "kit" else "the program that the kit names, found on the host"
    return Judgement(Verdict.MET, f"isolated, it came back{told} by {tools} and its keys; {seen.checks} checks passed")
