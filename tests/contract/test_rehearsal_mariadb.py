"""The rehearsal mariadb: a throwaway replica of a real pair, which must not notice."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from drtests.databases.mariadb.client import open_mariadb
from drtests.databases.mariadb.follower import Follower
from drtests.databases.mariadb.rehearsal import MariadbRehearsal
from drtests.databases.rehearsing import APPLICATION
from drtests.errors import (
    DatabaseDamaged,
    DatabaseError,
    DatabaseRefused,
    DatabaseUnreachable,
    DrtestsError,
    SafetyError,
    UsageError,
)
from drtests.hosts.local import LocalHost
from drtests.model.estate import Host as Declaration
from drtests.protocols.database import Rehearsal
from drtests.testing.recording_host import RecordingHost
from tests.support.mariadb import PASSWORD, MariaPair, MariaServer, make_server
from tests.support.needs import needs
from tests.support.rehearsing import Rehearsing
from tests.support.servers import wait_for
from tests.support.servers import workplace as made_workplace

QUICK = {"innodb_flush_log_at_trx_commit": "0", "innodb_buffer_pool_size": "16M", "innodb_log_file_size": "8M"}
COUNT = "SELECT COUNT(*) FROM students"
RIGHTS = "SELECT, SHOW VIEW, TRIGGER, EVENT, BINLOG MONITOR, REPLICA MONITOR"
FOLLOWERS = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'rehearsal'"
SEEN = (
    "SELECT @@gtid_binlog_pos, @@gtid_slave_pos, @@read_only, (SELECT COUNT(*) FROM information_schema.tables),"
    " (SELECT COUNT(*) FROM mysql.global_priv), (SELECT variable_value FROM information_schema.global_status"
    " WHERE variable_name = 'slave_running');"
    " SHOW SLAVE HOSTS; SELECT command FROM information_schema.processlist WHERE user = 'rehearsal';"
)
"""What a rehearsal must leave as it was: the log, tables, accounts, replicas, connections."""


@pytest.fixture(scope="module")
def host() -> Iterator[LocalHost]:
    made = LocalHost(Declaration(id="local"))
    yield made
    assert list(made.sweep()) == []


@pytest.fixture(scope="module")
def pair(mariadb_pair: MariaPair) -> Iterator[MariaPair]:
    source = mariadb_pair.source
    source.sql(
        f"CREATE USER rehearsal@'%' IDENTIFIED BY '{PASSWORD}';"
        f"GRANT {RIGHTS}, REPLICATION SLAVE ON *.* TO rehearsal@'%';"
        f"CREATE USER follower@'%' IDENTIFIED BY '{PASSWORD}';"
        "GRANT BINLOG MONITOR, REPLICA MONITOR, REPLICATION SLAVE ON *.* TO follower@'%';"
        "CREATE DATABASE app; USE app; CREATE TABLE app.students (id INT PRIMARY KEY, name VARCHAR(80)) ENGINE=InnoDB;"
        "INSERT INTO app.students SELECT seq, CONCAT('student ', seq) FROM seq_1_to_100;"
        "CREATE EVENT app.yearly ON SCHEDULE EVERY 1 YEAR DO DELETE FROM app.students;"
    )
    mariadb_pair.settle()
    yield mariadb_pair
    source.sql("DROP DATABASE app; DROP USER rehearsal@'%', follower@'%'")
    mariadb_pair.settle()


@pytest.fixture
def rehearsing(host: LocalHost, pair: MariaPair) -> Iterator[Rehearsing]:
    declared = {server.name: server.declared(user="rehearsal") for server in (pair.source, pair.replica)}
    with made_workplace(None) as folder:
        made = Rehearsing(host, folder, MariadbRehearsal, open_mariadb, declared, PASSWORD)
        made.defaults = {"source": "main", "database": "app", "settings": QUICK}
        yield made
        made.stop()


def _gone(server: MariaServer) -> None:
    wait_for(lambda: server.sql(FOLLOWERS) == "0\n", "production still has a connection of the drill")


@pytest.mark.parametrize("options", [{}, {"copy_from": "standby"}])
def test_a_failover_that_production_does_not_notice(
    pair: MariaPair, rehearsing: Rehearsing, options: dict[str, Any]
) -> None:
    source = pair.source
    before = source.sql(SEEN), pair.replica.sql(SEEN)
    rehearsal = rehearsing.rehearse(**options)
    assert not rehearsal.from_backup
    position = rehearsal.position()
    rehearsal.build(rehearsing.place)
    wait_for(lambda: APPLICATION in source.sql("SHOW SLAVE HOSTS"), "it does not follow")
    rehearsal.catch_up(position, 30)
    scratch = rehearsal.promote()
    assert scratch.session.query(COUNT) == [[100]]
    assert scratch.session.query("SELECT @@read_only, @@log_bin, @@event_scheduler") == [[0, 0, "OFF"]]
    assert scratch.session.query("SHOW ALL SLAVES STATUS") == []
    for statements, answer in (
        (f"{COUNT}; DELETE FROM students; CREATE TABLE more (n INT)", "100\n"),
        ("CHANGE MASTER TO MASTER_HOST='x'", "Access denied"),
    ):
        # Accounts are production's, but for one.
        client = ["sh", "-c", 'mariadb --no-defaults --user="$MYSQL_USER" -Ne "$1" app 2>&1', "sh", statements]
        assert answer in rehearsing.host.run(client, timeout=20, env=scratch.environment).stdout
    assert rehearsing.facts["began_with"] == f"a copy of {options.get('copy_from', 'main')}"
    assert rehearsing.facts["server_id"] >= 2**31
    assert scratch.integrity(60).problems == ()
    _gone(source)
    scratch.stop(10)
    rehearsal.abandon(10)
    assert (source.sql(SEEN), pair.replica.sql(SEEN)) == before
    assert source.sql("SELECT COUNT(*) FROM app.students") == "100\n"


def test_what_is_written_while_it_is_built_comes_too(pair: MariaPair, rehearsing: Rehearsing) -> None:
    rehearsal = rehearsing.rehearse(copy_from="standby")
    pair.replica.sql("STOP SLAVE SQL_THREAD")
    pair.source.sql("INSERT INTO app.students VALUES (101, 'not yet at the standby')")
    try:
        position = rehearsal.position()
        rehearsal.build(rehearsing.place)
        pair.source.sql("INSERT INTO app.students VALUES (102, 'late')")
        rehearsal.catch_up(position, 30)
        assert rehearsal.promote().session.query(COUNT) == [[102]]
    finally:
        pair.source.sql("DELETE FROM app.students WHERE id > 100")
        pair.replica.sql("START SLAVE SQL_THREAD")
        pair.settle()


def test_the_password_is_in_no_argument_and_stays_in_no_file(
    rehearsing: Rehearsing, monkeypatch: pytest.MonkeyPatch
) -> None:
    rehearsal = rehearsing.rehearse()
    position = rehearsal.position()
    rehearsal.build(rehearsing.place)
    # Whoever follows keeps it: for as long as that lasts, and where nobody else looks.
    [kept] = rehearsing.holds(PASSWORD)
    assert kept.name == "master.info"
    assert kept.stat().st_mode & 0o007 == 0
    assert Path(rehearsing.place.folder).stat().st_mode & 0o077 == 0
    rehearsal.catch_up(position, 30)
    with monkeypatch.context() as patched:
        patched.setattr("drtests.databases.mariadb.rehearsal._check_log", lambda _: 99)
        with pytest.raises(DatabaseError, match="another server answers"):
            rehearsal.catch_up(position, 30)
    rehearsal.promote()
    seen = rehearsing.host.seen
    assert not any(PASSWORD in word for word in seen.words())
    assert not any(PASSWORD.encode() in data for data in seen.written.values())
    assert len(rehearsing.files()) > 50
    assert rehearsing.holds(PASSWORD) == []


def test_a_replica_that_receives_nothing_is_not_promoted(pair: MariaPair, rehearsing: Rehearsing) -> None:
    """Even when it is as far as the source was: it was copied so far, and does not follow."""
    rehearsal = rehearsing.rehearse()
    position = rehearsal.position()
    rehearsal.build(rehearsing.place)
    pair.source.sql("SET sql_log_bin = 0; REVOKE REPLICATION SLAVE ON *.* FROM rehearsal@'%'")
    try:
        threads = pair.source.sql("SELECT id FROM information_schema.processlist WHERE user = 'rehearsal'").split()
        pair.source.sql("; ".join(f"KILL {number}" for number in threads))
        with pytest.raises(DatabaseRefused, match="follow it by that account") as caught:
            rehearsal.catch_up(position, 20)
        assert "REPLICATION SLAVE" in caught.value.mend
    finally:
        pair.source.sql("SET sql_log_bin = 0; GRANT REPLICATION SLAVE ON *.* TO rehearsal@'%'")


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"user": "drtests"}, DatabaseRefused, "REPLICATION SLAVE"),
        ({"user": "repl"}, DatabaseRefused, "lacks a right"),
        ({"user": None}, DatabaseError, "as whom"),
        ({"port": 1}, DatabaseUnreachable, "does not answer"),
    ],
)
def test_who_may_not_replicate(
    rehearsing: Rehearsing, change: dict[str, Any], error: type[DrtestsError], match: str
) -> None:
    rehearsing.change("main", **change)
    rehearsal = rehearsing.rehearse()
    with pytest.raises(error, match=match) as caught:
        rehearsal.build(rehearsing.place)
    assert caught.value.mend
    assert not any(argv[0].endswith("dump") for argv in rehearsing.host.seen.argvs)


def test_who_may_not_copy(pair: MariaPair, rehearsing: Rehearsing) -> None:
    """What the account may not see would be left out without a word."""
    rehearsing.change("standby", user="drtests")
    with pytest.raises(DatabaseRefused, match="SHOW VIEW, TRIGGER, EVENT"):
        rehearsing.rehearse(copy_from="standby").build(rehearsing.place)


def test_ways_that_lead_elsewhere(pair: MariaPair, rehearsing: Rehearsing) -> None:
    elsewhere = RecordingHost(LocalHost(Declaration(id="elsewhere")))
    with pytest.raises(DatabaseError, match="on host elsewhere only"):
        rehearsing.rehearse(lambda name: rehearsing.open(name, elsewhere)).build(rehearsing.place)
    with pytest.raises(SafetyError, match="take its place"):
        rehearsing.rehearse(port=pair.source.port).build(rehearsing.place)
    rehearsing.change("main", socket=pair.source.socket)
    with pytest.raises(DatabaseError, match="by a socket"):
        rehearsing.rehearse().build(rehearsing.place)


def test_it_is_not_MariaDB(rehearsing: Rehearsing) -> None:
    with pytest.raises(UsageError, match="no MariaDB"):
        rehearsing.rehearse(source="memory").position()
    with pytest.raises(UsageError, match="not built"):
        rehearsing.rehearse().promote()


def test_options_that_do_not_go_together() -> None:
    for options in (
        {"path": "base", "copy_from": "standby"},
        {"incrementals": ["more"]},
        {"settings": {"replicate_do_db": "app"}},
        {"settings": {"rpl_semi_sync_slave_enabled": "ON"}},
        {"settings": {"server_id": "1"}},
    ):
        with pytest.raises(ValidationError):
            MariadbRehearsal.Spec.model_validate({"source": "main", **options})


def test_numbers_that_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = iter([7, 7, 8])
    monkeypatch.setattr("drtests.databases.mariadb.follower.secrets.randbelow", lambda _: next(numbers))
    assert Follower.apart_from({2**31 + 7}).server_id == 2**31 + 8


@pytest.fixture(scope="module")
def backed_up(pair: MariaPair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an engine would have restored: a physical backup, and dumps."""
    tree = tmp_path_factory.mktemp("backed-up")
    login = ["--no-defaults", f"--socket={pair.source.socket}", "--user=root"]
    backup = [needs("mariadb-backup", install="mariadb-backup"), *login, "--backup", f"--target-dir={tree}/base"]
    subprocess.run(backup, capture_output=True, timeout=60, check=True)
    dump = [needs("mariadb-dump", install="mariadb-client"), *login, "--single-transaction", "--all-databases"]
    for name, more in (("all.sql.gz", ["--master-data=1", "--gtid"]), ("bare.sql.gz", [])):
        told = subprocess.run([*dump, *more], capture_output=True, timeout=60, check=True).stdout
        (tree / name).write_bytes(gzip.compress(told, 1))
    return tree


