"""A PostgreSQL primary and a standby that streams from it, on loopback."""

from __future__ import annotations

import glob
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from drtests.model.connections import LiveDatabase
from drtests.testing.database_contract import Served
from tests.support.needs import needs
from tests.support.servers import Process, free_port, unprivileged, wait_for, workplace

PASSWORD = "s3cret of postgres"
ROLES = f"""
CREATE ROLE drtests LOGIN REPLICATION PASSWORD '{PASSWORD}';
GRANT pg_monitor, pg_read_all_data TO drtests;
GRANT CREATE ON DATABASE postgres TO drtests;
CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}';
GRANT pg_monitor, pg_read_all_data TO reader;
"""


def binaries() -> Path:
    """The folder of PostgreSQL's programs, of the newest release that is installed."""
    needs("/usr/lib/postgresql/*/bin/postgres", install="postgresql")
    found = glob.glob("/usr/lib/postgresql/*/bin")
    return Path(max(found, key=lambda path: int(path.split("/")[-2])))


@dataclass(slots=True)
class PostgresServer:
    """A server with the roles `postgres` (by the socket, without password), `drtests` and `reader` (see ROLES)."""

    name: str
    data: Path
    port: int
    user: str | None
    settings: dict[str, str] = field(default_factory=dict)
    process: Process | None = None

    @property
    def socket(self) -> Path:
        return self.data.parent

    def program(self, name: str, *arguments: str, timeout: float = 60, stdin: str | None = None) -> str:
        """Runs one of PostgreSQL's programs as the server's user; what it prints. Raises RuntimeError."""
        done = subprocess.run(
            [str(binaries() / name), *arguments],
            user=self.user,
            group=self.user,
            extra_groups=[] if self.user else None,
            cwd=self.data.parent,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC"},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{name}: {done.stderr}")
        return done.stdout

    def login(self, database: str = "postgres") -> list[str]:
        """As superuser, by the socket."""
        return [f"--host={self.socket}", f"--port={self.port}", "--username=postgres", f"--dbname={database}"]

    def sql(self, statements: str, database: str = "postgres", timeout: float = 30) -> str:
        """As superuser; what psql prints, without names of columns."""
        words = ("-XAtq", "--set=ON_ERROR_STOP=1", *self.login(database))
        return self.program("psql", *words, stdin=statements, timeout=timeout)

    def initialise(self, *words: str) -> None:
        self.program("initdb", "--no-sync", "--auth=trust", "--username=postgres", *words, f"--pgdata={self.data}")
        (self.data / "pg_hba.conf").write_text(
            "local all all trust\nlocal replication all trust\n"
            "host all all 127.0.0.1/32 scram-sha-256\nhost replication all 127.0.0.1/32 scram-sha-256\n"
        )

    def start(self, **settings: str) -> None:
        """Starts it with further settings, and waits until it answers."""
        given = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.socket),
            "shared_buffers": "16MB",
            "max_connections": "30",
            "fsync": "off",
            # Tests count what is written, and by whom.
            "autovacuum": "off",
            "wal_receiver_status_interval": "1",
            **self.settings,
            **settings,
        }
        words = [word for name, value in given.items() for word in ("-c", f"{name}={value}")]
        argv = [str(binaries() / "postgres"), "-D", str(self.data), *words]
        self.process = Process(argv, self.user, self.data.parent / f"{self.data.name}.log")
        self.process.start()
        wait_for(self._answers, f"{self.name} does not come up")

    def stop(self) -> None:
        if self.process is not None:
            self.process.send(signal.SIGINT)
            self.process.stop()

    def _answers(self) -> bool:
        if self.process is None or not self.process.running:
            raise RuntimeError(self.process.output() if self.process else "not started")
        try:
            return self.sql("SELECT 1") == "1\n"
        except RuntimeError:
            return False

    def declared(self, **changed: object) -> LiveDatabase:
        values = {
            "id": self.name,
            "type": "postgres",
            "address": "127.0.0.1",
            "port": self.port,
            "user": "drtests",
            "password": "env:DRTESTS_TEST_POSTGRES",
            "timeout": timedelta(seconds=10),
        }
        return LiveDatabase.model_validate(values | changed)

    def served(self) -> Served:
        return Served(self.declared(), PASSWORD)


@dataclass(slots=True)
class PostgresPair:
    """`standby` streams from `primary`, by the slot `standby`."""

    primary: PostgresServer
    standby: PostgresServer

    def settle(self) -> None:
        """Waits until the standby has replayed all."""
        position = self.primary.sql("SELECT pg_current_wal_lsn()").strip()
        wait_for(
            lambda: self.standby.sql(f"SELECT pg_last_wal_replay_lsn() >= '{position}'") == "t\n",
            f"the standby does not get to {position}",
        )


def make_primary(
    folder: Path, user: str | None, name: str, settings: Mapping[str, str] | None = None, *words: str
) -> PostgresServer:
    """An empty server with the roles, running. `words` go to initdb."""
    home = folder / name
    home.mkdir()
    if user is not None:
        shutil.chown(home, user)
    made = PostgresServer(name, home / "data", free_port(), user, dict(settings or {}))
    made.initialise("--data-checksums", *words)
    made.start()
    made.sql(ROLES)
    return made


def make_standby(primary: PostgresServer, name: str) -> PostgresServer:
    """A standby of a running primary, running; it has a slot of its name."""
    home = primary.data.parent.parent / name
    home.mkdir()
    if primary.user is not None:
        shutil.chown(home, primary.user)
    made = PostgresServer(name, home / "data", free_port(), primary.user)
    source = (f"--host={primary.socket}", f"--port={primary.port}", "--username=postgres")
    copy = ("--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync")
    made.program("pg_basebackup", *source, *copy, "--create-slot", f"--slot={name}", f"--pgdata={made.data}")
    made.start()
    return made


@contextmanager
def postgres_workplace() -> Iterator[tuple[Path, str | None]]:
    """A folder for servers, and the user they run as."""
    binaries()
    user = unprivileged("postgres")
    with workplace(user) as folder:
        yield folder, user


@pytest.fixture(scope="session")
def postgres_pair() -> Iterator[PostgresPair]:
    """Tests leave it as they found it: streaming, nothing of theirs left."""
    with postgres_workplace() as (folder, user):
        primary = make_primary(folder, user, "primary", {"wal_level": "logical"})
        try:
            standby = make_standby(primary, "standby")
            try:
                pair = PostgresPair(primary, standby)
                pair.settle()
                yield pair
            finally:
                standby.stop()
        finally:
            primary.stop()
