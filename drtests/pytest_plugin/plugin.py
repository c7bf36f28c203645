"""The plug-in pytest finds by its entry point. Does nothing in a session that has no drill."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import pytest

from drtests.core.objectives import recovery_order
from drtests.core.plan import DrillPlan
from drtests.drill.log import Listener
from drtests.errors import EXIT_INCONCLUSIVE, EXIT_MET, EXIT_MISSED
from drtests.model.units import format_duration
from drtests.model.verdict import Verdict
from drtests.pytest_plugin import hookspecs
from drtests.pytest_plugin.failure import CATEGORIES, LETTERS, DrillNotMet, describe
from drtests.pytest_plugin.items import RECORD, DrillItem, SystemFile
from drtests.pytest_plugin.python_tests import MARKER, call, plan_python, recovery_fixture
from drtests.pytest_plugin.roots import asked_for, is_system_file
from drtests.pytest_plugin.session import SESSION, Session, session_of
from drtests.runs import new_run_id

__all__ = ["recovery_fixture"]

_MARKERS = (
    f"{MARKER}(system, point=None, checks=True): a recovery test of a declared system",
    "restore: drills that bring a system back",
    "recovery_points: drills that judge the history of recovery points",
    "integrity: drills that read a repository back",
    "replication: drills that measure how far a replica lags behind",
    "failover: drills that rehearse a failover on a throwaway replica",
    "offsite: drills of an offsite repository",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("drtests", "disaster recovery tests")
    group.addoption("--drtests-reports", metavar="DIR", help="where evidence packs go (default: reports/)")
    group.addoption("--drtests-run", metavar="ID", help="name of the run (default: from the time)")
    group.addoption(
        "--drtests-point",
        metavar="POINT",
        help="recovery point: latest, an id, before:TIME, at:TIME or random:DURATION",
    )
    group.addoption(
        "--drtests-only", metavar="DRILL", action="append", default=[], help="only this system or system::drill"
    )
    group.addoption("--drtests-seed", metavar="TEXT", help="seed of a random recovery point (default: the run's id)")
    group.addoption(
        "--drtests-lock-timeout", metavar="SECONDS", type=float, default=14400.0, help="longest wait for a staging"
    )


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    pluginmanager.add_hookspecs(hookspecs)


def pytest_configure(config: pytest.Config) -> None:
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)
    given: Mapping[str, Any] = getattr(config, "workerinput", {})
    worker = str(given.get("workerid", ""))
    controller = not worker and getattr(config.option, "dist", "no") != "no"
    session = Session(config, "", worker, controller)
    session.run = given.get("drtests_run") or config.getoption("drtests_run") or new_run_id(session.clock.now())
    config.stash[SESSION] = session


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """pytest-xdist: every worker belongs to the run of the controller."""
    node.workerinput["drtests_run"] = session_of(node.config).run


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Reads the declarations first, so that what is wrong with them is said once, in full, and ends the session."""
    config = session.config
    arguments = config.args or ["."]
    root = asked_for(arguments, config.invocation_params.dir)
    if root is not None:
        session_of(config).project_for(root)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if is_system_file(file_path):
        return SystemFile.from_parent(parent, path=file_path)
    return None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Declared drills in the order in which systems would come back: what others need comes first."""
    session_of(config).selected = True
    only = set(config.option.drtests_only)
    if only:
        kept = [item for item in items if (drill := drill_of(item)) and (drill in only or drill.split("::")[0] in only)]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept
    places = [place for place, item in enumerate(items) if isinstance(item, DrillItem)]
    if not places:
        return
    waves = recovery_order(session_of(session.config).project.systems)
    rank = {system: number for number, wave in enumerate(waves) for system in wave}
    drills = [item for item in items if isinstance(item, DrillItem)]
    drills.sort(key=lambda item: rank[item.system])
    for place, item in zip(places, drills, strict=True):
        items[place] = item


def pytest_collection_finish(session: pytest.Session) -> None:
    """Everything is selected: the run begins, unless this is a controller or only a look."""
    config = session.config
    state = session_of(config)
    # pytest calls this even when selecting failed, as on a wrong -k expression.
    if config.option.collectonly or state.controller or not state.selected:
        return
    plans = [plan for item in session.items if (plan := _plan(item, state)) is not None]
    if not plans:
        return
    ids = [plan.id for plan in plans]
    twice = sorted({plan for plan in ids if ids.count(plan) > 1}) if len(set(ids)) < len(ids) else []
    if twice:
        raise pytest.UsageError(f"two recovery tests of one system share a name: {', '.join(twice)}; rename one")
    state.begin(plans, _Hooks(config))
    config.hook.pytest_drtests_planned(config=config, drills=ids)


def drill_of(item: pytest.Item) -> str | None:
    """The id of the drill that an item carries out, if any."""
    if isinstance(item, DrillItem):
        return item.drill_id
    marker = item.get_closest_marker(MARKER)
    return f"{marker.args[0]}::{item.name}" if marker and marker.args else None


def _plan(item: pytest.Item, state: Session) -> DrillPlan | None:
    if isinstance(item, DrillItem):
        return item.plan(state.project)
    if item.get_closest_marker(MARKER) is not None:
        return plan_python(item, state.project_for(item.path))
    return None


class _Hooks(Listener):
    """Passes on what a drill tells while it runs."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def phase(self, drill: str, phase: str) -> None:
        self._config.hook.pytest_drtests_phase(config=self._config, drill=drill, phase=phase)

    def progress(self, drill: str, progress: Mapping[str, Any]) -> None:
        self._config.hook.pytest_drtests_progress(config=self._config, drill=drill, progress=progress)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> object | None:
    if pyfuncitem.get_closest_marker(MARKER) is None:
        return None
    call(pyfuncitem)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    record = item.stash.get(RECORD, None)
    if record is not None and report.when == "call":
        # Plain types only: pytest-xdist carries them from worker to controller.
        report.drtests = {"id": record.id, "verdict": str(record.verdict), "text": describe(record)}  # type: ignore[attr-defined]
        if call.excinfo is not None and isinstance(call.excinfo.value, DrillNotMet):
            report.longrepr = describe(record)
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report: pytest.TestReport | pytest.CollectReport) -> tuple[str, str, str] | None:
    told = getattr(report, "drtests", None)
    if told is None or getattr(report, "wasxfail", None) is not None:
        return None
    verdict = Verdict(told["verdict"])
    return CATEGORIES[verdict], LETTERS[verdict], str(verdict)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int | pytest.ExitCode) -> None:
    """Writes the pack. The exit code is the verdict's, unless other tests failed or pytest says worse."""
    state = session_of(session.config)
    codes = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
    state.finish(interrupted=exitstatus not in codes)
    if state.record is None or exitstatus not in codes:
        return
    missed = sum(drill.verdict is not Verdict.MET for drill in state.record.drills if drill.state != "not run")
    others = session.testsfailed - missed
    code = {Verdict.MET: EXIT_MET, Verdict.MISSED: EXIT_MISSED, Verdict.INCONCLUSIVE: EXIT_INCONCLUSIVE}
    session.exitstatus = EXIT_MISSED if others > 0 else code[state.record.run.verdict]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    state = session_of(config)
    record = state.record
    if record is None:
        return
    # pytest shows what is in its own category `failed` only.
    for report in terminalreporter.stats.get(CATEGORIES[Verdict.INCONCLUSIVE], ()):
        terminalreporter.section(f"inconclusive: {report.drtests['id']}", sep="_")
        terminalreporter.line(report.drtests["text"])
    terminalreporter.section("recovery")
    for drill in record.drills:
        time, loss = drill.recovery_time, drill.data_loss
        numbers = []
        if drill.rto and time and time.total_seconds is not None:
            numbers.append(f"{format_duration(time.total_seconds)} of {format_duration(drill.rto.seconds)}")
        if drill.rpo and loss and loss.recovery_point_age_seconds is not None:
            age = format_duration(loss.recovery_point_age_seconds)
            numbers.append(f"point {age} old, {format_duration(drill.rpo.seconds)} allowed")
        terminalreporter.line(f"{drill.verdict:<13} {drill.id:<45} {'; '.join(numbers)}")
    terminalreporter.line(f"{record.run.verdict}: evidence in {state.reports / state.run}")
