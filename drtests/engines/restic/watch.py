"""Progress of a restic that tells none: the room that is taken on the destination, as an estimate."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from drtests.errors import HostError
from drtests.protocols.engine import Progress, ProgressSink
from drtests.protocols.host import Host

_EVERY = 2.0
"""Seconds between two looks."""


@contextmanager
def watch_room(host: Host, destination: str, progress: ProgressSink) -> Iterator[None]:
    """Reports while the block runs. Others may write to the same disk, so what it reports is estimated."""
    ended = threading.Event()
    try:
        before = host.free_bytes(destination)
    except HostError:
        # No look at the disk, no progress; the restore itself does not depend on it.
        yield
        return

    def look() -> None:
        while not ended.wait(_EVERY):
            try:
                taken = before - host.free_bytes(destination)
            except HostError:
                return
            progress(Progress(max(0, taken), None, "estimated"))

    thread = threading.Thread(target=look, name="drtests-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
