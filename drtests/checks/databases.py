"""Reading a restored SQLite file without leaving a trace in the restored tree, wherever that is.

On another machine its own Python reads it, so that the data stays there.
"""

from __future__ import annotations

import json
import os.path
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from drtests.checks import sqlite_reader
from drtests.checks.places import place
from drtests.checks.sqlite_reader import Trouble, readable, reading, rows_of, scalar_of
from drtests.errors import CommandNotFound, CommandTimeout, DrtestsError, HostError
from drtests.protocols.check import Resources
from drtests.protocols.host import Host

_MARGIN = 10.0
"""Seconds to start a Python and to answer."""


class Unusable(Exception):
    """The restored copy lacks the database, or holds it damaged: a miss, not an error. Says why."""


class Reading(Protocol):
    """A database that can be asked."""

    def rows(self, statement: str, most: int) -> Sequence[Sequence[Any]]:
        """The first `most` rows that a statement gives."""


@contextmanager
def opened(resources: Resources, path: str, timeout: float) -> Iterator[Reading]:
    """The database, read-only; what runs longer than `timeout` seconds in all is interrupted.

    On another machine an answer may hold 900 kB. Raises Unusable, HostError, CommandTimeout.
    """
    host = resources.host
    at = place(resources, path)
    # Copies lie beside the restored tree, in the drill's own folder.
    parent = os.path.dirname(host.resolve(resources.root))
    try:
        if host.local_path(at) is None:
            with _far(host, at, parent, timeout) as far:
                yield far
        else:
            with readable(at, parent) as uri, reading(uri, timeout) as connection:
                yield _Here(connection)
    except Trouble as trouble:
        raise _explained(trouble, path, timeout) from None


class _Here:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def rows(self, statement: str, most: int) -> Sequence[Sequence[Any]]:
        return rows_of(self._connection, statement, most)


class _There:
    """Every question is a program that runs on the host."""

    def __init__(self, host: Host, uri: str, timeout: float) -> None:
        self._host = host
        self._uri = uri
        self._deadline = time.monotonic() + timeout

    def rows(self, statement: str, most: int) -> Sequence[Sequence[Any]]:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise Trouble(sqlite_reader.LATE, "interrupted")
        given = {"uri": self._uri, "statement": statement, "most": most, "seconds": left}
        found = _asked(self._host, "ask", given, left)
        return [[scalar_of(value) for value in row] for row in found]


@contextmanager
def _far(host: Host, path: str, parent: str, timeout: float) -> Iterator[Reading]:
    uri, folder = _asked(host, "prepare", {"path": path, "parent": parent}, timeout)
    try:
        yield _There(host, uri, timeout)
    finally:
        if folder:
            host.remove_tree(folder)


def _asked(host: Host, task: str, given: Mapping[str, Any], timeout: float) -> Any:
    program = Path(sqlite_reader.__file__).read_text(encoding="utf-8")
    program += f"\nmain({task!r}, **json.loads({json.dumps(given)!r}))\n"
    try:
        result = host.run(["python3", "-I", "-"], timeout=timeout + _MARGIN, stdin=program.encode())
    except CommandNotFound as error:
        raise HostError(
            f"SQLite files are read by the host's own Python: {error.what}",
            where=f"host {host.id}",
            mend="install Python 3.7 or newer there, as python3",
        ) from None
    try:
        told = json.loads(result.stdout)
    except ValueError:
        why = (result.stderr.strip().splitlines() or [f"exit code {result.exit_code}"])[-1][:300]
        raise HostError(
            f"the host's python3 cannot read SQLite files: {why}",
            where=f"host {host.id}",
            mend="install Python 3.7 or newer there, with its sqlite3 module",
        ) from None
    if "trouble" in told:
        raise Trouble(told["trouble"], told["what"])
    return told["done"]


def _explained(trouble: Trouble, path: str, timeout: float) -> Exception:
    explained: Exception | DrtestsError
    if trouble.kind == sqlite_reader.ABSENT:
        explained = Unusable(f"{path} {trouble.what}")
    elif trouble.kind == sqlite_reader.DAMAGED:
        explained = Unusable(f"{path} is damaged: {trouble.what}")
    elif trouble.kind == sqlite_reader.NOTHING:
        explained = Unusable(f"{path}: {trouble.what}")
    elif trouble.kind == sqlite_reader.LATE:
        explained = CommandTimeout(f"reading {path} took longer than {timeout:g} s", mend="declare a longer `timeout`")
    else:
        explained = HostError(f"cannot read {path}: {trouble.what}", mend="try the query by hand on a restored copy")
    return explained
