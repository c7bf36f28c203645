"""What a person reads when a drill is not MET: no traceback, but the numbers and what to do."""

from __future__ import annotations

from drtests.model.record import DrillRecord
from drtests.model.units import format_duration
from drtests.model.verdict import Verdict


class DrillNotMet(Exception):
    """Raised by an item whose drill is not MET; carries the record."""

    def __init__(self, record: DrillRecord) -> None:
        super().__init__(f"{record.verdict}: {record.id}")
        self.record = record


def describe(record: DrillRecord) -> str:
    """Objective, actual, margin, slowest phase, reasons and what to do; about a dozen lines."""
    lines = [f"{record.verdict}  {record.id}  ({record.system_name}, owner {record.owner or 'unknown'})"]
    lines += [f"  RTO  {line}" for line in _rto(record)]
    lines += [f"  RPO  {line}" for line in _rpo(record)]
    lines += [f"  why  {reason}" for reason in record.reasons]
    lines += [f"  do   {step}" for step in record.advice[:4]]
    return "\n".join(lines)


def _rto(record: DrillRecord) -> list[str]:
    time = record.recovery_time
    if record.rto is None or time is None:
        return []
    objective = f"objective {format_duration(record.rto.seconds)} ({record.rto.bound_by})"
    if time.total_seconds is None:
        return [f"{objective}, actual unknown"]
    parts = [objective, f"actual {format_duration(time.total_seconds)}"]
    if time.declared_seconds:
        measured, declared = format_duration(time.measured_seconds or 0), format_duration(time.declared_seconds)
        parts.append(f"= {measured} measured + {declared} declared")
    parts.append(_margin(record.rto.seconds - time.total_seconds))
    return [", ".join(parts) + (f", slowest {time.slowest_phase}" if time.slowest_phase else "")]


def _rpo(record: DrillRecord) -> list[str]:
    loss = record.data_loss
    if record.rpo is None or loss is None:
        return []
    lines = [f"objective {format_duration(record.rpo.seconds)} ({record.rpo.bound_by})"]
    for label, value in (
        ("recovery point age", loss.recovery_point_age_seconds),
        ("worst gap", loss.worst_gap_seconds),
        ("worst case", loss.worst_case_seconds),
        ("data loss proved by data", loss.proved_seconds),
    ):
        if value is not None:
            lines.append(f"{label} {format_duration(value)}, {_margin(record.rpo.seconds - value)}")
    return lines


def _margin(seconds: float) -> str:
    return f"margin {format_duration(seconds)}" if seconds >= 0 else f"over by {format_duration(-seconds)}"


def properties(record: DrillRecord) -> list[tuple[str, str]]:
    """The same, as JUnit properties of pytest's own XML."""
    found = [("drill", record.id), ("verdict", str(record.verdict)), ("owner", record.owner)]
    if record.recovery_point:
        found += [("recovery_point", record.recovery_point.id), ("recovery_point_time", record.recovery_point.time)]
    if record.rto:
        found.append(("rto_objective_seconds", f"{record.rto.seconds:g}"))
    if record.rpo:
        found.append(("rpo_objective_seconds", f"{record.rpo.seconds:g}"))
    time, loss = record.recovery_time, record.data_loss
    if time and time.total_seconds is not None:
        found.append(("rto_actual_seconds", f"{time.total_seconds:.3f}"))
        found.append(("rto_declared_seconds", f"{time.declared_seconds:g}"))
    if loss and loss.recovery_point_age_seconds is not None:
        found.append(("recovery_point_age_seconds", f"{loss.recovery_point_age_seconds:.3f}"))
    if loss and loss.proved_seconds is not None:
        found.append(("data_loss_proved_seconds", f"{loss.proved_seconds:.3f}"))
    return found


LETTERS = {Verdict.MET: ".", Verdict.MISSED: "F", Verdict.INCONCLUSIVE: "I"}
CATEGORIES = {Verdict.MET: "passed", Verdict.MISSED: "failed", Verdict.INCONCLUSIVE: "inconclusive"}
