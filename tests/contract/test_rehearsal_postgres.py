"""The rehearsal postgres: a throwaway standby of a real pair, which must not notice."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from drtests.databases.postgres.client import open_postgres
from drtests.databases.postgres.rehearsal import PostgresRehearsal, PostgresRehearsalSpec
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
from tests.support.postgres import PASSWORD, PostgresPair, PostgresServer
from tests.support.rehearsing import Rehearsing
from tests.support.servers import wait_for
from tests.support.servers import workplace as made_workplace

QUICK = {"fsync": "off", "shared_buffers": "8MB"}
COUNT = "SELECT count(*) FROM students"
SEEN = (
    "SELECT (SELECT count(*) FROM pg_replication_slots), (SELECT count(*) FROM pg_class),"
    " (SELECT sum(tup_inserted + tup_updated + tup_deleted) FROM pg_stat_database WHERE datname <> 'template1'),"
    f" (SELECT count(*) FROM pg_stat_activity WHERE application_name = '{APPLICATION}'),"
    " (SELECT count(*) FROM pg_file_settings)"
)
"""What a rehearsal must leave as it was: slots, tables, rows written, connections, settings."""


@pytest.fixture(scope="module")
def host() -> Iterator[LocalHost]:
    made = LocalHost(Declaration(id="local"))
    yield made
    assert list(made.sweep()) == []


@pytest.fixture(scope="module")
def pair(postgres_pair: PostgresPair) -> Iterator[PostgresPair]:
    primary = postgres_pair.primary
    primary.sql("CREATE TABLE students AS SELECT n, 'student ' || n AS name FROM generate_series(1, 100) AS n")
    postgres_pair.settle()
    yield postgres_pair
    primary.sql("DROP TABLE students")
    postgres_pair.settle()


class PostgresRehearsing(Rehearsing):
    def tell(self, statement: str) -> None:
        """To the throwaway standby, which was asked last."""
        asked = next(argv for argv in reversed(self.host.seen.argvs) if argv[0].endswith("psql"))
        login = [word for word in asked if word.startswith(("--host", "--port", "--user", "--dbname"))]
        told = self.host.run(["psql", "-XAtqc", statement, *login], timeout=20)
        assert told.exit_code == 0, told.stderr


@pytest.fixture
def rehearsing(host: LocalHost, pair: PostgresPair) -> Iterator[PostgresRehearsing]:
    declared = {server.name: server.declared() for server in (pair.primary, pair.standby)}
    with made_workplace(None) as folder:
        made = PostgresRehearsing(host, folder, PostgresRehearsal, open_postgres, declared, PASSWORD)
        made.defaults = {"source": "primary", "settings": QUICK}
        yield made
        made.stop()


def _seen(server: PostgresServer) -> str:
    """Counters of what happened reach pg_stat_database a moment later: asked until they stand still."""
    found = ["", server.sql(SEEN)]

    def still() -> bool:
        found.append(server.sql(SEEN))
        return found[-1] == found[-2] == found[-3]

    wait_for(still, "the server does not come to rest")
    return found[-1]


@pytest.mark.parametrize("options", [{}, {"copy_from": "standby", "checkpoint": "spread", "temporary_slot": True}])
def test_a_failover_that_production_does_not_notice(
    pair: PostgresPair, rehearsing: Rehearsing, options: dict[str, Any]
) -> None:
    primary = pair.primary
    before = _seen(primary), _seen(pair.standby)
    rehearsal = rehearsing.rehearse(**options)
    assert not rehearsal.from_backup
    position = rehearsal.position()
    rehearsal.build(rehearsing.place)
    assert APPLICATION in primary.sql("SELECT application_name FROM pg_stat_replication")
    rehearsal.catch_up(position, 30)
    scratch = rehearsal.promote()
    assert scratch.session.query(COUNT) == [[100]]
    assert scratch.session.query("SELECT pg_is_in_recovery(), current_setting('primary_conninfo')") == [["f", ""]]
    assert rehearsing.host.run(["psql", "-XAtc", COUNT], timeout=20, env=scratch.environment).stdout == "100\n"
    written = rehearsing.host.run(["psql", "-XAtqc", "DELETE FROM students"], timeout=20, env=scratch.environment)
    assert written.exit_code == 0, written.stderr
    assert rehearsing.facts["timeline"] == 2
    assert rehearsing.facts["began_with"] == f"a copy of {options.get('copy_from', 'primary')}"
    assert scratch.integrity(60).problems == ()
    wait_for(
        lambda: APPLICATION not in primary.sql("SELECT application_name FROM pg_stat_replication"), "it still follows"
    )
    scratch.stop(10)
    rehearsal.abandon(10)
    assert (_seen(primary), _seen(pair.standby)) == before
    assert primary.sql(COUNT) == "100\n"


def test_what_is_written_while_it_is_built_comes_too(pair: PostgresPair, rehearsing: Rehearsing) -> None:
    primary = pair.primary
    rehearsal = rehearsing.rehearse()
    position = rehearsal.position()
    rehearsal.build(rehearsing.place)
    primary.sql("INSERT INTO students VALUES (101, 'late')")
    try:
        rehearsal.catch_up(position, 30)
        assert rehearsal.promote().session.query(COUNT) == [[101]]
    finally:
        primary.sql("DELETE FROM students WHERE n = 101")


def test_the_password_is_in_no_argument_and_in_no_file(rehearsing: Rehearsing) -> None:
    rehearsal = rehearsing.rehearse()
    rehearsal.build(rehearsing.place)
    seen = rehearsing.host.seen
    assert not any(PASSWORD in word for word in seen.words())
    assert not any(PASSWORD.encode() in data for data in (*seen.written.values(), *seen.inputs))
    assert any(PASSWORD in value for one in seen.environments for value in one.values())
    assert len(rehearsing.files()) > 100
    assert rehearsing.holds(PASSWORD) == []


def test_a_standby_that_receives_nothing_is_not_promoted(pair: PostgresPair, rehearsing: Rehearsing) -> None:
    """Even when it is as far as the source was: it was copied so far, and does not follow."""
    rehearsal = rehearsing.rehearse()
    position = rehearsal.position()
    rehearsal.build(rehearsing.place)
    primary = pair.primary
    primary.sql("ALTER ROLE drtests NOREPLICATION")
    try:
        primary.sql(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_replication WHERE application_name = '{APPLICATION}'"
        )
        with pytest.raises(DatabaseError) as caught:
            rehearsal.catch_up(position, 5)
        assert caught.value.mend
    finally:
        primary.sql("ALTER ROLE drtests REPLICATION")


def test_a_replay_that_stands_still(pair: PostgresPair, rehearsing: PostgresRehearsing) -> None:
    rehearsal = rehearsing.rehearse()
    rehearsal.build(rehearsing.place)
    rehearsing.tell("SELECT pg_wal_replay_pause()")
    pair.primary.sql("CREATE TABLE later (n int); DROP TABLE later")
    with pytest.raises(DatabaseError, match="and not at"):
        rehearsal.catch_up(rehearsal.position(), 1)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"user": "reader"}, DatabaseRefused, "copied"),
        ({"user": None}, DatabaseError, "as whom"),
        ({"port": 1}, DatabaseUnreachable, "does not answer"),
    ],
)
def test_who_may_not_replicate(
    rehearsing: Rehearsing, change: dict[str, Any], error: type[DrtestsError], match: str
) -> None:
    rehearsing.change("primary", **change)
    rehearsal = rehearsing.rehearse()
    with pytest.raises(error, match=match) as caught:
        rehearsal.build(rehearsing.place)
    assert caught.value.mend


def test_an_address_that_leads_elsewhere_from_the_staging(rehearsing: Rehearsing) -> None:
    """127.0.0.1 is another machine there."""
    elsewhere = RecordingHost(LocalHost(Declaration(id="elsewhere")))
    rehearsal = rehearsing.rehearse(lambda name: rehearsing.open(name, elsewhere))
    with pytest.raises(DatabaseError, match="on host elsewhere only"):
        rehearsal.build(rehearsing.place)


def test_production_would_rely_on_it(pair: PostgresPair, rehearsing: Rehearsing) -> None:
    primary = pair.primary
    rehearsal = rehearsing.rehearse()
    primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
    primary.sql("SELECT pg_reload_conf()")
    try:
        wait_for(lambda: primary.sql("SHOW synchronous_standby_names") == "*\n", "the setting is not there")
        with pytest.raises(SafetyError, match="synchronous"):
            rehearsal.build(rehearsing.place)
    finally:
        primary.sql("ALTER SYSTEM RESET synchronous_standby_names")
        primary.sql("SELECT pg_reload_conf()")
    assert not any(
        "pg_basebackup" in argv[0] or "pg_basebackup" in " ".join(argv) for argv in rehearsing.host.seen.argvs
    )


def test_it_is_not_PostgreSQL(rehearsing: Rehearsing) -> None:
    with pytest.raises(UsageError, match="no PostgreSQL"):
        rehearsing.rehearse(source="memory").position()
    with pytest.raises(UsageError, match="not built"):
        rehearsing.rehearse().promote()


def test_options_that_do_not_go_together() -> None:
    for options in ({"wal": "wal"}, {"path": "base", "copy_from": "standby"}, {"path": "a", "wal": "a/b"}):
        with pytest.raises(ValidationError):
            PostgresRehearsalSpec.model_validate({"source": "primary", **options})


@pytest.fixture(scope="module")
def base(pair: PostgresPair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A base backup of the primary, as an engine would have restored it."""
    primary = pair.primary
    out = primary.data.parent / "base"
    primary.program("pg_basebackup", *primary.login()[:3], "--checkpoint=fast", "--no-sync", f"-D{out}")
    yield out
    shutil.rmtree(out)


