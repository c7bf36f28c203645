"""Recovery tests in Python: `@pytest.mark.recovery("system")` and the `recovery` fixture."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from drtests.core.events import FACT, MEASURED
from drtests.core.plan import PYTHON, DrillPlan
from drtests.drill.execute import execute
from drtests.drill.planning import DrillName, plan_drill
from drtests.drill.recovery import Body, Recovered
from drtests.model.project import Project
from drtests.model.verdict import Verdict
from drtests.protocols.check import Judgement
from drtests.protocols.engine import RecoveryPoint
from drtests.protocols.host import CommandResult, Host
from drtests.pytest_plugin.items import finish
from drtests.pytest_plugin.session import session_of

MARKER = "recovery"


class Recovery:
    """What a recovery test holds: the system, restored and started, in its staging.

    Usable inside the test function only; its system is restored when the
    test is called, not when fixtures are set up.
    """

    def __init__(self) -> None:
        self._recovered: Recovered | None = None
        self._looked = False

    def _now(self) -> Recovered:
        if self._recovered is None:
            raise RuntimeError(
                "nothing is restored yet: mark the test @pytest.mark.recovery('<system>') "
                "and use `recovery` inside the test function, not in another fixture"
            )
        return self._recovered

    @property
    def system(self) -> str:
        """The system's id."""
        return self._now().plan.system

    @property
    def plan(self) -> DrillPlan:
        """The drill, with its objectives in seconds."""
        return self._now().plan

    @property
    def point(self) -> RecoveryPoint:
        """The recovery point that was restored."""
        return self._now().choice.point

    @property
    def host(self) -> Host:
        """Where it was restored."""
        self._looked = True
        return self._now().resources.host

    @property
    def root(self) -> str:
        """The restored tree, as a path on the host."""
        self._looked = True
        return self._now().resources.root

    def path(self, relative: str = ".") -> Path:
        """A path in the restored tree. Raises ValueError when it leads out, RuntimeError when the host is remote."""
        local = self.host.local_path(self.root)
        if local is None:
            raise RuntimeError("the system was restored on another host: use recovery.run()")
        wanted = (local / relative.lstrip("/")).resolve()
        if not wanted.is_relative_to(local.resolve()):
            raise ValueError(f"{relative!r} leads out of the restored tree")
        return wanted

    def run(
        self, argv: Sequence[str], *, timeout: float = 60.0, cwd: str = ".", env: Mapping[str, str] | None = None
    ) -> CommandResult:
        """Runs a command in the restored tree, journaled. Raises CommandNotFound, CommandTimeout."""
        return self.host.run(argv, timeout=timeout, cwd=f"{self.root}/{cwd}", env=env)

    def measure(self, name: str, value: float, unit: str = "count") -> None:
        """Puts a measured number into the evidence; unit `s`, `B` or `count`. Raises ValueError for another unit."""
        if unit not in ("s", "B", "count"):
            raise ValueError(f"unit {unit!r} is none of s, B, count")
        self._now().log.write(MEASURED, name=name, value=float(value), unit=unit, basis="measured")

    def fact(self, name: str, value: str | int | float | bool) -> None:
        """Puts a fact into the evidence; never restored data itself."""
        self._now().log.write(FACT, name=name, value=value)


@pytest.fixture(name="recovery")
def recovery_fixture(request: pytest.FixtureRequest) -> Recovery:
    """The system named by `@pytest.mark.recovery`, restored and started in its staging."""
    if request.node.get_closest_marker(MARKER) is None:
        raise pytest.UsageError(f"{request.node.nodeid}: `recovery` needs @pytest.mark.recovery('<system>')")
    return Recovery()


def plan_python(item: pytest.Item, project: Project) -> DrillPlan:
    """The drill of a marked test. Raises pytest.UsageError when the marker names no declared system."""
    marker = item.get_closest_marker(MARKER)
    system = str(marker.args[0]) if marker and marker.args else ""
    if system not in project.systems:
        known = ", ".join(sorted(project.systems))
        raise pytest.UsageError(f"{item.nodeid}: @pytest.mark.recovery names system {system!r}; declared are: {known}")
    backup = project.backup(system, project.systems[system].restore.backup).id
    return plan_drill(project, system, DrillName(item.name, PYTHON, backup), item.nodeid)


def call(item: pytest.Function) -> None:
    """Recovers the system, runs the test on it as one more check, cleans up."""
    session = session_of(item.config)
    marker = item.get_closest_marker(MARKER)
    options: Mapping[str, Any] = marker.kwargs if marker else {}
    arguments = {name: item.funcargs[name] for name in item._fixtureinfo.argnames}
    handles = [value for value in arguments.values() if isinstance(value, Recovery)]

    def run(recovered: Recovered) -> tuple[Judgement, bool]:
        for handle in handles:
            handle._recovered = recovered
        try:
            return _judged(item, arguments), any(handle._looked for handle in handles)
        finally:
            for handle in handles:
                handle._recovered = None

    body = Body(item.name, run, declared=options.get("checks", True), point=options.get("point"))
    finish(item, execute(plan_python(item, session.context.project), session.context, body))


def _judged(item: pytest.Function, arguments: Mapping[str, Any]) -> Judgement:
    """A failed assertion is a miss; a skip, or any other exception, means that we do not know."""
    try:
        item.obj(**arguments)
    except pytest.skip.Exception as skipped:
        return Judgement(Verdict.INCONCLUSIVE, f"the test skipped itself: {skipped}")
    except (AssertionError, pytest.fail.Exception) as failed:
        return Judgement(Verdict.MISSED, f"{_first_lines(failed)} ({_place(failed, item.path)})")
    except Exception as error:  # noqa: BLE001 - a test that breaks has proved nothing
        return Judgement(
            Verdict.INCONCLUSIVE, f"raised {type(error).__name__}: {_first_lines(error)} ({_place(error, item.path)})"
        )
    return Judgement(Verdict.MET, "passed")


def _first_lines(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return "; ".join(lines[:2])[:300] or type(error).__name__


def _place(error: BaseException, path: Path) -> str:
    """File and line in the test itself, not in a helper below it."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename) == path]
    return f"{path.name}:{frames[-1].lineno}" if frames else path.name
