"""A place to restore to: locked while it is used, leased so that what a crash leaves can be found, and emptied.

Below a staging's path lie `.drtests.lock`, `.drtests-leases/<name>.json` and
one folder for each drill that is under way. The lock is held for a whole
drill; whoever holds it knows that every lease it finds is stale.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath

from drtests.errors import HostBusy, HostError, SafetyError
from drtests.protocols.clock import Clock
from drtests.protocols.host import Host

LOCK = ".drtests.lock"
LEASES = ".drtests-leases"
PREFIX = "drtests-"
_LARGEST = 65536


@dataclass(frozen=True, slots=True)
class Slot:
    """A drill's own folder.

    `root` is for what is restored, `cache` for the engine, `logs` for
    services, `databases` for what scratch servers keep.
    """

    folder: str
    root: str
    cache: str
    logs: str
    databases: str
    lock_wait: float


@contextmanager
def locked(path: str, host: Host, clock: Clock, timeout: float) -> Iterator[float]:
    """Holds the staging's lock; yields the seconds spent waiting for it. Raises HostError when it takes too long."""
    host.make_directory(path)
    began = clock.monotonic()
    with ExitStack() as stack:
        try:
            stack.enter_context(host.lock(f"{path}/{LOCK}", timeout))
        except HostBusy:
            raise HostError(
                f"another drill has used the staging for {timeout:.0f} s",
                where=path,
                mend="wait for the other run, give each run its own staging, or see what hangs",
            ) from None
        yield clock.monotonic() - began


def slot(path: str, name: str, host: Host, lock_wait: float) -> Slot:
    """Where a drill will put things. Raises SafetyError when something is there already."""
    folder = str(PurePosixPath(path) / f"{PREFIX}{name}")
    if host.exists(folder):
        raise SafetyError("the drill's folder is there already", where=folder, mend="reap it with `drtests gc`")
    return Slot(folder, f"{folder}/root", f"{folder}/cache", f"{folder}/logs", f"{folder}/databases", lock_wait)


def take(path: str, taken: Slot, mark: str, host: Host) -> None:
    """Makes the drill's folder. The lease is on disk before the folder, so that no crash can lose it."""
    host.make_directory(str(PurePosixPath(path) / LEASES))
    lease = {"folder": taken.folder, "mark": mark, "pid": os.getpid()}
    host.write(_lease(path, taken.folder), json.dumps(lease).encode())
    for directory in (taken.root, taken.cache, taken.logs, taken.databases):
        host.make_directory(directory)


def give_back(path: str, taken: Slot, host: Host) -> None:
    """Removes the folder, then the lease. Raises HostError when something stays; the lease stays with it."""
    host.remove_tree(taken.folder)
    host.remove_tree(_lease(path, taken.folder))


@dataclass(frozen=True, slots=True)
class Lease:
    """What a drill that did not end left behind. `file` and `folder` are paths on the staging's host."""

    file: str
    folder: str
    mark: str


def leases(path: str, host: Host) -> Sequence[Lease]:
    """All leases of a staging, those of a running drill too. A lease that cannot be read names no folder."""
    folder_of_leases = f"{path}/{LEASES}"
    if not host.exists(folder_of_leases):
        return ()
    found = []
    for name in sorted(fact.path for fact in host.scan(folder_of_leases) if fact.path.endswith(".json")):
        file = f"{folder_of_leases}/{name}"
        try:
            data = json.loads(host.read(file, _LARGEST))
            folder, mark = str(data["folder"]), str(data["mark"])
        except (ValueError, KeyError, TypeError, HostError):
            folder, mark = "", ""
        # Never believe a path that leads elsewhere: only folders that drtests names itself are removed.
        at = PurePosixPath(folder)
        if str(at.parent) != path or not at.name.startswith(PREFIX):
            folder = f"{path}/{PurePosixPath(name).stem}"
        found.append(Lease(file, folder, mark))
    return found


def _lease(path: str, folder: str) -> str:
    return str(PurePosixPath(path) / LEASES / f"{PurePosixPath(folder).name}.json")
