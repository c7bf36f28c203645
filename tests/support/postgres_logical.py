"""A database that another server subscribes to, beside the pair of primary and standby."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.support.postgres import PostgresPair, PostgresServer, make_primary, postgres_workplace
from tests.support.servers import wait_for

DATABASE = "school"
CONNINFO_PASSWORD = "only in conninfo"
TABLES = """
CREATE TABLE lessons (n int PRIMARY KEY, title text);
CREATE SCHEMA drtests;
CREATE TABLE drtests.marker (run text, number bigint, PRIMARY KEY (run, number));
GRANT USAGE ON SCHEMA drtests TO drtests;
GRANT INSERT, DELETE ON drtests.marker TO drtests;
"""


@dataclass(slots=True)
class LogicalPair:
    """`subscriber`'s database `school` holds subscription `app` to publication `app` of the same database."""

    publisher: PostgresServer
    subscriber: PostgresServer

    def source(self, statements: str) -> str:
        return self.publisher.sql(statements, DATABASE)

    def replica(self, statements: str) -> str:
        return self.subscriber.sql(statements, DATABASE)

    @property
    def conninfo(self) -> str:
        where = f"host={self.publisher.socket} port={self.publisher.port} dbname={DATABASE} user=postgres"
        return f"{where} password='{CONNINFO_PASSWORD}'".replace("'", "''")

    def make(self) -> None:
        for server in (self.publisher, self.subscriber):
            server.sql(f"CREATE DATABASE {DATABASE}")
            server.sql(TABLES, DATABASE)
        self.source("CREATE PUBLICATION app FOR TABLE lessons, drtests.marker")
        self.subscribe()

    def subscribe(self, options: str = "") -> None:
        self.replica(f"CREATE SUBSCRIPTION app CONNECTION '{self.conninfo}' PUBLICATION app {options}")
        self.settle()

    def unsubscribe(self) -> None:
        """Whatever became of its slot."""
        if self.replica("SELECT 1 FROM pg_subscription WHERE subname = 'app'"):
            self.replica("ALTER SUBSCRIPTION app DISABLE")
            self.replica("ALTER SUBSCRIPTION app SET (slot_name = NONE)")
            self.replica("DROP SUBSCRIPTION app")
        slots = f"FROM pg_replication_slots WHERE database = '{DATABASE}'"
        wait_for(lambda: self.source(f"SELECT count(*) {slots} AND active") == "0\n", "a slot stays in use")
        self.source(f"SELECT pg_drop_replication_slot(slot_name) {slots}")

    def settle(self) -> None:
        """Waits until the replica has applied all, and has it on disk."""
        [position] = self.source("SELECT pg_current_wal_lsn()").split()
        asked = f"SELECT confirmed_flush_lsn >= '{position}' FROM pg_replication_slots WHERE slot_name = 'app'"
        wait_for(lambda: self.source(asked) == "t\n", f"the subscriber does not get to {position}")
        copying = "SELECT count(*) FROM pg_subscription_rel WHERE srsubstate <> 'r'"
        wait_for(lambda: self.replica(copying) == "0\n", "tables are not copied")

    def clean(self) -> None:
        """As `make` left it, from a state in which it works."""
        self.source("DELETE FROM lessons; DELETE FROM drtests.marker")
        self.settle()

    def remove(self) -> None:
        self.unsubscribe()
        self.publisher.sql(f"DROP DATABASE {DATABASE} WITH (FORCE)")

    @contextmanager
    def held_up(self) -> Iterator[None]:
        """The subscriber's apply worker waits for a lock on `lessons`, as soon as it has something to apply there."""
        began, enough = threading.Event(), threading.Event()

        def hold() -> None:
            # The lock goes with the connection: ended from outside, by its name.
            began.set()
            hold = "BEGIN; SET application_name = 'holding'; LOCK TABLE lessons; SELECT pg_sleep(60)"
            try:
                self.replica(hold)
            except RuntimeError:
                if not enough.is_set():
                    raise

        thread = threading.Thread(target=hold)
        thread.start()
        try:
            locked = "SELECT count(*) FROM pg_locks WHERE relation = 'lessons'::regclass AND granted"
            wait_for(lambda: self.replica(f"{locked} AND mode = 'AccessExclusiveLock'") == "1\n", "no lock")
            yield
        finally:
            enough.set()
            self.replica("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'holding'")
            thread.join(30)


@pytest.fixture(scope="session")
def logical_pair(postgres_pair: PostgresPair) -> Iterator[LogicalPair]:
    """Tests leave it as they found it: applying, its tables empty."""
    with postgres_workplace() as (folder, user):
        # A worker that failed is started again after so long.
        settings = {"wal_level": "logical", "wal_retrieve_retry_interval": "200ms"}
        subscriber = make_primary(folder, user, "subscriber", settings)
        pair = LogicalPair(postgres_pair.primary, subscriber)
        try:
            pair.make()
            yield pair
            pair.remove()
        finally:
            subscriber.stop()
