"""PostgreSQL logical replication between real servers: what must be seen, and what must not look like lag or none."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import ValidationError

from drtests.errors import DatabaseRefused, DatabaseUnreachable
from drtests.model.connections import LiveDatabase
from drtests.protocols.database import Live
from drtests.replications import postgres_logical
from drtests.replications.postgres_logical import PostgresLogical, PostgresLogicalSpec
from tests.support.lagging import lags_since
from tests.support.living import LivingReach
from tests.support.postgres import PASSWORD
from tests.support.postgres_logical import CONNINFO_PASSWORD, DATABASE, LogicalPair
from tests.support.servers import wait_for

Build = Callable[..., PostgresLogical]
MARKERS = {"marker_table": "drtests.marker"}


@dataclass(slots=True)
class Opened(LivingReach):
    """Opens each database once, so that its programs are looked for once."""

    lives: dict[tuple[Any, ...], Live] = field(default_factory=dict)

    def live(self, database_id: str, *, writable: bool = False) -> Live:
        key = (self.databases[database_id][0].model_dump_json(), writable)
        if key not in self.lives:
            # The class has slots, and so is another one than `super()` knows.
            self.lives[key] = LivingReach.live(self, database_id, writable=writable)
        return self.lives[key]


LIVES: dict[tuple[Any, ...], Live] = {}


def build_of(source: LiveDatabase, replica: LiveDatabase, **options: Any) -> PostgresLogical:
    reach = Opened({"source": (source, PASSWORD), "replica": (replica, PASSWORD)}, LIVES)
    return PostgresLogical(PostgresLogicalSpec(source="source", replica="replica", **options), reach)


@pytest.fixture
def build(logical_pair: LogicalPair) -> Build:
    def made(user: str = "drtests", timeout: str = "5s", database: str = DATABASE, **options: Any) -> PostgresLogical:
        source = logical_pair.publisher.declared(id="source", user=user, database=DATABASE, timeout="5s")
        replica = logical_pair.subscriber.declared(id="replica", user=user, database=database, timeout=timeout)
        return build_of(source, replica, **options)

    return made


@pytest.fixture
def pair(logical_pair: LogicalPair) -> Iterator[LogicalPair]:
    """In which tests change nothing but rows."""
    logical_pair.clean()
    yield logical_pair
    logical_pair.clean()


@pytest.fixture
def spoilt(logical_pair: LogicalPair) -> Iterator[LogicalPair]:
    """For tests that break the subscription: it is made anew."""
    logical_pair.clean()
    yield logical_pair
    logical_pair.unsubscribe()
    logical_pair.replica("TRUNCATE lessons, drtests.marker")
    logical_pair.source("DELETE FROM lessons; DELETE FROM drtests.marker")
    logical_pair.subscribe()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What passes by itself passes sooner here: workers are started again at once."""
    monkeypatch.setattr(postgres_logical, "_BETWEEN", 0.1)


def sound(replication: PostgresLogical) -> None:
    identity = replication.identify()
    assert identity.problems == (), identity


def one_of(problems: Sequence[str], *wanted: str) -> None:
    for words in wanted:
        assert any(words in problem for problem in problems), problems


def test_identity(build: Build, pair: LogicalPair) -> None:
    identity = build().identify()
    assert identity.problems == ()
    assert identity.facts["subscription"] == {"name": "app", "enabled": True, "slot": "app"}
    assert identity.facts["slot"]["used by"] == "app socket streaming"
    assert identity.facts["replica"]["accepts writes"] is True
    assert identity.facts["tables"] == {"published": 2, "of": 2, "no longer published": []}
    assert CONNINFO_PASSWORD not in repr(identity)
    assert CONNINFO_PASSWORD in pair.replica("SELECT subconninfo FROM pg_subscription")
    sound(build(user="reader", subscription="app"))


