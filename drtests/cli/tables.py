"""Records as tables on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from drtests.core.actions import overdue
from drtests.model.record import ActionItem, DrillRecord, Record
from drtests.model.units import format_duration
from drtests.model.verdict import Verdict

_STYLES = {Verdict.MET: "green", Verdict.MISSED: "bold red", Verdict.INCONCLUSIVE: "yellow"}


def print_summary(out: Console, record: Record, pack: Path) -> None:
    """One line a drill, one an open action, and where the report is."""
    table = Table("verdict", "drill", "RTO", "recovery", "RPO", "point age", "loss proved", box=None, pad_edge=False)
    for drill in record.drills:
        table.add_row(f"[{_STYLES[drill.verdict]}]{drill.verdict}[/]", drill.id, *_numbers(drill))
    out.print()
    out.print(table)
    out.print()
    untested = [scope.system for scope in record.scope if not scope.drills]
    if untested:
        out.print(f"not tested: {', '.join(untested)}", markup=False)
    closed = [item for item in record.actions if item.retest_run == record.run.id and item.status == "closed"]
    for item in closed:
        out.print(f"closed    {item.id}  {item.drill}", style="green", markup=False)
    for item in record.actions:
        if item.status == "open":
            out.print(
                f"action    {item.id}  {item.severity}, {item.owner_name}, due {item.due[:10]}: {item.weakness}",
                markup=False,
            )
    state = "" if record.run.state == "finished" else " (interrupted)"
    out.print(f"[{_STYLES[record.run.verdict]}]{record.run.verdict}[/]{state}")
    out.print(f"report: {pack / 'report.html'}", markup=False)


def _numbers(drill: DrillRecord) -> tuple[str, ...]:
    time, loss = drill.recovery_time, drill.data_loss
    return (
        format_duration(drill.rto.seconds) if drill.rto and time else "",
        format_duration(time.total_seconds) if time and time.total_seconds is not None else "",
        format_duration(drill.rpo.seconds) if drill.rpo and loss else "",
        _or_nothing(loss.recovery_point_age_seconds if loss else None),
        _or_nothing(loss.proved_seconds if loss else None),
    )


def _or_nothing(seconds: float | None) -> str:
    return "" if seconds is None else format_duration(seconds)


def print_actions(out: Console, items: Sequence[ActionItem], now: datetime) -> None:
    """Action items, the most urgent first."""
    table = Table("id", "status", "severity", "owner", "due", "drill", "weakness", box=None, pad_edge=False)
    order = {"critical": 0, "high": 1, "medium": 2, "low": 3}
    for item in sorted(items, key=lambda i: (i.status, order[i.severity], i.due, i.id)):
        status = "overdue" if overdue(item, now) else item.status
        told = f"closed by {item.retest_run}" if item.status == "closed" else item.weakness
        style = "bold red" if status == "overdue" else ("green" if status == "closed" else "")
        table.add_row(item.id, status, item.severity, item.owner_name, item.due[:10], item.drill, told, style=style)
    out.print(table)
