"""MariaDB replication against real servers: what must be seen, and what must not look like lag or like none."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from drtests.errors import DatabaseError, DatabaseRefused, DatabaseUnreachable
from drtests.protocols.replication import Behind
from drtests.replications.lag import Positions
from drtests.replications.mariadb import MariadbReplication, MariadbReplicationSpec
from drtests.replications.mariadb_status import Position, ahead, position
from tests.support.living import LivingReach
from tests.support.mariadb import ACCOUNTS, PASSWORD, MariaPair, MariaServer, make_server
from tests.support.servers import wait_for

Build = Callable[..., MariadbReplication]


@pytest.fixture
def build(mariadb_pair: MariaPair) -> Build:
    def made(
        replica: MariaServer | None = None, source: MariaServer | None = None, timeout: str = "10s", **options: Any
    ) -> MariadbReplication:
        servers = [source or mariadb_pair.source, replica or mariadb_pair.replica]
        reach = LivingReach({server.name: (server.declared(timeout=timeout), PASSWORD) for server in servers})
        spec = MariadbReplicationSpec(source=servers[0].name, replica=servers[1].name, **options)
        return MariadbReplication(spec, reach)

    return made


@pytest.fixture(autouse=True)
def settled(mariadb_pair: MariaPair) -> Iterator[None]:
    source, replica = mariadb_pair.source, mariadb_pair.replica
    source.sql("CREATE DATABASE IF NOT EXISTS app; CREATE OR REPLACE TABLE app.t (i INT PRIMARY KEY, s TEXT)")
    mariadb_pair.settle()
    yield
    source.sql("SET GLOBAL read_only = 0; DROP DATABASE IF EXISTS drtests; DROP DATABASE IF EXISTS app")
    replica.sql("START SLAVE; SET GLOBAL read_only = 1")
    mariadb_pair.settle()


def test_identity(build: Build) -> None:
    identity = build().identify()
    assert identity.problems == ()
    assert identity.facts["follows"]["slave_io_running"] == "Yes"
    assert identity.facts["source"]["server_id"] == 11


def test_an_idle_source_is_no_lag(build: Build, mariadb_pair: MariaPair) -> None:
    replication = build()
    for _ in range(3):
        assert replication.behind() == Behind(0, 0, "measured")
    mariadb_pair.source.sql("FLUSH BINARY LOGS")
    wait_for(lambda: replication.behind() == Behind(0, 0, "measured"), "a new log looks like lag")


def test_a_database_that_was_there_stays(build: Build, mariadb_pair: MariaPair) -> None:
    mariadb_pair.source.sql("CREATE DATABASE drtests; CREATE TABLE drtests.marker_old (number INT PRIMARY KEY)")
    replication = build()
    replication.begin()
    replication.mark(1)
    replication.end()
    assert mariadb_pair.source.sql("SHOW TABLES FROM drtests").split() == ["marker_old"]


def test_only_what_drtests_left_is_removed(build: Build, mariadb_pair: MariaPair) -> None:
    """`database` may be the application's, whose tables are as old as they like, and named as they like."""
    source, old, new = mariadb_pair.source, int(time.time()) - 90_000, int(time.time()) - 60
    names = [f"marker_{old}_0123abcd", f"marker_{new}_0123abcd", "marker_icons", f"marker_{old}_icons"]
    made = "".join(f"CREATE TABLE {name} (number INT) COMMENT 'made by drtests';" for name in names)
    source.sql(f"CREATE DATABASE drtests; USE drtests; {made} CREATE TABLE marker_{old}_4567cdef (number INT)")
    before = set(source.sql("SHOW TABLES FROM drtests").split())
    replication = build()
    replication.begin()
    replication.end()
    left = set(source.sql("SHOW TABLES FROM drtests").split())
    assert before - left == {f"marker_{old}_0123abcd"}


def test_a_paused_replica_is_lag(build: Build, mariadb_pair: MariaPair) -> None:
    """STOP SLAVE SQL_THREAD: the server itself then says nothing (Seconds_Behind_Master is NULL)."""
    replication = build()
    assert replication.behind().seconds == 0
    mariadb_pair.replica.sql("STOP SLAVE SQL_THREAD")
    [problem] = replication.identify().problems
    assert "SQL thread" in problem
    replication.begin()
    replication.mark(1)
    first = replication.behind()
    second = replication.behind()
    assert replication.newest() is None
    assert first.bytes is not None
    assert first.bytes > 0
    assert first.seconds is not None
    assert second.seconds is not None
    assert second.seconds > first.seconds > 0
    # One who comes later cannot tell how old the lag is, and does not say that there is none.
    late = build().behind()
    assert late.bytes == second.bytes
    assert late.seconds is None
    mariadb_pair.replica.sql("START SLAVE SQL_THREAD")
    wait_for(lambda: replication.newest() == 1, "the marker does not arrive")
    wait_for(lambda: replication.behind().seconds == 0, "still behind")
    replication.end()