def test_which_subscription_it_is(build: Build, pair: LogicalPair) -> None:
    one_of(build(subscription="other").identify().problems, "no subscription 'other'; it has app")
    one_of(build(database="postgres").identify().problems, "no subscription: it follows nobody")
    pair.replica("CREATE SUBSCRIPTION second CONNECTION 'dbname=nosuch' PUBLICATION p WITH (connect = false)")
    try:
        # One that is not enabled is in nobody's way.
        sound(build())
        pair.replica("ALTER SUBSCRIPTION second ENABLE")
        replication = build()
        one_of(replication.identify().problems, "several subscriptions (app, second)")
        assert replication.behind().seconds is None
        with pytest.raises(DatabaseRefused, match="which subscription"):
            build(**MARKERS).begin()
        assert [seen.same for seen in build(compare=[{"table": "lessons"}]).compare()] == [None]
        sound(build(subscription="app"))
        one_of(build(subscription="second").identify().problems, "no replication slot 'second'", "no publication 'p'")
    finally:
        pair.replica("ALTER SUBSCRIPTION second DISABLE; ALTER SUBSCRIPTION second SET (slot_name = NONE)")
        pair.replica("DROP SUBSCRIPTION second")


def test_an_idle_source_is_no_lag_whatever_else_is_written_there(build: Build, pair: LogicalPair) -> None:
    replication = build()
    replication.behind()
    pair.source("CREATE TABLE unpublished (n int)")
    try:
        for number in range(4):
            # Some of it in another database, and all of it not published.
            pair.source("INSERT INTO unpublished SELECT generate_series(1, 1000)")
            pair.publisher.sql(f"CREATE TABLE other_{number} AS SELECT 1; DROP TABLE other_{number}")
            wait_for(lambda: replication.behind().bytes == 0, "other log looks like lag")
            behind = replication.behind()
            assert (behind.seconds, behind.basis) == (0, "measured")
    finally:
        pair.source("DROP TABLE unpublished")


def test_apply_that_is_held_up_is_lag(build: Build, pair: LogicalPair) -> None:
    replication = build()
    with pair.held_up():
        wait_for(lambda: replication.behind().seconds == 0, "it is behind")
        looked = time.monotonic()
        assert replication.behind().seconds == 0
        pair.source("INSERT INTO lessons VALUES (0, 'the first to be missing')")
        lost = time.monotonic()
        for number in range(1, 6):
            pair.source(f"INSERT INTO lessons SELECT n, md5(n::text) FROM generate_series({number}00, {number}99) AS n")
            behind = lags_since(replication, looked, lost)
            time.sleep(0.3)
        assert behind.bytes is not None
        assert behind.bytes > 10_000
    pair.settle()
    assert replication.behind().seconds == 0


def test_markers_arrive_and_leave_no_trace(build: Build, pair: LogicalPair) -> None:
    one, other = build(**MARKERS), build(**MARKERS)
    one.begin()
    other.begin()
    one.mark(7)
    for number in (1, 2, 3):
        other.mark(number)
        wait_for(lambda number=number: other.newest() == number, "the marker does not arrive")  # type: ignore[misc]
    one.end()
    one.end()
    wait_for(lambda: pair.replica("SELECT count(*) FROM drtests.marker") == "3\n", "only its own are removed")
    other.end()
    pair.settle()
    assert pair.replica("SELECT count(*) FROM drtests.marker") == "0\n"
    assert other.newest() is None


def test_markers_show_apply_that_is_held_up(build: Build, pair: LogicalPair) -> None:
    replication = build(**MARKERS)
    replication.begin()
    replication.mark(1)
    wait_for(lambda: replication.newest() == 1, "the marker does not arrive")
    with pair.held_up():
        pair.source("INSERT INTO lessons VALUES (1)")
        replication.mark(2)
        time.sleep(0.5)
        assert replication.newest() == 1
    wait_for(lambda: replication.newest() == 2, "the marker does not arrive")
    replication.end()


def test_what_a_killed_drill_left_is_removed_after_a_day(build: Build, pair: LogicalPair) -> None:
    old, new = (f"{int(time.time()) - age}_0123abcd" for age in (90_000, 60))
    pair.source(f"INSERT INTO drtests.marker VALUES ('{old}', 1), ('{new}', 1), ('not ours', 1)")
    replication = build(**MARKERS)
    replication.begin()
    replication.end()
    left = pair.source("SELECT run FROM drtests.marker ORDER BY run")
    assert left.split("\n")[:-1] == [new, "not ours"]


