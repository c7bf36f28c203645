"""Reads a SQLite file without writing beside it: here, or as a program of its own on a host with Python 3.7.

As a program it is sent to Python's standard input, with a last line that says what to do. Imports nothing of this
package.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ABSENT, DAMAGED, LATE, NOTHING, FAILED = "absent", "damaged", "late", "nothing", "failed"
LARGEST = 900_000
"""Characters of an answer: a host keeps the last MiB of what a command prints."""
_STEPS = 10_000


class Trouble(Exception):
    """`kind` is one of the above: not there or no database, damaged, took too long, no such table, anything else."""

    def __init__(self, kind: str, what: str) -> None:
        super().__init__(what)
        self.kind = kind
        self.what = what


@contextmanager
def readable(path: str, parent: str) -> Iterator[str]:
    """A URI that SQLite can read without writing beside the restored file.

    With a write-ahead log or a hot journal SQLite has to recover first, which writes:
    that is done on a copy in a folder below `parent`. A file in WAL mode without its log is
    opened `immutable`, since SQLite would create one.
    """
    uri, folder = prepare(path, parent)
    try:
        yield uri
    finally:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def prepare(path: str, parent: str) -> tuple[str, str]:
    """The URI and, when that is one of a copy, the copy's folder: whoever asks removes it."""
    if not os.path.exists(path):
        raise Trouble(ABSENT, "is not in the restored copy")
    if not os.path.isfile(path):
        raise Trouble(ABSENT, "is not a file")
    if not os.path.getsize(path):
        raise Trouble(ABSENT, "is an empty file")
    companions = [suffix for suffix in ("-wal", "-journal") if _holds_something(path + suffix)]
    if not companions:
        with open(path, "rb") as file:
            write_ahead = file.read(20)[18:20] == b"\x02\x02"
        return f"{Path(path).as_uri()}?mode=ro" + ("&immutable=1" if write_ahead else ""), ""
    below = parent if os.access(parent, os.W_OK | os.X_OK) else None
    folder = tempfile.mkdtemp(prefix=".drtests-sqlite-", dir=below)
    copy = os.path.join(folder, "copy.db")
    try:
        for suffix in ("", *companions):
            shutil.copyfile(path + suffix, copy + suffix)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise Trouble(FAILED, f"cannot be copied to read it: {error.strerror}") from None
    # Read and write: the recovery happens here.
    return f"{Path(copy).as_uri()}?mode=rw", folder


@contextmanager
def reading(uri: str, seconds: float) -> Iterator[sqlite3.Connection]:
    """The database, read-only; what runs longer than so many seconds in all is interrupted."""
    deadline = time.monotonic() + seconds
    try:
        connection = sqlite3.connect(uri, uri=True, timeout=min(seconds, 10.0), isolation_level=None)
    except sqlite3.Error as error:
        raise Trouble(FAILED, f"cannot be opened: {error}") from None
    try:
        connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
        connection.execute("PRAGMA query_only = 1")
        connection.set_authorizer(_no_other_file)
        yield connection
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise Trouble(_kind(error), str(error)) from None
    finally:
        connection.close()


def rows_of(connection: sqlite3.Connection, statement: str, most: int) -> list[tuple[Any, ...]]:
    """The first rows that it gives."""
    if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise Trouble(ABSENT, "holds no tables")
    found: list[tuple[Any, ...]] = connection.execute(statement).fetchmany(most)
    return found


def _holds_something(path: str) -> bool:
    return os.path.isfile(path) and os.path.getsize(path) > 0


def _no_other_file(action: int, *_told: Any) -> int:
    """ATTACH, and VACUUM INTO with it, would make files wherever they like, although the database is only read."""
    return sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_ATTACH else sqlite3.SQLITE_OK


def _kind(error: Exception) -> str:
    """Python tells the code of an error since 3.11 only."""
    text = str(error)
    if any(words in text for words in ("malformed", "not a database", "file is encrypted")):
        return DAMAGED
    if text == "interrupted":
        return LATE
    return NOTHING if text.startswith(("no such table", "no such column")) else FAILED


def _scalar(value: Any) -> Any:
    """Bytes, and numbers that JSON does not know, travel as what says that they are such."""
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}
    return value


def scalar_of(value: Any) -> Any:
    """Back from how it travelled."""
    if isinstance(value, dict):
        return bytes.fromhex(value["bytes"]) if "bytes" in value else float(value["float"])
    return value


def main(task: str, **given: Any) -> None:
    """Prints what came of a task, as one line of JSON: `done`, or `trouble` and `what`."""
    told: dict[str, Any]
    try:
        if task == "prepare":
            told = {"done": prepare(**given)}
        else:
            with reading(given["uri"], given["seconds"]) as connection:
                found = rows_of(connection, given["statement"], given["most"])
                told = {"done": [[_scalar(value) for value in row] for row in found]}
    except Trouble as trouble:
        told = {"trouble": trouble.kind, "what": trouble.what}
    except OSError as error:
        told = {"trouble": FAILED, "what": f"cannot be read: {error.strerror or error}"}
    line = json.dumps(told)
    if len(line) > LARGEST:
        line = json.dumps({"trouble": FAILED, "what": f"gives an answer larger than {LARGEST // 1000} kB"})
    sys.stdout.write(line + "\n")