def test_a_broken_link_is_lag(build: Build, mariadb_pair: MariaPair) -> None:
    """STOP SLAVE IO_THREAD: all that arrived is carried out, and much has not arrived."""
    mariadb_pair.replica.sql("STOP SLAVE IO_THREAD")
    text = "x" * 5000
    mariadb_pair.source.sql(f"INSERT INTO app.t VALUES (1, '{text}'); FLUSH BINARY LOGS")
    mariadb_pair.source.sql(f"INSERT INTO app.t VALUES (2, '{text}')")
    replication = build()
    behind = replication.behind()
    assert behind.seconds is None
    assert behind.bytes is not None
    assert behind.bytes > 10000
    assert any("IO thread" in problem for problem in replication.identify().problems)


def test_a_wrong_password_of_the_link(build: Build, mariadb_pair: MariaPair) -> None:
    mariadb_pair.replica.sql("STOP SLAVE; CHANGE MASTER TO MASTER_PASSWORD='wrong'; START SLAVE")
    replication = build()
    try:
        wait_for(lambda: "Access denied" in str(replication.identify().problems), "no problem is seen")
    finally:
        mariadb_pair.follow()


def test_an_error_while_applying(build: Build, mariadb_pair: MariaPair) -> None:
    mariadb_pair.replica.sql("INSERT INTO app.t VALUES (7, 'stray')")
    mariadb_pair.source.sql("INSERT INTO app.t VALUES (7, 'real')")
    replication = build()
    try:
        wait_for(lambda: "Duplicate entry" in str(replication.identify().problems), "no problem is seen")
    finally:
        mariadb_pair.replica.sql("STOP SLAVE; DELETE FROM app.t; START SLAVE")


def test_a_replica_that_is_down(build: Build, mariadb_pair: MariaPair) -> None:
    mariadb_pair.replica.process.stop(signal.SIGKILL)
    try:
        for ask in (build().behind, build().newest, build().identify, build().skew):
            with pytest.raises(DatabaseUnreachable):
                ask()
    finally:
        mariadb_pair.replica.start()
    wait_for(lambda: build().identify().problems != (), "it accepts writes after a restart, and nobody sees it")
    mariadb_pair.follow()


def test_a_replica_that_stands_still_answers_nobody(build: Build, mariadb_pair: MariaPair) -> None:
    replication = build(timeout="1s")
    with mariadb_pair.replica.process.paused(), pytest.raises(DatabaseUnreachable):
        replication.behind()


def test_a_source_that_refuses_writes(build: Build, mariadb_pair: MariaPair) -> None:
    mariadb_pair.source.sql("SET GLOBAL read_only = 1")
    replication = build()
    with pytest.raises(DatabaseRefused, match="1290"):
        replication.begin()
    replication.end()
    assert replication.behind().seconds == 0


def test_a_replica_that_accepts_writes(build: Build, mariadb_pair: MariaPair) -> None:
    mariadb_pair.replica.sql("SET GLOBAL read_only = 0")
    [problem] = build().identify().problems
    assert "accepts writes" in problem


def test_a_replica_that_leaves_something_out(build: Build, mariadb_pair: MariaPair) -> None:
    replica = mariadb_pair.replica
    replica.sql("STOP SLAVE; SET GLOBAL replicate_ignore_db = 'secret'; START SLAVE")
    try:
        [problem] = [one for one in build().identify().problems if "leaves something out" in one]
        assert "Replicate_Ignore_DB=secret" in problem
        wait_for(lambda: build(partial=True).identify().problems == (), "still a problem")
    finally:
        replica.sql("STOP SLAVE; SET GLOBAL replicate_ignore_db = ''; START SLAVE")


