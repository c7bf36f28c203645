"""Ending processes: whole groups, and whatever carries a mark in its environment (Linux).

Also runs on hosts that are reached over SSH: nothing but the standard library of Python 3.7.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress

from drtests.hosts.failure import Failure

MARK = "DRTESTS_MARK"
"""Variable that every child of a drill inherits, also those that leave its process group."""

_POLL = 0.01
_SWEEP_GRACE = 3.0
_REAP = 10.0


def end_group(process: subprocess.Popen[bytes], grace: float) -> None:
    """Kills the group that `process` leads once `grace` seconds have passed, and reaps it.

    The caller has sent SIGTERM, and has not reaped the leader: that keeps its id from being given out again.
    Raises Failure when the kernel does not let it go.
    """
    deadline = time.monotonic() + grace
    try:
        while group_alive(process.pid) and time.monotonic() < deadline:
            time.sleep(_POLL)
    finally:
        signal_group(process.pid, signal.SIGKILL)
    try:
        process.wait(_REAP)
    except subprocess.TimeoutExpired:
        raise Failure(
            f"process {process.pid} does not end although it was killed",
            mend="it hangs in the kernel, usually on storage that does not answer; see that storage first",
        ) from None


def signal_group(group: int, number: signal.Signals) -> None:
    """Sends the signal to all of a group; nothing happens when it is gone or belongs to another user."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def group_alive(group: int) -> bool:
    """Whether a member still runs; a zombie does not."""
    try:
        pids = _pids()
    except OSError:
        return False
    found = (_stat(pid) for pid in pids)
    return any(stat is not None and stat[0] != "Z" and stat[2] == group for stat in found)


def sweep_marked(marker: str, variable: str = MARK) -> list[str]:
    """Ends every process that carries `marker`, and its descendants; a line for each, `pid 12: python3 -m x`.

    A process that was started with an emptied environment and has no marked
    parent left is not found. Raises Failure when one of them stays.
    """
    if not marker:
        return []
    lines: dict[int, str] = {}
    deadline = time.monotonic() + _SWEEP_GRACE
    while True:
        found = _marked(f"{variable}={marker}")
        if not found:
            return list(lines.values())
        late = time.monotonic() > deadline
        for pid in found:
            known = pid in lines
            if not known:
                lines[pid] = f"pid {pid}: {_command(pid)}"
            if late or not known:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
        if time.monotonic() > deadline + _REAP:
            stay = ", ".join(lines[pid] for pid in found)
            raise Failure(f"left running and cannot be ended: {stay}", mend="end them by hand, as their user")
        time.sleep(_POLL)


def _marked(entry: str) -> list[int]:
    """Carriers of the mark and their descendants, without this process and its ancestors."""
    wanted = entry.encode()
    parents: dict[int, int] = {}
    marked: set[int] = set()
    try:
        pids = _pids()
    except OSError:
        return []
    for pid in pids:
        stat = _stat(pid)
        if stat is None or stat[0] == "Z":
            continue
        parents[pid] = stat[1]
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                if wanted in file.read().split(b"\0"):
                    marked.add(pid)
        except OSError:
            continue
    own: set[int] = set()
    pid = os.getpid()
    while pid and pid not in own:
        own.add(pid)
        pid = parents.get(pid, 0)
    marked -= own
    grown = True
    while grown:
        children = {pid for pid, parent in parents.items() if parent in marked} - marked - own
        marked |= children
        grown = bool(children)
    return sorted(marked)


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _stat(pid: int) -> tuple[str, int, int] | None:
    """State, parent and group; None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return fields[0].decode(), int(fields[1]), int(fields[2])


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            text = file.read().rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
        if not text:
            with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file2:
                text = file2.read().strip()
    except OSError:
        return "?"
    return text[:200]
