"""sqlite: whether a restored SQLite file is sound, and a query gives what is expected."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from pydantic import BaseModel, Field, model_validator

from drtests.checks.databases import Unusable, opened
from drtests.checks.places import RelativePath
from drtests.checks.values import as_seen, expectations, judge_value
from drtests.model.base import Declaration, Flag
from drtests.model.units import Duration
from drtests.model.verdict import Verdict
from drtests.protocols.check import Judgement, Objective, Observation, Resources

_PROBLEMS = 100


class SqliteSpec(Declaration):
    """Options of `sqlite`."""

    path: RelativePath
    integrity: Flag = True
    """Run `PRAGMA integrity_check`."""
    query: str | None = Field(default=None, min_length=1)
    """Its first row's first column is looked at."""
    value: int | float | str | None = None
    min: int | float | None = None
    max: int | float | None = None
    timeout: Duration = timedelta(minutes=5)

    @model_validator(mode="after")
    def _expectation(self) -> SqliteSpec:
        expected = expectations(self)
        if self.query is None and expected:
            raise ValueError(f"`{expected[0]}` needs a `query`")
        if self.query is not None and not expected:
            raise ValueError("a `query` needs `value`, `min` or `max`; else it can never fail")
        if self.query is None and not self.integrity:
            raise ValueError("nothing is checked: give a `query`, or leave `integrity` on")
        return self


class SqliteCheck:
    """Opens the restored file read-only; the restored tree is not written to.

    On a host that is reached over SSH its own Python opens it.
    """

    Spec: ClassVar[type[BaseModel]] = SqliteSpec

    def __init__(self, spec: SqliteSpec) -> None:
        self._spec = spec

    @property
    def title(self) -> str:
        return f"sqlite {self._spec.path}" + (" query" if self._spec.query else " integrity")

    @property
    def proves_data(self) -> bool:
        return self._spec.query is not None

    def observe(self, resources: Resources) -> Observation:
        spec = self._spec
        seen: dict[str, Any] = {"unusable": "", "integrity_problems": None, "rows": None, "number": None, "text": None}
        try:
            with opened(resources, spec.path, spec.timeout.total_seconds()) as database:
                if spec.integrity:
                    answer = [row[0] for row in database.rows(f"PRAGMA integrity_check({_PROBLEMS})", _PROBLEMS)]
                    seen["integrity_problems"] = 0 if answer == ["ok"] else len(answer)
                if spec.query is not None:
                    rows = database.rows(spec.query, 1)
                    seen["rows"] = len(rows)
                    if rows:
                        seen |= as_seen(rows[0][0], spec, spec.path)
        except Unusable as reason:
            seen["unusable"] = str(reason)
        return seen

    def judge(self, observation: Observation, objective: Objective) -> Judgement:
        spec = self._spec
        if observation["unusable"]:
            return Judgement(Verdict.MISSED, str(observation["unusable"]))
        if observation["integrity_problems"]:
            return Judgement(Verdict.MISSED, f"integrity_check finds {observation['integrity_problems']} problems")
        if spec.query is None:
            return Judgement(Verdict.MET, "integrity_check finds no problem")
        return judge_value(spec, observation)
