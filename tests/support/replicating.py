"""The pairs that the contract of replications is tried on."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from drtests.hosts.local import LocalHost
from drtests.model.estate import Host as Declaration
from drtests.protocols.replication import Replication
from drtests.replications.files import FilesReplication, FilesReplicationSpec
from drtests.replications.mariadb import MariadbReplication, MariadbReplicationSpec
from drtests.replications.postgres_streaming import PostgresStreaming, PostgresStreamingSpec
from drtests.replications.redis import RedisReplication, RedisReplicationSpec
from drtests.testing.memory_replication import MemoryReplication, MemoryReplicationSpec, MemoryServer
from drtests.testing.replication_contract import Pair
from tests.support import mariadb, postgres, redis
from tests.support.living import LivingReach
from tests.support.mariadb import MariaPair
from tests.support.postgres import PostgresPair
from tests.support.postgres_logical import DATABASE, MARKERS, LogicalPair, build_of
from tests.support.redis import RedisPair
from tests.support.scratch import MemoryReach
from tests.support.servers import wait_for


class MemoryPair(Pair):
    """Two servers in memory."""

    comparing: ClassVar[Mapping[str, Any]] = {"compare": True}

    def __init__(self) -> None:
        self.name = uuid.uuid4().hex
        self.source = MemoryServer()
        self.replica = MemoryServer(follows=self.source)
        MemoryReplication.servers |= {f"{self.name}-source": self.source, f"{self.name}-replica": self.replica}

    def build(self, **options: Any) -> Replication:
        named = {side: f"{self.name}-{side}" for side in ("source", "replica")}
        return MemoryReplication(MemoryReplicationSpec(**{**named, **options}), MemoryReach())

    def one(self) -> Replication:
        return self.build(replica=f"{self.name}-source")

    def settle(self) -> None:
        self.replica.values()

    def work(self) -> None:
        self.source.write("work", time.monotonic())

    def traces(self) -> Sequence[str]:
        return [name for name in (*self.source.values(), *self.replica.values()) if name.startswith("marker ")]

    @contextmanager
    def paused(self) -> Iterator[None]:
        self.settle()
        self.replica.paused = True
        yield
        self.replica.paused = False

    @contextmanager
    def gone(self) -> Iterator[None]:
        self.replica.gone = True
        yield
        self.replica.gone = False

    @contextmanager
    def strange(self) -> Iterator[Replication]:
        self.replica.follows = MemoryServer()
        yield self.build()
        self.replica.follows = self.source

    @contextmanager
    def differing(self) -> Iterator[None]:
        self.replica.write("stray", 1)
        yield


class FilesPair(Pair):
    """Two folders, and a job of the test's own that deletes what is gone."""

    comparing: ClassVar[Mapping[str, Any]] = {"compare": "checksum", "settled": "0s"}

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "source").mkdir()
        (root / "source" / "old").write_text("old")
        self._turn = threading.Lock()
        self._going = True
        self.settle()

    def build(self, **options: Any) -> Replication:
        places = {side: {"path": str(self.root / side)} for side in ("source", "replica")}
        return FilesReplication(FilesReplicationSpec.model_validate({**places, **options}), _Hosts())

    def one(self) -> Replication:
        (self.root / "again").symlink_to(self.root / "source")
        return self.build(replica={"path": str(self.root / "again")})

    def settle(self) -> None:
        there = self.root / "replica"
        there.mkdir(exist_ok=True)
        here = {file.name: file.read_bytes() for file in (self.root / "source").iterdir()}
        for name, data in here.items():
            (there / f"{name}~").write_bytes(data)
            (there / f"{name}~").rename(there / name)
        for file in there.iterdir():
            if file.name not in here:
                file.unlink(missing_ok=True)

    def work(self) -> None:
        (self.root / "source" / "work").write_text(str(time.monotonic()))

    def traces(self) -> Sequence[str]:
        return [str(file) for file in self.root.rglob(".drtests-marker*")]

    @contextmanager
    def following(self) -> Iterator[None]:
        over = threading.Event()

        def job() -> None:
            while not over.wait(0.02):
                with self._turn:
                    if self._going:
                        try:
                            self.settle()
                        except FileNotFoundError:
                            # It went while it was copied.
                            continue

        worker = threading.Thread(target=job)
        worker.start()
        try:
            yield
        finally:
            over.set()
            worker.join(30)

    @contextmanager
    def paused(self) -> Iterator[None]:
        with self._turn:
            self._going = False
        yield
        self._going = True

    @contextmanager
    def gone(self) -> Iterator[None]:
        (self.root / "replica").rename(self.root / "away")
        yield
        (self.root / "away").rename(self.root / "replica")

    @contextmanager
    def differing(self) -> Iterator[None]:
        (self.root / "replica" / "old").write_text("OLD")
        yield


