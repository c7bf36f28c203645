"""A MariaDB source and its replica, on loopback."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from drtests.model.connections import LiveDatabase
from drtests.testing.database_contract import Served
from tests.support.needs import needs
from tests.support.servers import Process, free_port, unprivileged, wait_for, workplace

PASSWORD = "s3cret of mariadb"
ACCOUNTS = f"""
SET sql_log_bin = 0;
CREATE USER 'drtests'@'%' IDENTIFIED BY '{PASSWORD}';
GRANT SELECT, BINLOG MONITOR, REPLICA MONITOR ON *.* TO 'drtests'@'%';
GRANT CREATE, DROP, INSERT ON drtests.* TO 'drtests'@'%';
CREATE USER 'repl'@'%' IDENTIFIED BY '{PASSWORD}';
GRANT REPLICATION SLAVE ON *.* TO 'repl'@'%';
"""


@dataclass(slots=True)
class MariaServer:
    """A server with its account `drtests` of the password above; `root` has none, by the socket."""

    name: str
    folder: Path
    port: int
    server_id: int
    process: Process

    @property
    def socket(self) -> str:
        return f"{self.folder}/s"

    def sql(self, statements: str, timeout: float = 30) -> str:
        """As root; what it prints, without names of columns."""
        done = subprocess.run(
            ["mariadb", "--no-defaults", f"--socket={self.socket}", "--user=root", "--batch", "--skip-column-names"],
            input=statements,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(done.stderr)
        return done.stdout

    def start(self) -> None:
        self.process.start()
        wait_for(self._answers, f"mariadbd does not come up: {self.process.output()}")

    def _answers(self) -> bool:
        if not self.process.running:
            raise RuntimeError(self.process.output())
        try:
            return self.sql("SELECT 1") == "1\n"
        except RuntimeError:
            return False

    def declared(self, **changed: object) -> LiveDatabase:
        values = {
            "id": self.name,
            "type": "mariadb",
            "address": "127.0.0.1",
            "port": self.port,
            "user": "drtests",
            "password": "env:DRTESTS_TEST_MARIADB",
            "timeout": timedelta(seconds=10),
        }
        return LiveDatabase.model_validate(values | changed)

    def served(self) -> Served:
        return Served(self.declared(), PASSWORD)


@dataclass(slots=True)
class MariaPair:
    """`replica` follows `source`, by GTID; it is read-only."""

    source: MariaServer
    replica: MariaServer

    def follow(self, *, port: int | None = None, gtid: str = "slave_pos") -> None:
        """Lets the replica follow, from where it is."""
        self.replica.sql(
            f"STOP SLAVE; CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={port or self.source.port},"
            f" MASTER_USER='repl', MASTER_PASSWORD='{PASSWORD}', MASTER_CONNECT_RETRY=1, MASTER_USE_GTID={gtid};"
            " SET GLOBAL read_only = 1; START SLAVE;"
        )

    def settle(self) -> None:
        """Waits until the replica has all."""
        position = self.source.sql("SELECT @@gtid_binlog_pos").strip()
        told = self.replica.sql(f"SELECT MASTER_GTID_WAIT('{position}', 20)").strip()
        if told != "0":
            raise TimeoutError(f"the replica does not get to {position}: {told}")


def make_server(folder: Path, user: str | None, name: str, server_id: int, template: Path) -> MariaServer:
    """A server on a copy of `template`, not started yet."""
    program = needs("mariadbd", "/usr/sbin/mariadbd", install="mariadb-server")
    home = folder / name
    home.mkdir()
    # Kept as small as they may be: many are made.
    subprocess.run(["cp", "-a", "--reflink=auto", str(template), str(home / "data")], check=True)
    if user:
        shutil.chown(home, user)
    port = free_port()
    options = [
        "--no-defaults", f"--datadir={home}/data", f"--socket={home}/s", f"--pid-file={home}/pid", f"--tmpdir={home}",
        "--bind-address=127.0.0.1", f"--port={port}", f"--server-id={server_id}", "--log-bin=binlog",
        "--skip-name-resolve", "--slave-net-timeout=5", *SMALL,
    ]  # fmt: skip
    return MariaServer(name, home, port, server_id, Process([program, *options], user, home / "log"))


SMALL = ("--innodb-buffer-pool-size=16M", "--innodb-log-file-size=8M", "--aria-pagecache-buffer-size=1M")


@contextmanager
def mariadb_template() -> Iterator[tuple[Path, str | None]]:
    """A folder with a data directory `template`, as mariadb-install-db makes it; and its owner."""
    program = needs("mariadb-install-db", install="mariadb-server")
    user = unprivileged("mysql")
    with workplace(user) as folder:
        words = ["--no-defaults", f"--datadir={folder}/template", "--auth-root-authentication-method=normal"]
        made = Process([program, *words, "--skip-test-db", *SMALL], user, folder / "install.log")
        made.start()
        wait_for(lambda: not made.running, "mariadb-install-db hangs")
        if not (folder / "template" / "mysql").is_dir():
            raise RuntimeError(made.output())
        yield folder, user


@pytest.fixture(scope="session")
def mariadb_home() -> Iterator[tuple[Path, str | None]]:
    """As `mariadb_template`, once."""
    with mariadb_template() as found:
        yield found


@pytest.fixture(scope="session")
def mariadb_pair(mariadb_home: tuple[Path, str | None]) -> Iterator[MariaPair]:
    """Tests leave it as they found it: following, read-only, nothing of theirs left."""
    folder, user = mariadb_home
    servers = [
        make_server(folder, user, name, number, folder / "template") for number, name in ((11, "main"), (12, "standby"))
    ]
    pair = MariaPair(*servers)
    try:
        for server in servers:
            server.start()
            server.sql(ACCOUNTS)
        pair.follow()
        pair.settle()
        yield pair
    finally:
        for server in servers:
            server.process.stop()
