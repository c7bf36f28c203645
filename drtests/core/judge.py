"""From what a drill's journal tells to its verdict. MET has to be earned by every clause below."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from drtests.core.offsite.rule import parts_clauses
from drtests.core.plan import INTEGRITY, OFFSITE, RECOVERING, RECOVERY_POINTS, REPLICATION, DrillPlan
from drtests.core.replication import judge_replication
from drtests.core.trace import Trace
from drtests.model.record import DataLoss, ManualTime, RecoveryTime
from drtests.model.units import format_duration
from drtests.model.verdict import Verdict, combine

Reason = tuple[Verdict, str]

PHASES = ("locate", "provision", "restore", "start", "verify", "clean up")
RECOVERY_PHASES = ("declare", "fetch the kit", "locate", "provision", "restore", "start", "verify", "hand over")
"""Clean up comes after the recovery and is no part of its time."""


def judge(plan: DrillPlan, trace: Trace) -> tuple[Verdict, tuple[str, ...]]:
    """The verdict and every reason for it, the worst first. One that is MET gives its margins as reasons."""
    reasons = list(_clauses(plan, trace))
    verdict = combine(v for v, _ in reasons)
    order = {Verdict.MISSED: 0, Verdict.INCONCLUSIVE: 1, Verdict.MET: 2}
    told = sorted((r for r in reasons if r[0] is not Verdict.MET or verdict is Verdict.MET), key=lambda r: order[r[0]])
    return verdict, tuple(dict.fromkeys(text for _, text in told))


def _clauses(plan: DrillPlan, trace: Trace) -> Iterator[Reason]:
    if trace.ended == "interrupted":
        yield Verdict.INCONCLUSIVE, "the drill was interrupted before it ended"
    elif trace.ended is None:
        yield Verdict.INCONCLUSIVE, "the drill never ended: the process that ran it was killed or lost"
    elif trace.ended != "done":
        what = trace.problems[0].what if trace.problems else "no reason was recorded"
        yield Verdict.INCONCLUSIVE, f"the drill could not be completed: {what}"
    elif trace.problems:
        yield from ((Verdict.INCONCLUSIVE, problem.what) for problem in trace.problems)
    rule = RULES.get(plan.kind)
    if rule is None:
        yield Verdict.INCONCLUSIVE, f"no rule to judge a drill of kind {plan.kind!r}"
    else:
        yield from rule(plan, trace)


def _recovery(plan: DrillPlan, trace: Trace) -> Iterator[Reason]:
    complete = trace.ended == "done"
    done = {phase.name for phase in trace.phases if phase.outcome == "done"}
    for name in PHASES:
        if complete and name not in done:
            yield Verdict.INCONCLUSIVE, f"the phase {name!r} did not complete"
    checks = trace.own_checks
    yield from ((check.verdict, f"{check.title}: {check.reason}") for check in checks)
    expected = trace.started.get("checks", 0)
    if complete and (not checks or len(checks) < expected):
        yield Verdict.INCONCLUSIVE, f"{len(checks)} of {expected} checks were carried out"
    if complete and not any(check.proves_data for check in checks):
        yield Verdict.INCONCLUSIVE, "no check looked at the data that came back"
    doubt = trace.facts.get("not held against a hash")
    if doubt and doubt["demanded"]:
        told = f"{doubt['files']} restored files cannot be told to be what was stored"
        yield Verdict.INCONCLUSIVE, f"verifying was demanded, and {told}: {doubt['why']}"
    if not plan.rto and not plan.rpo:
        yield Verdict.INCONCLUSIVE, "there is no objective to hold it against"
    if plan.rto:
        yield from _rto(plan.rto.seconds, plan, trace)
    if plan.rpo:
        yield from _rpo(plan.rpo.seconds, trace)


def _rto(limit: float, plan: DrillPlan, trace: Trace) -> Iterator[Reason]:
    actual = recovery_time(plan, trace)
    if actual is None or actual.total_seconds is None:
        yield Verdict.INCONCLUSIVE, "recovery time unknown: not every check passed"
        return
    total = actual.total_seconds
    declared = f" (of which {format_duration(actual.declared_seconds)} declared)" if actual.declared_seconds else ""
    told = f"recovery took {format_duration(total)}{declared} against an RTO of {format_duration(limit)}"
    if total > limit:
        slowest = f"; slowest: {actual.slowest_phase}" if actual.slowest_phase else ""
        yield Verdict.MISSED, f"{told}, {format_duration(total - limit)} too long{slowest}"
    else:
        yield Verdict.MET, told


def _rpo(limit: float, trace: Trace) -> Iterator[Reason]:
    loss = data_loss(trace)
    if trace.started.get("moment_basis") == "recovery point":
        # An older point was asked for on purpose; its age says nothing of what would be lost today.
        return
    if trace.started.get("moment_basis") == "point in time":
        # How near the logs led to the moment is told by a marker, whose check answers to the RPO by itself.
        if trace.proved is None:
            yield Verdict.INCONCLUSIVE, "no marker tells how near to the moment it was recovered"
        return
    if loss is None or loss.recovery_point_age_seconds is None:
        yield Verdict.INCONCLUSIVE, "data loss unknown: no recovery point was located"
        return
    age = loss.recovery_point_age_seconds
    told = f"the recovery point was {format_duration(age)} old against an RPO of {format_duration(limit)}"
    if age > limit:
        yield Verdict.MISSED, f"{told}, {format_duration(age - limit)} too old"
    elif age < -_CLOCK_TOLERANCE:
        yield Verdict.INCONCLUSIVE, "the recovery point lies in the future: a clock is wrong"
    else:
        yield Verdict.MET, told


_CLOCK_TOLERANCE = 60.0
"""Seconds by which clocks of backup host and runner may differ."""


def _recovery_points(plan: DrillPlan, trace: Trace) -> Iterator[Reason]:
    seen = trace.history
    if plan.rpo is None:
        yield Verdict.INCONCLUSIVE, "there is no RPO to hold the recovery points against"
        return
    if seen is None:
        yield Verdict.INCONCLUSIVE, "the history of recovery points was not read"
        return
    limit = plan.rpo.seconds
    rpo = f"an RPO of {format_duration(limit)}"
    if seen["age"] is None:
        yield Verdict.MISSED, f"no recovery point matches {seen['selection']}: all data would be lost"
        return
    tail = format_duration(seen["duration"] + seen["transfer"])
    for label, value in (
        (f"the newest recovery point is {format_duration(seen['age'])} old", seen["age"]),
        (
            f"worst case measured: a gap of {format_duration(seen['worst_gap'])} from {seen['worst_gap_from']}, "
            f"plus {tail} declared for backup and transfer",
            seen["worst_case"],
        ),
        (
            f"worst case declared: an interval of {format_duration(seen['interval'])} "
            f"plus {tail} for backup and transfer",
            seen["declared_worst_case"],
        ),
    ):
        if value > limit:
            yield Verdict.MISSED, f"{label}, {format_duration(value - limit)} over {rpo}"
        else:
            yield Verdict.MET, f"{label}, within {rpo}"


def _integrity(_: DrillPlan, trace: Trace) -> Iterator[Reason]:
    seen = trace.facts.get("integrity")
    if not seen:
        yield Verdict.INCONCLUSIVE, "the repository was not read to the end"
        return
    part = f"part {seen['part']} of {seen['parts']}"
    if seen["problems"]:
        yield Verdict.MISSED, f"reading {part} of the repository back found damage: {seen['problems'][0]}"
    elif seen.get("unproved"):
        told = f"{seen['unproved']} of {seen['packs_read']} cannot be told to be what was stored: {seen['why']}"
        yield Verdict.INCONCLUSIVE, f"{part} of the repository was read back without damage, and {told}"
    else:
        packs = f" ({seen['packs_read']} of {seen['packs']} packs)" if seen.get("packs") is not None else ""
        whole = f"; all of it is read over {seen['parts']} runs" if seen["parts"] > 1 else ""
        yield Verdict.MET, f"{part} of the repository{packs} was read back and is sound{whole}"


def recovery_time(plan: DrillPlan, trace: Trace) -> RecoveryTime | None:
    """From declaration to the last passing check; unknown unless every check was made and passed.

    A check that proves data loss answers to the RPO: a system that is back
    in time with old data has met one objective and missed the other.
    """
    if plan.kind not in RECOVERING:
        return None
    manual = tuple(ManualTime(name=m["name"], seconds=m["seconds"]) for m in trace.started.get("manual", ()))
    declared = sum(m.seconds for m in manual)
    checks = trace.own_checks
    recovered = (
        checks
        and len(checks) >= trace.started.get("checks", 0)
        and all(check.verdict is Verdict.MET or check.data_loss_seconds is not None for check in checks)
        and any(phase.name == "verify" and phase.outcome == "done" for phase in trace.phases)
    )
    measured = trace.last_met - trace.lock_wait if recovered and trace.last_met is not None else None
    lengths = {p.name: p.seconds for p in trace.phases if p.name in RECOVERY_PHASES}
    if "provision" in lengths:
        lengths["provision"] -= trace.lock_wait
    lengths |= {f"{m.name} (declared)": m.seconds for m in manual}
    return RecoveryTime(
        measured_seconds=measured,
        declared_seconds=declared,
        total_seconds=None if measured is None else measured + declared,
        lock_wait_seconds=trace.lock_wait,
        slowest_phase=max(lengths, key=lambda name: lengths[name]) if lengths else None,
        manual=manual,
    )


def data_loss(trace: Trace) -> DataLoss | None:
    """The three honest numbers, as far as this drill has them."""
    seen = trace.history
    if "moment" not in trace.started and seen is None:
        return None
    return DataLoss(
        moment=trace.facts.get("moment", trace.started.get("moment")),
        moment_basis=trace.started.get("moment_basis"),
        recovery_point_age_seconds=seen["age"] if seen else trace.facts.get("recovery_point_age"),
        worst_gap_seconds=seen["worst_gap"] if seen else None,
        worst_case_seconds=seen["worst_case"] if seen else None,
        proved_seconds=trace.proved,
    )


def _offsite(plan: DrillPlan, trace: Trace) -> Iterator[Reason]:
    """A recovery with nothing but the offsite copy, and all that makes it one."""
    yield from _recovery(plan, trace)
    yield from parts_clauses(trace)


RULES: Mapping[str, Callable[[DrillPlan, Trace], Iterator[Reason]]] = {
    **dict.fromkeys(RECOVERING, _recovery),
    RECOVERY_POINTS: _recovery_points,
    INTEGRITY: _integrity,
    REPLICATION: judge_replication,
    OFFSITE: _offsite,
}
"""How a finished drill of each kind is judged. A rule yields every reason, and at least one."""
