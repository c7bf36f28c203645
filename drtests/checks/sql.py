"""sql: whether a restored database gives what is expected, or what the live one gives."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema, model_validator

from drtests.checks.running import first, running
from drtests.checks.values import as_seen, expectations, judge_value
from drtests.errors import DatabaseDamaged, DatabaseError, DrtestsError
from drtests.model.base import DatabaseId, Declaration
from drtests.model.system import System
from drtests.model.units import Duration
from drtests.model.verdict import Verdict, combine
from drtests.protocols.check import Judgement, Objective, Observation, Resources, Unfit

_PERCENT = re.compile(r"\d+(\.\d+)?%")


def _tolerance(value: Any) -> Any:
    if isinstance(value, str) and _PERCENT.fullmatch(value):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError(f"{value!r} is no tolerance; write a number such as 5, or a part of what is live such as 2%")


Tolerance = Annotated[
    int | float | str,
    BeforeValidator(_tolerance),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": _PERCENT.pattern}]}),
]


class Compare(Declaration):
    """How near the restored value has to be to the live one."""

    tolerance: Tolerance = 0
    """A number, or a percentage of the live value, e.g. 2%. Text has to be the same."""
    query: str | None = Field(default=None, min_length=1)
    """What the live database is asked, where that is another statement."""


class SqlSpec(Declaration):
    """Options of `sql`."""

    database: DatabaseId
    """Of the system's `databases`."""
    query: str = Field(min_length=1)
    """One statement that only reads, in the database's own language (of Redis a command). The first column of its
    first row is looked at."""
    value: int | float | str | None = None
    min: int | float | None = None
    max: int | float | None = None
    rows: int | None = Field(default=None, ge=0)
    """How many rows it gives, exactly."""
    compare: Compare | None = None
    """Ask the live database, too, that this one is a backup of (`live` of the database). When it does not answer,
    the check is INCONCLUSIVE."""
    timeout: Duration = timedelta(minutes=5)

    @model_validator(mode="after")
    def _expectation(self) -> SqlSpec:
        if not expectations(self) and self.rows is None and self.compare is None:
            raise ValueError(
                "nothing is expected, so it can never fail; give `value`, `min`, `max`, `rows` or `compare`"
            )
        return self


