"""What to think of a bucket: what it tells of itself, what an attack came to, and what asking it cost. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from drtests.core.actions import Severity
from drtests.model.connections import Prices
from drtests.model.connections import Store as Declared
from drtests.model.units import format_duration, utc_text
from drtests.model.verdict import Verdict, combine
from drtests.protocols.store import REPLICATED_WITHIN, Action, AttackReport, Attempt, BucketFacts, DeletionRule, Usage

_GIB = 1024**3
_DAY = 86400.0
_MODES = ("none", "governance", "compliance")


@dataclass(frozen=True, slots=True)
class Finding:
    """One judgement of a bucket, as a check gives it; `severity` says how bad it is, and is None when all is well."""

    title: str
    verdict: Verdict
    reason: str
    mend: str = ""
    severity: Severity | None = None


def verdict(findings: Sequence[Finding]) -> Verdict:
    """The worst of all; INCONCLUSIVE when there is none."""
    return combine(finding.verdict for finding in findings)


def cost(prices: Prices, usage: Usage) -> float:
    """In the currency of the prices: requests by the thousand, bytes that left, or are about to, by the GiB.

    Formula: reads/1000*per_1000_reads + writes/1000*per_1000_writes + GiB*per_gib_out, as providers bill it.
    """
    return (
        usage.reads / 1000 * prices.per_1000_reads
        + usage.writes / 1000 * prices.per_1000_writes
        + (usage.bytes_out + usage.reserved) / _GIB * prices.per_gib_out
    )


def over_budget(prices: Prices, usage: Usage, reads: int = 0, writes: int = 0, bytes_out: int = 0) -> str:
    """Why so much more may not be asked, in words; empty when it may."""
    if prices.budget is None:
        return ""
    then = cost(
        prices,
        Usage(
            usage.reads + reads,
            usage.writes + usage.aside + writes,
            usage.bytes_out + usage.estimated + bytes_out,
            reserved=usage.reserved,
        ),
    )
    if then <= prices.budget:
        return ""
    return f"it would bring the cost to {_money(then, prices)}, and the budget is {_money(prices.budget, prices)}"


def judge_cost(prices: Prices, usage: Usage) -> Finding:
    """What was asked, and its cost held against the budget."""
    asked = (
        f"{usage.reads} reads, {usage.writes} writes and lists, {usage.bytes_out / _GIB:.3f} GiB out: "
        f"{_money(cost(prices, usage), prices)}"
    )
    if prices.budget is None:
        return Finding("cost", Verdict.MET, f"{asked}; no budget is declared")
    if cost(prices, usage) > prices.budget:
        return Finding(
            "cost",
            Verdict.MISSED,
            f"{asked}, over the budget of {_money(prices.budget, prices)}",
            "declare a larger `budget`, or drill less of it",
            "low",
        )
    return Finding("cost", Verdict.MET, f"{asked}, within the budget of {_money(prices.budget, prices)}")


def judge_facts(facts: BucketFacts, declared: Declared) -> tuple[Finding, ...]:
    """What the bucket tells of itself, held against what is demanded of it. What it did not tell is INCONCLUSIVE."""
    return tuple(finding for rule in _RULES for finding in rule(facts, declared))


def _unknown(title: str, facts: BucketFacts, name: str, mend: str) -> Finding:
    why = facts.unknown.get(name, "the store did not tell")
    return Finding(title, Verdict.INCONCLUSIVE, f"not known: {why}", mend)


def _versioning(facts: BucketFacts, declared: Declared) -> Iterator[Finding]:
    if not declared.demands.versioning:
        return
    if facts.versioning is None:
        yield _unknown("versioning", facts, "versioning", "let the reader do s3:GetBucketVersioning")
    elif facts.versioning == "enabled":
        yield Finding("versioning", Verdict.MET, "versioning is enabled")
    else:
        yield Finding(
            "versioning",
            Verdict.MISSED,
            f"versioning is {facts.versioning}: what is overwritten or deleted is gone",
            "enable versioning on the bucket",
            "high",
        )


def _lock(facts: BucketFacts, declared: Declared) -> Iterator[Finding]:
    demands = declared.demands
    least = demands.retention.total_seconds() if demands.retention else 0.0
    if demands.lock == "none" and not least:
        return
    if facts.lock_mode is None or facts.lock_seconds is None:
        name = "lock_mode" if facts.lock_mode is None else "lock_seconds"
        yield _unknown("object lock", facts, name, "let the reader do s3:GetBucketObjectLockConfiguration")
        return
    wanted = f"{demands.lock} retention{f' of at least {format_duration(least)}' if least else ''}"
    if facts.lock_mode == "none":
        state = "on, without a default retention" if facts.lock else "off"
        yield Finding(
            "object lock",
            Verdict.MISSED,
            f"object lock is {state}; demanded is {wanted}",
            "give the bucket object lock with a default retention",
            "high",
        )
        return
    told = f"default retention is {facts.lock_mode} for {format_duration(facts.lock_seconds)}"
    weak = _MODES.index(facts.lock_mode) < _MODES.index(demands.lock) if facts.lock_mode in _MODES else True
    if weak or facts.lock_seconds < least:
        mend = "lengthen or strengthen the bucket's default retention; what is there already keeps its own"
        yield Finding("object lock", Verdict.MISSED, f"{told}; demanded is {wanted}", mend, "high")
    else:
        yield Finding("object lock", Verdict.MET, told)


def _public(facts: BucketFacts, _: Declared) -> Iterator[Finding]:
    if facts.public is None:
        mend = "let the reader do s3:GetBucketAcl, s3:GetBucketPolicy and s3:GetBucketPublicAccessBlock"
        yield _unknown("public access", facts, "public", mend)
    elif facts.public:
        how = facts.raw.get("public_by", "the store tells so")
        mend = "block public access to the bucket, and see what was read from it"
        yield Finding("public access", Verdict.MISSED, f"anybody may have access: {how}", mend, "critical")
    else:
        yield Finding("public access", Verdict.MET, "nobody has access without credentials; that was tried")


def _deletions(facts: BucketFacts, declared: Declared) -> Iterator[Finding]:
    if facts.deletions is None:
        mend = "let the reader do s3:GetLifecycleConfiguration"
        yield _unknown("deletion by rules", facts, "deletions", mend)
        return
    keep = declared.demands.keep.total_seconds()
    early = [rule for rule in facts.deletions if _soonest(rule) < keep]
    if early:
        told = "; ".join(map(_rule, early))
        yield Finding(
            "deletion by rules",
            Verdict.MISSED,
            f"the store itself deletes before {format_duration(keep)}: {told}",
            "lengthen or remove these lifecycle rules, or declare a shorter `keep` if that is what is wanted",
            "high",
        )
    elif facts.deletions:
        told = "; ".join(map(_rule, facts.deletions))
        yield Finding("deletion by rules", Verdict.MET, f"no rule deletes before {format_duration(keep)}: {told}")
    else:
        yield Finding("deletion by rules", Verdict.MET, "no rule deletes anything")


def _soonest(rule: DeletionRule) -> float:
    """Seconds."""
    return min((days for days in (rule.current_days, rule.noncurrent_days) if days is not None), default=1e9) * _DAY


def _rule(rule: DeletionRule) -> str:
    where = f" below {rule.prefix!r}" if rule.prefix else ""
    some = "some objects" if rule.narrowed else "objects"
    parts = []
    if rule.current_days is not None:
        parts.append(f"{some} after {rule.current_days:g} days")
    if rule.noncurrent_days is not None:
        parts.append(f"replaced versions after {rule.noncurrent_days:g} days")
    return f"rule {rule.id!r} deletes {' and '.join(parts)}{where}"


def _encryption(facts: BucketFacts, declared: Declared) -> Iterator[Finding]:
    if not declared.demands.encryption:
        return
    if facts.encryption is None:
        yield _unknown("encryption", facts, "encryption", "let the reader do s3:GetEncryptionConfiguration")
    elif facts.encryption == "none":
        mend = "give the bucket a default encryption"
        yield Finding("encryption", Verdict.MISSED, "the store keeps objects unencrypted", mend, "medium")
    else:
        yield Finding("encryption", Verdict.MET, f"by default objects are encrypted with {facts.encryption}")


def _replication(facts: BucketFacts, declared: Declared) -> Iterator[Finding]:
    if not declared.demands.replication:
        return
    mend = "see why objects are not replicated: the rule's role, the other bucket, its keys"
    if facts.replication is None:
        yield _unknown("replication", facts, "replication", "let the reader do s3:GetReplicationConfiguration")
        return
    if facts.replication == "none" or facts.replication.startswith("disabled"):
        told = f"the bucket is not replicated ({facts.replication})"
        yield Finding("replication", Verdict.MISSED, told, "replicate it to another bucket", "high")
        return
    if not facts.replicated:
        why = facts.unknown.get("replicated", "there is no object to look at")
        yield Finding("replication", Verdict.INCONCLUSIVE, f"whether objects were replicated is not known: {why}", mend)
        return
    told = ", ".join(f"{count} {status}" for status, count in sorted(facts.replicated.items()))
    age = format_duration(REPLICATED_WITHIN.total_seconds())
    listed = facts.raw.get("replication", {}).get("listed")
    among = f", chosen among {listed}," if listed is not None else ""
    told = f"of {sum(facts.replicated.values())} objects looked at{among} all older than {age}: {told}"
    late = sum(count for status, count in facts.replicated.items() if status in {"failed", "pending"})
    if late:
        yield Finding("replication", Verdict.MISSED, told, mend, "high")
    elif set(facts.replicated) <= {"completed", "replica"}:
        yield Finding("replication", Verdict.MET, f"{facts.replication}; {told}")
    else:
        # Written before the rule was, or none of its objects; or the store does not tell.
        yield Finding("replication", Verdict.INCONCLUSIVE, told, mend)


def _location(facts: BucketFacts, declared: Declared) -> Iterator[Finding]:
    wanted = declared.demands.locations
    if not wanted:
        return
    if facts.location is None:
        yield _unknown("location", facts, "location", "let the reader do s3:GetBucketLocation")
    elif facts.location not in wanted:
        told = f"the bucket lies in {facts.location}, and may lie in {', '.join(wanted)}"
        yield Finding("location", Verdict.MISSED, told, "move it, or declare its location", "medium")
    else:
        yield Finding("location", Verdict.MET, f"the bucket lies in {facts.location}")


_RULES: tuple[Callable[[BucketFacts, Declared], Iterator[Finding]], ...] = (
    _versioning, _lock, _public, _deletions, _encryption, _replication, _location,
)  # fmt: skip

TITLES: Mapping[Action, str] = {
    "overwrite": "overwrite an object",
    "delete": "delete an object",
    "delete_version": "delete a version of an object",
    "delete_version_bypassing": "delete a version in spite of governance retention",
    "shorten_retention": "shorten an object's retention",
    "shorten_retention_bypassing": "shorten an object's retention in spite of governance",
    "remove_legal_hold": "remove an object's legal hold",
    "set_versioning": "the right to change versioning",
    "suspend_versioning": "suspend versioning",
}

_SEVERITY: Mapping[Action, Severity] = {
    "overwrite": "critical",
    "delete": "critical",
    "delete_version": "critical",
    "delete_version_bypassing": "critical",
    "shorten_retention": "critical",
    "shorten_retention_bypassing": "high",
    "remove_legal_hold": "medium",
    "set_versioning": "high",
    "suspend_versioning": "high",
}
_MEND: Mapping[Action, str] = {
    "overwrite": "enable versioning: the right to write is also the right to overwrite",
    "delete": "enable versioning, and take s3:DeleteObject from the backup writer",
    "delete_version": "take s3:DeleteObjectVersion from the backup writer, or lock objects by a default retention",
    "delete_version_bypassing": "take s3:BypassGovernanceRetention from the backup writer, or use compliance mode",
    "shorten_retention": "take s3:PutObjectRetention from the backup writer, and see why the store allows it at all",
    "shorten_retention_bypassing": "take s3:BypassGovernanceRetention from the backup writer, or use compliance mode",
    "remove_legal_hold": "take s3:PutObjectLegalHold from the backup writer",
    "set_versioning": "take s3:PutBucketVersioning from the backup writer",
    "suspend_versioning": "take s3:PutBucketVersioning from the backup writer",
}
NEEDED: tuple[Action, ...] = ("overwrite", "delete", "delete_version")
"""Each has to have been tried, or been told not to apply: else nothing is proved."""


def judge_attack(report: AttackReport) -> tuple[Finding, ...]:
    """What an attacker with the backup writer's credentials can do to backups, by what was seen to happen."""
    findings = [_attempt(one, report) for one in report.attempts]
    if report.harm:
        mend = "put it back by hand now"
        findings.insert(0, Finding("left by the attack", Verdict.MISSED, report.harm, mend, "critical"))
    tried = {one.action for one in report.attempts} | set(report.skipped)
    missing = [one for one in NEEDED if one not in tried]
    if report.failed or missing:
        why = report.failed or f"never tried: {', '.join(missing)}"
        told = f"the attack could not be carried out to its end: {why}"
        findings.append(Finding("attack", Verdict.INCONCLUSIVE, told, report.mend))
    return tuple(findings)


