"""A Redis server for one drill: its own copy of the data, its own socket and password; it follows nobody."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from datetime import timedelta

from drtests.databases.redis.client import RedisCli
from drtests.databases.redis.words import quoted
from drtests.databases.serving import (
    Deadline,
    ServerUser,
    hand_over,
    last_words,
    program,
    socket_folder,
    told_as_missing,
)
from drtests.errors import DatabaseDamaged, DatabaseError, DatabaseMissing, DatabaseUnreachable, DrtestsError
from drtests.model.connections import LiveDatabase
from drtests.protocols.database import Integrity, LiveContext, ScratchPlace
from drtests.protocols.host import Host, Service

SERVER = "redis-server"
SERVER_PACKAGE = "redis-server"
USUAL_USER = "redis"
SOCKET = "redis.sock"

_READY = "ready to accept connections"
_POLL = 0.05
_LAST_BREATH = 5.0
_QUERY = timedelta(minutes=5)
_PAGE = 1000
_DATABASES = 1024
"""More than production is likely to have: data of a number beyond it could not be loaded."""
_SETTING = re.compile(r"[a-z][a-z0-9-]*")
_OURS = frozenset(
    (
        "aclfile", "appenddirname", "appendfilename", "appendonly", "bind", "cluster-enabled", "daemonize", "databases",
        "dbfilename", "dir", "include", "logfile", "masterauth", "masteruser", "pidfile", "port", "protected-mode",
        "rename-command", "replicaof", "requirepass", "save", "sentinel", "slaveof", "supervised", "tls-port",
        "unixsocket", "unixsocketperm", "user",
    )
)  # fmt: skip
"""Settings that are the drill's own, so that the server stays apart from all others."""
_OTHER_RELEASE = re.compile(r"can't handle rdb format version|module (?:data|aux)|no matching module", re.IGNORECASE)
_DAMAGE = re.compile(
    r"unexpected e(?:nd of file|of)|bad file format|wrong signature|crc|corrupt|terminating server after rdb"
    r"|reading the append only file|unable to obtain the aof|no such file|fatal error loading|not valid|missing or"
    r"|invalid",
    re.IGNORECASE,
)
_READ = """
local page = redis.call('SCAN', ARGV[1], 'COUNT', ARGV[2])
for _, key in ipairs(page[2]) do redis.call('DUMP', key) end
return {page[1], #page[2]}
"""
"""Reads a page of keys with their values, and gives back no more than how many."""


def check_settings(settings: Mapping[str, str]) -> None:
    """Raises ValueError for what is no setting, or is the drill's own."""
    for name, value in settings.items():
        if not _SETTING.fullmatch(name) or "\n" in value:
            raise ValueError(f"{name!r} is no setting; write it as in redis.conf, e.g. hash-max-listpack-entries")
        if name in _OURS:
            raise ValueError(f"`{name}` is decided by drtests, so that the scratch server stays apart from all others")


def release(host: Host) -> str:
    """Name and version of the server that is installed. Raises DatabaseMissing."""
    told = host.run([program(host, SERVER_PACKAGE, SERVER, "valkey-server"), "--version"], timeout=30).stdout
    match = re.search(r"v=(\d+(?:\.\d+)+)", told)
    return f"{'Valkey' if 'valkey' in told.lower() else 'Redis'} {match[1] if match else told.strip()}"


