"""Asks a Redis server by redis-cli.

A query is one command as redis-cli takes it: `GET key`, `HGETALL "a b"`. It
travels by standard input, every word of it quoted again, so that redis-cli
sees nothing but that one command.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from drtests.databases.redis.failures import failure, unreachable
from drtests.databases.redis.words import quoted, split
from drtests.errors import CommandNotFound, CommandTimeout, DatabaseError, DatabaseMissing, DatabaseRefused
from drtests.model.connections import LiveDatabase
from drtests.protocols.database import LiveContext, Rows
from drtests.protocols.host import CommandResult, Host

PROGRAM = "redis-cli"

DEFAULT_PORT = 6379
_KEPT = 1024 * 1024
"""Bytes of output that a host keeps."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_OWN = frozenset(("auth", "clear", "connect", "exit", "hello", "help", "quit", "restart", "reset", "select"))
"""What redis-cli takes as orders to itself, or what changes who and where it is."""

_HARMLESS = frozenset(
    (
        "acl whoami", "client id", "client info", "client list", "cluster info", "cluster nodes", "command",
        "config get", "echo", "info", "lastsave", "latency latest", "memory stats", "module list", "ping", "role",
        "slowlog get", "slowlog len", "time",
    )
)  # fmt: skip
"""Commands that only read though the server does not mark them `readonly`, which is for those that take keys."""

_TEXT = frozenset(("client", "cluster", "info", "latency", "lolwut", "memory"))
"""Commands whose text redis-cli prints as it is, not as JSON."""

_ERROR = "error:"
_TOLD_AS_TEXT = re.compile(r"[A-Z]{3,} ")
"""Of those an error has nothing but its own first word to be known by."""


def open_redis(context: LiveContext) -> RedisCli:
    """The client for databases of type `redis`."""
    return RedisCli(context)


