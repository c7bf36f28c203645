"""Asks a SQLite file: a program of its own, put beside the file, so that it runs on any host with Python 3.7.

`load SOURCE COPY` | `version` | `query DATABASE STATEMENT` | `integrity DATABASE`.
Prints one JSON object: `done`, or one of `damaged`, `refused` and `failed` with a text.
Imports nothing of this package.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from typing import Any

LARGEST = 900_000
"""Bytes of an answer: a host keeps the last MiB of what a command prints."""
PROBLEMS = 100
MAGIC = b"SQLite format 3\0"


class Damaged(Exception):
    """It is no database, or no whole one."""


def load(source: str, copy: str) -> dict[str, Any]:
    """Makes a database of a copy of a file with its log, or of a dump. The source is only read."""
    with open(source, "rb") as file:
        head = file.read(len(MAGIC))
    if not head:
        raise Damaged("it is empty")
    if head == MAGIC:
        shutil.copyfile(source, copy)
        for suffix in ("-wal", "-journal"):
            if os.path.isfile(source + suffix):
                shutil.copyfile(source + suffix, copy + suffix)
    else:
        _load_dump(source, copy)
    connection = _open(copy, "rw")
    try:
        tables = connection.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'").fetchone()[0]
        # What is in the log only goes into the file itself, now that it is a copy.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()
    if not tables:
        raise Damaged("it holds no tables")
    return {"from": "file" if head == MAGIC else "dump", "tables": tables, "bytes": os.path.getsize(copy)}


def _load_dump(source: str, copy: str) -> None:
    connection = sqlite3.connect(copy, isolation_level=None)
    connection.set_authorizer(_no_other_file)
    try:
        connection.execute("PRAGMA synchronous = OFF")
        # Not `newline=None`: it would change line ends inside texts.
        with open(source, encoding="utf-8", newline="\n") as file:
            for part in _parts(file):
                try:
                    connection.execute(part)
                except (sqlite3.ProgrammingError, sqlite3.Warning) as error:
                    if "one statement" not in str(error):
                        raise
                    for statement in _split(part):
                        connection.execute(statement)
        if connection.in_transaction:
            raise Damaged("it ends before its transaction does")
    except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
        raise Damaged(f"it is neither a SQLite file nor a whole dump of one: {error}") from None
    finally:
        connection.close()


def _parts(lines: Iterable[str]) -> Iterator[str]:
    """Whole lines that end a statement. `executescript` would commit between them, and hide that the end is missing."""
    part = ""
    for line in lines:
        part += line
        if line.rstrip().endswith(";") and sqlite3.complete_statement(part):
            yield part
            part = ""
    if part.strip():
        # A comment may stand at the end; half a statement is refused by SQLite.
        yield part


def _split(part: str) -> Iterator[str]:
    """The statements of a part that holds several."""
    began = 0
    for at, character in enumerate(part):
        if character == ";" and sqlite3.complete_statement(part[began : at + 1]):
            yield part[began : at + 1]
            began = at + 1
    yield part[began:]


def query(database: str, statement: str) -> dict[str, Any]:
    connection = _open(database, "ro")
    try:
        connection.execute("PRAGMA query_only = 1")
        connection.set_authorizer(_no_other_file)
        rows = []
        size = 0
        for row in connection.execute(statement):
            rows.append([_scalar(value) for value in row])
            size += len(json.dumps(rows[-1]))
            if size > LARGEST:
                return {"failed": "the answer is larger than 900 kB"}
        return {"done": rows}
    finally:
        connection.close()


def integrity(database: str) -> list[Any]:
    """How many tables there are, then what is damaged."""
    connection = _open(database, "ro")
    try:
        found = [str(row[0]) for row in connection.execute(f"PRAGMA integrity_check({PROBLEMS})")]
        problems = [] if found == ["ok"] else found
        for number, (table, rowid, parent, _) in enumerate(connection.execute("PRAGMA foreign_key_check")):
            if number == PROBLEMS:
                problems.append("and more rows that refer to nothing")
                break
            problems.append(f"row {rowid} of {table} refers to a row of {parent} that is not there")
        [[tables]] = connection.execute(
            "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
        )
        return [tables, *problems]
    except sqlite3.DatabaseError as error:
        if _is_damage(error):
            return [0, str(error)]
        raise
    finally:
        connection.close()


def _open(database: str, mode: str) -> sqlite3.Connection:
    if not os.path.isfile(database):
        raise Damaged("the database is gone")
    name = database.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    connection = sqlite3.connect(f"file:{name}?mode={mode}", uri=True, isolation_level=None)
    connection.text_factory = _text
    return connection


def _no_other_file(action: int, *_told: Any) -> int:
    """ATTACH, and VACUUM INTO with it, would make files wherever they like, in a session that only reads, too."""
    return sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_ATTACH else sqlite3.SQLITE_OK


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="backslashreplace")


def _scalar(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _is_damage(error: Exception) -> bool:
    """Python has the code of an error since 3.11 only."""
    return any(words in str(error) for words in ("malformed", "not a database", "unsupported file format"))


def main(words: list[str]) -> dict[str, Any]:
    command, arguments = words[0], words[1:]
    try:
        if command == "version":
            return {"done": sqlite3.sqlite_version}
        if command == "load":
            return {"done": load(*arguments)}
        if command == "query":
            return query(*arguments)
        return {"done": integrity(*arguments)}
    except Damaged as error:
        return {"damaged": str(error)}
    except (sqlite3.Error, sqlite3.Warning) as error:
        if _is_damage(error):
            return {"damaged": str(error)}
        refused = any(words in str(error) for words in ("readonly", "not authorized", "prohibited"))
        return {"refused" if refused else "failed": str(error)}
    except OSError as error:
        return {"failed": f"{error.filename}: {error.strerror}"}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1:])))
