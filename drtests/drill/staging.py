"""A place to restore to: locked while it is used, leased so that what a crash leaves can be found, and emptied.

Below a staging's path lie `.drtests.lock`, `.drtests-leases/<name>.json` and
one folder for each drill that is under way. The lock is held for a whole
drill; whoever holds it knows that every lease it finds is stale.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from filelock import FileLock, Timeout

from drtests.errors import HostError, SafetyError
from drtests.protocols.clock import Clock
from drtests.protocols.host import Host

LOCK = ".drtests.lock"
LEASES = ".drtests-leases"
PREFIX = "drtests-"


@dataclass(frozen=True, slots=True)
class Slot:
    """A drill's own folder: `root` for what is restored, `cache` for the engine, `logs` for services."""

    folder: str
    root: str
    cache: str
    logs: str
    lock_wait: float


@contextmanager
def locked(path: str, host: Host, clock: Clock, timeout: float) -> Iterator[float]:
    """Holds the staging's lock; yields the seconds spent waiting for it. Raises HostError when it takes too long."""
    host.make_directory(path)
    local = host.local_path(path)
    if local is None:
        raise HostError(f"host {host.id!r} has no lock that drtests can take", mend="use a staging on a local host")
    began = clock.monotonic()
    lock = FileLock(local / LOCK)
    try:
        lock.acquire(timeout=timeout, poll_interval=0.1)
    except Timeout:
        raise HostError(
            f"another drill has used the staging for {timeout:.0f} s",
            where=path,
            mend="wait for the other run, give each run its own staging, or see what hangs",
        ) from None
    except OSError as error:
        raise HostError(f"the staging cannot be locked: {error.strerror}", where=path, mend="see who owns it") from None
    try:
        yield clock.monotonic() - began
    finally:
        lock.release()


def slot(path: str, name: str, host: Host, lock_wait: float) -> Slot:
    """Where a drill will put things. Raises SafetyError when something is there already."""
    folder = str(PurePosixPath(path) / f"{PREFIX}{name}")
    if host.exists(folder):
        raise SafetyError("the drill's folder is there already", where=folder, mend="reap it with `drtests gc`")
    return Slot(folder, f"{folder}/root", f"{folder}/cache", f"{folder}/logs", lock_wait)


def take(path: str, taken: Slot, mark: str, host: Host) -> None:
    """Makes the drill's folder. The lease is on disk before the folder, so that no crash can lose it."""
    host.make_directory(str(PurePosixPath(path) / LEASES))
    lease = {"folder": taken.folder, "mark": mark, "pid": os.getpid()}
    host.write(_lease(path, taken.folder), json.dumps(lease).encode())
    for directory in (taken.root, taken.cache, taken.logs):
        host.make_directory(directory)


def give_back(path: str, taken: Slot, host: Host) -> None:
    """Removes the folder, then the lease. Raises HostError when something stays; the lease stays with it."""
    host.remove_tree(taken.folder)
    host.remove_tree(_lease(path, taken.folder))


@dataclass(frozen=True, slots=True)
class Lease:
    """What a drill that did not end left behind."""

    file: Path
    folder: str
    mark: str


def leases(path: Path) -> Sequence[Lease]:
    """All leases of a local staging, those of a running drill too. A lease that cannot be read names no folder."""
    found = []
    for file in sorted((path / LEASES).glob("*.json")):
        try:
            data = json.loads(file.read_bytes())
            folder, mark = str(data["folder"]), str(data["mark"])
        except (ValueError, KeyError, TypeError, OSError):
            folder, mark = "", ""
        # Never believe a path that leads elsewhere: only folders that drtests names itself are removed.
        if Path(folder).parent != path or not Path(folder).name.startswith(PREFIX):
            folder = str(path / file.stem)
        found.append(Lease(file, folder, mark))
    return found


def _lease(path: str, folder: str) -> str:
    return str(PurePosixPath(path) / LEASES / f"{PurePosixPath(folder).name}.json")
