"""PostgreSQL logical replication between real servers: what must be seen, and what must not look like lag or none."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Sequence

import pytest
from pydantic import ValidationError

from drtests.errors import DatabaseRefused, DatabaseUnreachable
from drtests.protocols.database import Live
from drtests.replications import postgres_subscription as asked
from drtests.replications.postgres_logical import PostgresLogicalSpec
from tests.support.lagging import lags_since
from tests.support.postgres_logical import (
    CONNINFO_PASSWORD,
    DATABASE,
    MARKERS,
    Build,
    LogicalPair,
    build_of,
    one_of,
    sound,
)
from tests.support.servers import wait_for


def test_identity(logical_build: Build, applying: LogicalPair) -> None:
    identity = logical_build().identify()
    assert identity.problems == ()
    assert identity.facts["subscription"] == {"name": "app", "enabled": True, "slot": "app"}
    assert identity.facts["slot"]["used by"] == "app socket streaming"
    assert identity.facts["replica"]["accepts writes"] is True
    assert identity.facts["tables"] == {"published": 2, "of": 2, "no longer published": []}
    assert CONNINFO_PASSWORD not in repr(identity)
    assert CONNINFO_PASSWORD in applying.replica("SELECT subconninfo FROM pg_subscription")
    sound(logical_build(user="reader", subscription="app"))


def test_which_subscription_it_is(logical_build: Build, applying: LogicalPair) -> None:
    one_of(logical_build(subscription="other").identify().problems, "no subscription 'other'; it has app")
    one_of(logical_build(database="postgres").identify().problems, "no subscription: it follows nobody")
    applying.replica("CREATE SUBSCRIPTION second CONNECTION 'dbname=nosuch' PUBLICATION p WITH (connect = false)")
    try:
        # One that is not enabled is in nobody's way.
        sound(logical_build())
        applying.replica("ALTER SUBSCRIPTION second ENABLE")
        replication = logical_build()
        one_of(replication.identify().problems, "several subscriptions (app, second)")
        assert replication.behind().seconds is None
        with pytest.raises(DatabaseRefused, match="which subscription"):
            logical_build(**MARKERS).begin()
        assert [seen.same for seen in logical_build(compare=[{"table": "lessons"}]).compare()] == [None]
        sound(logical_build(subscription="app"))
        one_of(
            logical_build(subscription="second").identify().problems,
            "no replication slot 'second'",
            "no publication 'p'",
        )
    finally:
        applying.replica("ALTER SUBSCRIPTION second DISABLE; ALTER SUBSCRIPTION second SET (slot_name = NONE)")
        applying.replica("DROP SUBSCRIPTION second")


def test_an_idle_source_is_no_lag_whatever_else_is_written_there(logical_build: Build, applying: LogicalPair) -> None:
    replication = logical_build()
    replication.behind()
    applying.source("CREATE TABLE unpublished (n int)")
    try:
        for number in range(4):
            # Some of it in another database, and all of it not published.
            applying.source("INSERT INTO unpublished SELECT generate_series(1, 1000)")
            applying.publisher.sql(f"CREATE TABLE other_{number} AS SELECT 1; DROP TABLE other_{number}")
            wait_for(lambda: replication.behind().bytes == 0, "other log looks like lag")
            behind = replication.behind()
            assert (behind.seconds, behind.basis) == (0, "measured")
    finally:
        applying.source("DROP TABLE unpublished")


def test_apply_that_is_held_up_is_lag(logical_build: Build, applying: LogicalPair) -> None:
    replication = logical_build()
    with applying.held_up():
        wait_for(lambda: replication.behind().seconds == 0, "it is behind")
        looked = time.monotonic()
        assert replication.behind().seconds == 0
        applying.source("INSERT INTO lessons VALUES (0, 'the first to be missing')")
        lost = time.monotonic()
        for number in range(1, 6):
            applying.source(
                f"INSERT INTO lessons SELECT n, md5(n::text) FROM generate_series({number}00, {number}99) AS n"
            )
            behind = lags_since(replication, looked, lost)
            time.sleep(0.3)
        assert behind.bytes is not None
        assert behind.bytes > 10_000
    applying.settle()
    assert replication.behind().seconds == 0


def test_a_subscription_that_is_disabled(logical_build: Build, spoilt: LogicalPair) -> None:
    replication = logical_build()
    looked = time.monotonic()
    wait_for(lambda: replication.behind().seconds == 0, "it is behind")
    spoilt.replica("ALTER SUBSCRIPTION app DISABLE")
    asked = "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'app' AND active"
    wait_for(lambda: spoilt.source(asked) == "0\n", "the slot stays in use")
    one_of(logical_build().identify().problems, "is disabled", "'app' at the source is not in use")
    spoilt.source("INSERT INTO lessons VALUES (1)")
    lost = time.monotonic()
    for _ in range(2):
        time.sleep(0.3)
        assert lags_since(replication, looked, lost).bytes
    # Someone who looks for the first time does not know since when.
    assert logical_build().behind().seconds is None


def test_changes_that_cannot_be_applied(logical_build: Build, spoilt: LogicalPair) -> None:
    """The worker dies of it, and is started again for ever."""
    replication = logical_build()
    sound(replication)
    looked = time.monotonic()
    wait_for(lambda: replication.behind().seconds == 0, "it is behind")
    spoilt.replica("INSERT INTO lessons VALUES (1, 'of the replica itself')")
    spoilt.source("INSERT INTO lessons VALUES (1, 'of the source')")
    lost = time.monotonic()
    failed = "SELECT apply_error_count > 1 FROM pg_stat_subscription_stats"
    wait_for(lambda: spoilt.replica(failed) == "t\n", "it does not fail")
    one_of(logical_build().identify().problems, "again")
    lags_since(replication, looked, lost)
    [*_, seen] = replication.compare()
    assert (seen.what, seen.same) == ("applying changes", False)
    # Those that are over are told, and no problem.
    spoilt.replica("DELETE FROM lessons")
    spoilt.settle()
    identity = logical_build().identify()
    assert identity.problems == ()
    assert identity.facts["worker"]["errors"] > 1


def test_a_worker_that_is_another_at_each_look(
    logical_build: Build, applying: LogicalPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may well run whenever it is looked at. A stand-in tells so, since chance would have to."""
    real, workers = asked.subscriptions, itertools.count(1)

    def told(replica: Live) -> Sequence[asked.Subscription]:
        return [dataclasses.replace(one, worker=next(workers)) for one in real(replica)]

    monkeypatch.setattr(asked, "subscriptions", told)
    monkeypatch.setattr(asked, "errors", lambda _replica, _subscription: (7, 0))
    one_of(logical_build().identify().problems, "ends and begins anew, again and again")
    monkeypatch.setattr(asked, "errors", lambda _replica, _subscription: (0, 0))
    sound(logical_build())


