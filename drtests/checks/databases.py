"""Reading a restored SQLite file without leaving a trace in the restored tree."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from drtests.checks.places import place
from drtests.errors import CommandTimeout, HostError
from drtests.protocols.check import Resources

_STEPS = 10_000
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class Unusable(Exception):
    """The restored copy lacks the database, or holds it damaged: a miss, not an error. Says why."""


@contextmanager
def opened(resources: Resources, path: str, timeout: float) -> Iterator[sqlite3.Connection]:
    """The database, read-only; what runs longer than `timeout` seconds in all is interrupted.

    Raises Unusable, HostError (not a local host), CommandTimeout.
    """
    local = resources.host.local_path(place(resources, path))
    if local is None:
        raise HostError(
            f"host {resources.host.id} is not this machine, so its SQLite file {path} cannot be opened here",
            mend="restore into staging on the machine that runs drtests, or use a `command` check with sqlite3",
        )
    if not local.exists():
        raise Unusable(f"{path} is not in the restored copy")
    if not local.is_file():
        raise Unusable(f"{path} is not a file")
    if not local.stat().st_size:
        raise Unusable(f"{path} is an empty file")
    deadline = time.monotonic() + timeout
    with _readable(local, resources.root) as uri:
        try:
            connection = sqlite3.connect(uri, uri=True, timeout=min(timeout, 10.0), isolation_level=None)
        except sqlite3.Error as error:
            raise HostError(f"cannot open {path}: {error}") from None
        try:
            connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
            connection.execute("PRAGMA query_only = 1")
            connection.set_authorizer(_no_other_file)
            if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise Unusable(f"{path} holds no tables")
            yield connection
        except sqlite3.Error as error:
            raise _explained(error, path, timeout) from None
        finally:
            connection.close()


def _no_other_file(action: int, *_told: object) -> int:
    """ATTACH, and VACUUM INTO with it, would make files wherever they like, although the database is only read."""
    return sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_ATTACH else sqlite3.SQLITE_OK


def _explained(error: sqlite3.Error, path: str, timeout: float) -> Exception:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _DAMAGED:
        return Unusable(f"{path} is damaged: {error}")
    if code == sqlite3.SQLITE_INTERRUPT:
        return CommandTimeout(f"reading {path} took longer than {timeout:g} s", mend="declare a longer `timeout`")
    if code == sqlite3.SQLITE_ERROR and str(error).startswith(("no such table", "no such column")):
        return Unusable(f"{path}: {error}")
    return HostError(f"cannot read {path}: {error}", mend="try the query by hand on a restored copy")


@contextmanager
def _readable(local: Path, root: str) -> Iterator[str]:
    """A URI that SQLite can read without writing beside the restored file.

    With a write-ahead log or a hot journal SQLite has to recover first, which writes:
    that is done on a copy next to the restored tree. A file in WAL mode without its log is
    opened `immutable`, since SQLite would create one.
    """
    companions = [Path(f"{local}{suffix}") for suffix in ("-wal", "-journal")]
    companions = [path for path in companions if path.is_file() and path.stat().st_size]
    if companions:
        parent = os.path.dirname(os.path.realpath(root))
        with tempfile.TemporaryDirectory(
            prefix=".drtests-sqlite-", dir=parent if os.access(parent, os.W_OK | os.X_OK) else None
        ) as directory:
            copy = Path(directory, "copy.db")
            try:
                shutil.copyfile(local, copy)
                for path in companions:
                    shutil.copyfile(path, Path(f"{copy}{path.name[len(local.name) :]}"))
            except OSError as error:
                raise HostError(
                    f"cannot copy {local.name} to read it: {error.strerror}", mend="make room in staging"
                ) from None
            # Read and write: the recovery happens here.
            yield f"{copy.as_uri()}?mode=rw"
        return
    with local.open("rb") as file:
        head = file.read(20)
    write_ahead = head[18:20] == b"\x02\x02"
    yield f"{local.as_uri()}?mode=ro" + ("&immutable=1" if write_ahead else "")
