"""PostgreSQL logical replication between real servers: what is published, compared, and marked."""

from __future__ import annotations

import time
from typing import Any

import pytest

from drtests.errors import DatabaseRefused
from tests.support.postgres_logical import (
    DATABASE,
    MARKERS,
    Build,
    LogicalPair,
    one_of,
    sound,
)
from tests.support.servers import wait_for


def test_markers_arrive_and_leave_no_trace(logical_build: Build, applying: LogicalPair) -> None:
    one, other = logical_build(**MARKERS), logical_build(**MARKERS)
    one.begin()
    other.begin()
    one.mark(7)
    for number in (1, 2, 3):
        other.mark(number)
        wait_for(lambda number=number: other.newest() == number, "the marker does not arrive")  # type: ignore[misc]
    one.end()
    one.end()
    wait_for(lambda: applying.replica("SELECT count(*) FROM drtests.marker") == "3\n", "only its own are removed")
    other.end()
    applying.settle()
    assert applying.replica("SELECT count(*) FROM drtests.marker") == "0\n"
    assert other.newest() is None


def test_markers_show_apply_that_is_held_up(logical_build: Build, applying: LogicalPair) -> None:
    replication = logical_build(**MARKERS)
    replication.begin()
    replication.mark(1)
    wait_for(lambda: replication.newest() == 1, "the marker does not arrive")
    with applying.held_up():
        applying.source("INSERT INTO lessons VALUES (1)")
        replication.mark(2)
        time.sleep(0.5)
        assert replication.newest() == 1
    wait_for(lambda: replication.newest() == 2, "the marker does not arrive")
    replication.end()


def test_what_a_killed_drill_left_is_removed_after_a_day(logical_build: Build, applying: LogicalPair) -> None:
    old, new = (f"{int(time.time()) - age}_0123abcd" for age in (90_000, 60))
    applying.source(f"INSERT INTO drtests.marker VALUES ('{old}', 1), ('{new}', 1), ('not ours', 1)")
    replication = logical_build(**MARKERS)
    replication.begin()
    replication.end()
    left = applying.source("SELECT run FROM drtests.marker ORDER BY run")
    assert left.split("\n")[:-1] == [new, "not ours"]


def test_markers_that_cannot_be_seen_are_refused(logical_build: Build, spoilt: LogicalPair) -> None:
    def refused(told: str, **options: Any) -> None:
        replication = logical_build(**{**MARKERS, **options})
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
    replication = logical_build(**MARKERS)
    replication.begin()
    replication.end()


def test_a_publication_of_all_tables(logical_build: Build, spoilt: LogicalPair) -> None:
    """The table is published by itself; that the replica has it, and knows of it, is not."""
    spoilt.unsubscribe()
    spoilt.source("DROP PUBLICATION app; CREATE PUBLICATION app FOR ALL TABLES")
    try:
        spoilt.subscribe()
        spoilt.source("CREATE TABLE drtests.later (run text, number bigint, PRIMARY KEY (run, number))")
        with pytest.raises(DatabaseRefused, match="REFRESH PUBLICATION"):
            logical_build(marker_table="drtests.later").begin()
        # Nobody else would see that a new table is not replicated.
        one_of(logical_build().identify().problems, "not in the subscription until it is refreshed: drtests.later")
        spoilt.source("DROP TABLE drtests.later")
        sound(logical_build())
        replication = logical_build(**MARKERS)
        replication.begin()
        replication.mark(1)
        wait_for(lambda: replication.newest() == 1, "the marker does not arrive")
        replication.end()
    finally:
        spoilt.source("DROP TABLE IF EXISTS drtests.later; DROP PUBLICATION app")
        spoilt.source("CREATE PUBLICATION app FOR TABLE lessons, drtests.marker")


def test_a_source_that_refuses_writes_is_asked_for_positions(logical_build: Build, applying: LogicalPair) -> None:
    replication = logical_build(user="reader", **MARKERS)
    with pytest.raises(DatabaseRefused):
        replication.begin()
    replication.end()
    wait_for(lambda: replication.behind().seconds == 0, "positions are not told")


def test_a_commit_does_not_wait_for_a_replica_that_is_gone(logical_build: Build, applying: LogicalPair) -> None:
    applying.publisher.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'; SELECT pg_reload_conf()")
    try:
        wait_for(lambda: applying.source("SHOW synchronous_standby_names") == "nobody\n", "not reloaded")
        replication = logical_build(**MARKERS)
        replication.begin()
        replication.mark(1)
        replication.end()
    finally:
        applying.publisher.sql("ALTER SYSTEM RESET synchronous_standby_names; SELECT pg_reload_conf()")
        wait_for(lambda: applying.source("SHOW synchronous_standby_names") == "\n", "not reloaded")