def _begin(rehearsing: Rehearsing, tree: Path, path: str, **options: Any) -> Rehearsal:
    subprocess.run(["cp", "-a", str(tree / path), rehearsing.place.root], check=True)
    rehearsal = rehearsing.rehearse(path=path, **options)
    assert rehearsal.from_backup
    return rehearsal


@pytest.mark.parametrize("path", ["base", "all.sql.gz"])
def test_it_begins_with_a_backup(pair: MariaPair, rehearsing: Rehearsing, backed_up: Path, path: str) -> None:
    pair.source.sql("INSERT INTO app.students VALUES (103, 'after the backup')")
    try:
        rehearsing.change("main", user="follower")
        rehearsal = _begin(rehearsing, backed_up, path)
        position = rehearsal.position()
        rehearsal.build(rehearsing.place)
        rehearsal.catch_up(position, 30)
        assert rehearsal.promote().session.query(COUNT) == [[101]]
        assert rehearsing.facts["began_with"] == path
    finally:
        pair.source.sql("DELETE FROM app.students WHERE id = 103")


def test_a_backup_that_is_damaged(rehearsing: Rehearsing, backed_up: Path) -> None:
    rehearsal = _begin(rehearsing, backed_up, "base")
    (Path(rehearsing.place.root) / "base" / "ibdata1").write_bytes(b"")
    with pytest.raises(DatabaseDamaged):
        rehearsal.build(rehearsing.place)


