"""A database that another server subscribes to, beside the pair of primary and standby."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from drtests.model.connections import LiveDatabase
from drtests.protocols.database import Live
from drtests.replications import postgres_logical
from drtests.replications.postgres_logical import PostgresLogical, PostgresLogicalSpec
from tests.support.living import LivingReach
from tests.support.postgres import PASSWORD, PostgresPair, PostgresServer, make_primary, postgres_workplace
from tests.support.servers import wait_for

DATABASE = "school"
CONNINFO_PASSWORD = "only in conninfo"
MARKERS = {"marker_table": "drtests.marker"}
TABLES = """
CREATE TABLE lessons (n int PRIMARY KEY, title text);
CREATE SCHEMA drtests;
CREATE TABLE drtests.marker (run text, number bigint, PRIMARY KEY (run, number));
GRANT USAGE ON SCHEMA drtests TO drtests;
GRANT INSERT, DELETE ON drtests.marker TO drtests;
"""


Build = Callable[..., PostgresLogical]


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
def logical_build(logical_pair: LogicalPair, monkeypatch: pytest.MonkeyPatch) -> Build:
    # What passes by itself passes sooner here: workers are started again at once.
    monkeypatch.setattr(postgres_logical, "_BETWEEN", 0.1)

    def made(user: str = "drtests", timeout: str = "5s", database: str = DATABASE, **options: Any) -> PostgresLogical:
        source = logical_pair.publisher.declared(id="source", user=user, database=DATABASE, timeout="5s")
        replica = logical_pair.subscriber.declared(id="replica", user=user, database=database, timeout=timeout)
        return build_of(source, replica, **options)

    return made


@pytest.fixture
def applying(logical_pair: LogicalPair) -> Iterator[LogicalPair]:
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


def sound(replication: PostgresLogical) -> None:
    identity = replication.identify()
    assert identity.problems == (), identity


def one_of(problems: Sequence[str], *wanted: str) -> None:
    for words in wanted:
        assert any(words in problem for problem in problems), problems
