"""What a drill tells its journal: every event redacted, timed, and kept for its own verdict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from drtests.core import events as e
from drtests.core.events import Event
from drtests.drill.journal import JournalWriter
from drtests.errors import DrtestsError
from drtests.protocols.clock import Clock
from drtests.secrets import Redactor


class DrillLog:
    """One drill's line into the journal. `events` is all it wrote."""

    def __init__(self, journal: JournalWriter, drill: str, clock: Clock, listener: Listener) -> None:
        self.drill = drill
        self.clock = clock
        self.events: list[Event] = []
        self.phase_name = ""
        self.quiet = False
        """While true, commands that go well are not journaled: for questions that are asked over and over."""
        self._problems: list[DrtestsError] = []
        self._secrets: set[str] = set()
        self._redactor = Redactor(())
        self._journal = journal
        self._listener = listener

    def write(self, kind: str, /, **data: Any) -> None:
        self.events.append(self._journal.append(kind, self.drill, self._redactor.value(data)))

    def hide(self, secrets: Iterable[str]) -> None:
        """From here on these are redacted."""
        self._secrets.update(secret for secret in secrets if secret)
        self._redactor = Redactor(self._secrets)

    def fact(self, name: str, value: Any) -> None:
        self.write(e.FACT, name=name, value=value)

    def measure(self, name: str, value: float, unit: str, basis: str = "measured") -> None:
        self.write(e.MEASURED, name=name, value=value, unit=unit, basis=basis)

    def problem(self, error: DrtestsError) -> None:
        """Journals everything an error says, once. A problem keeps a drill from being MET."""
        if any(error is told for told in self._problems):
            return
        self._problems.append(error)
        for told in error.diagnostics():
            where = told.where or (f"phase {self.phase_name}" if self.phase_name else "")
            self.write(e.PROBLEM, what=told.what, where=where, mend=told.mend)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Times a phase. Nested phases are not a thing: the last name wins until it ends."""
        self.phase_name = name
        self.write(e.PHASE_STARTED, phase=name)
        self._listener.phase(self.drill, name)
        outcome = "failed"
        try:
            yield
            outcome = "done"
        finally:
            self.write(e.PHASE_FINISHED, phase=name, outcome=outcome)

    def progress(self, data: Mapping[str, Any]) -> None:
        self._listener.progress(self.drill, data)


class Listener:
    """Told what goes on while it goes on; the default does not care. Never part of the evidence."""

    def phase(self, drill: str, phase: str) -> None:
        """A phase begins."""

    def progress(self, drill: str, progress: Mapping[str, Any]) -> None:
        """`done_bytes`, `total_bytes` (or None) and `basis` of a restore."""
