"""Asks a MariaDB or MySQL server by its own client program.

The statement travels by standard input, as a number in hexadecimal, and is
prepared by the server: so neither the client's own commands nor a second
statement can hide in it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from drtests.databases.mariadb.failures import failure
from drtests.errors import (
    CommandNotFound,
    CommandTimeout,
    DatabaseError,
    DatabaseMissing,
    DatabaseRefused,
    DatabaseUnreachable,
)
from drtests.model.connections import LiveDatabase
from drtests.protocols.database import LiveContext, Rows
from drtests.protocols.host import CommandResult, Host

PROGRAMS = ("mariadb", "mysql")
"""The client has two names; newer releases know only the first, older ones and MySQL only the second."""

DEFAULT_PORT = 3306
_CONNECT = 10.0
_GRACE = 5.0
"""Seconds the client has longer than the server, which ends a slow statement by itself."""

_COMMENT = re.compile(r"\A(?:\s+|\(|--[\s][^\n]*(?:\n|\Z)|#[^\n]*(?:\n|\Z)|/\*(?![!M]).*?\*/)", re.DOTALL)
_READS = re.compile(r"\A(?:select|with|show|describe|desc|explain|checksum|values|table|help)\b", re.IGNORECASE)
_WRITES_FILES = re.compile(r"\b(?:out|dump)file\b", re.IGNORECASE)
_TOLD_TYPES = re.compile(r"\A(?:select|with|show|describe|desc|values|table)\b", re.IGNORECASE)

_ROW = re.compile(r"<row>(.*?)</row>", re.DOTALL)
_FIELD = re.compile(r'<field name="([^"]*)"(?: xsi:nil="true" />|>([^<]*)</field>)')
_TYPE = re.compile(r"^Field +\d+:  `.*?^Type: +(\w+)$", re.DOTALL | re.MULTILINE)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")
_NUMERIC = {"TINY", "SHORT", "INT24", "LONG", "LONGLONG", "FLOAT", "DOUBLE", "DECIMAL", "NEWDECIMAL", "YEAR"}


def open_mariadb(context: LiveContext) -> MariaDb:
    """The client for databases of type `mariadb`."""
    return MariaDb(context)


class MariaDb:
    """Fulfils `drtests.protocols.database.Live`. Each statement has a connection of its own."""

    def __init__(self, context: LiveContext) -> None:
        self._declared = context.declared
        self._host = context.host
        self._password = context.password
        self._writable = context.writable
        self._program: str | None = None
        place = context.declared.socket or f"{context.declared.address}:{context.declared.port or DEFAULT_PORT}"
        self._where = f"database {context.declared.id} ({place})"

    def __repr__(self) -> str:
        return f"MariaDb({self._declared.id!r})"

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
    def password(self) -> str:
        """Pass it on as environment or by standard input only."""
        return self._password or ""

    @property
    def type(self) -> str:
        return "mariadb"

    def version(self) -> str:
        [row] = self.query("SELECT VERSION() AS v, @@version_comment AS c")
        number, comment = str(row[0]), str(row[1])
        name = "MariaDB" if "mariadb" in (number + comment).lower() else "MySQL"
        return f"{name} {number.partition('-')[0]}"

    def query(self, statement: str, timeout: float | None = None) -> Rows:
        return [[value for _, value in row] for row in self._read(statement, timeout)]

    def records(self, statement: str, timeout: float | None = None) -> Sequence[Mapping[str, Any]]:
        """As `query`, each row by the names of its columns: what SHOW tells has no fixed places."""
        return [dict(row) for row in self._read(statement, timeout)]

    def execute(self, statement: str, timeout: float | None = None) -> None:
        self._may_write()
        self._run(statement, self._limit(timeout), "")

    def tend(self, statement: str, timeout: float | None = None) -> Rows:
        """The rows, all as text, of a statement that may write, such as CHECK TABLE. As `execute` otherwise."""
        self._may_write()
        return [[value for _, value in row] for row in self._rows(statement, self._limit(timeout), "")]

    def _read(self, statement: str, timeout: float | None) -> list[list[tuple[str, Any]]]:
        begins = _bare(statement)
        limit = self._limit(timeout)
        if not _READS.match(begins):
            # What the server does not even understand is wrong, not refused.
            self._run(statement, limit, "", carry_out=False)
        if not _READS.match(begins) or _WRITES_FILES.search(statement):
            raise self._refused(f"{_short(statement)!r} is not known as a statement that only reads")
        rows = self._rows(statement, limit, "SET SESSION TRANSACTION READ ONLY;")
        numeric = self._numeric(statement, limit, len(rows[0])) if rows and _may_hold_numbers(begins, rows) else ()
        for row in rows:
            for column in numeric:
                name, value = row[column]
                row[column] = (name, _number(value))
        return rows

    def _rows(self, statement: str, timeout: float, prologue: str) -> list[list[tuple[str, Any]]]:
        rows = _rows(self._run(statement, timeout, prologue, "--xml").stdout)
        if rows is None:
            raise DatabaseError(
                "the answer is too long: a host keeps the last MiB of it",
                where=self._where,
                mend="ask for less: let the database count or sum up, or add LIMIT",
            )
        return rows

    def _may_write(self) -> None:
        if not self._writable:
            raise self._refused("this session was opened to read, and does not write")

    def _numeric(self, statement: str, timeout: float, width: int) -> Sequence[int]:
        """Which columns hold numbers. Only the client's tables for people tell; nothing is read for them."""
        prologue = "SET SESSION TRANSACTION READ ONLY; SET SESSION sql_select_limit = 0;"
        types = _TYPE.findall(self._run(statement, timeout, prologue, "--table", "--column-type-info").stdout)
        if len(types) != width:
            raise DatabaseError(
                f"the client tells the types of {len(types)} columns, and there are {width}",
                where=self._where,
                mend="give the columns short and plain names, with AS",
            )
        return [number for number, kind in enumerate(types) if kind in _NUMERIC]

    def _limit(self, timeout: float | None) -> float:
        return self._declared.timeout.total_seconds() if timeout is None else timeout

    def _run(
        self, statement: str, timeout: float, prologue: str, *options: str, carry_out: bool = True
    ) -> CommandResult:
        text = statement.strip()
        if not text:
            raise DatabaseError("the statement is empty", where=self._where, mend="write one")
        # Of the two comments that are none, MariaDB carries out the one, MySQL the other.
        lines = (
            f"{prologue} /*M! SET SESSION max_statement_time = {max(timeout, 0.001):.3f} */;"
            f" /*!50708 SET SESSION max_execution_time = {max(1, round(timeout * 1000))} */;",
            f"SET @drtests = CONVERT(0x{text.encode('utf-8', errors='replace').hex()} USING utf8mb4);",
            "PREPARE drtests FROM @drtests;",
            "EXECUTE drtests;" if carry_out else "",
        )
        result = self._client([*self._login(timeout), *options], "\n".join(lines).encode(), timeout + _GRACE)
        if result.exit_code != 0:
            raise failure(result.stderr, result.exit_code, self._where, timeout)
        return result

    def _login(self, timeout: float) -> list[str]:
        """Nothing of it is secret; no option file of the user has a say."""
        words = ["--no-defaults", "--batch", "--default-character-set=utf8mb4"]
        words.append(f"--connect-timeout={max(1, math.ceil(min(timeout, _CONNECT)))}")
        words += self.way()
        if self._declared.database is not None:
            words.append(f"--database={self._declared.database}")
        return words

    def way(self) -> list[str]:
        """Options of any client program: where the server is, and as whom it is asked."""
        declared = self._declared
        if declared.socket is not None:
            words = ["--protocol=socket", f"--socket={declared.socket}"]
        else:
            words = ["--protocol=tcp", f"--host={declared.address}", f"--port={declared.port or DEFAULT_PORT}"]
        return words if declared.user is None else [*words, f"--user={declared.user}"]

    def _client(self, words: Sequence[str], stdin: bytes, timeout: float) -> CommandResult:
        # MySQL's client has one more file of logins, which --no-defaults does not cover.
        env = {"MYSQL_PWD": self._password or "", "MYSQL_TEST_LOGIN_FILE": "/dev/null"}
        for program in (self._program,) if self._program else PROGRAMS:
            try:
                result = self._host.run([program, *words], timeout=timeout, stdin=stdin, env=env)
            except CommandNotFound:
                continue
            except CommandTimeout:
                raise DatabaseUnreachable(
                    f"the server does not answer within {timeout:g} s",
                    where=self._where,
                    mend="see whether it hangs, or its host or network does; a paused server answers nobody",
                ) from None
            self._program = program
            return result
        raise DatabaseMissing(
            f"neither {PROGRAMS[0]} nor {PROGRAMS[1]} is installed on host {self._host.id}",
            where=self._where,
            mend="install the client there: apt-get install mariadb-client",
        )

    def _refused(self, what: str) -> DatabaseRefused:
        return DatabaseRefused(
            what, where=self._where, mend="write a statement that only reads: SELECT, WITH, SHOW, DESCRIBE or CHECKSUM"
        )