def test_a_dump_that_does_not_tell_its_place(rehearsing: Rehearsing, backed_up: Path) -> None:
    with pytest.raises(DatabaseError, match="up to where") as caught:
        _begin(rehearsing, backed_up, "bare.sql.gz").build(rehearsing.place)
    assert "--master-data" in caught.value.mend


def test_a_backup_that_was_changed(pair: MariaPair, rehearsing: Rehearsing, backed_up: Path) -> None:
    """What follows no longer fits. Nothing of the data is told."""
    rehearsal = _begin(rehearsing, backed_up, "all.sql.gz")
    file = Path(rehearsing.place.root, "all.sql.gz")
    changed = gzip.decompress(file.read_bytes()).replace(b"(100,'student 100')", b"(104,'student 100')")
    file.write_bytes(gzip.compress(changed, 1))
    pair.source.sql("INSERT INTO app.students VALUES (104, 'somebody')")
    try:
        position = rehearsal.position()
        rehearsal.build(rehearsing.place)
        with pytest.raises(DatabaseError, match=r"cannot carry out.*Duplicate entry.*1062") as caught:
            rehearsal.catch_up(position, 30)
        assert "'104'" not in caught.value.what
    finally:
        pair.source.sql("DELETE FROM app.students WHERE id = 104")


