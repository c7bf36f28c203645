"""Journals as a drill that went well writes them, for tests that then spoil them."""

from __future__ import annotations

from typing import Any

from drtests.core import events as e
from drtests.core.events import Event, Journal, decode, encode, link
from drtests.core.plan import DrillPlan, Limit

AT = "2026-03-01T03:00:00.000Z"
PHASES = ("locate", "provision", "restore", "start", "verify", "clean up")


def plan(
    system: str = "app", kind: str = "restore", rto: float | None = 3600.0, rpo: float | None = 86400.0
) -> DrillPlan:
    return DrillPlan(
        id=f"{system}::{kind}",
        node=f"targets/systems/{system}.yaml::{kind}",
        system=system,
        system_name=system.title(),
        kind=kind,
        backup="backup",
        criticality="high",
        owner="jan",
        processes=("teaching",),
        declaration="0" * 64,
        rto=Limit(rto, "process:teaching") if rto is not None else None,
        rpo=Limit(rpo, "process:teaching") if rpo is not None else None,
    )


def check(verdict: str = "MET", proves: bool = True, loss: float | None = None, **changed: Any) -> dict[str, Any]:
    told = {
        "kind": "tree",
        "title": "tree srv",
        "proves_data": proves,
        "verdict": verdict,
        "reason": "10 files as sealed" if verdict == "MET" else "1 file changed",
        "mend": "",
        "seconds": 0.5,
        "observation": {"files": 10},
        "data_loss_seconds": loss,
    }
    return told | changed


def run_started(run: str = "20260301T030000Z-aaaa", systems: tuple[str, ...] = ("app",)) -> Event:
    data = {
        "run": run,
        "tool": "drtests 0.1.0",
        "organisation": "School",
        "timezone": "Europe/Amsterdam",
        "classification": "internal",
        "environment": {"host": "runner"},
        "declarations": {"targets/bia.yaml": "1" * 64},
        "people": {"jan": "Jan"},
        "policy": {"due": {"low": 90 * 86400, "medium": 30 * 86400, "high": 14 * 86400, "critical": 7 * 86400}},
        "systems": [{"id": name, "name": name.title()} for name in systems],
    }
    return Event(e.RUN_STARTED, AT, 0.0, None, data)


def met_drill(of: DrillPlan, start: float = 1.0, age: float = 3600.0) -> list[Event]:
    """A restore drill in which all went well; each phase takes ten seconds."""
    drill, t = of.id, start

    def event(kind: str, /, **data: Any) -> Event:
        return Event(kind, AT, t, drill, data)

    events = [event(e.DRILL_STARTED, kind=of.kind, checks=1, moment=AT, moment_basis="now", manual=[])]
    for phase in PHASES:
        events.append(event(e.PHASE_STARTED, phase=phase))
        if phase == "locate":
            events.append(
                event(
                    e.POINT_LOCATED, id="ab" * 32, time=AT, host="h", paths=["/srv"], tags=[], repository="nas",
                    chosen="the latest",
                )
            )  # fmt: skip
            events.append(event(e.FACT, name="recovery_point_age", value=age))
        if phase == "provision":
            events.append(event(e.LOCK_WAITED, seconds=0.0))
        t += 10
        if phase == "verify":
            events.append(event(e.CHECK_JUDGED, **check()))
        events.append(event(e.PHASE_FINISHED, phase=phase, outcome="done"))
    events.append(event(e.DRILL_FINISHED, outcome="done"))
    return events


def whole_run(*plans: DrillPlan, drills: list[Event] | None = None) -> list[Event]:
    """A finished run of these drills, all MET unless other events are given."""
    events = [run_started(systems=tuple(p.system for p in plans))]
    events.append(Event(e.RUN_PLANNED, AT, 0.1, None, {"drills": [p.data() for p in plans]}))
    events.append(Event(e.RUN_CARRIED, AT, 0.2, None, {"source": None, "actions": []}))
    if drills is None:
        drills = [event for p in plans for event in met_drill(p)]
    events += drills
    events.append(Event(e.RUN_FINISHED, AT, 100.0, None, {"seconds": 100.0}))
    events.append(Event(e.JOURNAL_CLOSED, AT, 100.1, None, {}))
    return events


def lines_of(events: list[Event]) -> list[bytes]:
    """The events as a journal's lines, chained."""
    lines: list[bytes] = []
    prev = ""
    for number, event in enumerate(events):
        lines.append(encode(event, number, prev))
        prev = link(lines[-1])
    return lines


def journal_of(events: list[Event], name: str = "journal/main.jsonl") -> Journal:
    return decode(name, lines_of(events))