def _bare(statement: str) -> str:
    """Without what may stand before the first word."""
    while match := _COMMENT.match(statement):
        statement = statement[match.end() :]
    return statement


def _short(statement: str) -> str:
    text = " ".join(statement.split())
    return text if len(text) <= 60 else text[:57] + "..."


def _rows(text: str) -> list[list[tuple[str, Any]]] | None:
    """Rows of (name, value); None when the beginning of the answer is missing."""
    if not text.strip():
        return []
    if not text.startswith("<?xml"):
        return None
    # What the client writes is regular, and may hold characters that no XML parser lets pass.
    return [
        [(_plain(name), None if value is None else _plain(value)) for name, value in _fields(row)]
        for row in _ROW.findall(text)
    ]


def _fields(row: str) -> list[tuple[str, str | None]]:
    return [(match[1], match[2]) for match in _FIELD.finditer(row)]


def _plain(text: str) -> str:
    for entity, character in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
        text = text.replace(entity, character)
    return text


def _may_hold_numbers(begins: str, rows: Sequence[Sequence[tuple[str, Any]]]) -> bool:
    looks = (isinstance(value, str) and _NUMBER.fullmatch(value) for row in rows for _, value in row)
    return _TOLD_TYPES.match(begins) is not None and any(looks)


def _number(value: Any) -> Any:
    if not isinstance(value, str) or not _NUMBER.fullmatch(value):
        return value
    return float(value) if any(mark in value for mark in ".e") else int(value)
