"""One drill's events, gathered into what they tell; no opinion yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from drtests.core import events as e
from drtests.core.events import Event
from drtests.core.plan import PART
from drtests.model.record import CheckRecord, CommandRecord, Measure, Phase, Problem, RecordPoint
from drtests.model.verdict import Verdict


@dataclass(slots=True)
class Trace:
    """What the journal says of one attempt at one drill. `ended` is drill.finished's outcome, or None."""

    started: Mapping[str, Any] = field(default_factory=dict)
    started_at: str = ""
    ended: str | None = None
    lock_wait: float = 0.0
    last_met: float | None = None
    """Seconds from the start to the last check that passed, or that told of data loss only."""
    phases: list[Phase] = field(default_factory=list)
    checks: list[CheckRecord] = field(default_factory=list)
    commands: list[CommandRecord] = field(default_factory=list)
    measures: dict[str, Measure] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    point: RecordPoint | None = None
    history: Mapping[str, Any] | None = None
    proved: float | None = None
    replication: list[Event] = field(default_factory=list)
    """All that was told of a replica, in order of time."""

    @property
    def own_checks(self) -> list[CheckRecord]:
        """Those of the system, without the parts of an offsite drill."""
        return [check for check in self.checks if not check.kind.startswith(PART)]


def gather(events: Iterable[Event]) -> Trace:
    """Reads the events of one drill in the order in which they were written."""
    trace = Trace()
    start = last = 0.0
    open_phases: dict[str, float] = {}
    open_commands: list[Mapping[str, Any]] = []
    for event in events:
        data = event.data
        if event.type == e.DRILL_STARTED:
            start, trace.started, trace.started_at = event.t, data, event.at
        last = event.t
        if event.type == e.PHASE_STARTED:
            open_phases[data["phase"]] = event.t
        elif event.type == e.PHASE_FINISHED:
            began = open_phases.pop(data["phase"], event.t)
            outcome = "done" if data["outcome"] == "done" else "failed"
            trace.phases.append(_phase(data["phase"], began - start, event.t - began, outcome))
        elif event.type == e.COMMAND_STARTED:
            open_commands.append(data)
        elif event.type == e.COMMAND_FINISHED:
            open_commands = [c for c in open_commands if c["number"] != data["number"]]
            trace.commands.append(_command(data, data["exit_code"], data["seconds"], data["output"]))
        elif event.type == e.CHECK_JUDGED:
            check = CheckRecord.model_validate(data)
            trace.checks.append(check)
            part = check.kind.startswith(PART)
            if not part and (check.verdict is Verdict.MET or check.data_loss_seconds is not None):
                trace.last_met = event.t - start
            if check.data_loss_seconds is not None:
                trace.proved = max(trace.proved or 0.0, check.data_loss_seconds)
        elif event.type in e.OF_REPLICATION:
            trace.replication.append(event)
        else:
            _gather_fact(trace, event)
    trace.phases += [_phase(name, began - start, last - began, "interrupted") for name, began in open_phases.items()]
    trace.phases.sort(key=lambda phase: phase.offset)
    trace.commands += [_command(c, None, 0.0, "") for c in open_commands]
    return trace


def _gather_fact(trace: Trace, event: Event) -> None:
    data = event.data
    match event.type:
        case e.LOCK_WAITED:
            trace.lock_wait += data["seconds"]
        case e.POINT_LOCATED:
            trace.point = RecordPoint.model_validate(data)
        case e.HISTORY_JUDGED:
            trace.history = data
        case e.MEASURED:
            trace.measures[data["name"]] = Measure(value=data["value"], unit=data["unit"], basis=data["basis"])
        case e.FACT:
            trace.facts[data["name"]] = data["value"]
        case e.PROBLEM:
            trace.problems.append(Problem(what=data["what"], where=data["where"], mend=data["mend"]))
        case e.DRILL_FINISHED:
            trace.ended = data["outcome"]


def _phase(name: str, offset: float, seconds: float, outcome: str) -> Phase:
    return Phase.model_validate({"name": name, "offset": offset, "seconds": seconds, "outcome": outcome})


def _command(data: Mapping[str, Any], exit_code: int | None, seconds: float, output: str) -> CommandRecord:
    return CommandRecord(
        host=data["host"],
        phase=data["phase"],
        argv=tuple(data["argv"]),
        exit_code=exit_code,
        seconds=seconds,
        output=output,
    )


def attempts(events: Sequence[Event]) -> dict[str, list[list[Event]]]:
    """Events by drill and, within a drill, by attempt: each `drill.started` begins a new one."""
    found: dict[str, list[list[Event]]] = {}
    for event in events:
        if event.drill is None:
            continue
        tries = found.setdefault(event.drill, [])
        if event.type == e.DRILL_STARTED or not tries:
            tries.append([])
        tries[-1].append(event)
    return found
