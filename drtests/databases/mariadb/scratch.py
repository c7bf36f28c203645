"""A MariaDB server for one drill: its own data, socket and accounts; it follows nobody and runs no events."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import timedelta

from drtests.databases.mariadb.client import PROGRAMS, MariaDb
from drtests.databases.mariadb.follower import Follower
from drtests.databases.serving import (
    Deadline,
    ServerUser,
    hand_over,
    last_words,
    program,
    socket_folder,
    told_as_missing,
)
from drtests.errors import (
    DatabaseDamaged,
    DatabaseError,
    DatabaseMissing,
    DatabaseUnreachable,
    DrtestsError,
)
from drtests.model.connections import LiveDatabase
from drtests.protocols.database import Integrity, LiveContext, ScratchPlace
from drtests.protocols.host import Host, Service

SERVER_PACKAGE = "mariadb-server"
USUAL_USER = "mysql"
ACCOUNT = "drtests"
"""Of whoever uses the scratch server; made anew at every start, whatever accounts the backup holds."""
SOCKET = "mysqld.sock"
LOG = "server.log"

_SERVERS = ("mariadbd", "mysqld")
_POLL = 0.05
_NOTED = 100
_NOTE = r"\[(ERROR|Warning)\].*(corrupt|marked as crashed|checksum mismatch|failed to read page)"
_LAST_BREATH = 5.0
_FEW = 25
"""Tables that one statement checks."""
_QUERY = timedelta(minutes=5)
_SETTING = re.compile(r"[a-z][a-z0-9_-]*")
RESERVED = frozenset(
    (
        "bind-address", "datadir", "defaults-file", "event-scheduler", "init-file", "log-bin", "log-error", "pid-file",
        "port", "report-host", "server-id", "secure-file-priv", "skip-grant-tables", "skip-networking",
        "skip-slave-start", "socket", "symbolic-links", "tmpdir", "user",
    )
)  # fmt: skip
"""Settings that are the drill's own."""

_DAMAGE = re.compile(
    r"corrupt|checksum mismatch|cannot read page|failed to read page|missing (?:undo|redo) log|log sequence number"
    r"|is in the future|'mysql\.\w+' doesn't exist|file size .* is smaller|truncated|not a valid|invalid page"
    r"|cannot find a checkpoint|unable to (?:read|open)|wrong magic|plugin initialization aborted",
    re.IGNORECASE,
)
_OTHER_RELEASE = re.compile(
    r"unsupported redo log format|created with mariadb|upgrade after a crash is not supported|downgrade"
    r"|created by a newer|unsupported undo|redo log (?:was|is) from",
    re.IGNORECASE,
)


def settings_argv(settings: Mapping[str, str]) -> list[str]:
    """As options of the server. They were checked by `check_settings`."""
    return [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]


def check_settings(settings: Mapping[str, str]) -> None:
    """Raises ValueError for what is no setting, or is the drill's own."""
    for name in settings:
        if not _SETTING.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a setting; write it as in my.cnf, e.g. lower_case_table_names")
        if name.replace("_", "-") in RESERVED or name.startswith(("wsrep", "plugin", "loose")):
            raise ValueError(f"`{name}` is decided by drtests, so that the scratch server stays apart from all others")