class _Hosts(MemoryReach):
    """This machine."""

    def host(self, host_id: str | None) -> LocalHost:
        return LocalHost(Declaration(id=host_id or "local"))


class StreamingPair(Pair):
    """A PostgreSQL primary and its standby."""

    comparing: ClassVar[Mapping[str, Any]] = {"compare": [{"table": "lessons", "method": "checksum"}]}

    def __init__(self, pair: PostgresPair) -> None:
        self.pair = pair
        pair.primary.sql("CREATE TABLE lessons AS SELECT n FROM generate_series(1, 10) AS n")
        self.settle()

    def remove(self) -> None:
        self.pair.primary.sql("DROP TABLE IF EXISTS lessons; DROP SCHEMA IF EXISTS drtests CASCADE")

    def build(self, **options: Any) -> Replication:
        servers = {"source": self.pair.primary, "replica": self.pair.standby}
        reach = LivingReach({side: (server.declared(id=side), postgres.PASSWORD) for side, server in servers.items()})
        return PostgresStreaming(
            PostgresStreamingSpec.model_validate({"source": "source", "replica": "replica", **options}), reach
        )

    def one(self) -> Replication:
        primary = self.pair.primary
        reach = LivingReach({side: (primary.declared(id=side), postgres.PASSWORD) for side in ("a", "b")})
        return PostgresStreaming(PostgresStreamingSpec(source="a", replica="b"), reach)

    def settle(self) -> None:
        self.pair.settle()

    def work(self) -> None:
        self.pair.primary.sql("INSERT INTO lessons VALUES (1)")

    def traces(self) -> Sequence[str]:
        asked = "SELECT nspname FROM pg_namespace WHERE nspname = 'drtests'"
        return [one for server in (self.pair.primary, self.pair.standby) for one in server.sql(asked).split()]

    @contextmanager
    def paused(self) -> Iterator[None]:
        self.pair.standby.sql("SELECT pg_wal_replay_pause()")
        state = "SELECT pg_get_wal_replay_pause_state()"
        wait_for(lambda: self.pair.standby.sql(state) == "paused\n", "it does not pause")
        try:
            yield
        finally:
            self.pair.standby.sql("SELECT pg_wal_replay_resume()")

    @contextmanager
    def gone(self) -> Iterator[None]:
        self.pair.standby.stop()
        try:
            yield
        finally:
            self.pair.standby.start()
            self.settle()


class LogicalContractPair(Pair):
    """A PostgreSQL database and one that subscribes to it."""

    comparing: ClassVar[Mapping[str, Any]] = {"compare": [{"table": "lessons", "method": "checksum"}]}

    def __init__(self, pair: LogicalPair) -> None:
        self.pair = pair
        self._number = 0
        self.work()
        self.settle()

    def build(self, **options: Any) -> Replication:
        source = self.pair.publisher.declared(id="source", database=DATABASE)
        replica = self.pair.subscriber.declared(id="replica", database=DATABASE)
        return build_of(source, replica, **MARKERS, **options)

    def one(self) -> Replication:
        declared = self.pair.publisher.declared(database=DATABASE)
        return build_of(
            declared.model_copy(update={"id": "source"}), declared.model_copy(update={"id": "replica"}), **MARKERS
        )

    def settle(self) -> None:
        self.pair.settle()

    def work(self) -> None:
        self._number += 1
        self.pair.source(f"INSERT INTO lessons VALUES ({self._number}, 'x')")

    def traces(self) -> Sequence[str]:
        asked = "SELECT run FROM drtests.marker"
        return [*self.pair.source(asked).split(), *self.pair.replica(asked).split()]

    @contextmanager
    def paused(self) -> Iterator[None]:
        with self.pair.held_up():
            # It stands still with the first thing to apply there.
            self.work()
            yield

    @contextmanager
    def differing(self) -> Iterator[None]:
        self.pair.replica("UPDATE lessons SET title = 'y'")
        yield