@pytest.fixture(scope="module")
def other(mariadb_home: tuple[Path, str | None]) -> Iterator[MariaServer]:
    """A server of another history, that may be stopped."""
    server = make_server(*mariadb_home, "other", 13, mariadb_home[0] / "template")
    server.start()
    server.sql(f"CREATE USER rehearsal@'%' IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON *.* TO rehearsal@'%'")
    for number in range(20):
        server.sql(f"CREATE DATABASE app{number}")
    yield server
    server.process.stop()
    shutil.rmtree(server.folder)


def test_a_backup_of_another_server(rehearsing: Rehearsing, backed_up: Path, other: MariaServer) -> None:
    rehearsing.declared["main"] = other.declared(user="rehearsal")
    rehearsal = _begin(rehearsing, backed_up, "all.sql.gz")
    position = rehearsal.position()
    rehearsal.build(rehearsing.place)
    with pytest.raises(DatabaseError, match="of another server"):
        rehearsal.catch_up(position, 30)


def test_a_log_that_is_gone(rehearsing: Rehearsing, backed_up: Path, other: MariaServer) -> None:
    rehearsing.declared["main"] = other.declared(user="rehearsal")
    rehearsal = _begin(rehearsing, backed_up, "all.sql.gz")
    file = Path(rehearsing.place.root, "all.sql.gz")
    told = gzip.decompress(file.read_bytes())
    begin = told.index(b"SET GLOBAL gtid_slave_pos='")
    end = told.index(b"\n", begin)
    file.write_bytes(gzip.compress(told[:begin] + b"SET GLOBAL gtid_slave_pos='0-13-1';" + told[end:], 1))
    [name] = other.sql("FLUSH BINARY LOGS; SHOW MASTER STATUS").split()[:1]
    other.sql(f"PURGE BINARY LOGS TO '{name}'")
    position = rehearsal.position()
    rehearsal.build(rehearsing.place)
    with pytest.raises(DatabaseError, match="has no log from where"):
        rehearsal.catch_up(position, 30)


def test_a_source_that_goes_while_it_catches_up(rehearsing: Rehearsing, other: MariaServer) -> None:
    rehearsing.declared["main"] = other.declared(user="rehearsal")
    rehearsal = rehearsing.rehearse(database=None)
    position = rehearsal.position()
    rehearsal.build(rehearsing.place)
    # It answers whoever asks, and lets nobody follow.
    later = rehearsal.position()
    other.process.stop()
    try:
        rehearsal.position = lambda: later  # type: ignore[method-assign]
        with pytest.raises(DatabaseError, match="not receiving"):
            rehearsal.catch_up(position, 2)
    finally:
        other.start()
    rehearsal.position = lambda: "0-13-100000"  # type: ignore[method-assign]
    with pytest.raises(DatabaseError, match="not at"):
        rehearsal.catch_up(position, 1)


def test_a_source_that_nobody_can_follow(rehearsing: Rehearsing, other: MariaServer) -> None:
    rehearsing.declared["main"] = other.declared(user="rehearsal")
    usual = other.process.argv
    for change, match in (("--binlog-ignore-db=app1", "leaves something out"), ("--skip-log-bin", "no binary log")):
        other.process.stop()
        other.process.argv = [
            *(word for word in usual if not (change.startswith("--skip") and "log-bin" in word)),
            change,
        ]
        other.start()
        with pytest.raises(DatabaseError, match=match):
            rehearsing.rehearse().position()
    other.process.stop()
    other.process.argv = usual
    other.start()
    rehearsing.declared["standby"] = rehearsing.declared["main"]
    with pytest.raises(DatabaseError, match="no replica"):
        rehearsing.rehearse(copy_from="standby").build(rehearsing.place)
