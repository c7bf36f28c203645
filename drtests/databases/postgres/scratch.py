"""A PostgreSQL server for one drill: its own data, configuration and socket; it archives to nowhere, follows nobody."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import timedelta

from drtests.databases.postgres.client import DEFAULT_PORT, Postgres
from drtests.databases.postgres.programs import SERVER_PACKAGE, Binaries
from drtests.databases.postgres.startup import cause, ended, lacking
from drtests.databases.serving import (
    Deadline,
    ServerUser,
    hand_over,
    last_words,
    socket_folder,
    told_as_missing,
)
from drtests.errors import DatabaseError, DatabaseUnreachable, DrtestsError, HostError, HostUnreachable
from drtests.model.connections import LiveDatabase
from drtests.protocols.database import Integrity, LiveContext, ScratchPlace
from drtests.protocols.host import Service

USUAL_USER = "postgres"
_POLL = 0.05
_STATE = 7
"""Line of postmaster.pid, counted from 0."""
_QUERY = timedelta(minutes=5)
_SETTING = re.compile(r"[a-z][a-z0-9_.]*")
_OURS = frozenset(
    (
        "archive_command", "archive_library", "archive_mode", "config_file", "data_directory", "external_pid_file",
        "hba_file", "hot_standby", "ident_file", "include", "include_dir", "include_if_exists", "listen_addresses",
        "log_destination", "logging_collector", "max_logical_replication_workers", "port", "primary_conninfo",
        "primary_slot_name", "promote_trigger_file", "restore_command", "archive_cleanup_command", "ssl",
        "synchronous_standby_names", "unix_socket_directories", "wal_receiver_create_temp_slot",
    )
)  # fmt: skip
"""Settings that are the drill's own, so that the server stays apart from all others."""


def check_settings(settings: Mapping[str, str]) -> None:
    """Raises ValueError for what is no setting, or is the drill's own."""
    for name in settings:
        if not _SETTING.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a setting; write it as in postgresql.conf, e.g. work_mem")
        if name in _OURS or name.startswith("recovery_"):
            raise ValueError(f"`{name}` is decided by drtests, so that the scratch server stays apart from all others")


def quoted(value: str) -> str:
    """As a value in postgresql.conf, and as a literal of SQL."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


class Starting:
    """What recipes need to make a server out of a data directory."""

    def __init__(
        self,
        place: ScratchPlace,
        user: ServerUser,
        deadline: Deadline,
        binaries: Binaries,
        settings: Mapping[str, str],
        role: str,
    ) -> None:
        self.place = place
        self.user = user
        self.deadline = deadline
        self.binaries = binaries
        self.role = role
        self._settings = dict(settings)

    @property
    def data(self) -> str:
        """The data directory."""
        return f"{self.place.folder}/data"

    def run(self, name: str, *words: str) -> str:
        """One of PostgreSQL's programs, as the server's user; returns what it printed. Raises DatabaseError."""
        host = self.place.host
        argv = self.user.argv([self.binaries.path(name), *words])
        with told_as_missing(host, SERVER_PACKAGE):
            result = host.run(
                argv, timeout=self.deadline.left(), cwd=self.place.folder, env={"LC_ALL": "C.UTF-8", "TZ": "UTC"}
            )
        if result.exit_code:
            raise DatabaseError(
                f"{name} failed: {last_words(result.stdout + result.stderr)}",
                where=f"host {host.id}",
                mend="see its words; `settings` and `binaries` of the recipe can change how it runs",
            )
        return result.stdout

    def start(
        self,
        database: str,
        port: int | None,
        recovery: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> ScratchPostgres:
        """Starts the server on `data`; `recovery` are settings of what it does before it opens.

        Does not wait: see `ScratchPostgres.wait`. Whatever configuration came with the data is not read.
        """
        place, host = self.place, self.place.host
        password = secrets.token_urlsafe(24)
        host.make_directory(f"{place.folder}/run")
        # It is read beside ours, and may hold where production archives to.
        host.write(f"{self.data}/postgresql.auto.conf", b"")
        hand_over(place, self.user, self.deadline)
        sockets = socket_folder(place, self.user, f".s.PGSQL.{port or DEFAULT_PORT}")
        self.configure(sockets, port, recovery or {})
        argv = [
            self.binaries.path("postgres"),
            "-D",
            self.data,
            "-c",
            f"config_file={place.folder}/postgresql.conf",
        ]
        made = ScratchPostgres(self, sockets, database, port, password)
        made.launch(self.user.argv(argv), {"LC_ALL": "C.UTF-8", **(environment or {})})
        return made

    def configure(self, sockets: str, port: int | None, recovery: Mapping[str, str]) -> None:
        """Writes all of the server's configuration; one that runs reads it when told to."""
        settings = {
            "listen_addresses": "127.0.0.1" if port else "",
            "port": str(port or DEFAULT_PORT),
            "unix_socket_directories": sockets,
            "unix_socket_permissions": "0700",
            "hba_file": f"{self.place.folder}/pg_hba.conf",
            "ident_file": "/dev/null",
            "external_pid_file": "",
            "archive_mode": "off",
            "ssl": "off",
            "shared_preload_libraries": "",
            # Subscriptions come back with the data; a worker of theirs would take changes out of production's slot.
            "max_logical_replication_workers": "0",
            "log_destination": "stderr",
            "logging_collector": "off",
            "password_encryption": "scram-sha-256",
            **recovery,
            **self._settings,
        }
        lines = "".join(f"{name} = {quoted(value)}\n" for name, value in settings.items())
        self.place.host.write(f"{self.place.folder}/postgresql.conf", lines.encode(), 0o644)
        # Who gets to the socket is who runs the drill, or the server's own user.
        rules = "local all all trust\n" + ("host all all 127.0.0.1/32 scram-sha-256\n" if port else "")
        self.place.host.write(f"{self.place.folder}/pg_hba.conf", rules.encode(), 0o644)