def test_markers_that_cannot_be_seen_are_refused(build: Build, spoilt: LogicalPair) -> None:
    def refused(told: str, **options: Any) -> None:
        replication = build(**{**MARKERS, **options})
        with pytest.raises(DatabaseRefused, match=told) as caught:
            replication.begin()
        assert "replication.md" in caught.value.mend
        replication.end()

    refused("no `marker_table` is declared", marker_table=None)
    refused("no table drtests.nosuch", marker_table="drtests.nosuch")
    refused("columns run and number", marker_table="lessons")
    refused("GRANT INSERT", user="reader")
    spoilt.source("ALTER TABLE drtests.marker REPLICA IDENTITY NOTHING")
    refused("as its primary key")
    spoilt.source("ALTER TABLE drtests.marker REPLICA IDENTITY DEFAULT")
    spoilt.source("ALTER PUBLICATION app SET (publish = 'insert, update, truncate')")
    refused("without its inserts or deletes")
    spoilt.source("ALTER PUBLICATION app SET (publish = 'insert, update, delete, truncate')")
    spoilt.source("ALTER PUBLICATION app SET TABLE lessons, drtests.marker WHERE (number > 5)")
    refused("is not in the publication")
    spoilt.source("ALTER PUBLICATION app DROP TABLE drtests.marker")
    refused("is not in the publication")
    spoilt.source("ALTER PUBLICATION app ADD TABLE drtests.marker")
    spoilt.replica("ALTER TABLE drtests.marker RENAME TO elsewhere")
    refused("create it at the replica")
    spoilt.replica("ALTER TABLE drtests.elsewhere RENAME TO marker")
    replication = build(**MARKERS)
    replication.begin()
    replication.end()


def test_a_publication_of_all_tables(build: Build, spoilt: LogicalPair) -> None:
    """The table is published by itself; that the replica has it, and knows of it, is not."""
    spoilt.unsubscribe()
    spoilt.source("DROP PUBLICATION app; CREATE PUBLICATION app FOR ALL TABLES")
    try:
        spoilt.subscribe()
        spoilt.source("CREATE TABLE drtests.later (run text, number bigint, PRIMARY KEY (run, number))")
        with pytest.raises(DatabaseRefused, match="REFRESH PUBLICATION"):
            build(marker_table="drtests.later").begin()
        # Nobody else would see that a new table is not replicated.
        one_of(build().identify().problems, "not in the subscription until it is refreshed: drtests.later")
        spoilt.source("DROP TABLE drtests.later")
        sound(build())
        replication = build(**MARKERS)
        replication.begin()
        replication.mark(1)
        wait_for(lambda: replication.newest() == 1, "the marker does not arrive")
        replication.end()
    finally:
        spoilt.source("DROP TABLE IF EXISTS drtests.later; DROP PUBLICATION app")
        spoilt.source("CREATE PUBLICATION app FOR TABLE lessons, drtests.marker")


def test_a_source_that_refuses_writes_is_asked_for_positions(build: Build, pair: LogicalPair) -> None:
    replication = build(user="reader", **MARKERS)
    with pytest.raises(DatabaseRefused):
        replication.begin()
    replication.end()
    wait_for(lambda: replication.behind().seconds == 0, "positions are not told")


def test_a_commit_does_not_wait_for_a_replica_that_is_gone(build: Build, pair: LogicalPair) -> None:
    pair.publisher.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'; SELECT pg_reload_conf()")
    try:
        wait_for(lambda: pair.source("SHOW synchronous_standby_names") == "nobody\n", "not reloaded")
        replication = build(**MARKERS)
        replication.begin()
        replication.mark(1)
        replication.end()
    finally:
        pair.publisher.sql("ALTER SYSTEM RESET synchronous_standby_names; SELECT pg_reload_conf()")
        wait_for(lambda: pair.source("SHOW synchronous_standby_names") == "\n", "not reloaded")


def test_a_subscription_that_is_disabled(build: Build, spoilt: LogicalPair) -> None:
    replication = build()
    looked = time.monotonic()
    wait_for(lambda: replication.behind().seconds == 0, "it is behind")
    spoilt.replica("ALTER SUBSCRIPTION app DISABLE")
    asked = "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'app' AND active"
    wait_for(lambda: spoilt.source(asked) == "0\n", "the slot stays in use")
    one_of(build().identify().problems, "is disabled", "'app' at the source is not in use")
    spoilt.source("INSERT INTO lessons VALUES (1)")
    lost = time.monotonic()
    for _ in range(2):
        time.sleep(0.3)
        assert lags_since(replication, looked, lost).bytes
    # Someone who looks for the first time does not know since when.
    assert build().behind().seconds is None