class Starting:
    """What the recipe needs to make a server out of copied files."""

    def __init__(self, place: ScratchPlace, user: ServerUser, deadline: Deadline, settings: Mapping[str, str]) -> None:
        self.place = place
        self.user = user
        self.deadline = deadline
        self._settings = dict(settings)

    @property
    def data(self) -> str:
        """The server's directory."""
        return f"{self.place.folder}/data"

    def start(self, port: int | None, database: int, own_settings: Mapping[str, str]) -> ScratchRedis:
        """Starts the server on `data`. Ends it again when it does not come up.

        Raises DatabaseDamaged when the server cannot read the data, DatabaseMissing when it is of a newer release.
        """
        place, host = self.place, self.place.host
        password = secrets.token_urlsafe(24)
        server = program(host, SERVER_PACKAGE, SERVER, "valkey-server")
        configuration = f"{place.folder}/redis.conf"
        # First, so that the folder is the server's when the socket is made there.
        hand_over(place, self.user, self.deadline)
        sockets = socket_folder(place, self.user, SOCKET)
        made: ScratchRedis | None = None
        try:
            settings = {
                "port": str(port or 0), "bind": "127.0.0.1", "unixsocket": f'"{sockets}/{SOCKET}"',
                "unixsocketperm": "700", "requirepass": password, "dir": f'"{self.data}"', "save": '""',
                "daemonize": "no", "databases": str(_DATABASES), "sanitize-dump-payload": "yes",
                **own_settings, **self._settings,
            }  # fmt: skip
            # The password goes by this file: nobody else can read it, and it is gone once the server is up.
            host.write(configuration, "".join(f"{name} {value}\n" for name, value in settings.items()).encode())
            hand_over(place, self.user, self.deadline)
            with told_as_missing(host, SERVER_PACKAGE):
                argv = self.user.argv([server, configuration])
                service = host.start(argv, cwd=self.data, log=f"{place.folder}/server.log")
            made = ScratchRedis(place, service, sockets, password, port, database)
            self._wait(made)
            host.remove_tree(configuration)
        except BaseException:
            if made is not None:
                made.stop(10)
            elif sockets != place.folder:
                host.remove_tree(sockets)
            raise
        return made

    def _wait(self, made: ScratchRedis) -> None:
        clock = self.place.clock
        while _READY not in made.log().lower():
            if not made.running:
                raise self._ended(made.log())
            self.deadline.left()
            clock.sleep(_POLL)

    def _ended(self, log: str) -> DrtestsError:
        where = f"host {self.place.host.id}"
        # What the server says of keys is restored data, and stays out.
        told = "\n".join(line for line in log.splitlines() if not re.search("Reading key|WARNING", line))
        why = f"the scratch server ends while it starts: {last_words(told)}"
        if _OTHER_RELEASE.search(told):
            return DatabaseMissing(
                why,
                where=where,
                mend="install the release of Redis, with its modules, that wrote the data on this host",
            )
        if _DAMAGE.search(told):
            return DatabaseDamaged(why, where=where, mend="this backup does not start; look at the backup job")
        return DatabaseError(why, where=where, mend="see its words; `settings` of the recipe can change how it starts")


class ScratchRedis:
    """Fulfils `drtests.protocols.database.Scratch`."""

    def __init__(
        self, place: ScratchPlace, service: Service, sockets: str, password: str, port: int | None, database: int
    ) -> None:
        self._place = place
        self._service = service
        self._sockets = sockets
        self._password = password
        self._port = port
        self._stopped = False
        self._database = database
        self._session = self._open(database)

    def leader(self) -> RedisCli:
        """To let it follow another server, and to end that."""
        return self._open(self._database, writable=True)

    def _open(self, database: int, *, writable: bool = False) -> RedisCli:
        declared = LiveDatabase(
            id="scratch", type="redis", socket=f"{self._sockets}/{SOCKET}", database=str(database), timeout=_QUERY
        )
        return RedisCli(LiveContext(declared, self._place.host, self._password, writable))

    @property
    def session(self) -> RedisCli:
        return self._session

    @property
    def environment(self) -> Mapping[str, str]:
        socket = f"{self._sockets}/{SOCKET}"
        found = {
            "REDIS_SOCKET": socket,
            "REDISCLI_AUTH": self._password,
            "REDIS_URL": f"unix://default:{self._password}@{socket}?db={self._database}",
        }
        if self._port is None:
            return found
        return found | {
            "REDIS_HOST": "127.0.0.1",
            "REDIS_PORT": str(self._port),
            "REDIS_URL": f"redis://default:{self._password}@127.0.0.1:{self._port}/{self._database}",
        }

    def integrity(self, timeout: float) -> Integrity:
        """Reads every key of every database. The files themselves were checked before the server read them."""
        deadline = Deadline(self._place.clock, timeout, "reading every key")
        keys = 0
        try:
            [[text]] = self._session.query("INFO keyspace", deadline.left())
            numbers = [int(number) for number in re.findall(r"^db(\d+):", str(text), re.MULTILINE)]
            for number in numbers:
                keys += self._read(number, deadline)
        except DatabaseUnreachable:
            if not self._ends():
                raise
            return _read(keys, f"the server ended while its keys were read: {self.died()}")
        except DatabaseDamaged as error:
            return _read(keys, error.what)
        return _read(keys)

    def _read(self, number: int, deadline: Deadline) -> int:
        session = self._open(number)
        cursor, keys = "0", 0
        while True:
            words = [b"EVAL_RO", _READ.encode(), b"0", cursor.encode(), str(_PAGE).encode()]
            [[cursor], [count]] = session.query(quoted(words).decode(), deadline.left())
            keys += int(count)
            if cursor == "0":
                return keys

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


def _read(keys: int, *problems: str) -> Integrity:
    return Integrity(keys, "keys", ("DUMP",), problems)
