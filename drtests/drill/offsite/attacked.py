"""The parts `immutability` and `bucket`: an attack with the backup writer's own keys, and what the bucket is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from drtests.core import stores
from drtests.core.actions import SEVERITIES
from drtests.core.offsite import leftovers
from drtests.core.offsite.apart import store_of
from drtests.core.offsite.lies import key_prefix
from drtests.drill.offsite.case import Case, Seen
from drtests.errors import ProbesLeft, StoreError, UsageError
from drtests.model.connections import Store as Declared
from drtests.model.verdict import Verdict
from drtests.protocols.check import Judgement
from drtests.protocols.store import Attackable, AttackReport, BucketFacts


def attack_it(case: Case) -> Seen:
    """Only probe objects of the drill's own are attacked, in the bucket that the repository lies in."""
    declared = _bucket(case)
    if isinstance(declared, Judgement):
        return {}, declared
    if declared.writer is None:
        what = f"store {declared.id!r} declares no credentials of the backup writer, so no attack was tried"
        mend = "give `writer` of the store in targets/estate.yaml: the keys that the backup program writes with"
        return {}, Judgement(Verdict.INCONCLUSIVE, what, mend=mend)
    writer = case.reach.store(declared.id, writer=True)
    if not isinstance(writer, Attackable):
        what = f"stores of type {declared.type!r} cannot be attacked"
        return {}, Judgement(
            Verdict.INCONCLUSIVE, what, mend="try by hand, with the writer's keys, and note the result"
        )
    report = writer.attack(case.reach.store(declared.id))
    # What was known of the bucket before is not what it is now.
    case.told.pop(declared.id, None)
    findings = [*stores.judge_attack(report), *_leftovers(case, declared, report)]
    left = stores.told_leftovers(report)
    seen = {**stores.evidence(report), "findings": [asdict(one) for one in findings], "left_behind": list(left)}
    return seen, _worst(findings, "no attack with the writer's keys destroyed anything")


def _leftovers(case: Case, declared: Declared, report: AttackReport) -> Iterator[stores.Finding]:
    """What a retention keeps is told; what nothing keeps is a problem of the drill, as with all that it leaves."""
    if not report.left:
        return
    try:
        facts = case.facts(declared.id)
    except StoreError as error:
        facts = BucketFacts(unknown={"probes": error.what})
    problem = leftovers.unlocked(report.left, facts, declared.probe_prefix)
    if problem is not None:
        case.log.problem(ProbesLeft(problem.what, where=f"bucket {declared.bucket}", mend=problem.mend))
    kept = leftovers.locked(report.left, facts, declared.probe_prefix)
    if kept is not None:
        yield kept


def see_bucket(case: Case) -> Seen:
    """What the bucket tells of itself, held against what is demanded of it."""
    declared = _bucket(case)
    if isinstance(declared, Judgement):
        return {}, declared
    facts = case.facts(declared.id)
    findings = stores.judge_facts(facts, declared)
    return {"findings": [asdict(one) for one in findings]}, _worst(findings, "it is all that is demanded")


def _bucket(case: Case) -> Declared | Judgement:
    declared = store_of(case.project, case.repository)
    if declared is None:
        what, mend = _NOT_TRIED.get(case.repository.location.partition(":")[0], _NO_STORE)
        return Judgement(Verdict.INCONCLUSIVE, what, mend=mend)
    if key_prefix(case.repository, declared) is None:
        raise UsageError(
            f"store {declared.id!r} is not the bucket that repository {case.repository.id!r} lies in",
            mend="correct `store` of the repository, or endpoint, bucket and prefix of the store",
        )
    return declared


_ELSE = "keep the copy in a bucket with object lock, declared under `stores`, where the drill itself proves it"
_NO_STORE = (
    "no `store` is declared for the repository, so it is not known whether its keys can destroy it",
    "declare its bucket under `stores`, with the `writer` that backs up; storage without object lock is destroyed by "
    "whoever holds those keys",
)
_NOT_TRIED = {
    "rest": (
        "no attack was tried: whatever is written to a REST server lies in the repository itself, and one that is "
        "append-only keeps it there for ever; that it says no is no proof",
        "try it by hand, with the writer's login, on an empty repository of the same server: it has to be there after "
        f"`restic forget`, and after DELETE of a file of its `data`; or {_ELSE}",
    ),
    "sftp": (
        "no attack was tried: who may write by SFTP may delete, too; whether the server keeps what is deleted (by "
        "snapshots of its own) cannot be seen from here",
        f"try by hand to have a deleted file brought back, as its administrator would, and note the result; or {_ELSE}",
    ),
}
"""By the kind of storage: why there is nothing safe to attack, and what to do about it."""


def _worst(findings: Sequence[stores.Finding], well: str) -> Judgement:
    verdict = stores.verdict(findings)
    if verdict is Verdict.MET:
        stay = "".join(f"; {one.title}: {one.reason}" for one in findings if one.title == leftovers.TITLE)
        return Judgement(verdict, f"{well} ({len(findings)} looked at){stay}")
    bad = [one for one in findings if one.verdict is verdict]
    if not bad:
        return Judgement(verdict, "nothing was looked at")
    bad.sort(key=lambda one: one.severity is not None and SEVERITIES.index(one.severity), reverse=True)
    told = "; ".join(f"{one.title}{f' ({one.severity})' if one.severity else ''}: {one.reason}" for one in bad[:3])
    more = f"; and {len(bad) - 3} more" if len(bad) > 3 else ""
    return Judgement(verdict, told + more, mend=next((one.mend for one in bad if one.mend), ""))
