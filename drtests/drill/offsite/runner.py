"""`::offsite[repository]`: the restore first, against the clock; then everything that makes the copy worth having."""

from __future__ import annotations

from drtests.core import events as e
from drtests.core.offsite.hole import judge_alone
from drtests.core.offsite.rule import APART, BUCKET, COPY, ENCRYPTED, HOLE, KIT, LOCKED, PARTS, SCORE
from drtests.core.plan import DrillPlan
from drtests.declarations.checks import build_checks
from drtests.drill.choose import NOW
from drtests.drill.context import RunContext
from drtests.drill.log import DrillLog
from drtests.drill.offsite.apart import see_apart
from drtests.drill.offsite.attacked import attack_it, see_bucket
from drtests.drill.offsite.case import Case, Seen, carry_out
from drtests.drill.offsite.copied import compare_with_primary
from drtests.drill.offsite.encrypted import see_encryption
from drtests.drill.offsite.hole import data_of, restore_alone
from drtests.drill.offsite.scored import see_cost, see_kit, see_score
from drtests.drill.reach import DrillReach
from drtests.drill.recovery import Body, manual_times
from drtests.kit.copies import copies, look_at
from drtests.model.units import utc_text


def prove_offsite(plan: DrillPlan, context: RunContext, log: DrillLog, body: Body | None) -> None:
    """Carries out all parts, also after one failed: each tells its own."""
    case = Case(plan, context, log, DrillReach(context.project, log, context.mark(plan)))
    checks = build_checks(case.system)
    bucket = [BUCKET] if case.repository.store is not None else []
    log.write(
        e.DRILL_STARTED,
        kind=plan.kind,
        checks=len(checks),
        parts=[*PARTS, *bucket],
        moment=utc_text(context.clock.now()),
        moment_basis=NOW,
        manual=manual_times(case.system),
    )
    with log.phase("fetch the kit"):
        _look_at_kits(case)
    alone = restore_alone(case, checks)

    def hole(_: Case) -> Seen:
        return data_of(alone), judge_alone(alone)

    with log.phase("compare"):
        carry_out(case, KIT, see_kit)
        carry_out(case, HOLE, hole)
        carry_out(case, COPY, compare_with_primary)
        carry_out(case, APART, see_apart)
        carry_out(case, ENCRYPTED, see_encryption)
    with log.phase("attack"):
        carry_out(case, LOCKED, attack_it)
        for kind in bucket:
            carry_out(case, kind, see_bucket)
    with log.phase("score"):
        carry_out(case, SCORE, see_score)
        see_cost(case)


def _look_at_kits(case: Case) -> None:
    """Part of the recovery: in a disaster this comes first."""
    now = case.context.clock.now()
    reach = case.reach
    found = copies(case.project, reach.host, lambda store, _: reach.store(store))
    case.kits = [look_at(case.project, copy, now) for copy in found]