def test_slots(logical_build: Build, spoilt: LogicalPair) -> None:
    spoilt.replica("ALTER SUBSCRIPTION app DISABLE")
    spoilt.replica("ALTER SUBSCRIPTION app SET (slot_name = NONE)")
    one_of(logical_build().identify().problems, "uses no replication slot")
    spoilt.replica("ALTER SUBSCRIPTION app SET (slot_name = 'gone')")
    spoilt.replica("ALTER SUBSCRIPTION app ENABLE")
    replication = logical_build()
    one_of(replication.identify().problems, "no replication slot 'gone'", "does not run")
    assert replication.behind().seconds is None
    # One of another database, and one that is none of logical replication.
    spoilt.publisher.sql("SELECT pg_create_logical_replication_slot('elsewhere', 'pgoutput')")
    spoilt.publisher.sql("SELECT pg_create_physical_replication_slot('physical')")
    try:
        spoilt.replica("ALTER SUBSCRIPTION app DISABLE")
        for slot, told in (("elsewhere", "of database postgres"), ("physical", "is physical")):
            spoilt.replica(f"ALTER SUBSCRIPTION app SET (slot_name = '{slot}')")
            one_of(logical_build().identify().problems, told)
    finally:
        for slot in ("elsewhere", "physical"):
            spoilt.publisher.sql(f"SELECT pg_drop_replication_slot('{slot}')")