def test_what_is_published(logical_build: Build, spoilt: LogicalPair) -> None:
    spoilt.source("ALTER PUBLICATION app SET (publish = 'insert')")
    one_of(logical_build().identify().problems, "leaves out update, delete, truncate")
    sound(logical_build(partial=True))
    spoilt.source("ALTER PUBLICATION app SET (publish = 'insert, update, delete, truncate')")
    spoilt.source("ALTER PUBLICATION app SET TABLE lessons WHERE (n > 5), drtests.marker")
    one_of(logical_build().identify().problems, "only some rows are published of public.lessons")
    [seen] = logical_build(compare=[{"table": "lessons"}]).compare()
    assert (seen.same, seen.detail) == (None, "only some of its rows are published")
    spoilt.source("ALTER PUBLICATION app SET TABLE drtests.marker")
    identity = logical_build().identify()
    assert identity.facts["tables"]["no longer published"] == ["public.lessons"]
    spoilt.source("ALTER PUBLICATION app DROP TABLE drtests.marker")
    one_of(logical_build().identify().problems, "nothing is published")
    spoilt.source("ALTER PUBLICATION app RENAME TO another")
    one_of(logical_build().identify().problems, "no publication 'app'")
    spoilt.source("DROP PUBLICATION another; CREATE PUBLICATION app FOR TABLE lessons, drtests.marker")


def test_tables_are_compared(logical_build: Build, spoilt: LogicalPair) -> None:
    tables = [{"table": "lessons"}, {"table": "lessons", "method": "checksum"}]
    spoilt.source("INSERT INTO lessons SELECT n, md5(n::text) FROM generate_series(1, 500) AS n")
    assert [seen.same for seen in logical_build(compare=tables).compare()] == [True, True]
    # More columns, in another order, are the replica's own business; so are its settings.
    spoilt.source("ALTER TABLE lessons ADD at timestamptz DEFAULT now()")
    spoilt.replica("ALTER TABLE lessons ADD more int DEFAULT 7, ADD at timestamptz")
    spoilt.replica(f"ALTER DATABASE {DATABASE} SET timezone = 'Asia/Tokyo'")
    try:
        spoilt.source("UPDATE lessons SET at = at")
        assert [seen.same for seen in logical_build(compare=tables).compare()] == [True, True]
        spoilt.replica("UPDATE lessons SET title = 'x' WHERE n = 7")
        assert [seen.same for seen in logical_build(compare=tables).compare()] == [True, False]
        # What is not published may differ.
        spoilt.source("ALTER PUBLICATION app SET TABLE lessons (n, at), drtests.marker")
        assert [seen.same for seen in logical_build(compare=tables).compare()] == [True, True]
        spoilt.source("ALTER PUBLICATION app SET TABLE lessons, drtests.marker")
        spoilt.replica("INSERT INTO lessons VALUES (1000)")
        assert [seen.same for seen in logical_build(compare=tables).compare()] == [False, False]
    finally:
        spoilt.replica(f"ALTER DATABASE {DATABASE} RESET timezone")
        spoilt.replica("ALTER TABLE lessons DROP more, DROP at")
        spoilt.source("ALTER TABLE lessons DROP at")


def test_tables_that_are_not_replicated_cannot_be_the_same(logical_build: Build, spoilt: LogicalPair) -> None:
    spoilt.source("CREATE TABLE grades (n int)")
    spoilt.replica("CREATE TABLE grades (n int)")
    tables = [{"table": "grades"}, {"table": "nosuch"}]
    try:
        not_published, nosuch = logical_build(compare=tables).compare()
        assert (not_published.same, not_published.detail) == (False, "is not published, and so not replicated")
        assert (nosuch.same, nosuch.detail) == (None, "the source has no such table")
        spoilt.source("ALTER PUBLICATION app ADD TABLE grades")
        [not_known, _] = logical_build(compare=tables).compare()
        assert (not_known.same, not_known.detail) == (False, "is published, and the subscription does not know it")
        spoilt.replica("ALTER SUBSCRIPTION app REFRESH PUBLICATION")
        spoilt.settle()
        assert [seen.same for seen in logical_build(compare=tables).compare()] == [True, None]
    finally:
        spoilt.source("DROP TABLE grades")
        spoilt.replica("DROP TABLE grades")


@pytest.mark.parametrize("by_root", ["true", "false"])
def test_partitions(logical_build: Build, spoilt: LogicalPair, by_root: str) -> None:
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
        sound(logical_build())
        replication = logical_build(compare=[{"table": "marks", "method": "checksum"}])
        assert [seen.same for seen in replication.compare()] == [True]
        spoilt.replica("DELETE FROM marks WHERE n = 5")
        assert [seen.same for seen in replication.compare()] == [False]
    finally:
        spoilt.source("DROP TABLE marks; ALTER PUBLICATION app SET (publish_via_partition_root = false)")
        spoilt.replica("DROP TABLE marks")
