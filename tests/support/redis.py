"""A Redis source and its replica, on loopback."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from drtests.model.connections import LiveDatabase
from drtests.testing.database_contract import Served
from tests.support.needs import needs
from tests.support.servers import Process, free_port, unprivileged, wait_for, workplace

PASSWORD = "s3cret-of-redis"


@dataclass(slots=True)
class RedisServer:
    """A server whose default user has the password above."""

    name: str
    folder: Path
    port: int
    process: Process

    @property
    def socket(self) -> str:
        return f"{self.folder}/s"

    def cli(self, *words: str, timeout: float = 30) -> str:
        """What redis-cli prints."""
        done = subprocess.run(
            ["redis-cli", "-s", self.socket, "--no-auth-warning", *words],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env={**os.environ, "REDISCLI_AUTH": PASSWORD},
        )
        return done.stdout.strip()

    def start(self) -> None:
        self.process.start()
        wait_for(self._answers, f"redis-server does not come up: {self.process.output()}")

    def _answers(self) -> bool:
        if not self.process.running:
            raise RuntimeError(self.process.output())
        return self.cli("PING") == "PONG"

    def info(self, section: str) -> dict[str, str]:
        return dict(line.split(":", 1) for line in self.cli("INFO", section).splitlines() if ":" in line)

    def declared(self, **changed: object) -> LiveDatabase:
        values = {
            "id": self.name,
            "type": "redis",
            "address": "127.0.0.1",
            "port": self.port,
            "password": "env:DRTESTS_TEST_REDIS",
            "timeout": timedelta(seconds=10),
        }
        return LiveDatabase.model_validate(values | changed)

    def served(self) -> Served:
        return Served(self.declared(), PASSWORD)


@dataclass(slots=True)
class RedisPair:
    """`replica` follows `source`."""

    source: RedisServer
    replica: RedisServer

    def follow(self) -> None:
        self.replica.cli("REPLICAOF", "127.0.0.1", str(self.source.port))

    def settle(self) -> None:
        """Waits until the replica has all."""
        wait_for(lambda: self.replica.info("replication").get("master_link_status") == "up", "the link is not up")
        goal = int(self.source.info("replication")["master_repl_offset"])
        wait_for(lambda: int(self.replica.info("replication")["slave_repl_offset"]) >= goal, "it does not get there")


def make_server(folder: Path, user: str | None, name: str, *more: str) -> RedisServer:
    """Not started yet."""
    program = needs("redis-server", install="redis-server")
    needs("redis-cli", install="redis-tools")
    home = folder / name
    home.mkdir(mode=0o777)
    home.chmod(0o777)
    port = free_port()
    # The password belongs to this test alone, and so may be seen in the list of processes.
    options = [
        "--port", str(port), "--bind", "127.0.0.1", "--unixsocket", f"{home}/s", "--unixsocketperm", "777",
        "--dir", str(home), "--save", "", "--requirepass", PASSWORD, "--masterauth", PASSWORD,
        "--repl-diskless-sync-delay", "0", "--repl-timeout", "5", "--repl-ping-replica-period", "1", *more,
    ]  # fmt: skip
    return RedisServer(name, home, port, Process([program, *options], user, home / "log"))


@pytest.fixture(scope="session")
def redis_home() -> Iterator[tuple[Path, str | None]]:
    """A folder for servers, and the user that runs them."""
    user = unprivileged("redis")
    with workplace(user) as folder:
        yield folder, user


@pytest.fixture(scope="session")
def redis_pair(redis_home: tuple[Path, str | None]) -> Iterator[RedisPair]:
    """Tests leave it as they found it: following, read-only, nothing of theirs left."""
    servers = [make_server(*redis_home, name) for name in ("cache", "mirror")]
    pair = RedisPair(*servers)
    try:
        for server in servers:
            server.start()
        pair.follow()
        pair.settle()
        yield pair
    finally:
        for server in servers:
            server.process.stop()
