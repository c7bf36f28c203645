"""Counts what is asked of a store, at the wire, and stops before it costs more than was declared."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from drtests.core.stores import over_budget
from drtests.errors import BudgetExceeded
from drtests.model.connections import Store as Declared
from drtests.protocols.store import Usage

_AS_WRITES = {"ListObjects", "ListObjectsV2", "ListObjectVersions", "ListBuckets", "ListMultipartUploads"}
"""Billed like writes, though they are GET requests."""

_TURN = threading.Lock()
"""One for all meters: several may count into the same usage."""


class Meter:
    """Counts into `usage`. Raises BudgetExceeded before what would exceed the declared budget."""

    def __init__(self, declared: Declared, usage: Usage) -> None:
        self._declared = declared
        self.usage = usage
        self._anyway = threading.local()

    @contextmanager
    def anyway(self) -> Iterator[None]:
        """What this thread asks meanwhile is counted, and sent whatever it costs: it puts something right."""
        self._anyway.on = True
        try:
            yield
        finally:
            self._anyway.on = False

    def before_send(self, request: Any, event_name: str = "", **_: Any) -> None:
        """A handler of botocore's `before-send`, which comes before every attempt to send."""
        operation = event_name.rpartition(".")[2]
        read = request.method in {"GET", "HEAD"} and operation not in _AS_WRITES
        body = int(request.headers.get("Content-Length") or 0)
        with _TURN:
            if operation == "DeleteObject" and self.usage.aside:
                self.usage.aside -= 1
            else:
                self._affordable(operation, reads=int(read), writes=int(not read))
            self.usage.reads += read
            self.usage.writes += not read
            self.usage.bytes_in += body

    def afford(self, what: str, *, reads: int = 0, writes: int = 0) -> None:
        """Raises BudgetExceeded when so many requests would exceed the budget. Counts nothing."""
        with _TURN:
            self._affordable(what, reads=reads, writes=writes)

    def set_aside(self, deletions: int) -> None:
        """See `Store`."""
        with _TURN:
            self._affordable("what has to be deleted again", writes=deletions)
            self.usage.aside += deletions

    @contextmanager
    def download(self, what: str, size: int) -> Iterator[Download]:
        """Sets `size` bytes aside until they came, or will not come."""
        with _TURN:
            self._affordable(what, bytes_out=size)
            self.usage.reserved += size
        reserved = Download(self.usage, size)
        try:
            yield reserved
        finally:
            with _TURN:
                self.usage.reserved -= reserved.left

    def batch(self, what: str, reads: int, size: int) -> Batch:
        """Counts so many requests beforehand, and sets their bytes aside, until it is told what they took.

        Raises BudgetExceeded when not all of it is affordable; then nothing is counted.
        """
        with _TURN:
            self._affordable(what, reads=reads, bytes_out=size)
            self.usage.reads += reads
            self.usage.reserved += size
        return Batch(self.usage, reads, size)

    def _affordable(self, what: str, *, reads: int = 0, writes: int = 0, bytes_out: int = 0) -> None:
        why = over_budget(self._declared.prices, self.usage, reads, writes, bytes_out)
        if why and not getattr(self._anyway, "on", False):
            raise BudgetExceeded(
                f"{what} was not sent: {why}",
                where=f"store {self._declared.id!r}",
                mend="declare a larger `budget` under the store's `prices`, or drill less of it",
            )


class Batch:
    """What several requests may take: all of it, until `took` says how much it was."""

    def __init__(self, usage: Usage, reads: int, size: int) -> None:
        self._usage = usage
        self._reads = reads
        self._size = size

    def took(self, reads: int, size: int) -> None:
        """So many requests were sent, and so many bytes came."""
        with _TURN:
            self._usage.reads -= self._reads - reads
            self._usage.reserved -= self._size
            self._usage.bytes_out += size
            self._reads, self._size = reads, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._size:
            self.took(self._reads, self._size)


class Download:
    """The bytes of one object as they come."""

    def __init__(self, usage: Usage, size: int) -> None:
        self._usage = usage
        self.left = size

    def came(self, count: int) -> None:
        with _TURN:
            taken = min(count, self.left)
            self.left -= taken
            self._usage.reserved -= taken
            self._usage.bytes_out += count
