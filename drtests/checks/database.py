"""database: whether a restored database can be read to its end, as deeply as its own tools can."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from pydantic import BaseModel

from drtests.checks.running import running
from drtests.errors import DatabaseDamaged
from drtests.model.base import DatabaseId, Declaration
from drtests.model.units import Duration
from drtests.model.verdict import Verdict
from drtests.protocols.check import Judgement, Objective, Observation, Resources
from drtests.protocols.database import Integrity

_SHOWN = 20
_LONGEST = 200


class DatabaseSpec(Declaration):
    """Options of `database`."""

    database: DatabaseId
    """Of the system's `databases`."""
    timeout: Duration = timedelta(hours=1)
    """For reading all of it."""


class DatabaseCheck:
    """Reads everything; what each kind of database looks at is told with its recipe."""

    Spec: ClassVar[type[BaseModel]] = DatabaseSpec

    def __init__(self, spec: DatabaseSpec) -> None:
        self._spec = spec

    @property
    def title(self) -> str:
        return f"integrity of database {self._spec.database}"

    @property
    def proves_data(self) -> bool:
        """All of the content is read, and held against what the database knows of it."""
        return True

    def observe(self, resources: Resources) -> Observation:
        scratch = running(resources, self._spec.database)
        began = resources.clock.monotonic()
        try:
            seen = scratch.integrity(self._spec.timeout.total_seconds())
        except DatabaseDamaged as error:
            seen = Integrity(0, "", (), (error.what,))
        return {
            "problems": len(seen.problems),
            "first": [_line(problem) for problem in seen.problems[:_SHOWN]],
            "read": seen.read,
            "what": seen.what,
            "by": list(seen.by),
            "seconds": round(resources.clock.monotonic() - began, 3),
        }

    def judge(self, observation: Observation, objective: Objective) -> Judgement:
        count = int(observation["problems"])
        if count:
            found = "; ".join(observation["first"][:3])
            more = f" and {count - 3} more" if count > 3 else ""
            mend = "restore an older recovery point, and see since when the damage is in the backups, or in production"
            return Judgement(Verdict.MISSED, f"damaged: {found}{more}", mend=mend)
        what, read = observation["what"], int(observation["read"])
        if not read:
            mend = "see what the recovery point holds; a database that is meant to be empty needs no check"
            return Judgement(Verdict.INCONCLUSIVE, f"there are no {what} in it: nothing was read", mend=mend)
        told = f"{read} {what} read to their end without damage by {' and '.join(observation['by'])}"
        return Judgement(Verdict.MET, f"{told}, in {float(observation['seconds']):.1f} s")


def _line(problem: str) -> str:
    """What a tool says may quote data at length."""
    text = " ".join(problem.split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
