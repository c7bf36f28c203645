"""SQLite: a file, or a dump as `.dump` writes it. No server runs; the host's own Python asks it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel

from drtests.errors import (
    CommandNotFound,
    DatabaseDamaged,
    DatabaseError,
    DatabaseMissing,
    DatabaseRefused,
    DrtestsError,
)
from drtests.model.base import Declaration
from drtests.model.units import Duration
from drtests.protocols.database import Integrity, Rows, Scratch, ScratchPlace, Session
from drtests.protocols.host import Host
from drtests.restored import RelativePath, inside

_PROGRAM = Path(__file__).with_name("sqlite_program.py")
_ERRORS: Mapping[str, tuple[type[DrtestsError], str]] = {
    "damaged": (DatabaseDamaged, "look at the backup job: the file has to be backed up whole, with its -wal file"),
    "refused": (DatabaseRefused, "ask something that only reads, of this database alone"),
    "failed": (DatabaseError, "try the statement by hand on a restored copy"),
}


class SqliteRecipeSpec(Declaration):
    """A SQLite file with its write-ahead log, or the text that `.dump` writes. Works on a copy."""

    path: RelativePath
    """The file, in the restored tree; which of the two it is, is seen from its content."""
    query_timeout: Duration = timedelta(minutes=5)
    """For one query."""


class SqliteRecipe:
    """Copies the file out of the restored tree, since taking in its log writes; or loads the dump."""

    Spec: ClassVar[type[BaseModel]] = SqliteRecipeSpec
    type: ClassVar[str] = "sqlite"
    point_in_time: ClassVar[bool] = False

    def __init__(self, spec: SqliteRecipeSpec) -> None:
        self._spec = spec

    def programs(self, host: Host) -> str:
        """What asks the database. Raises DatabaseMissing, HostError."""
        run = ["python3", "-c", "import sqlite3; print(sqlite3.sqlite_version)"]
        try:
            result = host.run(run, timeout=30)
        except CommandNotFound as error:
            raise _missing(host, error.what) from None
        if result.exit_code:
            raise _missing(host, f"python3 has no module sqlite3: {_last_line(result.stderr)}")
        return f"SQLite {result.stdout.strip()} of python3"

    def bring_up(self, place: ScratchPlace) -> Scratch:
        host, path = place.host, self._spec.path
        source = inside(host, place.root, path)
        if not host.exists(source):
            raise DatabaseDamaged(
                f"{path} is not in the restored copy", where=path, mend="correct `path`, or what is backed up"
            )
        for suffix in ("-wal", "-journal"):
            inside(host, place.root, path + suffix)
        program, database = f"{place.folder}/sqlite_program.py", f"{place.folder}/database.db"
        host.write(program, _PROGRAM.read_bytes())
        asked = _Asked(host, program, path)
        told = asked("load", source, database, timeout=place.timeout)
        for name, value in told.items():
            place.tell(name, value)
        return _SqliteScratch(_SqliteSession(asked, database, self._spec.query_timeout.total_seconds()))


class _Asked:
    """Runs the program that lies beside the database."""

    def __init__(self, host: Host, program: str, said: str) -> None:
        self.host = host
        self._program = program
        self._said = said

    def __call__(self, *words: str, timeout: float) -> Any:
        host, said = self.host, self._said
        try:
            result = host.run(["python3", "-I", self._program, *words], timeout=timeout)
        except CommandNotFound as error:
            raise _missing(host, error.what) from None
        try:
            answer = json.loads(result.stdout)
        except ValueError:
            why = _last_line(result.stderr) or f"exit code {result.exit_code}"
            if "sqlite3" in why and "Module" in why:
                raise _missing(host, f"python3 has no module sqlite3: {why}") from None
            raise DatabaseError(
                f"{said} cannot be read: {why}", where=f"host {host.id}", mend="run the same command by hand"
            ) from None
        for name, (kind, mend) in _ERRORS.items():
            if name in answer:
                raise kind(f"{said}: {answer[name]}", where=f"host {host.id}", mend=mend)
        return answer["done"]


class _SqliteSession:
    """Reads only, each query in a process of its own."""

    type = "sqlite"

    def __init__(self, asked: _Asked, database: str, timeout: float) -> None:
        self._asked = asked
        self._timeout = timeout
        self.database = database

    @property
    def gone(self) -> bool:
        return not self._asked.host.exists(self.database)

    def version(self) -> str:
        return f"SQLite {self._asked('version', timeout=self._timeout)}"

    def query(self, statement: str, timeout: float | None = None) -> Rows:
        rows: Rows = self._asked("query", self.database, statement, timeout=timeout or self._timeout)
        return rows

    def integrity(self, timeout: float) -> Integrity:
        tables, *problems = self._asked("integrity", self.database, timeout=timeout)
        return Integrity(tables, "tables", ("PRAGMA integrity_check", "PRAGMA foreign_key_check"), tuple(problems))

    def remove(self) -> None:
        for suffix in ("", "-wal", "-shm", "-journal"):
            self._asked.host.remove_tree(self.database + suffix)


class _SqliteScratch:
    """A copy that can be asked. Nothing runs, so nothing can die but the file."""

    def __init__(self, session: _SqliteSession) -> None:
        self._session = session
        self._stopped = False

    @property
    def session(self) -> Session:
        return self._session

    @property
    def environment(self) -> Mapping[str, str]:
        """SQLite's own client knows no variable; this one is ours."""
        return {"SQLITE_DATABASE": self._session.database}

    def integrity(self, timeout: float) -> Integrity:
        return self._session.integrity(timeout)

    def died(self) -> str | None:
        return "its file was removed" if not self._stopped and self._session.gone else None

    def stop(self, timeout: float) -> None:
        if not self._stopped:
            self._stopped = True
            self._session.remove()


def _missing(host: Host, what: str) -> DatabaseMissing:
    return DatabaseMissing(what, where=f"host {host.id}", mend="install Python 3.7 or newer with its sqlite3 module")


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1]
