"""The PostgreSQL client keeps the contract of running databases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from drtests.databases.postgres.client import open_postgres
from drtests.databases.postgres.programs import find
from drtests.errors import DatabaseDamaged, DatabaseError, DatabaseMissing, DatabaseRefused, DatabaseUnreachable
from drtests.hosts.local import LocalHost
from drtests.model.estate import Host as Declaration
from drtests.protocols.database import LiveContext, Session
from drtests.testing.database_contract import DatabaseContract, Dialect, Served
from tests.support.postgres import PASSWORD, PostgresPair, binaries


@pytest.fixture
def host() -> Iterator[LocalHost]:
    made = LocalHost(Declaration(id="local"))
    yield made
    assert list(made.sweep()) == []


@pytest.fixture
def served(postgres_pair: PostgresPair) -> Iterator[Served]:
    yield postgres_pair.primary.served()
    postgres_pair.primary.sql("DROP TABLE IF EXISTS drtests_written; DROP SCHEMA IF EXISTS drtests CASCADE")


def _text(text: str) -> str:
    return "SELECT '" + text.replace("'", "''") + "'"


def _running(session: Session) -> int:
    [[count]] = session.query(
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%FETCH%' AND state = 'active'"
        " AND pid <> pg_backend_pid() AND application_name = 'drtests'"
    )
    return int(count)


def _written(session: Session) -> bool:
    [[count]] = session.query("SELECT count(*) FROM pg_namespace WHERE nspname = 'drtests'")
    return bool(count)


class TestPostgres(DatabaseContract):
    adapter = open_postgres
    dialect = Dialect(
        name="PostgreSQL",
        typed=(
            "SELECT 1 AS one, -2.5::numeric(4,1), 'two' AS two, '3' AS three, NULL AS nil, 9223372036854775807"
            " UNION ALL SELECT NULL, 1e3, 'NULL', e'a\\tb', 'x', -1",
            [[1, -2.5, "two", "3", None, 9223372036854775807], [None, 1000, "NULL", "a\tb", "x", -1]],
        ),
        text=_text,
        empty="SELECT 1 WHERE false",
        broken="SELEC 1",
        slow="SELECT pg_sleep(100)",
        running=_running,
        writes=(
            "CREATE SCHEMA drtests",
            "SELECT 1; CREATE SCHEMA drtests",
            "COMMIT; CREATE SCHEMA drtests",
            "SET default_transaction_read_only = off; CREATE SCHEMA drtests",
            "DO $$ BEGIN CREATE SCHEMA drtests; END $$",
            "SELECT query_to_xml('CREATE SCHEMA drtests', true, true, '')",
            "WITH off AS (SELECT set_config('transaction_read_only', 'off', true))"
            " SELECT query_to_xml('CREATE SCHEMA drtests', true, true, '') FROM off",
            "SELECT 1;\n\\c postgres\nCREATE SCHEMA drtests;",
        ),
        written=_written,
        unwrite="DROP SCHEMA IF EXISTS drtests",
        many=("SELECT n, repeat('x', 300) FROM generate_series(1, 10000) AS n", 10000),
        escapes=(
            "\\! touch {path}",
            "SELECT 1 \\g {path}",
            "SELECT 1; \\o {path}\nSELECT 2",
            "SELECT 1 \\! touch {path}",
        ),
    )


def test_types_that_json_does_not_know_stay_text(served: Served, host: LocalHost) -> None:
    live = open_postgres(LiveContext(served.declared, host, PASSWORD))
    [row] = live.query("SELECT true, 'NaN'::float8, date '2026-03-01', array[1,2], 12345678901234567890::numeric")
    assert row == ["t", "NaN", "2026-03-01", "{1,2}", 12345678901234567890]
    assert live.query("SHOW server_version_num;")[0][0].isdigit()


def test_no_right_is_refused_and_says_so(served: Served, host: LocalHost) -> None:
    live = open_postgres(LiveContext(served.declared, host, PASSWORD, writable=True))
    with pytest.raises(DatabaseRefused, match="42501"):
        live.execute("CREATE TABLE pg_catalog.drtests (i int)")


def test_a_standby_refuses_to_write(postgres_pair: PostgresPair, host: LocalHost) -> None:
    live = open_postgres(LiveContext(postgres_pair.standby.declared(), host, PASSWORD, writable=True))
    with pytest.raises(DatabaseRefused, match="25006"):
        live.execute("CREATE SCHEMA drtests")


def test_a_table_that_is_not_there(served: Served, host: LocalHost) -> None:
    live = open_postgres(LiveContext(served.declared, host, PASSWORD))
    with pytest.raises(DatabaseError, match="does not exist") as caught:
        live.query("SELECT * FROM nosuch")
    assert type(caught.value) is DatabaseError


def test_a_damaged_table(postgres_pair: PostgresPair, served: Served, host: LocalHost) -> None:
    primary = postgres_pair.primary
    primary.sql("CREATE TABLE drtests_written AS SELECT n, repeat('x', 200) AS x FROM generate_series(1, 500) AS n")
    file = primary.data / primary.sql("SELECT pg_relation_filepath('drtests_written')").strip()
    primary.stop()
    with file.open("r+b") as data:
        data.seek(8192 + 100)
        data.write(b"damage")
    primary.start()
    live = open_postgres(LiveContext(served.declared, host, PASSWORD))
    with pytest.raises(DatabaseDamaged, match="XX001"):
        live.query("SELECT count(x) FROM drtests_written")


def test_a_paused_server_is_unreachable(postgres_pair: PostgresPair, host: LocalHost) -> None:
    standby = postgres_pair.standby
    live = open_postgres(LiveContext(standby.declared(), host, PASSWORD))
    live.query("SELECT 1")
    assert standby.process is not None
    with standby.process.paused(), pytest.raises(DatabaseUnreachable):
        live.query("SELECT 1", timeout=1)


def test_the_release_that_was_asked_for_or_none(host: LocalHost) -> None:
    here = binaries()
    major = int(here.parent.name)
    assert find(host, "postgres", major).folder == str(here)
    assert find(host, "initdb", declared=str(here)).major == major
    with pytest.raises(DatabaseMissing, match="PostgreSQL 9 is not installed"):
        find(host, "postgres", 9)
    with pytest.raises(DatabaseMissing, match="releases found: none") as caught:
        find(host, "postgres", declared="/nowhere")
    assert "binaries" in caught.value.mend
