"""Shows a run: a live line per drill in a terminal, plain lines in CI, a table at the end."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

import pytest
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from drtests.cli.common import console
from drtests.cli.tables import print_summary
from drtests.model.record import Record
from drtests.model.verdict import Verdict
from drtests.pytest_plugin.session import session_of

STYLES = {Verdict.MET: "green", Verdict.MISSED: "bold red", Verdict.INCONCLUSIVE: "yellow"}


class Display:
    """A pytest plug-in object. Owns a copy of standard output, as pytest captures the real one."""

    def __init__(self, quiet: bool = False) -> None:
        self.record: Record | None = None
        self.pack: Path | None = None
        self._quiet = quiet
        self._out: TextIO | None = None
        self._console: Console | None = None
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        terminal = sys.stdout.isatty()
        # Where there is no file behind standard output, nothing can capture it either.
        try:
            self._out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", errors="replace")
        except (OSError, ValueError):
            self._out = None
        self._console = (
            console()
            if self._out is None
            else Console(
                file=self._out,
                highlight=False,
                soft_wrap=True,
                force_terminal=terminal,
                width=None if terminal else 200,
            )
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        if self._out is not None:
            self._out.close()

    def _print(self, text: str) -> None:
        if self._console is not None and not self._quiet:
            self._console.print(text)

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = self._task = None

    def pytest_drtests_planned(self, config: pytest.Config, drills: list[str]) -> None:
        state = session_of(config)
        count = f"{len(drills)} drill{'s' if len(drills) != 1 else ''}"
        self._print(f"run [bold]{state.run}[/]: {count}, evidence in {escape(str(state.reports / state.run))}")

    def pytest_drtests_phase(self, config: pytest.Config, drill: str, phase: str) -> None:
        if self._console is None or self._quiet or not self._console.is_terminal:
            return
        if self._progress is None:
            columns = (
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                DownloadColumn(),
                TimeElapsedColumn(),
            )
            self._progress = Progress(*columns, console=self._console, transient=True)
            self._progress.start()
            self._task = self._progress.add_task("", total=None)
        if self._task is not None:
            self._progress.update(self._task, description=f"{drill}  {phase}", completed=0, total=None)

    def pytest_drtests_progress(self, config: pytest.Config, drill: str, progress: Mapping[str, Any]) -> None:
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=progress["done_bytes"], total=progress["total_bytes"])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        told = getattr(report, "drtests", None)
        if told is not None:
            self._stop()
            verdict = Verdict(told["verdict"])
            self._print(f"[{STYLES[verdict]}]{verdict:<13}[/] {escape(told['id'])}")
            if verdict is not Verdict.MET:
                lines = told["text"].splitlines()[1:]
                self._print("\n".join(escape(f"    {line.strip()}") for line in lines))
        elif report.failed:
            self._stop()
            self._print(f"[bold red]error[/] {escape(report.nodeid)} ({report.when})\n{escape(report.longreprtext)}")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._print(f"[bold red]cannot be collected:[/] {escape(report.nodeid)}\n{escape(str(report.longrepr))}")

    def pytest_internalerror(self, excrepr: object) -> None:
        self._stop()
        print(f"internal error; please report this:\n{excrepr}", file=sys.stderr)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Any:
        result = yield
        self._stop()
        state = session_of(session.config)
        if state.record is not None:
            self.record, self.pack = state.record, state.reports / state.run
            if self._console is not None and not self._quiet:
                print_summary(self._console, state.record, self.pack)
        return result
