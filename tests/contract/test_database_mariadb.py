"""The MariaDB client keeps the contract of running databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from drtests.databases.mariadb.client import MariaDb, open_mariadb
from drtests.errors import DatabaseDamaged, DatabaseError, DatabaseRefused, DatabaseUnreachable
from drtests.hosts.local import LocalHost
from drtests.model.estate import Host as Declaration
from drtests.protocols.database import LiveContext, Session
from drtests.testing.database_contract import DatabaseContract, Dialect, Served
from tests.support.mariadb import PASSWORD, MariaPair


@pytest.fixture
def host() -> Iterator[LocalHost]:
    made = LocalHost(Declaration(id="local"))
    yield made
    assert list(made.sweep()) == []


@pytest.fixture
def served(mariadb_pair: MariaPair) -> Iterator[Served]:
    yield mariadb_pair.source.served()
    mariadb_pair.source.sql("DROP DATABASE IF EXISTS drtests")


def _text(text: str) -> str:
    return "SELECT '" + text.replace("\\", "\\\\").replace("'", "''") + "' AS it"


def _running(session: Session) -> int:
    [[count]] = session.query("SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP(1%'")
    return int(count)


def _written(session: Session) -> bool:
    [[count]] = session.query("SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = 'drtests'")
    return bool(count)


class TestMariaDb(DatabaseContract):
    adapter = open_mariadb
    dialect = Dialect(
        name="MariaDB",
        typed=(
            "SELECT 1 AS one, -2.5, 'two' AS two, '3' AS three, NULL AS nil, CAST(7 AS UNSIGNED)"
            " UNION ALL SELECT NULL, 1e3, 'NULL', 'a\\tb', 'x', 18446744073709551615",
            [[1, -2.5, "two", "3", None, 7], [None, 1000.0, "NULL", "a\tb", "x", 18446744073709551615]],
        ),
        text=_text,
        empty="SELECT 1 FROM dual WHERE FALSE",
        broken="SELEC 1",
        slow="SELECT SLEEP(100)",
        running=_running,
        writes=(
            "CREATE DATABASE drtests",
            "BEGIN NOT ATOMIC SET SESSION TRANSACTION READ WRITE; CREATE DATABASE drtests; END",
            "SET SESSION TRANSACTION READ WRITE; CREATE DATABASE drtests",
            "SELECT 1; CREATE DATABASE drtests",
            "SELECT 1;\ndelimiter //\nCOMMIT// SET SESSION TRANSACTION READ WRITE// CREATE DATABASE drtests//",
            "/*! CREATE DATABASE drtests */",
            "/* SELECT */ CREATE DATABASE drtests",
            "EXECUTE IMMEDIATE 'CREATE DATABASE drtests'",
            "WITH q AS (SELECT 1) SELECT * FROM q; CREATE DATABASE drtests",
        ),
        written=_written,
        unwrite="DROP DATABASE IF EXISTS drtests",
        many=("SELECT seq, REPEAT('x', 300) FROM seq_1_to_10000", 10000),
        escapes=("\\! touch {path}", "SELECT 1;\nsystem touch {path}", "SELECT 1 \\! touch {path}", "tee {path}"),
    )


def test_binary_columns_and_names_do_not_confuse_it(served: Served, host: LocalHost) -> None:
    live = open_mariadb(LiveContext(served.declared, host, PASSWORD))
    rows = live.query("SELECT 1 AS `a<b> \"c\"\n& d`, HEX(x'00ff') AS h, BINARY 'x', '12' AS `Type:       LONG`")
    assert rows == [[1, "00FF", "x", "12"]]
    assert list(live.records('SELECT 1 AS `a<b> "c" & d`')) == [{'a<b> "c" & d': 1}]


def test_show_tells_by_name(served: Served, host: LocalHost) -> None:
    live = open_mariadb(LiveContext(served.declared, host, PASSWORD))
    [told] = live.records("SHOW MASTER STATUS")
    assert told["File"].startswith("binlog.")
    assert isinstance(told["Position"], int)
    assert live.query("  -- a comment\n ( SELECT 5 )") == [[5]]


def test_no_right_is_refused_and_says_so(served: Served, host: LocalHost) -> None:
    live = open_mariadb(LiveContext(served.declared, host, PASSWORD, writable=True))
    with pytest.raises(DatabaseRefused, match=r"1044|1142"):
        live.execute("CREATE TABLE mysql.drtests (i INT)")
    with pytest.raises(DatabaseRefused, match="only reads"):
        live.query("SELECT 1 INTO OUTFILE '/tmp/drtests-never'")


def test_a_read_only_server_refuses(mariadb_pair: MariaPair, host: LocalHost) -> None:
    live = open_mariadb(LiveContext(mariadb_pair.replica.declared(), host, PASSWORD, writable=True))
    with pytest.raises(DatabaseRefused, match="1290"):
        live.execute("CREATE DATABASE drtests")


def test_a_table_that_is_not_there(served: Served, host: LocalHost) -> None:
    live = open_mariadb(LiveContext(served.declared, host, PASSWORD))
    with pytest.raises(DatabaseError, match="doesn't exist") as caught:
        live.query("SELECT * FROM mysql.nosuch")
    assert type(caught.value) is DatabaseError


def test_a_damaged_table(mariadb_pair: MariaPair, served: Served, host: LocalHost) -> None:
    source = mariadb_pair.source
    source.sql("CREATE DATABASE drtests; CREATE TABLE drtests.t (a INT, b TEXT) ENGINE=MyISAM")
    source.sql("USE drtests; INSERT INTO t SELECT seq, REPEAT('x', 100) FROM seq_1_to_1000; FLUSH TABLES")
    data = source.folder / "data" / "drtests" / "t.MYD"
    data.write_bytes(data.read_bytes()[:5000])
    live = open_mariadb(LiveContext(served.declared, host, PASSWORD))
    with pytest.raises(DatabaseDamaged):
        live.query("SELECT SUM(LENGTH(b)) FROM drtests.t")


def test_a_paused_server_is_unreachable(mariadb_pair: MariaPair, host: LocalHost) -> None:
    live = MariaDb(LiveContext(mariadb_pair.replica.declared(), host, PASSWORD))
    with mariadb_pair.replica.process.paused(), pytest.raises(DatabaseUnreachable):
        live.query("SELECT 1", timeout=1)


def test_option_files_have_no_say(
    served: Served, host: LocalHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".my.cnf").write_text("[client]\nuser=nobody\npassword=wrong\nport=1\nskip-column-names\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MYSQL_PWD", "wrong")
    assert open_mariadb(LiveContext(served.declared, host, PASSWORD)).query("SELECT 1") == [[1]]