class MariadbContractPair(Pair):
    """A MariaDB source and its replica."""

    comparing: ClassVar[Mapping[str, Any]] = {"compare": [{"table": "app.t", "method": "checksum"}]}

    def __init__(self, pair: MariaPair) -> None:
        self.pair = pair
        pair.source.sql("CREATE DATABASE app; CREATE TABLE app.t (i INT AUTO_INCREMENT PRIMARY KEY, s TEXT)")
        self.work()
        self.settle()

    def remove(self) -> None:
        self.pair.source.sql("DROP DATABASE IF EXISTS app; DROP DATABASE IF EXISTS drtests")
        self.settle()

    def build(self, **options: Any) -> Replication:
        servers = {"source": self.pair.source, "replica": self.pair.replica}
        reach = LivingReach({side: (server.declared(id=side), mariadb.PASSWORD) for side, server in servers.items()})
        return MariadbReplication(
            MariadbReplicationSpec.model_validate({"source": "source", "replica": "replica", **options}), reach
        )

    def one(self) -> Replication:
        reach = LivingReach({side: (self.pair.source.declared(id=side), mariadb.PASSWORD) for side in ("a", "b")})
        return MariadbReplication(MariadbReplicationSpec(source="a", replica="b"), reach)

    def settle(self) -> None:
        self.pair.settle()

    def work(self) -> None:
        self.pair.source.sql("INSERT INTO app.t (s) VALUES ('x')")

    def traces(self) -> Sequence[str]:
        found = [
            server.sql("SHOW DATABASES LIKE 'drtests'").split() for server in (self.pair.source, self.pair.replica)
        ]
        return [name for names in found for name in names]

    @contextmanager
    def paused(self) -> Iterator[None]:
        self.pair.replica.sql("STOP SLAVE SQL_THREAD")
        try:
            yield
        finally:
            self.pair.replica.sql("START SLAVE SQL_THREAD")

    @contextmanager
    def gone(self) -> Iterator[None]:
        self.pair.replica.process.stop()
        try:
            yield
        finally:
            self.pair.replica.start()
            self.pair.follow()
            self.settle()

    @contextmanager
    def differing(self) -> Iterator[None]:
        self.pair.replica.sql("SET sql_log_bin = 0; UPDATE app.t SET s = 'y'")
        yield


class RedisContractPair(Pair):
    """A Redis source and its replica."""

    comparing: ClassVar[Mapping[str, Any]] = {"compare": [{"keys": "*", "method": "checksum"}]}

    def __init__(self, pair: RedisPair) -> None:
        self.pair = pair
        self.work()
        self.settle()

    def remove(self) -> None:
        self.pair.source.cli("FLUSHALL")
        self.pair.replica.cli("CONFIG", "SET", "replica-read-only", "yes")
        self.settle()

    def build(self, **options: Any) -> Replication:
        servers = {"source": self.pair.source, "replica": self.pair.replica}
        reach = LivingReach({side: (server.declared(id=side), redis.PASSWORD) for side, server in servers.items()})
        return RedisReplication(
            RedisReplicationSpec.model_validate({"source": "source", "replica": "replica", **options}), reach
        )

    def one(self) -> Replication:
        reach = LivingReach({side: (self.pair.source.declared(id=side), redis.PASSWORD) for side in ("a", "b")})
        return RedisReplication(RedisReplicationSpec(source="a", replica="b"), reach)

    def settle(self) -> None:
        self.pair.settle()

    def work(self) -> None:
        self.pair.source.cli("INCR", "work")

    def traces(self) -> Sequence[str]:
        return [
            key for server in (self.pair.source, self.pair.replica) for key in server.cli("KEYS", "drtests:*").split()
        ]

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The link is cut: Redis itself knows no pause in which it goes on answering."""
        replica = self.pair.replica
        replica.cli("CONFIG", "SET", "masterauth", "wrong")
        self.pair.source.cli("CLIENT", "KILL", "TYPE", "replica")
        try:
            yield
        finally:
            replica.cli("CONFIG", "SET", "masterauth", redis.PASSWORD)
            self.settle()

    @contextmanager
    def gone(self) -> Iterator[None]:
        self.pair.replica.process.stop()
        try:
            yield
        finally:
            self.pair.replica.start()
            self.pair.follow()
            self.settle()

    @contextmanager
    def differing(self) -> Iterator[None]:
        self.pair.replica.cli("CONFIG", "SET", "replica-read-only", "no")
        self.pair.replica.cli("SET", "stray", "1")
        yield
