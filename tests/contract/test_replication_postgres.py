"""PostgreSQL streaming replication against real servers: what must be seen, and what must not look like lag or none."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from drtests.errors import DatabaseRefused, DatabaseUnreachable
from drtests.replications.postgres_streaming import PostgresStreaming, PostgresStreamingSpec
from tests.support.lagging import lags_since
from tests.support.living import LivingReach
from tests.support.postgres import (
    PASSWORD,
    PostgresPair,
    PostgresServer,
    make_primary,
    make_standby,
    postgres_workplace,
)
from tests.support.servers import wait_for

Build = Callable[..., PostgresStreaming]


@pytest.fixture
def build(postgres_pair: PostgresPair) -> Build:
    def made(other: PostgresServer | None = None, user: str = "drtests", **options: Any) -> PostgresStreaming:
        servers = [postgres_pair.primary, other or postgres_pair.standby]
        reach = LivingReach({server.name: (server.declared(user=user, timeout="5s"), PASSWORD) for server in servers})
        spec = PostgresStreamingSpec(source=servers[0].name, replica=servers[1].name, **options)
        return PostgresStreaming(spec, reach)

    return made


@pytest.fixture(autouse=True)
def settled(postgres_pair: PostgresPair) -> Iterator[None]:
    postgres_pair.settle()
    yield
    postgres_pair.standby.sql("SELECT pg_wal_replay_resume() WHERE pg_is_wal_replay_paused()")
    postgres_pair.primary.sql("DROP TABLE IF EXISTS lessons; DROP SCHEMA IF EXISTS drtests CASCADE")
    postgres_pair.settle()


def test_identity(build: Build) -> None:
    identity = build(slot="standby").identify()
    assert identity.problems == ()
    assert identity.facts["source"]["system"] == identity.facts["replica"]["system"]
    assert identity.facts["replica"]["receiver"] == "streaming"


def test_replay_that_is_paused_is_lag_and_is_told(build: Build, postgres_pair: PostgresPair) -> None:
    replication = build()
    looked = time.monotonic()
    replication.behind()
    postgres_pair.standby.sql("SELECT pg_wal_replay_pause()")
    wait_for(lambda: bool(replication.identify().problems), "the pause is not seen")
    assert replication.identify().problems == ("replay is paused at the replica",)
    postgres_pair.primary.sql("CREATE TABLE lessons AS SELECT n FROM generate_series(1, 1000) AS n")
    lost = time.monotonic()
    lags_since(replication, looked, lost)
    time.sleep(1)
    behind = lags_since(replication, looked, lost)
    assert behind.bytes is not None
    assert behind.bytes > 10_000


def test_only_what_a_killed_drill_left_is_removed(build: Build, postgres_pair: PostgresPair) -> None:
    """`marker_schema` may be the application's, whose tables are named as they like."""
    old, new = int(time.time()) - 90_000, int(time.time()) - 60
    ours = [f"marker_{old}_0123abcd", f"marker_{new}_0123abcd", "marker_icons", f"marker_{old}_icons"]
    made = "".join(f"CREATE TABLE {n} (n int); COMMENT ON TABLE {n} IS 'made by drtests';" for n in ours)
    postgres_pair.primary.sql(
        f"SET ROLE drtests; CREATE SCHEMA drtests; SET search_path = drtests; {made}"
        f"CREATE TABLE marker_{old}_4567cdef (n int)"
    )
    replication = build()
    replication.begin()
    replication.end()
    left = postgres_pair.primary.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'drtests'").split()
    assert {*ours, f"marker_{old}_4567cdef"} - set(left) == {ours[0]}


def test_a_schema_that_was_there_stays_though_it_is_empty(build: Build, postgres_pair: PostgresPair) -> None:
    postgres_pair.primary.sql("SET ROLE drtests; CREATE SCHEMA drtests")
    replication = build()
    replication.begin()
    replication.end()
    assert postgres_pair.primary.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'drtests'") == "1\n"


def test_a_source_that_refuses_writes(build: Build, postgres_pair: PostgresPair) -> None:
    replication = build(user="reader")
    with pytest.raises(DatabaseRefused):
        replication.begin()
    replication.end()
    assert replication.behind().seconds is not None
    postgres_pair.primary.sql("ALTER ROLE drtests SET default_transaction_read_only = on")
    try:
        replication = build()
        # What the session itself sets counts more than what the role does: nothing to be refused then.
        replication.begin()
        replication.end()
    finally:
        postgres_pair.primary.sql("ALTER ROLE drtests RESET default_transaction_read_only")


