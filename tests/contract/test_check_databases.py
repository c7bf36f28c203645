"""The checks on databases that run keep the contract, and turn red on each sabotage."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from drtests.checks.database import DatabaseCheck
from drtests.checks.marker import MarkerCheck
from drtests.checks.sql import SqlCheck
from drtests.databases.sqlite import SqliteRecipe
from drtests.errors import (
    CommandTimeout,
    DatabaseDamaged,
    DatabaseError,
    DatabaseRefused,
    DatabaseUnreachable,
    DrtestsError,
    SecretError,
)
from drtests.hosts.local import LocalHost
from drtests.model.estate import Host as Declaration
from drtests.model.verdict import Verdict
from drtests.protocols.check import Check, Judgement, Objective, Resources
from drtests.protocols.database import Scratch, ScratchPlace
from drtests.protocols.host import Host
from drtests.testing.check_contract import MOMENT, Case, CheckContract, SystemClock
from tests.contract.test_recipe_sqlite import fill
from tests.support.scratch import MemoryReach, MemoryScratch, MemorySession

MET, MISSED, INCONCLUSIVE = Verdict.MET, Verdict.MISSED, Verdict.INCONCLUSIVE


def pupils(count: int, more: str = "") -> str:
    rows = ", ".join(f"({number}, 'Jansen {number}')" for number in range(1, count + 1))
    return f"CREATE TABLE pupil (id INTEGER, name TEXT); INSERT INTO pupil VALUES {rows}; {more}"


_FULL = pupils(100)


@dataclass(frozen=True, slots=True)
class Asked(Case):
    """A case with what runs: scripts that fill a database, or what asking it raises."""

    restored: str | DrtestsError = _FULL
    live: str | DrtestsError | None = None
    broken: Sequence[str] | DrtestsError = ()
    absent: bool = False


def session(given: str | DrtestsError, name: str = "memory") -> MemorySession:
    return MemorySession("", given, name) if isinstance(given, DrtestsError) else MemorySession(given, name=name)


class OnDatabases(CheckContract):
    """Gives each case its databases."""

    def resources(self, case: Case, host: Host, root: Path) -> Resources:
        found = super().resources(case, host, root)
        if not isinstance(case, Asked) or case.absent:
            return found
        scratch: Scratch = MemoryScratch(session(case.restored), case.broken)
        found = replace(found, databases={"records": scratch})
        if case.live is None:
            return found
        reach = MemoryReach({"production": session(case.live, "production")})
        return replace(found, live={"records": "production"}, reach=reach)


@pytest.fixture
def host() -> LocalHost:
    return LocalHost(Declaration(id="local"))


def sql(query: str = "SELECT count(*) FROM pupil", **expected: Any) -> dict[str, Any]:
    return {"database": "records", "query": query, **expected}


def compared(tolerance: Any = 0, query: str = "SELECT count(*) FROM pupil", **expected: Any) -> dict[str, Any]:
    return sql(query, compare={"tolerance": tolerance}, **expected)


_NAME = "SELECT name FROM pupil WHERE id = 3"
_NONE = "SELECT id FROM pupil WHERE id < 0"
_GONE = DatabaseUnreachable("nothing answers at 127.0.0.1:1", mend="start it")


class TestSql(OnDatabases):
    check = SqlCheck
    cases = (
        Asked("count", sql(value=100, min=100, max=100, rows=1), MET, reason="100"),
        Asked("other count", sql(value=101), MISSED, reason="gives 100, 101 expected"),
        Asked("too few", sql(min=101), MISSED, reason="at least 101"),
        Asked("too many", sql(max=99), MISSED, reason="at most 99"),
        Asked("text", sql(_NAME, value="Jansen 3"), MET, restored_text="Jansen"),
        Asked("other text", sql(_NAME, value="de Vries"), MISSED, restored_text="Jansen", reason="another text"),
        Asked("text for a number", sql(_NAME, min=1), None, reason="need a number"),
        Asked("a number written as text", sql("SELECT '42.50'", value=42.5, min=42), MET),
        Asked("a large number written as text", sql("SELECT '12345678901234567890'", value=12345678901234567890), MET),
        Asked("another number written as text", sql("SELECT '42.51'", value=42.5), MISSED),
        Asked("no row", sql(_NONE, min=0), MISSED, reason="no value"),
        Asked("null", sql("SELECT max(id) FROM pupil WHERE 0", min=0), MISSED, reason="no value"),
        Asked("rows", sql("SELECT * FROM pupil", rows=100), MET, restored_text="Jansen"),
        Asked("too few rows", sql("SELECT * FROM pupil", rows=101), MISSED, reason="100 rows, 101 expected"),
        Asked("rightly no rows", sql(_NONE, rows=0), MET),
        Asked("rows where none should be", sql("SELECT id FROM pupil", rows=0), MISSED),
        Asked("wrong statement", sql("SELEKT 1", min=1), None, reason="syntax"),
        Asked("lost table", sql(min=1), None, restored="CREATE TABLE other (x)", reason="no such table"),
        Asked("damaged", sql(min=1), MISSED, restored=DatabaseDamaged("page 3 is torn", mend="-"), reason="page 3"),
        Asked("does not answer", sql(min=1), None, restored=_GONE, reason="nothing answers"),
        Asked("too slow", sql(min=1), None, restored=CommandTimeout("did not end within 5m"), reason="did not end"),
        Asked("does not run", sql(min=1), None, absent=True, reason="no restored database 'records'"),
        Asked("as live", compared(), MET, live=pupils(100), reason="100 restored, 100 live"),
        Asked("not as live", compared(), MISSED, live=pupils(101), reason="1 apart, 0 allowed"),
        Asked("more than live", compared(), MISSED, live=pupils(99), reason="1 apart"),
        Asked("just near enough", compared(5), MET, live=pupils(105)),
        Asked("just too far", compared(5), MISSED, live=pupils(106), reason="6 apart, 5 allowed"),
        Asked("a part that is allowed", compared("2%"), MET, live=pupils(102)),
        Asked("a part that is not", compared("1.5%"), MISSED, live=pupils(102), reason="1.5% (1.53) allowed"),
        Asked("a part of nothing", compared("50%"), MISSED, live=pupils(1, "DELETE FROM pupil"), reason="(0) allowed"),
        Asked("same text", compared(0, _NAME), MET, live=pupils(3), restored_text="Jansen", reason="the same text"),
        Asked(
            "other text than live",
            compared(0, _NAME),
            MISSED,
            live=pupils(2, "INSERT INTO pupil VALUES (3, 'de Vries')"),
            restored_text="Jansen",
        ),
        Asked("no value but live", compared(0, _NAME), MISSED, restored=pupils(2), live=pupils(3), reason="no value"),
        Asked("no value on either side", compared(0, _NONE), INCONCLUSIVE, live=pupils(3), reason="gives no value"),
        Asked("live does not answer", compared(), INCONCLUSIVE, live=_GONE, reason="nothing answers"),
        Asked("live refuses", compared(), INCONCLUSIVE, live=DatabaseRefused("no such role", mend="-")),
        Asked("live has no secret", compared(), INCONCLUSIVE, live=SecretError("X is not set", mend="set X")),
        Asked("live has no such table", compared(), INCONCLUSIVE, live="CREATE TABLE other (x)"),
        Asked("no live declared", compared(), INCONCLUSIVE, reason="no live database is declared"),
        Asked(
            "a table that only live has",
            compared(),
            MISSED,
            restored="CREATE TABLE other (x)",
            live=pupils(100),
            reason="the live database answers, the restored one does not",
        ),
        Asked("neither answers", compared(0, "SELEKT"), INCONCLUSIVE, live=pupils(1), reason="neither"),
        Asked("restored does not run, live does", compared(), None, restored=_GONE, live=pupils(100), reason="nothing"),
        Asked("missed, and live unknown", compared(0, min=101), MISSED, live=_GONE, reason="at least 101"),
        Asked("met, and live unknown", compared(0, min=100), INCONCLUSIVE, live=_GONE, reason="nothing answers"),
        Asked("met, and not as live", compared(0, min=100), MISSED, live=pupils(101), reason="1 apart"),
        Asked(
            "another query of live",
            sql(compare={"query": "SELECT count(*) FROM student"}),
            MET,
            live=pupils(100, "ALTER TABLE pupil RENAME TO student"),
        ),
    )
    refused = (
        {"database": "records", "query": "SELECT 1"},
        {"database": "records", "min": 1},
        {"query": "SELECT 1", "min": 1},
        {"database": "Records!", "query": "SELECT 1", "min": 1},
        {"database": "records", "query": "", "min": 1},
        {"database": "records", "query": "SELECT 1", "rows": -1},
        {"database": "records", "query": "SELECT 1", "compare": {"tolerance": -1}},
        {"database": "records", "query": "SELECT 1", "compare": {"tolerance": "two"}},
        {"database": "records", "query": "SELECT 1", "compare": {"tolerance": True}},
        {"database": "records", "query": "SELECT 1", "compare": {"tolerence": 1}},
    )

    def test_live_is_asked_with_its_own_patience(self, host: LocalHost, tmp_path: Path) -> None:
        live = MemorySession(pupils(100), name="production")
        resources = self.resources(Asked("as live", {}, MET, live=pupils(100)), host, tmp_path)
        resources = replace(resources, reach=MemoryReach({"production": live}))
        observation = _check(SqlCheck, compared() | {"timeout": "7s"}).observe(resources)
        assert observation["live"]["number"] == 100
        assert live.timeouts == [None]

    def test_restored_is_asked_with_the_checks(self, host: LocalHost, tmp_path: Path) -> None:
        asked = MemorySession(pupils(100))
        resources = replace(
            Resources(host, str(tmp_path), SystemClock(), str(tmp_path)), databases={"records": MemoryScratch(asked)}
        )
        _check(SqlCheck, sql(min=1) | {"timeout": "7s"}).observe(resources)
        assert asked.timeouts == [7.0]


class TestDatabase(OnDatabases):
    check = DatabaseCheck
    cases = (
        Asked("sound", {"database": "records"}, MET, reason="1 tables read to their end without damage by reading"),
        Asked("empty", {"database": "records"}, INCONCLUSIVE, restored="", reason="no tables in it"),
        Asked("damaged", {"database": "records"}, MISSED, broken=["page 3 is torn"], reason="page 3 is torn"),
        Asked("much damaged", {"database": "records"}, MISSED, broken=["torn"] * 50, reason="and 47 more"),
        Asked("cannot be read for damage", {"database": "records"}, MISSED, broken=DatabaseDamaged("no header")),
        Asked("cannot be read", {"database": "records"}, None, broken=DatabaseError("no room"), reason="no room"),
        Asked("too slow", {"database": "records"}, None, broken=CommandTimeout("did not end"), reason="did not"),
        Asked("many words", {"database": "records"}, MISSED, broken=["x\n" * 5000], restored_text="x " * 200),
        Asked("does not run", {"database": "records"}, None, absent=True, reason="no restored database"),
    )
    refused = ({}, {"database": "records", "timeout": 5}, {"database": 5})


_ROW = {"sql": {"database": "records", "query": "SELECT max(at) FROM marker"}}
_HOUR = timedelta(hours=1)


def _marked(*values: object) -> str:
    rows = "".join(f"INSERT INTO marker VALUES ({value!r});" for value in values)
    return f"CREATE TABLE marker (at); {rows}"


class TestMarker(OnDatabases):
    check = MarkerCheck
    cases = (
        Asked("fresh", _ROW, MET, rpo=_HOUR, restored=_marked("2026-03-01T03:30:00Z"), reason="data loss 30m"),
        Asked("as PostgreSQL writes it", _ROW, MET, rpo=_HOUR, restored=_marked("2026-03-01 03:30:00.1234+00")),
        Asked("stale", _ROW, MISSED, rpo=_HOUR, restored=_marked("2026-03-01T02:30:00Z"), reason="RPO 1h"),
        Asked("seconds", _ROW, MET, rpo=_HOUR, restored=_marked(MOMENT.timestamp() - 60), reason="data loss 1m"),
        Asked("seconds as text", _ROW, MET, rpo=_HOUR, restored=_marked(str(int(MOMENT.timestamp()) - 60))),
        Asked("from the future", _ROW, INCONCLUSIVE, rpo=_HOUR, restored=_marked("2026-03-01T04:01:00Z")),
        Asked("no zone", _ROW, None, restored=_marked("2026-03-01 03:30:00"), reason="without a zone"),
        Asked("zone given", _ROW | {"zone": "UTC"}, MET, rpo=_HOUR, restored=_marked("2026-03-01 03:30:00")),
        Asked("no marker", _ROW, MISSED, restored=_marked(), reason="holds no marker"),
        Asked("no time", _ROW, None, restored=_marked("hunter22"), reason="is not a time"),
        Asked("no objective", _ROW, INCONCLUSIVE, rpo=None, restored=_marked("2026-03-01T03:30:00Z")),
        Asked("damaged", _ROW, MISSED, restored=DatabaseDamaged("torn"), reason="torn"),
        Asked("does not answer", _ROW, None, restored=_GONE, reason="nothing answers"),
        Asked("lost table", _ROW, None, restored="CREATE TABLE other (x)", reason="no such table"),
        Asked("does not run", _ROW, None, absent=True, reason="no restored database"),
    )
    refused = (
        _ROW | {"file": {"path": "a"}},
        {"sql": {"database": "records"}},
        {"sql": {"query": "SELECT 1"}},
        {"sql": {"database": "records", "query": ""}},
    )


def test_what_proves_data() -> None:
    assert _check(SqlCheck, sql(min=1)).proves_data
    assert _check(DatabaseCheck, {"database": "records"}).proves_data
    assert _check(MarkerCheck, _ROW).proves_data


@pytest.mark.parametrize(
    ("check", "options"), [(SqlCheck, sql(min=1)), (SqlCheck, compared()), (DatabaseCheck, {"database": "records"})]
)
def test_judgement_of_a_foreign_observation_raises(check: type[Check], options: Mapping[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError)):
        _check(check, options).judge({}, Objective(MOMENT, None))


def _check(check: type[Check], options: Mapping[str, Any]) -> Check:
    return check(check.Spec.model_validate(dict(options)))


def _nothing(_database: Path) -> None:
    pass


def _torn(database: Path) -> None:
    with database.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xa5" * 8192)


@pytest.mark.parametrize(("sabotage", "verdict"), [(_nothing, MET), (_torn, MISSED)])
def test_on_a_real_recipe(host: LocalHost, tmp_path: Path, sabotage: Callable[[Path], None], verdict: Verdict) -> None:
    """SQLite, since it is always there; the recipes of servers have this with their own tests."""
    root = tmp_path / "root"
    fill(root / "app.db").close()
    sabotage(root / "app.db")
    os.mkdir(tmp_path / "folder")
    place = ScratchPlace(host, str(root), str(tmp_path / "folder"), SystemClock(), timeout=60)
    scratch = SqliteRecipe(SqliteRecipe.Spec.model_validate({"path": "app.db"})).bring_up(place)  # type: ignore[arg-type]
    resources = Resources(host, str(root), SystemClock(), str(tmp_path), databases={"records": scratch})

    def judged(check: type[Check], options: Mapping[str, Any]) -> Judgement:
        made = _check(check, options)
        return made.judge(made.observe(resources), Objective(MOMENT, _HOUR))

    assert judged(DatabaseCheck, {"database": "records"}).verdict is verdict
    assert judged(SqlCheck, sql("SELECT sum(id) FROM pupil", value=405450)).verdict is verdict
