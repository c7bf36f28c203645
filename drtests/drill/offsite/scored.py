"""The parts `kit` and `3-2-1-1-0`, and what the drill cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from drtests.core import stores
from drtests.core.kit import judge_copies, judge_keys
from drtests.core.offsite.rule import APART, COPY, LOCKED
from drtests.core.offsite.score import Holding, judge_score, media_of, score
from drtests.core.trace import gather
from drtests.drill.costs import tell_cost
from drtests.drill.offsite.case import Case, Seen
from drtests.drill.retry import ask
from drtests.errors import DrtestsError
from drtests.kit.contents import kept_key
from drtests.model.connections import Store
from drtests.model.verdict import Verdict, combine
from drtests.protocols.check import Judgement
from drtests.protocols.store import Usage


def see_kit(case: Case) -> Seen:
    """What was found of the kit's copies when the drill began, and whether people could get at the keys."""
    declared = case.project.estate.kit
    if declared is None:
        mend = "declare `kit` with its `copies` in targets/estate.yaml, and run `drtests kit`"
        return {}, Judgement(Verdict.MISSED, "no recovery kit is declared: nobody would know what to do", mend=mend)
    seen = [one.seen for one in case.kits]
    judged = [
        judge_copies(seen, declared.max_age.total_seconds()),
        judge_keys(case.project, case.repository.id, kept_key(case.project, case.repository.id)),
    ]
    verdict = combine(one.verdict for one in judged)
    worst = [one for one in judged if one.verdict is verdict]
    reason = "; ".join(one.reason for one in worst)
    return {"copies": [asdict(one) for one in seen]}, Judgement(verdict, reason, mend=worst[0].mend)


def see_score(case: Case) -> Seen:
    """From what the other parts saw; what they did not see is not known."""
    checks = [check.verdict for check in gather(case.log.events).own_checks]
    errors = {
        "freshness and completeness": case.verdicts.get(COPY, Verdict.INCONCLUSIVE),
        "restore and checks": combine(checks),
    }
    separation, attacked = case.verdicts.get(APART), case.verdicts.get(LOCKED)
    digits = score(list(_holdings(case)), separation, attacked, errors, case.measured)
    return {f"{one.wanted} {one.of}": one.data() for one in digits}, judge_score(digits)


def _holdings(case: Case) -> Iterator[Holding]:
    own = case.repository
    names = [own.id, *([own.copy_of] if own.copy_of else []), *(b.repository for b in case.system.backups)]
    for name in dict.fromkeys(names):
        declared = case.project.repository(name)
        media, word = media_of(case.project, declared), declared.media is not None
        yield Holding(name, media, _read(case, name), word)


def _read(case: Case, name: str) -> bool | None:
    """Whether recovery points of the system were found there; None when it gave no answer."""
    points = case.points if name == case.repository.id else None
    if name == case.repository.copy_of:
        points = case.primary_points
    elif name != case.repository.id:
        snapshots = next(backup.snapshots for backup in case.system.backups if backup.repository == name)
        try:
            points = ask(lambda: case.reach.engine(name).recovery_points(snapshots), case.context.clock)
        except DrtestsError:
            return None
    return None if points is None else bool(points)


def see_cost(case: Case) -> None:
    """What was asked of stores; what the engine itself fetched is estimated by what it restored."""
    restored = gather(case.log.events).measures.get("restored_bytes")

    def of_the_engine(store: Store) -> dict[str, Any]:
        if store.id != case.repository.store or restored is None:
            return {}
        fetched = Usage(bytes_out=int(restored.value))
        return {
            "estimated_for_the_engine": round(stores.cost(store.prices, fetched), 6),
            "estimated_from": f"{int(restored.value)} restored bytes, without its requests",
        }

    tell_cost(case.project, case.reach, case.log, of_the_engine)