class SqlCheck:
    """Asks the restored database; of what it answers only numbers are kept, and hashes of texts."""

    Spec: ClassVar[type[BaseModel]] = SqlSpec

    def __init__(self, spec: SqlSpec) -> None:
        self._spec = spec

    @property
    def title(self) -> str:
        return f"query on {self._spec.database}" + (" compared with live" if self._spec.compare else "")

    @property
    def proves_data(self) -> bool:
        return True

    def unfit(self, system: System) -> Iterator[Unfit]:
        """A comparison needs to know with what."""
        declared = next((one for one in system.databases if one.id == self._spec.database), None)
        if self._spec.compare is not None and declared is not None and declared.live is None:
            what = f"nothing tells of which running database {declared.id!r} is a backup, so nothing can be compared"
            yield Unfit(("compare",), what, "give that database `live`: the id of one in `databases` of estate.yaml")

    def observe(self, resources: Resources) -> Observation:
        spec = self._spec
        seen: dict[str, Any] = {"unusable": "", "lacking": "", "rows": None, "number": None, "text": None, "live": None}
        session = running(resources, spec.database).session
        try:
            rows = session.query(spec.query, spec.timeout.total_seconds())
        except DatabaseDamaged as error:
            return seen | {"unusable": error.what}
        except DatabaseError as error:
            # What the live database can answer and the restored one cannot, was lost; else the query may be wrong.
            if spec.compare is None or type(error) is not DatabaseError:
                raise
            return seen | {"lacking": error.what, "live": self._live(resources, spec.compare)}
        seen |= {"rows": len(rows)}
        seen |= as_seen(first(rows), spec, spec.database, as_number=spec.compare is not None)
        if spec.compare is not None:
            seen["live"] = self._live(resources, spec.compare)
        return seen

    def _live(self, resources: Resources, compare: Compare) -> dict[str, Any]:
        """What the live database says; `error` when it does not."""
        seen: dict[str, Any] = {"database": None, "number": None, "text": None, "error": "", "mend": ""}
        database = resources.live.get(self._spec.database)
        if database is None or resources.reach is None:
            return seen | {"error": f"no live database is declared for {self._spec.database}", "mend": "declare `live`"}
        seen["database"] = database
        try:
            # The declared timeout of the live database: it is production, and not asked for as long as a copy is.
            rows = resources.reach.live(database).query(compare.query or self._spec.query)
        except DrtestsError as error:
            return seen | {"error": error.what, "mend": error.mend}
        return seen | as_seen(first(rows), _NOTHING, database, as_number=True)

    def judge(self, observation: Observation, objective: Objective) -> Judgement:
        spec = self._spec
        if observation["unusable"]:
            return Judgement(Verdict.MISSED, str(observation["unusable"]))
        told: list[Judgement] = []
        if observation["lacking"]:
            told.append(_judge_lacking(str(observation["lacking"]), observation["live"]))
        else:
            if expectations(spec):
                told.append(judge_value(spec, observation))
            if spec.rows is not None:
                told.append(_judge_rows(spec.rows, int(observation["rows"])))
            if spec.compare is not None:
                told.append(_judge_live(spec.compare.tolerance, observation, observation["live"]))
        verdict = combine(one.verdict for one in told)
        decisive = [one for one in told if one.verdict is verdict]
        mend = next((one.mend for one in decisive if one.mend), "")
        return Judgement(verdict, "; ".join(one.reason for one in decisive), mend=mend)


class _Nothing:
    """No expectation: a live value is compared, never judged."""

    value: int | float | str | None = None
    min: int | float | None = None
    max: int | float | None = None


_NOTHING = _Nothing()


def _judge_rows(wanted: int, found: int) -> Judgement:
    if found != wanted:
        return Judgement(Verdict.MISSED, f"the query gives {found} rows, {wanted} expected")
    return Judgement(Verdict.MET, f"the query gives {found} rows")


def _judge_lacking(why: str, live: Mapping[str, Any]) -> Judgement:
    if live["error"]:
        return Judgement(Verdict.INCONCLUSIVE, f"neither the restored nor the live database answers: {why}")
    return Judgement(Verdict.MISSED, f"the live database answers, the restored one does not: {why}")


def _judge_live(tolerance: int | float | str, seen: Mapping[str, Any], live: Mapping[str, Any]) -> Judgement:
    """|restored - live| against the tolerance; a percentage is one of the live value."""
    if live["error"]:
        return Judgement(Verdict.INCONCLUSIVE, f"cannot be compared: {live['error']}", mend=str(live["mend"]))
    number, text, wanted = seen["number"], seen["text"], live["number"]
    if wanted is None and live["text"] is None:
        return Judgement(Verdict.INCONCLUSIVE, f"cannot be compared: live {live['database']} gives no value")
    if number is None and text is None:
        return Judgement(Verdict.MISSED, "the query gives no value, and one from the live database")
    if number is None or wanted is None:
        same = text is not None and text == live["text"]
        said = "the same text as" if same else "something else than"
        return Judgement(Verdict.MET if same else Verdict.MISSED, f"{said} live {live['database']}")
    allowed = tolerance
    said = f"{tolerance} allowed"
    if isinstance(tolerance, str):
        allowed = abs(wanted) * float(tolerance.rstrip("%")) / 100
        said = f"{tolerance} ({allowed:g}) allowed"
    apart = abs(number - wanted)
    verdict = Verdict.MET if apart <= float(allowed) else Verdict.MISSED
    return Judgement(verdict, f"{number} restored, {wanted} live: {apart:g} apart, {said}")
