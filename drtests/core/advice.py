"""What to do about a drill that is not MET."""

from __future__ import annotations

from collections.abc import Iterator

from drtests.core.judge import data_loss, recovery_time
from drtests.core.plan import RECOVERY_POINTS, DrillPlan
from drtests.core.trace import Trace
from drtests.model.verdict import Verdict


def advice(plan: DrillPlan, trace: Trace, verdict: Verdict) -> tuple[str, ...]:
    """Concrete steps, the most specific first; nothing when the drill is MET."""
    if verdict is Verdict.MET:
        return ()
    steps = tuple(dict.fromkeys(_advice(plan, trace)))
    return steps or (f"Look at the commands and checks of {plan.id} in the report, and mend the first that failed.",)


def _advice(plan: DrillPlan, trace: Trace) -> Iterator[str]:
    yield from (problem.mend for problem in trace.problems if problem.mend)
    yield from (check.mend for check in trace.checks if check.verdict is not Verdict.MET and check.mend)
    actual = recovery_time(plan, trace)
    if plan.rto and actual and actual.total_seconds is not None and actual.total_seconds > plan.rto.seconds:
        yield (
            f"Shorten {actual.slowest_phase}, the slowest part of the recovery, "
            f"or have the owner of {plan.rto.bound_by} decide on a longer RTO."
        )
    loss = data_loss(trace)
    age = loss.recovery_point_age_seconds if loss else None
    if plan.rpo and age is not None and age > plan.rpo.seconds:
        yield f"Find out why backup {plan.backup!r} has not run since, and run it now."
    proved = loss.proved_seconds if loss else None
    if plan.rpo and proved is not None and proved > plan.rpo.seconds and (age is None or age <= plan.rpo.seconds):
        yield (
            "The backup runs, but what feeds it does not: repair the dump, export or sync that writes what is "
            f"backed up, then let backup {plan.backup!r} run again."
        )
    if plan.kind == RECOVERY_POINTS and trace.history:
        if trace.history["age"] is None:
            yield f"Compare `snapshots` of backup {plan.backup!r} with what the backup program really writes."
        elif plan.rpo and trace.history["declared_worst_case"] > plan.rpo.seconds:
            yield f"Back {plan.system} up more often: even when all goes well the RPO cannot be met."
        elif plan.rpo and trace.history["worst_case"] > plan.rpo.seconds:
            yield "Find out why backups were skipped, and let a missed backup raise an alert."
    if trace.ended is None or trace.ended == "interrupted":
        yield "Reap what the interrupted run left with `drtests gc`, then run the drill again."
