"""`execute`: carries out one drill, whatever its kind, and says what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from drtests.core import events as e
from drtests.core.fold import drill_record
from drtests.core.plan import FAILOVER, INTEGRITY, OFFSITE, PYTHON, RECOVERY_POINTS, REPLICATION, RESTORE, DrillPlan
from drtests.drill.context import RunContext
from drtests.drill.failing_over import fail_over
from drtests.drill.log import DrillLog
from drtests.drill.offsite.runner import prove_offsite
from drtests.drill.reading import read_history, read_integrity
from drtests.drill.recovery import Body, recover
from drtests.drill.replicating import replicate
from drtests.errors import DrtestsError
from drtests.model.record import DrillRecord

Runner = Callable[[DrillPlan, RunContext, DrillLog, Body | None], None]

RUNNERS: Mapping[str, Runner] = {
    RESTORE: recover,
    PYTHON: recover,
    RECOVERY_POINTS: read_history,
    INTEGRITY: read_integrity,
    REPLICATION: replicate,
    FAILOVER: fail_over,
    OFFSITE: prove_offsite,
}


def execute(plan: DrillPlan, context: RunContext, body: Body | None = None) -> DrillRecord:
    """Runs a drill to its end and returns its record, folded from what it just journaled.

    Whatever goes wrong is journaled and makes the drill INCONCLUSIVE; nothing
    is raised but what ends the whole run (KeyboardInterrupt, SystemExit), and
    that only after cleaning up.
    """
    log = context.log(plan.id)
    outcome = "interrupted"
    try:
        RUNNERS[plan.kind](plan, context, log, body)
        outcome = "done"
    except DrtestsError as error:
        outcome = "failed"
        log.problem(error)
    except Exception as error:  # noqa: BLE001 - an unforeseen fault must end as INCONCLUSIVE, never vanish
        outcome = "failed"
        log.problem(unforeseen(error))
    finally:
        log.write(e.DRILL_FINISHED, outcome=outcome)
    return drill_record(plan, log.events)


def unforeseen(error: BaseException) -> DrtestsError:
    """An exception nobody planned for, as an error that can be reported."""
    told = str(error).strip().split("\n")[0][:300]
    return DrtestsError(
        f"unforeseen {type(error).__name__}{': ' + told if told else ''}",
        mend="this is a fault in drtests or a plug-in of it: report it with the journal of this run",
    )