def _attempt(one: Attempt, report: AttackReport) -> Finding:
    title = TITLES[one.action]
    told = f"{_ANSWERS[one.answer]} ({one.told})" if one.told else _ANSWERS[one.answer]
    reason = f"{told}; {one.proof}"
    if one.effect == "done":
        severity = _SEVERITY[one.action]
        if one.action == "set_versioning" and report.state is not None and report.state.lock_mode is not None:
            # The store itself refuses to suspend versioning of a bucket with object lock.
            severity = "medium"
        return Finding(title, Verdict.MISSED, reason, _MEND[one.action], severity)
    if one.effect == "unknown" or one.answer == "unknown":
        mend = "see why the store did not answer clearly, and drill again"
        return Finding(title, Verdict.INCONCLUSIVE, reason, mend)
    return Finding(title, Verdict.MET, reason)


_ANSWERS = {"refused": "refused", "accepted": "accepted", "unknown": "no clear answer"}


def told_leftovers(report: AttackReport) -> tuple[str, ...]:
    """What the attack had to leave behind, in words, with until when."""
    return tuple(
        f"{one.key}{f' (version {one.version})' if one.version else ''}: {one.why}"
        + (f"; locked until {utc_text(one.until)}" if one.until else "")
        for one in report.left
    )


def _money(amount: float, prices: Prices) -> str:
    return f"{amount:.4f} {prices.currency}"


def evidence(report: AttackReport) -> Mapping[str, object]:
    """The report as JSON values, for the journal."""
    return {
        "attempts": [asdict(one) for one in report.attempts],
        "skipped": dict(report.skipped),
        "failed": report.failed,
        "left": [asdict(one) | {"until": utc_text(one.until) if one.until else None} for one in report.left],
        "versioned": report.versioned,
        "harm": report.harm,
    }
