"""What `drtests plan` shows: reads declarations and lists recovery points; writes nothing anywhere."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from drtests.core.objectives import recovery_order
from drtests.core.plan import RECOVERY_POINTS, RESTORE
from drtests.drill.choose import choose
from drtests.drill.context import engine_on
from drtests.drill.hosts import open_host
from drtests.drill.planning import drills_of, plan_drill
from drtests.errors import DrtestsError
from drtests.model.project import Project
from drtests.model.system import At, Before, RandomWithin
from drtests.model.units import format_duration, utc_text


def planned(project: Project, offline: bool) -> dict[str, Any]:
    """Drills in order, and the gaps: what could not be reached, and what nothing tests."""
    gaps: list[str] = []
    rows: list[dict[str, Any]] = []
    for number, wave in enumerate(recovery_order(project.systems), 1):
        for system in wave:
            point = None if offline else _point(project, system, gaps)
            for name in drills_of(project, system):
                plan = plan_drill(project, system, name, "")
                restores = name.kind == RESTORE
                rows.append(
                    {
                        "wave": number,
                        "drill": plan.id,
                        "rto": format_duration(plan.rto.seconds) if plan.rto and restores else None,
                        "rpo": format_duration(plan.rpo.seconds)
                        if plan.rpo and name.kind in (RESTORE, RECOVERY_POINTS)
                        else None,
                        "recovery_point": point if restores else None,
                        "staging": project.staging(project.systems[system].restore.staging).path if restores else None,
                    }
                )
    offsite = [one.id for one in project.estate.repositories if one.offsite]
    if offsite and project.estate.kit is None:
        gaps.append(
            f"{', '.join(offsite)}: declared offsite, and nothing proves that a site can be lost: declare a recovery "
            "kit (`kit` in targets/estate.yaml), and `::offsite[...]` drills will"
        )
    needed = {process for objectives in project.objectives.values() for process in objectives.processes}
    gaps += [
        f"process {process.id!r} depends on no declared system: nothing here proves that it can recover"
        for process in project.bia.processes
        if process.id not in needed
    ]
    return {"drills": rows, "gaps": gaps}


def _point(project: Project, system: str, gaps: list[str]) -> str | None:
    """The recovery point that would be restored now, or None and a gap."""
    restore = project.systems[system].restore
    backup = project.backup(system, restore.backup)
    if isinstance(restore.point, RandomWithin):
        return f"at random within {format_duration(restore.point.random_within.total_seconds())}"
    staging = project.staging(restore.staging)
    try:
        host = open_host(project, staging.host)
        found = engine_on(project, project.repository(backup.repository), host, None).engine
        points = found.recovery_points(backup.snapshots)
        point = choose(points, restore.point, datetime.now(UTC), "").point
    except DrtestsError as error:
        gaps.append(f"{system}: {error.what}")
        return None
    asked = " (asked for)" if isinstance(restore.point, (At, Before)) else ""
    return f"{point.id[:8]} of {utc_text(point.time)}{asked}"
