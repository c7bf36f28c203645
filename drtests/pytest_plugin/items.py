"""Declared systems as pytest items: `targets/systems/<system>.yaml::restore` and so on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from drtests.core.plan import DrillPlan
from drtests.drill.execute import execute
from drtests.drill.planning import DrillName, drills_of, plan_drill
from drtests.model.project import Project
from drtests.model.record import DrillRecord
from drtests.model.verdict import Verdict
from drtests.pytest_plugin.failure import DrillNotMet, describe, properties
from drtests.pytest_plugin.session import session_of


class SystemFile(pytest.File):
    """One system's declaration. Collecting it touches nothing but files below targets/."""

    def collect(self) -> Iterable[pytest.Item]:
        project = session_of(self.config).project_for(self.path)
        system = self.path.stem
        offsite = {r.id for r in project.estate.repositories if r.offsite}
        repositories = {backup.id: backup.repository for backup in project.systems[system].backups}
        for drill in drills_of(project, system):
            item = DrillItem.from_parent(self, name=drill.name, drill=drill, system=system)
            item.add_marker(drill.kind)
            if repositories[drill.backup] in offsite:
                item.add_marker("offsite")
            yield item


class DrillItem(pytest.Item):
    """One drill. Fails with the numbers when it is not MET."""

    def __init__(self, *, drill: DrillName, system: str, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.drill = drill
        self.system = system

    @property
    def drill_id(self) -> str:
        return f"{self.system}::{self.drill.name}"

    def plan(self, project: Project) -> DrillPlan:
        return plan_drill(project, self.system, self.drill, self.nodeid)

    def runtest(self) -> None:
        context = session_of(self.config).context
        finish(self, execute(self.plan(context.project), context))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, DrillNotMet):
            return describe(excinfo.value.record)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, self.drill_id


RECORD = pytest.StashKey[DrillRecord]()


def finish(item: pytest.Item, record: DrillRecord) -> None:
    """Leaves the record where reports find it. Raises DrillNotMet unless it is MET."""
    item.stash[RECORD] = record
    item.user_properties.extend(properties(record))
    if record.verdict is not Verdict.MET:
        raise DrillNotMet(record)