def test_changes_that_cannot_be_applied(build: Build, spoilt: LogicalPair) -> None:
    """The worker dies of it, and is started again for ever."""
    replication = build()
    sound(replication)
    looked = time.monotonic()
    wait_for(lambda: replication.behind().seconds == 0, "it is behind")
    spoilt.replica("INSERT INTO lessons VALUES (1, 'of the replica itself')")
    spoilt.source("INSERT INTO lessons VALUES (1, 'of the source')")
    lost = time.monotonic()
    failed = "SELECT apply_error_count > 1 FROM pg_stat_subscription_stats"
    wait_for(lambda: spoilt.replica(failed) == "t\n", "it does not fail")
    one_of(build().identify().problems, "again")
    lags_since(replication, looked, lost)
    [*_, seen] = replication.compare()
    assert (seen.what, seen.same) == ("applying changes", False)
    # Those that are over are told, and no problem.
    spoilt.replica("DELETE FROM lessons")
    spoilt.settle()
    identity = build().identify()
    assert identity.problems == ()
    assert identity.facts["worker"]["errors"] > 1


def test_slots(build: Build, spoilt: LogicalPair) -> None:
    spoilt.replica("ALTER SUBSCRIPTION app DISABLE")
    spoilt.replica("ALTER SUBSCRIPTION app SET (slot_name = NONE)")
    one_of(build().identify().problems, "uses no replication slot")
    spoilt.replica("ALTER SUBSCRIPTION app SET (slot_name = 'gone')")
    spoilt.replica("ALTER SUBSCRIPTION app ENABLE")
    replication = build()
    one_of(replication.identify().problems, "no replication slot 'gone'", "does not run")
    assert replication.behind().seconds is None
    # One of another database, and one that is none of logical replication.
    spoilt.publisher.sql("SELECT pg_create_logical_replication_slot('elsewhere', 'pgoutput')")
    spoilt.publisher.sql("SELECT pg_create_physical_replication_slot('physical')")
    try:
        spoilt.replica("ALTER SUBSCRIPTION app DISABLE")
        for slot, told in (("elsewhere", "of database postgres"), ("physical", "is physical")):
            spoilt.replica(f"ALTER SUBSCRIPTION app SET (slot_name = '{slot}')")
            one_of(build().identify().problems, told)
    finally:
        for slot in ("elsewhere", "physical"):
            spoilt.publisher.sql(f"SELECT pg_drop_replication_slot('{slot}')")


def test_log_that_the_source_has_dropped(build: Build, spoilt: LogicalPair) -> None:
    spoilt.replica("ALTER SUBSCRIPTION app DISABLE")
    spoilt.publisher.sql("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'; SELECT pg_reload_conf()")
    try:
        for _ in range(3):
            spoilt.publisher.sql("SELECT pg_switch_wal(); CHECKPOINT")
        lost = "SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'app'"
        wait_for(lambda: spoilt.publisher.sql(lost) == "lost\n", "it is kept")
        one_of(build().identify().problems, "drops log that the slot 'app' still needs")
    finally:
        spoilt.publisher.sql("ALTER SYSTEM RESET max_slot_wal_keep_size; SELECT pg_reload_conf()")


def test_a_first_copy_that_does_not_end(build: Build, spoilt: LogicalPair) -> None:
    spoilt.unsubscribe()
    spoilt.source("INSERT INTO lessons VALUES (1)")
    spoilt.replica("INSERT INTO lessons VALUES (1)")
    spoilt.replica(f"CREATE SUBSCRIPTION app CONNECTION '{spoilt.conninfo}' PUBLICATION app")
    replication = build(**MARKERS)
    one_of(replication.identify().problems, "not copied for the first time yet: lessons")
    assert replication.behind().seconds is None