def test_log_that_the_source_has_dropped(logical_build: Build, spoilt: LogicalPair) -> None:
    spoilt.replica("ALTER SUBSCRIPTION app DISABLE")
    spoilt.publisher.sql("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'; SELECT pg_reload_conf()")
    try:
        for _ in range(3):
            spoilt.publisher.sql("SELECT pg_switch_wal(); CHECKPOINT")
        lost = "SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'app'"
        wait_for(lambda: spoilt.publisher.sql(lost) == "lost\n", "it is kept")
        one_of(logical_build().identify().problems, "drops log that the slot 'app' still needs")
    finally:
        spoilt.publisher.sql("ALTER SYSTEM RESET max_slot_wal_keep_size; SELECT pg_reload_conf()")


def test_a_first_copy_that_does_not_end(logical_build: Build, spoilt: LogicalPair) -> None:
    spoilt.unsubscribe()
    spoilt.source("INSERT INTO lessons VALUES (1)")
    spoilt.replica("INSERT INTO lessons VALUES (1)")
    spoilt.replica(f"CREATE SUBSCRIPTION app CONNECTION '{spoilt.conninfo}' PUBLICATION app")
    replication = logical_build(**MARKERS)
    one_of(replication.identify().problems, "not copied for the first time yet: lessons")
    assert replication.behind().seconds is None


def test_a_replica_that_is_down_or_stands_still(logical_build: Build, applying: LogicalPair) -> None:
    assert applying.subscriber.process is not None
    replication = logical_build(timeout="0.5s", **MARKERS)
    with applying.subscriber.process.paused(), pytest.raises(DatabaseUnreachable):
        replication.behind()
    applying.subscriber.stop()
    try:
        for ask in (replication.behind, replication.newest, replication.identify):
            with pytest.raises(DatabaseUnreachable):
                ask()
        # The drill goes on by looks, which tell who is silent.
        with pytest.raises(DatabaseRefused, match="cannot be asked"):
            replication.begin()
    finally:
        applying.subscriber.start()
    wait_for(lambda: logical_build().identify().problems == (), "it does not go on")


def test_another_source_with_a_slot_of_that_name(applying: LogicalPair) -> None:
    """All names fit: the slot is there, it is in use, the publication is there. Only positions do not."""
    subscriber = applying.subscriber
    subscriber.sql("CREATE DATABASE third", "postgres")
    try:
        applying.replica("CREATE PUBLICATION app FOR TABLE lessons, drtests.marker")
        applying.replica("SELECT pg_create_logical_replication_slot('app', 'pgoutput')")
        subscriber.sql("CREATE TABLE lessons (n int PRIMARY KEY, title text); CREATE SCHEMA drtests", "third")
        subscriber.sql(
            "CREATE TABLE drtests.marker (run text, number bigint, PRIMARY KEY (run, number));"
            f"CREATE SUBSCRIPTION app CONNECTION 'host={subscriber.socket} port={subscriber.port} user=postgres"
            f" dbname={DATABASE}' PUBLICATION app WITH (create_slot = false)",
            "third",
        )
        ready = "SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel"
        wait_for(lambda: subscriber.sql(ready, "third") == "t\n", "not copied")
        here = applying.publisher.declared(database=DATABASE)
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
        applying.replica("DROP PUBLICATION app")
        subscriber.sql("DROP DATABASE third WITH (FORCE)")


def test_two_names_for_one_database(applying: LogicalPair) -> None:
    with pytest.raises(ValidationError, match="the same"):
        PostgresLogicalSpec(source="one", replica="one")
    one = applying.subscriber.declared(database=DATABASE)
    other = applying.subscriber.declared(address="localhost", database=DATABASE)
    one_of(build_of(one, other).identify().problems, "one and the same database")


def test_clocks_of_one_machine_agree(logical_build: Build) -> None:
    skew = logical_build().skew()
    assert skew is not None
    assert abs(skew.seconds) <= skew.uncertainty + 0.05