class RedisCli:
    """Fulfils `drtests.protocols.database.Live`. Each command has a connection of its own."""

    def __init__(self, context: LiveContext) -> None:
        self._declared = context.declared
        self._host = context.host
        self._password = context.password
        self._writable = context.writable
        self._flags: dict[str, bool] = {}
        place = context.declared.socket or f"{context.declared.address}:{context.declared.port or DEFAULT_PORT}"
        self._where = f"database {context.declared.id} ({place})"

    def __repr__(self) -> str:
        return f"RedisCli({self._declared.id!r})"

    @property
    def id(self) -> str:
        return self._declared.id

    @property
    def declared(self) -> LiveDatabase:
        return self._declared

    @property
    def host(self) -> Host:
        """Where its client runs."""
        return self._host

    @property
    def password(self) -> str | None:
        """Pass it on as environment or by standard input only."""
        return self._password

    @property
    def type(self) -> str:
        return "redis"

    def version(self) -> str:
        [[text]] = self.query("INFO server")
        told = dict(line.split(":", 1) for line in str(text).splitlines() if ":" in line)
        name, number = ("Valkey", "valkey_version") if "valkey_version" in told else ("Redis", "redis_version")
        return f"{name} {told.get(number, '?')}"

    def query(self, statement: str, timeout: float | None = None) -> Rows:
        """A list gives one row for each of its elements, a map one of key and value; what is nested deeper is JSON."""
        words = self._words(statement)
        limit = self._limit(timeout)
        if not self._only_reads(words, limit):
            raise self._refused(f"{words[0].decode()} is not known as a command that only reads")
        return _rows(self._ask(words, limit))

    def execute(self, statement: str, timeout: float | None = None) -> None:
        if not self._writable:
            raise self._refused("this session was opened to read, and does not write")
        words = self._words(statement)
        self._ask(words, self._limit(timeout))

    def _words(self, statement: str) -> Sequence[bytes]:
        try:
            words = split(statement)
        except ValueError as error:
            raise DatabaseError(
                f"the command cannot be read: {error}", where=self._where, mend="write it as redis-cli takes it"
            ) from None
        name = words[0].decode("utf-8", errors="replace") if words else ""
        if not _NAME.fullmatch(name):
            raise DatabaseError(
                f"{name!r} is no name of a command", where=self._where, mend="write one command, e.g. GET key"
            )
        if name.lower() in _OWN:
            raise self._refused(f"{name} is not for the server")
        return words

    def _only_reads(self, words: Sequence[bytes], timeout: float) -> bool:
        """What the server itself says of the command."""
        name, sub = [*(word.decode("utf-8", errors="replace").lower() for word in words[:2]), ""][:2]
        if name in _HARMLESS or f"{name} {sub}" in _HARMLESS:
            return True
        asked = f"{name}|{sub}" if sub else name
        if asked not in self._flags:
            told = self._ask([b"COMMAND", b"INFO", name.encode(), *([asked.encode()] if sub else [])], timeout)
            found = [one for one in told if isinstance(one, list)]
            # A command that has subcommands is marked at those.
            self._flags[asked] = any("readonly" in one[2] for one in found)
        return self._flags[asked]

    def _limit(self, timeout: float | None) -> float:
        return self._declared.timeout.total_seconds() if timeout is None else timeout

    def _ask(self, words: Sequence[bytes], timeout: float) -> Any:
        result = self._client(words, timeout)
        text = result.stdout.removesuffix("\n")
        if text.startswith(_ERROR) or result.stderr.strip() or result.exit_code != 0 or not text:
            raise failure(text, result.stderr, result.exit_code, self._where)
        try:
            return json.loads(text)
        except ValueError:
            if len(result.stdout.encode()) >= _KEPT:
                raise DatabaseError(
                    "the answer is too long: a host keeps the last MiB of it",
                    where=self._where,
                    mend="ask for less: a part of the list, or a count",
                ) from None
            if words[0].decode("utf-8", errors="replace").lower() in _TEXT:
                if _TOLD_AS_TEXT.match(text):
                    raise failure(_ERROR + text, "", 0, self._where) from None
                return text
            raise failure(_nested(text), "", 0, self._where) from None

    def _client(self, words: Sequence[bytes], timeout: float) -> CommandResult:
        declared = self._declared
        argv = [PROGRAM, "--json", "--no-auth-warning"]
        if declared.socket is not None:
            argv += ["-s", declared.socket]
        else:
            argv += ["-h", declared.address, "-p", str(declared.port or DEFAULT_PORT)]
        if declared.database is not None:
            argv += ["-n", declared.database]
        env = {}
        if self._password is not None:
            env["REDISCLI_AUTH"] = self._password
            if declared.user is not None:
                argv += ["--user", declared.user]
        try:
            return self._host.run(argv, timeout=timeout, stdin=quoted(words) + b"\n", env=env)
        except CommandNotFound:
            raise DatabaseMissing(
                f"{PROGRAM} is not installed on host {self._host.id}",
                where=self._where,
                mend="install the client there: apt-get install redis-tools",
            ) from None
        except CommandTimeout:
            raise unreachable(f"no answer within {timeout:g} s", self._where) from None

    def _refused(self, what: str) -> DatabaseRefused:
        return DatabaseRefused(
            what, where=self._where, mend="ask by a command that only reads, e.g. GET, DBSIZE, EVAL_RO"
        )


def _nested(text: str) -> str:
    """An error within a list, which is then no JSON."""
    _, found, rest = text.partition(_ERROR)
    return found + rest if found else f"{_ERROR} redis-cli prints what cannot be read: {text[:200]}"


def _rows(reply: Any) -> Rows:
    if isinstance(reply, dict):
        return [[key, _scalar(value)] for key, value in reply.items()]
    if isinstance(reply, list):
        return [[_scalar(value) for value in one] if isinstance(one, list) else [_scalar(one)] for one in reply]
    return [[reply]]


def _scalar(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else value
