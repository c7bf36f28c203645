"""The part `copy`: the offsite repository beside its primary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

from drtests.core.offsite.copied import Copied, Coverage, coverage, difference, judge_copied, sample
from drtests.drill.offsite.case import Case, Seen
from drtests.drill.retry import ask
from drtests.errors import DrtestsError
from drtests.model.system import Snapshots
from drtests.model.units import utc_text
from drtests.protocols.capabilities import Hashing, Listing
from drtests.protocols.engine import Engine, RecoveryPoint

_NAMES = 2000
"""Paths that are kept to be looked for in stored bytes."""


def compare_with_primary(case: Case) -> Seen:
    """Lists both, compares the newest point that both have. Restores nothing."""
    now, clock = case.context.clock.now(), case.context.clock
    offsite = case.reach.engine(case.repository.id)
    points = ask(lambda: offsite.recovery_points(case.backup.snapshots), clock)
    case.points = points
    newest = max(points, key=lambda point: point.time, default=None)
    seen = Copied(
        age_seconds=round((now - newest.time).total_seconds(), 3) if newest else None,
        newest=utc_text(newest.time) if newest else None,
        primary=case.repository.copy_of,
        others=tuple(dict.fromkeys(b.repository for b in case.system.backups if b.repository != case.repository.id)),
    )
    if newest is not None and isinstance(offsite, Listing):
        _remember(case, offsite, newest)
    if case.repository.copy_of is not None and newest is not None:
        seen = _against(case, offsite, points, seen)
    rpo = case.plan.rpo.seconds if case.plan.rpo else None
    return asdict(seen), judge_copied(seen, rpo)


def _remember(case: Case, engine: Listing, newest: RecoveryPoint) -> None:
    timeout = case.system.restore.timeout.total_seconds()
    facts = engine.entries(newest, timeout)
    case.names = (newest.host, *newest.tags, *(fact.path for fact, _ in zip(facts, range(_NAMES), strict=False)))


def _against(case: Case, offsite: Engine, points: Sequence[RecoveryPoint], seen: Copied) -> Copied:
    backup, primary = case.backup, case.repository.copy_of or ""
    allowance = backup.duration + backup.transfer
    seen = replace(seen, window_seconds=backup.window.total_seconds(), allowance_seconds=allowance.total_seconds())
    try:
        engine = case.reach.engine(primary)
        there = ask(lambda: engine.recovery_points(_snapshots_in(case, primary)), case.context.clock)
        case.primary_points = there
        covered = coverage(there, points, case.context.clock.now(), backup.window, allowance)
        seen = replace(
            seen,
            expected=covered.expected,
            pending=covered.pending,
            missing=covered.missing,
            missing_count=covered.missing_count,
        )
        return _content(case, engine, offsite, covered, seen)
    except DrtestsError as error:
        return replace(seen, unread=error.what)


def _snapshots_in(case: Case, repository: str) -> Snapshots:
    """How the system's points are picked there: by its own backup to that repository, else as offsite."""
    found = (backup for backup in case.system.backups if backup.repository == repository)
    return next(found, case.backup).snapshots


def _content(case: Case, primary: Engine, offsite: Engine, covered: Coverage, seen: Copied) -> Copied:
    """By a hash over all of it where both have the same; else by all names, sizes and times, and by some files."""
    if covered.newest_common is None:
        return seen
    one, other = covered.newest_common
    seen = replace(seen, compared_point=utc_text(one.time))
    if not (isinstance(primary, Listing) and isinstance(offsite, Listing)):
        return seen
    timeout = case.system.restore.timeout.total_seconds()
    left, right = primary.fingerprint(one, timeout), offsite.fingerprint(other, timeout)
    if left is not None and left == right:
        return replace(seen, compared_by="content")
    entries = list(primary.entries(one, timeout))
    found = difference(entries, offsite.entries(other, timeout))
    seen = replace(
        seen,
        compared_by="names, sizes and times",
        entries=found.entries,
        differences=found.count,
        examples=found.examples,
    )
    if found.count or not (isinstance(primary, Hashing) and isinstance(offsite, Hashing)):
        return seen
    chosen = sample(entries, str(case.context.options.seed or case.context.run))
    try:
        other_content = [
            fact.path
            for fact in chosen
            if primary.digest(one, fact.path, timeout) != offsite.digest(other, fact.path, timeout)
        ]
    except DrtestsError as error:
        return replace(seen, unsampled=error.what)
    return replace(
        seen,
        sampled=len(chosen),
        sampled_bytes=sum(fact.size for fact in chosen),
        unsampled="" if chosen else "there is no file that is small enough and not empty",
        differences=len(other_content),
        examples=tuple(f"{path} has another content" for path in other_content),
    )