def _begin(rehearsing: Rehearsing, base: Path, change: Callable[[Path], object] = lambda _: None) -> Rehearsal:
    target = Path(rehearsing.place.root, "base")
    subprocess.run(["cp", "-a", str(base), str(target)], check=True)
    change(target)
    rehearsal = rehearsing.rehearse(path="base")
    assert rehearsal.from_backup
    return rehearsal


def test_it_begins_with_a_backup(pair: PostgresPair, rehearsing: Rehearsing, base: Path) -> None:
    pair.primary.sql("INSERT INTO students VALUES (102, 'after the backup')")
    try:
        rehearsal = _begin(rehearsing, base)
        position = rehearsal.position()
        rehearsal.build(rehearsing.place)
        rehearsal.catch_up(position, 30)
        assert rehearsal.promote().session.query(COUNT) == [[101]]
    finally:
        pair.primary.sql("DELETE FROM students WHERE n = 102")


def test_a_backup_that_is_damaged(rehearsing: Rehearsing, base: Path) -> None:
    rehearsal = _begin(rehearsing, base, lambda target: (target / "global" / "pg_control").unlink())
    with pytest.raises(DatabaseDamaged):
        rehearsal.build(rehearsing.place)


def test_a_backup_of_another_server(pair: PostgresPair, rehearsing: Rehearsing, base: Path) -> None:
    other = pair.primary.data.parent / "other"
    pair.primary.program("initdb", "--no-sync", "--auth=trust", "--username=postgres", f"--pgdata={other}")
    try:
        rehearsal = _begin(rehearsing, other)
        with pytest.raises(DatabaseError, match="of another server"):
            rehearsal.build(rehearsing.place)
    finally:
        shutil.rmtree(other)