class Starting:
    """What recipes need to make a server out of a data directory. Only one with a `follower` can follow another."""

    def __init__(
        self,
        place: ScratchPlace,
        user: ServerUser,
        deadline: Deadline,
        settings: Mapping[str, str],
        follower: Follower | None = None,
    ) -> None:
        self.place = place
        self.user = user
        self.deadline = deadline
        self._settings = dict(settings)
        self._follower = follower

    @property
    def data(self) -> str:
        """The data directory."""
        return f"{self.place.folder}/data"

    def server_program(self) -> str:
        return program(self.place.host, SERVER_PACKAGE, *_SERVERS)

    def start(
        self, port: int | None, database: str | None, own_settings: Sequence[str] = (), *, fresh: bool = False
    ) -> ScratchMariaDb:
        """Starts the server on `data`, which is `fresh` when it holds no accounts but those of an empty one.

        Ends it again when it does not come up.

        Raises DatabaseDamaged when the server finds damage, DatabaseMissing when the data is of another release.
        """
        place, host = self.place, self.place.host
        password = secrets.token_urlsafe(24)
        orders = f"{place.folder}/accounts.sql"
        server = self.server_program()
        host.make_directory(f"{place.folder}/temporary")
        accounts, more = _accounts(self.user.own, password, fresh), []
        if self._follower is not None:
            accounts += self._follower.orders()
            more = self._follower.argv()
        host.write(orders, accounts.encode())
        hand_over(place, self.user, self.deadline)
        sockets = socket_folder(place, self.user, SOCKET)
        listen = ["--skip-networking"] if port is None else ["--bind-address=127.0.0.1", f"--port={port}"]
        argv = [
            server, "--no-defaults", f"--datadir={self.data}", f"--socket={sockets}/{SOCKET}",
            f"--pid-file={place.folder}/mysqld.pid", f"--tmpdir={place.folder}/temporary", f"--init-file={orders}",
            *listen, "--skip-slave-start", "--skip-log-bin", "--event-scheduler=OFF", "--skip-name-resolve",
            # No file outside the folder is read or written, whatever tables and dumps ask for.
            f"--secure-file-priv={place.folder}/temporary", "--skip-symbolic-links", "--local-infile=OFF",
            "--max-allowed-packet=1G", *own_settings, *more, *settings_argv(self._settings),
        ]  # fmt: skip
        try:
            with told_as_missing(host, SERVER_PACKAGE):
                service = host.start(self.user.argv(argv), cwd=place.folder, log=f"{place.folder}/{LOG}")
        except DrtestsError:
            self._forget(sockets)
            raise
        made = ScratchMariaDb(place, service, sockets, password, port, database)
        try:
            self._wait(made, f"{sockets}/{SOCKET}")
        except BaseException:
            made.stop(10)
            raise
        host.remove_tree(orders)
        return made

    def _wait(self, made: ScratchMariaDb, socket: str) -> None:
        host, clock = self.place.host, self.place.clock
        while not host.exists(socket):
            self._alive(made)
            self.deadline.left()
            clock.sleep(_POLL)
        try:
            # Who connects early is answered once the server is up.
            made.owner.query("SELECT 1", self.deadline.left())
        except DatabaseUnreachable:
            self._alive(made)
            self.deadline.left()
            raise

    def _alive(self, made: ScratchMariaDb) -> None:
        if made.running:
            return
        told = made.log()
        where = f"host {self.place.host.id}"
        why = f"the scratch server ends while it starts: {last_words(told)}"
        if _OTHER_RELEASE.search(told):
            raise DatabaseMissing(
                why, where=where, mend="install the release of MariaDB that the backup was made of on this host"
            )
        if _DAMAGE.search(told):
            raise DatabaseDamaged(why, where=where, mend="this backup does not start; look at the backup job")
        raise DatabaseError(why, where=where, mend="see its words; `settings` of the recipe can change how it starts")

    def _forget(self, sockets: str) -> None:
        if sockets != self.place.folder:
            self.place.host.remove_tree(sockets)


def _accounts(own: str, password: str, fresh: bool) -> str:
    """Statements that every start carries out: who may use this server. One a line, as the server wants it."""
    lines = []
    for host in ("localhost", "127.0.0.1"):
        account = f"'{ACCOUNT}'@'{host}'"
        lines += [
            f"CREATE OR REPLACE USER {account} IDENTIFIED BY '{password}';",
            f"GRANT ALL ON *.* TO {account} WITH GRANT OPTION;",
            # So that no dump and no application can let it follow production.
            f"REVOKE SUPER, REPLICATION SLAVE ADMIN ON *.* FROM {account};",
        ]
    # The clients' own default, so that recovery steps need no name. An account of the backup stays as it is.
    first = ["DELETE FROM mysql.global_priv WHERE User <> 'mariadb.sys';", "FLUSH PRIVILEGES;"] if fresh else []
    for name in sorted({own, "root"} if fresh else {own}):
        if name == ACCOUNT or not re.fullmatch(r"[A-Za-z0-9._-]+", name):
            continue
        account = f"'{name}'@'localhost'"
        lines += [
            f"CREATE USER IF NOT EXISTS {account} IDENTIFIED BY '{password}';",
            f"GRANT ALL ON *.* TO {account} WITH GRANT OPTION;",
            f"REVOKE SUPER, REPLICATION SLAVE ADMIN ON *.* FROM {account};",
        ]
    return "\n".join(["SET sql_log_bin = 0;", *first, *lines, "FLUSH PRIVILEGES;"]) + "\n"


