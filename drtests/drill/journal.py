"""Writes a journal: one line an event, chained, on disk before the drill goes on."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from drtests.core.events import JOURNAL_CLOSED, Event, encode, link
from drtests.model.units import utc_text
from drtests.protocols.clock import Clock


class JournalWriter:
    """Appends to one file, which must be new. Not shared between processes: each worker has its own.

    Raises FileExistsError when the file is there: a journal is never written twice.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._clock = clock
        self._zero = clock.monotonic()
        self._seq = 0
        self._prev = ""
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        # Held as long as this process lives: how others tell a running journal from an abandoned one.
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._open = True
        # Progress may be told from another thread.
        self._turn = threading.Lock()
        _sync_directory(path.parent)

    def append(self, kind: str, drill: str | None = None, data: Mapping[str, Any] | None = None) -> Event:
        """Writes one event and waits until it is on disk."""
        with self._turn:
            event = Event(
                type=kind,
                at=utc_text(self._clock.now()),
                t=round(self._clock.monotonic() - self._zero, 6),
                drill=drill,
                data=data or {},
            )
            line = encode(event, self._seq, self._prev)
            view = memoryview(line)
            while view:
                view = view[os.write(self._file, view) :]
            os.fsync(self._file)
            self._seq += 1
            self._prev = link(line)
            return event

    def close(self) -> None:
        """Says that this writer ended by itself. What is not closed was killed."""
        if self._open:
            self.append(JOURNAL_CLOSED)
            self._open = False
            os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def abandoned(path: Path) -> bool:
    """Whether the process that wrote this journal is gone, or has closed it."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