def test_no_write_waits_for_a_replica_that_is_gone(build: Build, postgres_pair: PostgresPair) -> None:
    """Synchronous replication, and nobody to confirm: whatever waits for it hangs, until its timeout."""
    primary = postgres_pair.primary
    old = int(time.time()) - 90_000
    primary.sql(f"SET ROLE drtests; CREATE SCHEMA drtests; CREATE TABLE drtests.marker_{old}_0123abcd (n int)")
    primary.sql(f"COMMENT ON TABLE drtests.marker_{old}_0123abcd IS 'made by drtests'")
    there = "SELECT count(*) FROM pg_tables WHERE tablename ~ '^marker'"
    primary.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'; SELECT pg_reload_conf()")
    try:
        wait_for(lambda: primary.sql("SHOW synchronous_standby_names") == "nobody\n", "not reloaded")
        with pytest.raises(DatabaseUnreachable):
            build()._reach.live("primary", writable=True).execute("CREATE SCHEMA waits", 3)
        replication = build()
        replication.begin()
        assert primary.sql(there) == "1\n"
        replication.mark(1)
        wait_for(lambda: replication.newest() == 1, "the marker does not arrive")
        replication.end()
        assert primary.sql(there) == "0\n"
        # Without a schema that was there.
        primary.sql("SET synchronous_commit = local; DROP SCHEMA drtests CASCADE")
        replication.begin()
        replication.end()
        assert primary.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'drtests'") == "0\n"
    finally:
        primary.sql("ALTER SYSTEM RESET synchronous_standby_names; SELECT pg_reload_conf()")
        wait_for(lambda: primary.sql("SHOW synchronous_standby_names") == "\n", "not reloaded")
        primary.sql("DROP SCHEMA IF EXISTS waits")


def test_a_replica_that_stands_still_answers_nobody(build: Build, postgres_pair: PostgresPair) -> None:
    replication = build()
    assert postgres_pair.standby.process is not None
    declared = postgres_pair.standby.declared(timeout="0.5s")
    reach = LivingReach({"primary": (postgres_pair.primary.declared(), PASSWORD), "standby": (declared, PASSWORD)})
    replication = PostgresStreaming(PostgresStreamingSpec(source="primary", replica="standby"), reach)
    with postgres_pair.standby.process.paused():
        for ask in (replication.behind, replication.newest, replication.identify):
            with pytest.raises(DatabaseUnreachable):
                ask()


def test_a_replica_that_is_down_and_comes_back(build: Build, postgres_pair: PostgresPair) -> None:
    postgres_pair.standby.stop()
    try:
        for ask in (build().behind, build().newest, build().identify):
            with pytest.raises(DatabaseUnreachable):
                ask()
        wait_for(
            lambda: (
                postgres_pair.primary.sql(
                    "SELECT count(*) FROM pg_stat_replication WHERE application_name = 'walreceiver'"
                )
                == "0\n"
            ),
            "still there",
        )
    finally:
        postgres_pair.standby.start()
    postgres_pair.settle()
    wait_for(lambda: build().identify().problems == (), "it does not stream again")


def test_a_broken_link_is_seen(build: Build, postgres_pair: PostgresPair) -> None:
    standby = postgres_pair.standby
    standby.stop()
    standby.start(primary_conninfo="host=127.0.0.1 port=1 connect_timeout=1")
    try:
        problems = build(slot="standby").identify().problems
        assert any("receives nothing" in problem for problem in problems)
        assert any("slot" in problem for problem in problems)
    finally:
        standby.stop()
        standby.start()
    postgres_pair.settle()
    wait_for(lambda: build().identify().problems == (), "it does not stream again")


def test_other_servers_are_no_replicas(build: Build, postgres_pair: PostgresPair) -> None:
    with postgres_workplace() as (folder, user):
        other = make_primary(folder, user, "other")
        try:
            copy = make_standby(other, "elsewhere")
            try:
                assert any("another source" in problem for problem in build(copy).identify().problems)
                copy.sql("SELECT pg_promote()")
                wait_for(lambda: copy.sql("SELECT pg_is_in_recovery()") == "f\n", "not promoted")
                assert any("accepts writes" in problem for problem in build(copy).identify().problems)
            finally:
                copy.stop()
        finally:
            other.stop()


def test_slots(build: Build, postgres_pair: PostgresPair) -> None:
    primary = postgres_pair.primary
    assert any("no replication slot" in problem for problem in build(slot="nosuch").identify().problems)
    primary.sql("SELECT pg_create_physical_replication_slot('idle')")
    try:
        assert any("not in use" in problem for problem in build(slot="idle").identify().problems)
    finally:
        primary.sql("SELECT pg_drop_replication_slot('idle')")


def test_what_differs_is_seen_by_a_checksum(build: Build, postgres_pair: PostgresPair) -> None:
    """A standby cannot differ by itself; a server that was promoted can, and answers all that is asked."""
    with postgres_workplace() as (folder, user):
        primary = make_primary(folder, user, "source")
        try:
            primary.sql("CREATE TABLE lessons AS SELECT n, md5(n::text) AS h FROM generate_series(1, 50) AS n")
            primary.sql("CREATE TABLE gone (n int)")
            copy = make_standby(primary, "copy")
            try:
                copy.sql("SELECT pg_promote()")
                wait_for(lambda: copy.sql("SELECT pg_is_in_recovery()") == "f\n", "not promoted")
                copy.sql("UPDATE lessons SET h = 'x' WHERE n = 7; DROP TABLE gone")
                servers = {server.name: (server.declared(), PASSWORD) for server in (primary, copy)}
                tables = [{"table": "lessons"}, {"table": "lessons", "method": "checksum"}, {"table": "gone"}]
                spec = PostgresStreamingSpec.model_validate({"source": "source", "replica": "copy", "compare": tables})
                replication = PostgresStreaming(spec, LivingReach(servers))
                replication._replayed = lambda: 1 << 62  # type: ignore[method-assign]
                assert [seen.same for seen in replication.compare()] == [True, False, False]
            finally:
                copy.stop()
        finally:
            primary.stop()


def test_two_names_for_one_server_are_refused() -> None:
    with pytest.raises(ValidationError, match="the same"):
        PostgresStreamingSpec(source="one", replica="one")