def test_what_is_published(build: Build, spoilt: LogicalPair) -> None:
    spoilt.source("ALTER PUBLICATION app SET (publish = 'insert')")
    one_of(build().identify().problems, "leaves out update, delete, truncate")
    sound(build(partial=True))
    spoilt.source("ALTER PUBLICATION app SET (publish = 'insert, update, delete, truncate')")
    spoilt.source("ALTER PUBLICATION app SET TABLE lessons WHERE (n > 5), drtests.marker")
    one_of(build().identify().problems, "only some rows are published of public.lessons")
    [seen] = build(compare=[{"table": "lessons"}]).compare()
    assert (seen.same, seen.detail) == (None, "only some of its rows are published")
    spoilt.source("ALTER PUBLICATION app SET TABLE drtests.marker")
    identity = build().identify()
    assert identity.facts["tables"]["no longer published"] == ["public.lessons"]
    spoilt.source("ALTER PUBLICATION app DROP TABLE drtests.marker")
    one_of(build().identify().problems, "nothing is published")
    spoilt.source("ALTER PUBLICATION app RENAME TO another")
    one_of(build().identify().problems, "no publication 'app'")
    spoilt.source("DROP PUBLICATION another; CREATE PUBLICATION app FOR TABLE lessons, drtests.marker")


def test_a_replica_that_is_down_or_stands_still(build: Build, pair: LogicalPair) -> None:
    assert pair.subscriber.process is not None
    replication = build(timeout="0.5s", **MARKERS)
    with pair.subscriber.process.paused(), pytest.raises(DatabaseUnreachable):
        replication.behind()
    pair.subscriber.stop()
    try:
        for ask in (replication.behind, replication.newest, replication.identify):
            with pytest.raises(DatabaseUnreachable):
                ask()
        # The drill goes on by looks, which tell who is silent.
        with pytest.raises(DatabaseRefused, match="cannot be asked"):
            replication.begin()
    finally:
        pair.subscriber.start()
    wait_for(lambda: build().identify().problems == (), "it does not go on")


def test_another_source_with_a_slot_of_that_name(pair: LogicalPair) -> None:
    """All names fit: the slot is there, it is in use, the publication is there. Only positions do not."""
    subscriber = pair.subscriber
    subscriber.sql("CREATE DATABASE third", "postgres")
    try:
        pair.replica("CREATE PUBLICATION app FOR TABLE lessons, drtests.marker")
        pair.replica("SELECT pg_create_logical_replication_slot('app', 'pgoutput')")
        subscriber.sql("CREATE TABLE lessons (n int PRIMARY KEY, title text); CREATE SCHEMA drtests", "third")
        subscriber.sql(
            "CREATE TABLE drtests.marker (run text, number bigint, PRIMARY KEY (run, number));"
            f"CREATE SUBSCRIPTION app CONNECTION 'host={subscriber.socket} port={subscriber.port} user=postgres"
            f" dbname={DATABASE}' PUBLICATION app WITH (create_slot = false)",
            "third",
        )
        ready = "SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel"
        wait_for(lambda: subscriber.sql(ready, "third") == "t\n", "not copied")
        here = pair.publisher.declared(database=DATABASE)
        there = subscriber.declared(database=DATABASE)
        third = subscriber.declared(database="third")
        stray = build_of(here, third)
        one_of(stray.identify().problems, "it follows another source")
        assert stray.behind().seconds is None
        # It is another database of the same server, which is no place for a replica.
        assert build_of(there, third).identify().problems == (
            "source and replica are on one and the same server: what ends the one ends the other",
        )
    finally:
        subscriber.sql("ALTER SUBSCRIPTION app DISABLE", "third")
        subscriber.sql("ALTER SUBSCRIPTION app SET (slot_name = NONE)", "third")
        subscriber.sql("DROP SUBSCRIPTION app", "third")
        slots = "FROM pg_replication_slots WHERE NOT active"
        wait_for(lambda: subscriber.sql(f"SELECT count(*) {slots}") == "1\n", "a slot stays in use")
        subscriber.sql(f"SELECT pg_drop_replication_slot(slot_name) {slots}")
        pair.replica("DROP PUBLICATION app")
        subscriber.sql("DROP DATABASE third WITH (FORCE)")


def test_two_names_for_one_database(pair: LogicalPair) -> None:
    with pytest.raises(ValidationError, match="the same"):
        PostgresLogicalSpec(source="one", replica="one")
    one = pair.subscriber.declared(database=DATABASE)
    other = pair.subscriber.declared(address="localhost", database=DATABASE)
    one_of(build_of(one, other).identify().problems, "one and the same database")


