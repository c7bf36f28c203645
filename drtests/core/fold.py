"""All journals of a run, folded into its record. Pure: the same journals give the same record, always."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from drtests.core import events as e
from drtests.core.actions import Policy, update
from drtests.core.advice import advice
from drtests.core.events import Event, Journal
from drtests.core.judge import data_loss, judge, recovery_time
from drtests.core.plan import CONTROLS, TEST_TYPES, DrillPlan
from drtests.core.replication import replication_record
from drtests.core.trace import Trace, attempts, gather
from drtests.errors import PackError
from drtests.model.record import (
    ActionItem,
    DrillRecord,
    JournalRecord,
    Record,
    RecordObjective,
    RunRecord,
    SystemScope,
)
from drtests.model.verdict import Verdict, combine

NOT_RUN = "planned, but never started"


def fold(journals: Sequence[Journal]) -> Record:
    """The record of a run. Raises PackError when no journal tells which run it was, or one cannot be understood."""
    try:
        return _fold(journals)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PackError(
            f"a journal holds something that this version cannot read: {type(error).__name__}",
            mend="read it with the version of drtests that wrote it; the first line of a journal names it",
        ) from error


def _fold(journals: Sequence[Journal]) -> Record:
    journals = sorted(journals, key=lambda journal: journal.name)
    events = [event for journal in journals for event in journal.events]
    started = _only(events, e.RUN_STARTED)
    if started is None:
        raise PackError(
            "no journal says which run this was",
            mend="the run was killed before anything was written, or the journals are gone: run it again",
        )
    drills = _drills(journals, events)
    finished = _only(events, e.RUN_FINISHED)
    whole = finished is not None and all(journal.intact and journal.closed for journal in journals)
    verdict = combine([*(d.verdict for d in drills), *([] if whole else [Verdict.INCONCLUSIVE])])
    data = started.data
    carried = max((event for event in events if event.type == e.RUN_CARRIED), key=lambda event: event.at, default=None)
    ended_at = finished.at if finished else max((event.at for event in events), default=started.at)
    run = RunRecord(
        id=data["run"],
        started_at=started.at,
        finished_at=finished.at if whole and finished else None,
        seconds=finished.data["seconds"] if whole and finished else None,
        state="finished" if whole else "interrupted",
        verdict=verdict,
        organisation=data["organisation"],
        timezone=data["timezone"],
        classification=data["classification"],
        tool=data["tool"],
        environment=_environment(data["environment"], drills),
        declarations=dict(data["declarations"]),
    )
    return Record(
        run=run,
        scope=_scope(data["systems"], drills),
        drills=tuple(drills),
        actions=update(
            [ActionItem.model_validate(item) for item in (carried.data["actions"] if carried else ())],
            drills,
            run.id,
            ended_at,
            Policy(due=data["policy"]["due"], people=data["people"]),
        ),
        journals=tuple(
            JournalRecord(name=j.name, events=len(j.events), intact=j.intact, closed=j.closed, problem=j.problem)
            for j in journals
        ),
    )


def _only(events: Sequence[Event], kind: str) -> Event | None:
    return next((event for event in events if event.type == kind), None)


def _drills(journals: Sequence[Journal], events: Sequence[Event]) -> list[DrillRecord]:
    plans: dict[str, DrillPlan] = {}
    for event in events:
        if event.type == e.RUN_PLANNED:
            plans |= {plan["id"]: DrillPlan.of(plan) for plan in event.data["drills"]}
    tried: dict[str, list[DrillRecord]] = {}
    for journal in journals:
        for drill, tries in attempts(journal.events).items():
            # A drill that no plan names was never selected: nothing can be said of it.
            if drill in plans:
                tried.setdefault(drill, []).extend(drill_record(plans[drill], t, journal.intact) for t in tries)
    return [_worst(tried[key]) if key in tried else drill_record(plan, ()) for key, plan in sorted(plans.items())]


def _worst(records: Sequence[DrillRecord]) -> DrillRecord:
    """Of several attempts the worst counts: trying until it is green proves luck."""
    order = (Verdict.MISSED, Verdict.INCONCLUSIVE, Verdict.MET)
    worst = min(records, key=lambda record: order.index(record.verdict))
    if len(records) == 1:
        return worst
    note = f"tried {len(records)} times in this run; the worst counts"
    return worst.model_copy(update={"reasons": (*worst.reasons, note)})


def drill_record(plan: DrillPlan, events: Sequence[Event], intact: bool = True) -> DrillRecord:
    """One drill's record from its own events, in order. No events at all: it never ran."""
    trace = gather(events)
    verdict, reasons = judge(plan, trace) if events else (Verdict.INCONCLUSIVE, (NOT_RUN,))
    if not intact:
        # Not even a miss can be believed when the journal was tampered with or lost lines.
        verdict = Verdict.INCONCLUSIVE
        reasons = ("the journal is damaged, so what it says of this drill proves nothing", *reasons)
    return DrillRecord(
        id=plan.id,
        node=plan.node,
        system=plan.system,
        system_name=plan.system_name,
        kind=plan.kind,
        test_type=TEST_TYPES.get(plan.kind, plan.kind),
        criticality=plan.criticality,
        owner=plan.owner,
        processes=plan.processes,
        controls=CONTROLS.get(plan.kind, ("BC.02",)),
        declaration=plan.declaration,
        verdict=verdict,
        state=_state(events, trace),
        reasons=reasons,
        advice=advice(plan, trace, verdict) if events else ("Run it: see why the run stopped before it.",),
        started_at=trace.started_at or None,
        rto=RecordObjective(seconds=plan.rto.seconds, bound_by=plan.rto.bound_by) if plan.rto else None,
        rpo=RecordObjective(seconds=plan.rpo.seconds, bound_by=plan.rpo.bound_by) if plan.rpo else None,
        recovery_time=recovery_time(plan, trace) if events else None,
        data_loss=data_loss(trace),
        recovery_point=trace.point,
        replication=replication_record(plan, trace) if events else None,
        phases=tuple(trace.phases),
        checks=tuple(trace.checks),
        measures=trace.measures,
        facts=trace.facts,
        commands=tuple(trace.commands),
        problems=tuple(trace.problems),
    )


def _state(events: Sequence[Event], trace: Trace) -> Literal["finished", "interrupted", "not run"]:
    if not events:
        return "not run"
    return "interrupted" if trace.ended in (None, "interrupted") else "finished"


def _environment(base: Mapping[str, Any], drills: Sequence[DrillRecord]) -> dict[str, str]:
    engines = sorted({str(drill.facts["engine"]) for drill in drills if "engine" in drill.facts})
    return {**base, **({"engines": ", ".join(engines)} if engines else {})}


def _scope(systems: Sequence[Mapping[str, Any]], drills: Sequence[DrillRecord]) -> tuple[SystemScope, ...]:
    by_system: dict[str, list[str]] = {}
    for drill in drills:
        by_system.setdefault(drill.system, []).append(drill.id)
    return tuple(
        SystemScope(
            system=system["id"],
            name=system["name"],
            drills=tuple(by_system.get(system["id"], ())),
            reason="" if system["id"] in by_system else "not selected for this run",
        )
        for system in systems
    )
