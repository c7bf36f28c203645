"""Asks a PostgreSQL server by psql.

The statement travels by standard input, as hexadecimal digits, and is opened
as a cursor by the server: so neither a command of psql's own nor a second
statement can hide in it.
"""

from __future__ import annotations

import csv
import io
import math
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from drtests.databases.postgres.failures import failure
from drtests.databases.postgres.programs import CLIENT_PACKAGE, Binaries, find
from drtests.databases.serving import told_as_missing
from drtests.errors import CommandTimeout, DatabaseError, DatabaseRefused, DatabaseUnreachable
from drtests.model.connections import LiveDatabase
from drtests.protocols.database import LiveContext, Rows
from drtests.protocols.host import CommandResult, Host

DEFAULT_PORT = 5432
_CONNECT = 10.0
_GRACE = 5.0
"""Seconds psql has longer than the server, which ends a slow statement by itself."""

_WHOLE = ("smallint", "integer", "bigint", "oid")
_FRACTION = ("numeric", "real", "double precision")

_CURSOR = """DO $drtests$ DECLARE wanted refcursor := 'drtests'; BEGIN
OPEN wanted FOR EXECUTE convert_from(decode('{hex}', 'hex'), 'UTF8'); END $drtests$;"""
_EXECUTE = "DO $drtests$ BEGIN EXECUTE convert_from(decode('{hex}', 'hex'), 'UTF8'); END $drtests$;"


def open_postgres(context: LiveContext) -> Postgres:
    """The client for databases of type `postgres`."""
    return Postgres(context)


class Postgres:
    """Fulfils `drtests.protocols.database.Live`. Each statement has a connection of its own."""

    def __init__(self, context: LiveContext, binaries: Binaries | None = None) -> None:
        self._declared = context.declared
        self._host = context.host
        self._password = context.password
        self._writable = context.writable
        self._binaries = binaries
        place = context.declared.socket or f"{context.declared.address}:{context.declared.port or DEFAULT_PORT}"
        self._where = f"database {context.declared.id} ({place})"

    def __repr__(self) -> str:
        return f"Postgres({self._declared.id!r})"

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
    def type(self) -> str:
        return "postgres"

    @property
    def database(self) -> str:
        """Name of the database it is in."""
        return self._declared.database or "postgres"

    def version(self) -> str:
        [[number]] = self.query("SELECT current_setting('server_version')")
        return f"PostgreSQL {str(number).partition(' ')[0]}"

    def query(self, statement: str, timeout: float | None = None) -> Rows:
        begin, rows = (f"drtests-{secrets.token_hex(8)}" for _ in range(2))
        null = f"null-{secrets.token_hex(8)}"
        script = [
            "BEGIN READ ONLY;",
            _CURSOR.format(hex=self._hex(statement)),
            f"\\echo {begin}",
            f"\\pset null {null}",
            "FETCH ALL FROM drtests \\gdesc",
            f"\\echo {rows}",
            "FETCH ALL FROM drtests;",
            "COMMIT;",
        ]
        said = self.script("\n".join(script), timeout, "--csv", "--tuples-only").stdout
        head, found, told = said.partition(f"{rows}\n")
        if not found or f"{begin}\n" not in head:
            raise DatabaseError(
                "the answer is too long: a host keeps the last MiB of it",
                where=self._where,
                mend="ask for less: let the database count or sum up, or add LIMIT",
            )
        kinds = [row[1] for row in _table(head.partition(f"{begin}\n")[2])]
        return [[_value(text, kind, null) for text, kind in zip(row, kinds, strict=True)] for row in _table(told)]

    def execute(self, statement: str, timeout: float | None = None) -> None:
        if not self._writable:
            raise DatabaseRefused(
                "this session was opened to read, and does not write",
                where=self._where,
                mend="only markers are ever written to a running database, and only where that is declared",
            )
        self.script(_EXECUTE.format(hex=self._hex(statement)), timeout)

    def script(self, text: str, timeout: float | None = None, *options: str) -> CommandResult:
        """Runs what drtests itself wrote, as psql reads it. Raises the DatabaseError that fits."""
        limit = self._declared.timeout.total_seconds() if timeout is None else timeout
        if self._binaries is None:
            self._binaries = find(self._host, "psql")
        argv = [self._binaries.path("psql"), *_QUIET, *options, *self.login(), f"--dbname={self.database}"]
        try:
            with told_as_missing(self._host, CLIENT_PACKAGE):
                result = self._host.run(
                    argv, timeout=limit + _GRACE, stdin=f"{text}\n".encode(), env=self.environment(limit)
                )
        except CommandTimeout:
            raise DatabaseUnreachable(
                f"the server did not answer within {limit:g} s",
                where=self._where,
                mend="see whether it hangs, or the network between; declare a longer `timeout` if it is only slow",
            ) from None
        if result.exit_code != 0:
            raise failure(result.stderr, result.exit_code, self._where, limit)
        return result

    def environment(self, timeout: float, *, read_only: bool | None = None) -> Mapping[str, str]:
        """What PostgreSQL's programs need to connect as this session does, the password among it."""
        reads = not self._writable if read_only is None else read_only
        settings = {
            "statement_timeout": f"{max(1, round(timeout * 1000))}",
            "lock_timeout": f"{max(1, round(timeout * 1000))}",
            "default_transaction_read_only": "on" if reads else "off",
        }
        return {
            "PGPASSWORD": self._password or "",
            "PGPASSFILE": "/nonexistent",
            "PGOPTIONS": " ".join(f"-c {name}={value}" for name, value in settings.items()),
            "PGCONNECT_TIMEOUT": str(max(2, math.ceil(min(timeout, _CONNECT)))),
            "PGCLIENTENCODING": "UTF8",
            "PGAPPNAME": "drtests",
            "PSQL_HISTORY": "/dev/null",
        }

    def login(self) -> list[str]:
        """Where the server is and who asks, as all of PostgreSQL's programs take it. Nothing of it is secret."""
        declared = self._declared
        words = [f"--host={declared.socket or declared.address}", f"--port={declared.port or DEFAULT_PORT}"]
        return words if declared.user is None else [*words, f"--username={declared.user}"]

    def _hex(self, statement: str) -> str:
        text = statement.strip().rstrip(";").strip()
        if not text:
            raise DatabaseError("the statement is empty", where=self._where, mend="write one")
        return text.encode("utf-8", errors="replace").hex()


_QUIET = (
    "--no-psqlrc",
    "--no-password",
    "--quiet",
    "--no-align",
    "--set=ON_ERROR_STOP=1",
    "--set=VERBOSITY=verbose",
    "--set=SHOW_CONTEXT=never",
)


def _table(text: str) -> Sequence[Sequence[str]]:
    # An empty line is a row of one empty text.
    return [row or [""] for row in csv.reader(io.StringIO(text, newline=""))]


def _value(text: str, kind: str, null: str) -> Any:
    if text == null:
        return None
    if kind in _WHOLE:
        return int(text)
    if kind.startswith(_FRACTION):
        number = float(text)
        if not math.isfinite(number):
            return text
        return int(text) if text.lstrip("-").isdigit() else number
    return text