class ScratchPostgres:
    """Fulfils `drtests.protocols.database.Scratch`."""

    def __init__(self, starting: Starting, sockets: str, database: str, port: int | None, password: str) -> None:
        self._starting = starting
        self._place = starting.place
        self._sockets = sockets
        self._port = port
        self._password = password
        self._service: Service | None = None
        self._argv: Sequence[str] = ()
        self._environment: Mapping[str, str] = {}
        self._session = self.open(database, writable=False)

    def launch(self, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        """Starts the process; does not wait. Leaves nothing behind when it cannot."""
        self._argv, self._environment = argv, environment
        place = self._place
        try:
            # Words of an earlier start would be taken for those of this one.
            place.host.remove_tree(self.log_file)
            with told_as_missing(place.host, SERVER_PACKAGE):
                self._service = place.host.start(argv, cwd=place.folder, log=self.log_file, env=environment)
        except DrtestsError:
            self.stop(0)
            raise

    def restart(self) -> None:
        """Stops and starts it, and waits."""
        if self._service is not None:
            self._service.stop(30)
        self.launch(self._argv, self._environment)
        self.wait()

    def configure(self, recovery: Mapping[str, str]) -> None:
        """Lets it go on with these settings of recovery in place of those it has."""
        self._starting.configure(self._sockets, self._port, recovery)
        self.open("template1", writable=True).script("SELECT pg_reload_conf();")

    def open(self, database: str, *, writable: bool) -> Postgres:
        """A session in one of its databases, as its superuser."""
        declared = LiveDatabase(
            id="scratch",
            type="postgres",
            socket=self._sockets,
            port=self._port or DEFAULT_PORT,
            user=self._starting.role,
            database=database,
            timeout=_QUERY,
        )
        return Postgres(LiveContext(declared, self._place.host, None, writable), self._starting.binaries)

    @property
    def log_file(self) -> str:
        return f"{self._place.folder}/run/server.log"

    @property
    def session(self) -> Postgres:
        return self._session

    @property
    def environment(self) -> Mapping[str, str]:
        database = self._session.database
        login = {"PGUSER": self._starting.role, "PGDATABASE": database, "PGPORT": str(self._port or DEFAULT_PORT)}
        if self._port is None:
            return {"PGHOST": self._sockets, **login}
        return {"PGHOST": "127.0.0.1", **login, "PGPASSWORD": self._password}

    def wait(self, *, read_only: bool = False) -> None:
        """Until it answers. With `hot_standby` on it does so while it still recovers: then `read_only` has to be given.

        Raises DatabaseDamaged, DatabaseMissing (data of another release), DatabaseError.
        """
        clock, deadline = self._place.clock, self._starting.deadline
        asked = self.open("template1", writable=False)
        while True:
            self._alive()
            # What the server itself tells: asking it by psql over and over would fill the journal.
            if self._state() == "ready":
                try:
                    asked.query("SELECT 1", max(1.0, min(10.0, deadline.left())))
                except DatabaseUnreachable:
                    # Words of a server that was killed before.
                    pass
                else:
                    break
            deadline.left()
            clock.sleep(_POLL)
        if self._port is not None and not read_only:
            role = self._starting.role.replace('"', '""')
            # Over standard input: it is in no list of processes.
            text = f"ALTER ROLE \"{role}\" PASSWORD '{self._password}';"
            self.open("template1", writable=True).script(text, deadline.left())

    def _state(self) -> str:
        """starting, standby (recovers and lets nobody in), ready or stopping; empty when it does not tell yet."""
        file = f"{self._starting.data}/postmaster.pid"
        try:
            lines = self._place.host.read(file, 4096).decode(errors="replace").splitlines()
        except HostUnreachable:
            raise
        except HostError:
            return ""
        return lines[_STATE].strip() if len(lines) > _STATE else ""

    def _alive(self) -> None:
        told = self.died()
        if told is None:
            return
        raise ended(self.log(), told, f"host {self._place.host.id}")

    def integrity(self, timeout: float) -> Integrity:
        end = self._place.clock.monotonic() + timeout
        names = [str(name) for [name] in self._session.query("SELECT datname FROM pg_database WHERE datallowconn")]
        problems: list[str] = []
        tables = 0
        by = ("pg_amcheck", "pg_dump") if self._has_amcheck() else ("pg_dump",)
        for name in names:
            left = end - self._place.clock.monotonic()
            if left <= 0:
                raise DatabaseError(
                    f"the databases were not read to the end in {timeout:g} s",
                    mend="declare a longer `timeout` for the check",
                )
            tables += self._tables(name)
            problems += self._amcheck(name, left) if "pg_amcheck" in by else ()
            problems += self._read_through(name, max(1.0, end - self._place.clock.monotonic()))
            if problems and self.died() is not None:
                break
        return Integrity(tables, "tables", by, tuple(problems))

    def _tables(self, database: str) -> int:
        """How many there are but for the server's own."""
        [[count]] = self.open(database, writable=False).query(
            "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind"
            " IN ('r', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
        )
        return int(count)

    def _has_amcheck(self) -> bool:
        asked = "SELECT count(*) FROM pg_available_extensions WHERE name = 'amcheck'"
        [[count]] = self._session.query(asked)
        return bool(count) and self._exists("pg_amcheck")

    def _exists(self, program: str) -> bool:
        return self._place.host.exists(self._starting.binaries.path(program))

    def _amcheck(self, database: str, timeout: float) -> Sequence[str]:
        """Tables against their structure, indexes against their tables. Exit code 2: damage was found."""
        words = ("--install-missing", "--heapallindexed", "--no-strict-names", "--", database)
        return self._judged("pg_amcheck", words, timeout, damage=2)

    def _read_through(self, database: str, timeout: float) -> Sequence[str]:
        """Every row of every table, long values too."""
        return self._judged("pg_dump", ("--file=/dev/null", "--no-sync", f"--dbname={database}"), timeout, damage=1)

    def _judged(self, name: str, words: Sequence[str], timeout: float, damage: int) -> Sequence[str]:
        host, login = self._place.host, self._session
        argv = [self._starting.binaries.path(name), "--no-password", *login.login(), *words]
        with told_as_missing(host, SERVER_PACKAGE):
            result = host.run(argv, timeout=timeout, env=login.environment(timeout, read_only=False))
        if not result.exit_code:
            return ()
        said = last_words(result.stdout + result.stderr, 8)
        lacks = lacking(said, f"host {host.id}")
        if lacks is not None:
            raise lacks
        # Whatever keeps the data of this server from being read is damage, but for the drill's own doing.
        if result.exit_code == damage and not re.search(r"timeout|could not connect|connection to server", said):
            return (f"{name}: {said}",)
        raise DatabaseError(
            f"{name} could not read to the end: {said}", where=f"host {host.id}", mend="see its words, or try again"
        )

    def log(self) -> str:
        """The end of what the server logged."""
        return self._service.output() if self._service else ""

    def died(self) -> str | None:
        if self._service is None or self._service.exit_code() is None:
            return None
        return f"exit code {self._service.exit_code()}: {cause(self.log()) or 'it said nothing'}"

    def stop(self, timeout: float) -> None:
        if self._service is not None:
            self._service.stop(timeout)
            self._service = None
        if self._sockets != self._place.folder:
            self._place.host.remove_tree(self._sockets)
