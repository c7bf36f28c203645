"""Databases in memory, for tests of what only asks them: SQLite in this process, behind the seam."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from drtests.errors import DatabaseError, DatabaseRefused, DatabaseUnreachable, DrtestsError, UsageError
from drtests.protocols.database import Integrity, Live, LiveContext, Rows, Session
from drtests.protocols.engine import Engine
from drtests.protocols.host import Host
from drtests.protocols.store import Store


class MemorySession:
    """SQLite in memory. Fails with `failing` when that is given."""

    type = "sqlite"

    def __init__(self, script: str = "", failing: DrtestsError | None = None, name: str = "memory") -> None:
        self._connection = sqlite3.connect(":memory:")
        self._connection.executescript(script)
        self._connection.execute("PRAGMA query_only = 1")
        self.failing = failing
        self.id = name
        self.timeouts: list[float | None] = []

    def __del__(self) -> None:
        self._connection.close()

    def version(self) -> str:
        return f"SQLite {sqlite3.sqlite_version}"

    def tables(self) -> int:
        [[count]] = self._connection.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'")
        return int(count)

    def query(self, statement: str, timeout: float | None = None) -> Rows:
        self.timeouts.append(timeout)
        if self.failing is not None:
            raise self.failing
        try:
            return [list(row) for row in self._connection.execute(statement)]
        except sqlite3.Error as error:
            raise DatabaseError(str(error), mend="correct the statement") from None

    def execute(self, statement: str, timeout: float | None = None) -> None:
        raise DatabaseRefused("this session only reads", mend="ask for one that writes")


class MemoryScratch:
    """A restored database that `broken` lists the damage of, or that cannot be read because of it."""

    def __init__(self, session: MemorySession, broken: Sequence[str] | DrtestsError = ()) -> None:
        self._session = session
        self._broken = broken

    @property
    def session(self) -> Session:
        return self._session

    @property
    def environment(self) -> Mapping[str, str]:
        return {}

    def integrity(self, timeout: float) -> Integrity:
        if isinstance(self._broken, DrtestsError):
            raise self._broken
        return Integrity(self._session.tables(), "tables", ("reading",), tuple(self._broken))

    def died(self) -> str | None:
        return None

    def stop(self, timeout: float) -> None:
        pass


@dataclass(slots=True)
class MemoryReach:
    """Opens what it was given, and nothing else."""

    databases: Mapping[str, Any] = field(default_factory=dict)

    def host(self, host_id: str | None) -> Host:
        raise UsageError("there is no host")

    def live(self, database_id: str, *, writable: bool = False) -> Live:
        if writable:
            raise UsageError("nobody asked to write")
        if database_id not in self.databases:
            raise UsageError(f"there is no live database {database_id!r}", mend="declare it")
        found: Live = self.databases[database_id]
        return found

    def engine(self, repository_id: str) -> Engine:
        raise UsageError("there is no engine")

    def store(self, store_id: str, *, writer: bool = False) -> Store:
        raise UsageError("there is no store")


class FileLive(MemorySession):
    """A running database played by the SQLite file that is declared as its `database`."""

    def __init__(self, context: LiveContext) -> None:
        super().__init__(name=context.declared.id)
        self._file = context.declared.database or ""

    def query(self, statement: str, timeout: float | None = None) -> Rows:
        if not os.path.isfile(self._file):
            raise DatabaseUnreachable(f"nothing answers at {self._file}", mend="start it")
        connection = sqlite3.connect(f"file:{self._file}?mode=ro", uri=True)
        try:
            return [list(row) for row in connection.execute(statement)]
        finally:
            connection.close()
