"""report.html: one page that needs nothing but itself, for an auditor and for whoever decides."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from jinja2 import Environment, PackageLoader, StrictUndefined

from drtests.core.actions import overdue
from drtests.evidence import charts
from drtests.evidence.lag_chart import lag_chart
from drtests.model.record import ActionItem, DrillRecord, Measure, Record
from drtests.model.units import format_duration, format_size, parse_instant
from drtests.model.verdict import Verdict

_MARKS = {Verdict.MET: "\N{CHECK MARK}", Verdict.MISSED: "\N{MULTIPLICATION X}", Verdict.INCONCLUSIVE: "?"}
_MEANINGS = {
    Verdict.MET: "every objective that was tested was met",
    Verdict.MISSED: "at least one objective was missed",
    Verdict.INCONCLUSIVE: "it is not known whether the objectives can be met",
}
_WORST = {Verdict.MISSED: 0, Verdict.INCONCLUSIVE: 1, Verdict.MET: 2}
_CRITICAL = {"critical": 0, "high": 1, "medium": 2, "low": 3}
TOP = 5
"""Findings told before the details; the action list has them all."""


class HtmlReporter:
    """Everything the record holds, the most important first."""

    filename: ClassVar[str] = "report.html"

    def render(self, record: Record) -> bytes:
        text = _environment(record.run.timezone).get_template("report.html.j2").render(_context(record))
        # A lone surrogate can come out of a file's name; it has no form in UTF-8.
        return text.encode("utf-8", errors="replace")


def _environment(timezone: str) -> Environment:
    environment = Environment(
        loader=PackageLoader("drtests.evidence"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    zone = _zone(timezone)
    environment.filters |= {
        "duration": format_duration,
        "measure": _measure,
        "size": format_size,
        "utc": lambda text: _moment(text, None),
        "local": lambda text: _moment(text, zone),
        "day": lambda text: text[:10],
        "shell": shlex.join,
        "shown": _shown,
        "mark": _MARKS.__getitem__,
        # As people call it: what stands behind the system in the drill's id.
        "drill_name": lambda drill: drill.id.partition("::")[2].replace("_", " "),
        "words": lambda text: str(text).replace("_", " "),
    }
    return environment


def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def _moment(text: str, zone: ZoneInfo | None) -> str:
    """A time to the second, with its zone; text that is no time as it stands."""
    try:
        moment = parse_instant(text)
    except ValueError:
        return text
    if zone is None:
        return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
    return moment.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S %Z")


def _measure(measure: Measure) -> str:
    if measure.unit == "s":
        told = format_duration(measure.value)
    elif measure.unit == "B":
        told = format_size(measure.value)
    else:
        told = f"{measure.value:,.0f}" if measure.value.is_integer() else f"{measure.value:,}"
    return f"{told} ({measure.basis})"


def _shown(value: Any) -> str:
    """A value of an observation as a person reads it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "not known"
    if isinstance(value, (list, tuple)) and all(isinstance(item, (str, int, float)) for item in value):
        return ", ".join(str(item) for item in value) or "none"
    if isinstance(value, dict) and not any(isinstance(item, dict) for item in value.values()):
        return "; ".join(f"{str(name).replace('_', ' ')}: {_shown(item)}" for name, item in sorted(value.items()))
    if isinstance(value, (dict, list, tuple)):
        return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    return str(value)


@dataclass(frozen=True, slots=True)
class _Section:
    """A drill with its charts, and where it is in the page."""

    anchor: str
    drill: DrillRecord
    timeline: Any
    recovery: Any
    loss: Any
    lag: Any
    meter: Any
    action: ActionItem | None


def _context(record: Record) -> dict[str, Any]:
    actions = {item.drill: item for item in record.actions if item.status == "open"}
    sections = [_section(f"drill-{n}", drill, actions) for n, drill in enumerate(record.drills, 1)]
    ranked = sorted(sections, key=_importance)
    end = _end(record)
    return {
        "record": record,
        "run": record.run,
        "meaning": _MEANINGS[record.run.verdict],
        "counts": [(v, sum(drill.verdict is v for drill in record.drills)) for v in _WORST],
        "sections": sections,
        "ranked": ranked,
        "findings": [s for s in ranked if s.drill.verdict is not Verdict.MET],
        "top": TOP,
        "untested": [scope for scope in record.scope if not scope.drills],
        "unfinished": [s for s in sections if s.drill.state != "finished"],
        "unproved": [s for s in sections if _unproved(s.drill)],
        "end": end,
        "late": [i for i in record.actions if overdue(i, end)],
        "open": [i for i in record.actions if i.status == "open" and not overdue(i, end)],
        "closed_now": [i for i in record.actions if i.status == "closed" and i.retest_run == record.run.id],
        "closed_before": [i for i in record.actions if i.status == "closed" and i.retest_run != record.run.id],
    }


def _section(anchor: str, drill: DrillRecord, actions: dict[str, ActionItem]) -> _Section:
    time = drill.recovery_time
    known = time is not None and time.total_seconds is not None and drill.rto is not None
    return _Section(
        anchor=anchor,
        drill=drill,
        timeline=charts.timeline(drill) if drill.phases else None,
        recovery=charts.recovery_bars(drill),
        loss=charts.loss_bars(drill),
        lag=lag_chart(drill),
        meter=charts.meter(time.measured_seconds or 0.0, time.declared_seconds, drill.rto.seconds)
        if known and time and drill.rto
        else None,
        action=actions.get(drill.id),
    )


def _importance(section: _Section) -> tuple[int, int, str]:
    drill = section.drill
    return _WORST[drill.verdict], _CRITICAL.get(drill.criticality, len(_CRITICAL)), drill.id


def _unproved(drill: DrillRecord) -> bool:
    """Whether an old enough backup was all there was to go by for the RPO."""
    return (
        drill.recovery_time is not None
        and drill.rpo is not None
        and drill.data_loss is not None
        and drill.data_loss.proved_seconds is None
    )


def _end(record: Record) -> datetime:
    """When the run ended, or the last that is known of it: what is overdue must not change with the reader's clock."""
    seen = [event.at for item in record.actions for event in item.history if event.run == record.run.id]
    return max(parse_instant(text) for text in (record.run.finished_at or record.run.started_at, *seen))