class ScratchMariaDb:
    """Fulfils `drtests.protocols.database.Scratch`."""

    def __init__(
        self,
        place: ScratchPlace,
        service: Service,
        sockets: str,
        password: str,
        port: int | None,
        database: str | None,
    ) -> None:
        self._place = place
        self._service = service
        self._sockets = sockets
        self._password = password
        self._port = port
        self._stopped = False
        self._session = self._open(ACCOUNT, password, database)
        self.owner = self._open(ACCOUNT, password, writable=True)
        """To load and to check."""

    def _open(self, user: str, password: str, database: str | None = None, *, writable: bool = False) -> MariaDb:
        declared = LiveDatabase(
            id="scratch", type="mariadb", socket=self.socket, user=user, database=database, timeout=_QUERY
        )
        return MariaDb(LiveContext(declared, self._place.host, password, writable))

    def leader(self, follower: Follower) -> MariaDb:
        """To let it follow another server, and to end that."""
        return self._open(follower.account, follower.password, writable=True)

    def begin_in(self, database: str | None) -> None:
        """Where queries start from here on."""
        self._session = self._open(ACCOUNT, self._password, database)

    @property
    def socket(self) -> str:
        return f"{self._sockets}/{SOCKET}"

    @property
    def session(self) -> MariaDb:
        return self._session

    @property
    def environment(self) -> Mapping[str, str]:
        found = {
            "MYSQL_UNIX_PORT": self.socket,
            "MYSQL_HOST": "localhost",
            "MYSQL_USER": ACCOUNT,
            "MYSQL_PWD": self._password,
        }
        return found if self._port is None else found | {"MYSQL_TCP_PORT": str(self._port)}

    def client_argv(self, *words: str) -> list[str]:
        """The client program, for loading: no client command in what it reads is carried out."""
        name = program(self._place.host, "mariadb-client", *PROGRAMS)
        return [
            name, "--no-defaults", "--binary-mode", "--local-infile=0", "--protocol=socket", f"--socket={self.socket}",
            f"--user={ACCOUNT}", "--max-allowed-packet=1G", "--default-character-set=utf8mb4", *words,
        ]  # fmt: skip

    @property
    def client_environment(self) -> Mapping[str, str]:
        return {"MYSQL_PWD": self._password}

    def integrity(self, timeout: float) -> Integrity:
        clock = self._place.clock
        end = clock.monotonic() + timeout
        problems: list[str] = []
        tables = self.owner.query(
            "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE'"
            " AND table_schema NOT IN ('information_schema', 'performance_schema', 'sys') ORDER BY 1, 2",
            max(0.001, end - clock.monotonic()),
        )
        names = [f"`{_quoted(schema)}`.`{_quoted(table)}`" for schema, table in tables]
        for first in range(0, len(names), _FEW):
            some = names[first : first + _FEW]
            left = end - clock.monotonic()
            if left <= 0:
                raise DatabaseError(
                    f"of {len(names)} tables {first} were read in {timeout:g} s",
                    mend="declare a longer `timeout` for the check",
                )
            found = self._check(some, left)
            problems += found
            if self.died() is not None:
                problems.append(f"the server ended while it read {', '.join(some)}: {self.died()}")
                break
        # Those of the server itself are read, too, but prove nothing of what was restored.
        own = sum(schema != "mysql" for schema, _ in tables)
        return Integrity(own, "tables", ("CHECK TABLE", "CHECKSUM TABLE"), (*problems, *self._noted()))

    def _noted(self) -> list[str]:
        """Damage that only the server's log tells of: InnoDB cuts a long column short where its page is damaged."""
        words = ["grep", "-a", "-i", "-m", str(_NOTED), "-E", _NOTE, f"{self._place.folder}/{LOG}"]
        told = self._place.host.run(words, timeout=60, env={"LC_ALL": "C"})
        lines = (line.partition("] ")[2][:300] for line in told.stdout.splitlines())
        return list(dict.fromkeys(f"log of the server: {line}" for line in lines))

    def _check(self, names: Sequence[str], timeout: float) -> list[str]:
        """CHECK TABLE looks at indexes and pages, CHECKSUM TABLE reads every row, long columns too."""
        every = ", ".join(names)
        try:
            told = self.owner.tend(f"CHECK TABLE {every} EXTENDED", timeout)
            sums = self.owner.tend(f"CHECKSUM TABLE {every} EXTENDED", timeout)
        except DatabaseDamaged as error:
            return [error.what]
        except DatabaseUnreachable:
            if not self._ends():
                raise
            return []
        problems = [
            f"{table}: {text}"
            for table, _, kind, text in told
            if (kind == "status" and text not in ("OK", "Table is already up to date")) or kind == "error"
        ]
        damaged = {problem.partition(":")[0] for problem in problems}
        problems += [
            f"{table}: cannot be read to its end" for table, number in sums if number is None and table not in damaged
        ]
        return problems

    def _ends(self) -> bool:
        """Whether it is about to: a server that dies takes a moment."""
        clock = self._place.clock
        end = clock.monotonic() + _LAST_BREATH
        while self.running and clock.monotonic() < end:
            clock.sleep(_POLL)
        return not self.running

    @property
    def running(self) -> bool:
        return not self._stopped and self._service.exit_code() is None

    def log(self) -> str:
        return self._service.output()

    def died(self) -> str | None:
        if self._stopped or self._service.exit_code() is None:
            return None
        return f"exit code {self._service.exit_code()}: {last_words(self.log()) or 'it said nothing'}"

    def stop(self, timeout: float) -> None:
        if self._stopped:
            return
        self._service.stop(timeout)
        self._stopped = True
        if self._sockets != self._place.folder:
            self._place.host.remove_tree(self._sockets)


def _quoted(name: object) -> str:
    return str(name).replace("`", "``")


def release(host: Host) -> str:
    """Name and version of the server that is installed. Raises DatabaseMissing."""
    server = program(host, SERVER_PACKAGE, *_SERVERS)
    told = host.run([server, "--no-defaults", "--version"], timeout=30).stdout
    match = re.search(r"Ver (\d+(?:\.\d+)+)", told)
    name = "MariaDB" if "mariadb" in told.lower() else "MySQL"
    return f"{name} {match[1] if match else told.strip()}"