def test_tables_are_compared(build: Build, spoilt: LogicalPair) -> None:
    tables = [{"table": "lessons"}, {"table": "lessons", "method": "checksum"}]
    spoilt.source("INSERT INTO lessons SELECT n, md5(n::text) FROM generate_series(1, 500) AS n")
    assert [seen.same for seen in build(compare=tables).compare()] == [True, True]
    # More columns, in another order, are the replica's own business; so are its settings.
    spoilt.source("ALTER TABLE lessons ADD at timestamptz DEFAULT now()")
    spoilt.replica("ALTER TABLE lessons ADD more int DEFAULT 7, ADD at timestamptz")
    spoilt.replica(f"ALTER DATABASE {DATABASE} SET timezone = 'Asia/Tokyo'")
    try:
        spoilt.source("UPDATE lessons SET at = at")
        assert [seen.same for seen in build(compare=tables).compare()] == [True, True]
        spoilt.replica("UPDATE lessons SET title = 'x' WHERE n = 7")
        assert [seen.same for seen in build(compare=tables).compare()] == [True, False]
        spoilt.replica("INSERT INTO lessons VALUES (1000)")
        assert [seen.same for seen in build(compare=tables).compare()] == [False, False]
    finally:
        spoilt.replica(f"ALTER DATABASE {DATABASE} RESET timezone")
        spoilt.replica("ALTER TABLE lessons DROP more, DROP at")
        spoilt.source("ALTER TABLE lessons DROP at")


def test_tables_that_are_not_replicated_cannot_be_the_same(build: Build, spoilt: LogicalPair) -> None:
    spoilt.source("CREATE TABLE grades (n int)")
    spoilt.replica("CREATE TABLE grades (n int)")
    tables = [{"table": "grades"}, {"table": "nosuch"}]
    try:
        not_published, nosuch = build(compare=tables).compare()
        assert (not_published.same, not_published.detail) == (False, "is not published, and so not replicated")
        assert (nosuch.same, nosuch.detail) == (None, "the source has no such table")
        spoilt.source("ALTER PUBLICATION app ADD TABLE grades")
        [not_known, _] = build(compare=tables).compare()
        assert (not_known.same, not_known.detail) == (False, "is published, and the subscription does not know it")
        spoilt.replica("ALTER SUBSCRIPTION app REFRESH PUBLICATION")
        spoilt.settle()
        assert [seen.same for seen in build(compare=tables).compare()] == [True, None]
    finally:
        spoilt.source("DROP TABLE grades")
        spoilt.replica("DROP TABLE grades")


@pytest.mark.parametrize("by_root", ["true", "false"])
def test_partitions(build: Build, spoilt: LogicalPair, by_root: str) -> None:
    """By their root or one by one: what is in them is compared."""
    make = "CREATE TABLE marks (n int PRIMARY KEY) PARTITION BY RANGE (n);" + "".join(
        f"CREATE TABLE marks_{n} PARTITION OF marks FOR VALUES FROM ({n}0) TO ({n + 1}0);" for n in (0, 1)
    )
    for made in (spoilt.source, spoilt.replica):
        made(make)
    try:
        spoilt.source(
            f"ALTER PUBLICATION app ADD TABLE marks; ALTER PUBLICATION app SET (publish_via_partition_root = {by_root})"
        )
        spoilt.source("INSERT INTO marks SELECT generate_series(0, 19)")
        spoilt.replica("ALTER SUBSCRIPTION app REFRESH PUBLICATION")
        spoilt.settle()
        sound(build())
        replication = build(compare=[{"table": "marks", "method": "checksum"}])
        assert [seen.same for seen in replication.compare()] == [True]
        spoilt.replica("DELETE FROM marks WHERE n = 5")
        assert [seen.same for seen in replication.compare()] == [False]
    finally:
        spoilt.source("DROP TABLE marks; ALTER PUBLICATION app SET (publish_via_partition_root = false)")
        spoilt.replica("DROP TABLE marks")


def test_clocks_of_one_machine_agree(build: Build) -> None:
    skew = build().skew()
    assert skew is not None
    assert abs(skew.seconds) <= skew.uncertainty + 0.05
