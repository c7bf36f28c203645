"""Drills that restore nothing: the history of recovery points, and reading the repository back."""

from __future__ import annotations

from drtests.core import events as e
from drtests.core.history import history, worst_case
from drtests.core.plan import DrillPlan
from drtests.drill.context import RunContext
from drtests.drill.log import DrillLog
from drtests.drill.reach import DrillReach
from drtests.drill.recovery import Body
from drtests.drill.retry import ask
from drtests.model.system import Snapshots
from drtests.model.units import utc_text


def read_history(plan: DrillPlan, context: RunContext, log: DrillLog, body: Body | None) -> None:
    """`::recovery_points`: ages and gaps from the real times of recovery points."""
    backup = context.project.backup(plan.system, plan.backup)
    now = context.clock.now()
    log.write(e.DRILL_STARTED, kind=plan.kind, moment=utc_text(now), moment_basis="now")
    repository = context.project.repository(backup.repository)
    with log.phase("locate"):
        found = DrillReach(context.project, log, context.mark(plan)).engine(repository.id)
        log.fact("engine", found.version())
        points = ask(lambda: found.recovery_points(backup.snapshots), context.clock)
    with log.phase("verify"):
        seen = history([point.time for point in points], now, backup.window)
        duration, transfer = backup.duration.total_seconds(), backup.transfer.total_seconds()
        interval = backup.interval.total_seconds()
        log.write(
            e.HISTORY_JUDGED,
            selection=_selection(backup.snapshots),
            age=seen.age if seen else None,
            worst_gap=seen.worst_gap if seen else None,
            worst_gap_from=utc_text(seen.worst_gap_from) if seen else None,
            worst_case=worst_case(seen.worst_gap, duration, transfer) if seen else None,
            declared_worst_case=worst_case(interval, duration, transfer),
            interval=interval,
            duration=duration,
            transfer=transfer,
        )
        log.measure("recovery_points_in_window", seen.points if seen else 0, "count")
        log.measure("window", backup.window.total_seconds(), "s", "declared")
        if seen:
            log.fact("window_covered", seen.covered)
            log.fact("newest_recovery_point", utc_text(max(point.time for point in points)))


def _selection(snapshots: Snapshots) -> str:
    parts = [f"host {snapshots.host}"] if snapshots.host else []
    parts += [f"tag {tag}" for tag in snapshots.tags]
    parts += [f"path {path}" for path in snapshots.paths]
    return ", ".join(parts) or "the repository"


def read_integrity(plan: DrillPlan, context: RunContext, log: DrillLog, body: Body | None) -> None:
    """`::integrity`: reads the next part of the repository back, so that all of it is read in turn."""
    repository = context.project.repository(context.project.backup(plan.system, plan.backup).repository)
    parts = repository.integrity.parts
    log.write(e.DRILL_STARTED, kind=plan.kind)
    with log.phase("locate"):
        found = DrillReach(context.project, log, context.mark(plan)).engine(repository.id)
        log.fact("engine", found.version())
        ask(found.guard, context.clock)
    with log.phase("verify"):
        part = next_part(context.parts.get(plan.id), parts)
        result = found.verify(part, parts, repository.integrity.timeout.total_seconds())
        seen = {"part": result.part, "parts": result.parts, "problems": list(result.problems[:20])}
        if result.unproved:
            seen |= {"unproved": result.unproved, "why": result.why}
        log.fact("integrity", {**seen, "packs_read": result.units_read, "packs": result.units})
        log.measure("read_seconds", round(result.seconds, 6), "s")


def next_part(last: tuple[int, int] | None, parts: int) -> int:
    """The part after the one that an earlier run read to its end; the first when there is none to go on from."""
    if last is None or last[1] != parts:
        return 1
    return last[0] % parts + 1
