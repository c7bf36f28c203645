"""What a pytest session knows of the run it carries out: one run, one project, one journal a process."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from drtests import runs
from drtests.clock import SystemClock
from drtests.core.plan import DrillPlan
from drtests.declarations.load import load_project
from drtests.drill.context import Options, RunContext
from drtests.drill.journal import JournalWriter
from drtests.drill.log import Listener
from drtests.errors import ConfigurationError, DrtestsError
from drtests.model.project import Project
from drtests.model.record import Record
from drtests.pytest_plugin.roots import root_of

MAIN = "main"


@dataclass(slots=True)
class Session:
    """State of one process. `worker` is empty but in a pytest-xdist worker; a controller runs no drills itself."""

    config: pytest.Config
    run: str
    worker: str
    controller: bool
    clock: SystemClock = field(default_factory=SystemClock)
    projects: dict[Path, Project] = field(default_factory=dict)
    journal: JournalWriter | None = None
    record: Record | None = None
    selected: bool = False
    """Whether it is known which items are to run."""
    _context: RunContext | None = None
    _zero: float = 0.0
    _terminate: Any = None

    def __post_init__(self) -> None:
        self._zero = self.clock.monotonic()

    @property
    def context(self) -> RunContext:
        if self._context is None:
            raise pytest.UsageError("drtests: a drill was started before the run began")
        return self._context

    @property
    def project(self) -> Project:
        return next(iter(self.projects.values()))

    @property
    def reports(self) -> Path:
        given = self.config.getoption("drtests_reports")
        return Path(given).resolve() if given else self.project.root / "reports"

    def project_for(self, path: Path) -> Project:
        """The project a file belongs to, read once. Raises pytest.UsageError with every problem found."""
        root = root_of(path)
        if root is None:
            raise pytest.UsageError(f"{path}: no targets/bia.yaml at or above it; `drtests init` makes one")
        if root not in self.projects:
            if self.projects:
                other = next(iter(self.projects))
                raise pytest.UsageError(f"one run covers one project, not both {other} and {root}")
            try:
                self.projects[root] = load_project(root)
            except ConfigurationError as error:
                raise pytest.UsageError(told(error)) from None
        return self.projects[root]

    def begin(self, plans: Sequence[DrillPlan], listener: Listener) -> None:
        """Opens the journal, once it is known that drills will run. Raises pytest.UsageError."""
        options = self.config.option
        try:
            left = runs.inherit(self.reports, [plan.id for plan in plans], self.run)
            path = self.reports / self.run / "journal" / f"{self.worker or MAIN}.jsonl"
            self.journal = JournalWriter(path, self.clock)
        except DrtestsError as error:
            raise pytest.UsageError(told(error)) from None
        except OSError as error:
            raise pytest.UsageError(f"{error.filename}: the report cannot be written: {error.strerror}") from None
        runs.begin(self.journal, self.run, self.project, plans, left)
        self._context = RunContext(
            run=self.run,
            project=self.project,
            journal=self.journal,
            clock=self.clock,
            parts=left.parts,
            options=Options(options.drtests_point, options.drtests_seed, options.drtests_lock_timeout),
            listener=listener,
        )
        if not self.worker and threading.current_thread() is threading.main_thread():
            # A scheduler's stop must clean up as Ctrl-C does.
            self._terminate = signal.signal(signal.SIGTERM, _interrupt)

    def finish(self, interrupted: bool) -> None:
        """Closes the journal; outside a worker, folds all journals of the run into its pack."""
        if self._terminate is not None:
            signal.signal(signal.SIGTERM, self._terminate)
            self._terminate = None
        if self.controller and self.projects and (self.reports / self.run / "journal").is_dir():
            self.journal = JournalWriter(self.reports / self.run / "journal" / f"{MAIN}.jsonl", self.clock)
        if self.journal is None:
            return
        if self.worker:
            self.journal.close()
        else:
            seconds = self.clock.monotonic() - self._zero
            self.record = runs.end(self.journal, self.reports, self.run, interrupted, seconds)
        self.journal = self._context = None


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt(f"signal {number}")


def told(error: DrtestsError) -> str:
    """Every diagnostic of an error, one below the other."""
    return "\n".join(str(diagnostic) for diagnostic in error.diagnostics())


SESSION = pytest.StashKey[Session]()


def session_of(config: pytest.Config) -> Session:
    """This process's session. Raises KeyError when the plug-in is not configured."""
    return config.stash[SESSION]