def test_a_replica_of_another_source(
    build: Build, mariadb_pair: MariaPair, mariadb_home: tuple[Path, str | None]
) -> None:
    """Also of one with the same server id: ids are often 1 and 2 everywhere."""
    folder, user = mariadb_home
    for number in (21, mariadb_pair.source.server_id):
        other = make_server(folder, user, f"stranger-{number}", number, folder / "template")
        try:
            other.start()
            other.sql(ACCOUNTS)
            other.sql("CREATE DATABASE other; FLUSH BINARY LOGS; FLUSH BINARY LOGS")
            problems = build(source=other).identify().problems
            wanted = "no place in" if number != 21 else "server id 11"
            assert any(wanted in problem for problem in problems), problems
            if number == 21:
                assert build(source=other).behind() == Behind(None, None)
        finally:
            other.process.stop()


def test_comparing(build: Build, mariadb_pair: MariaPair) -> None:
    source, replica = mariadb_pair.source, mariadb_pair.replica
    source.sql("USE app; INSERT INTO t SELECT seq, CONCAT('student ', seq) FROM seq_1_to_500")
    tables = [{"table": "app.t"}, {"table": "app.t", "method": "checksum"}]
    replication = build(compare=tables)
    assert [(one.what, one.same) for one in replication.compare()] == [("app.t", True), ("app.t", True)]
    replica.sql("SET sql_log_bin = 0; UPDATE app.t SET s = 'changed' WHERE i = 77")
    assert [one.same for one in replication.compare()] == [True, False]
    replica.sql("SET sql_log_bin = 0; DELETE FROM app.t WHERE i = 77")
    compared = replication.compare()
    assert [one.same for one in compared] == [False, False]
    assert compared[0].facts == {"method": "count", "source": 500, "replica": 499}
    replica.sql("SET sql_log_bin = 0; DROP TABLE app.t")
    compared = replication.compare()
    assert [(one.same, one.detail) for one in compared] == [(False, "is not at the replica")] * 2
    replica.sql("SET sql_log_bin = 0; CREATE TABLE app.t (i INT PRIMARY KEY, s TEXT)")
    with pytest.raises(DatabaseError, match=r"no table app\.nosuch"):
        build(compare=[{"table": "app.nosuch"}]).compare()


def test_lag_is_no_divergence(build: Build, mariadb_pair: MariaPair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drtests.replications.comparing.PATIENCE", 0.3)
    mariadb_pair.replica.sql("STOP SLAVE SQL_THREAD")
    mariadb_pair.source.sql("INSERT INTO app.t VALUES (1, 'x')")
    [compared] = build(compare=[{"table": "app.t"}]).compare()
    assert compared.same is None
    assert "behind" in compared.detail


def test_options() -> None:
    with pytest.raises(ValidationError, match="same"):
        MariadbReplicationSpec(source="a", replica="a")
    for table in ("t", "a.b`", "a`.b"):
        with pytest.raises(ValidationError):
            MariadbReplicationSpec.model_validate({"source": "a", "replica": "b", "compare": [{"table": table}]})
    with pytest.raises(ValidationError):
        MariadbReplicationSpec(source="a", replica="b", database="a-b; DROP")


def test_places_in_logs() -> None:
    assert position("binlog.000009", 500) == Position("binlog", 9, 500)
    assert position("", 0) is None
    assert position("binlog.000009", 500) <= position("binlog.000010", 4)  # type: ignore[operator]
    assert not position("a.000001", 1) <= position("b.000002", 4)  # type: ignore[operator]


def test_transactions_that_the_source_never_had() -> None:
    assert ahead("0-11-5,1-12-7", "0-11-5") == ""
    assert ahead("0-11-5", "0-11-6,1-1-1") == ""
    assert "domain 0 at 7 instead of 6" in ahead("0-12-7", "0-11-6")
    assert ahead("", "0-11-6") == ahead("0-11-6", "") == ""


def test_lag_from_positions() -> None:
    now = [0.0]
    positions = Positions(lambda: now[0])
    assert positions.lag(5) is None
    for moment, source, replica, lag in (
        (1.0, 10, 10, 0.0),
        (2.0, 10, 10, 0.0),
        (3.0, 20, 10, 1.0),
        (4.0, 20, 10, 2.0),
        (5.0, 30, 20, 1.0),
        (6.0, 30, 30, 0.0),
    ):
        now[0] = moment
        positions.source_is_at(source)
        assert positions.lag(replica) == lag
    assert positions.lag(9) is None
    positions.forget()
    assert positions.lag(30) is None
