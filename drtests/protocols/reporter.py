"""Reporter: one form of the evidence."""

from __future__ import annotations

from typing import ClassVar, Protocol

from drtests.model.record import Record


class Reporter(Protocol):
    """Pure: no files, clocks or sockets, so that rebuilding gives the same bytes."""

    filename: ClassVar[str]

    def render(self, record: Record) -> bytes: ...
