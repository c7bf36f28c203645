"""Is the offsite repository a fresh and complete copy of its primary? Snapshot by snapshot, then by content."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from drtests.model.units import format_duration, utc_text
from drtests.model.verdict import Verdict, combine
from drtests.protocols.check import Judgement
from drtests.protocols.engine import RecoveryPoint
from drtests.protocols.host import FileFact

SHOWN = 10
_AHEAD = 60.0
"""Seconds by which clocks of backup host and runner may differ."""
_GRAIN = 1e-3
"""Seconds by which two times of a file may differ and be the same."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """Which of the primary's recovery points are offsite, too. The same point has the same time, host and paths."""

    expected: int
    """Points of the primary in the window, old enough to have been copied."""
    pending: int
    """Younger ones, that are not offsite yet."""
    missing: tuple[str, ...]
    """Times of expected ones that are not offsite, the newest first, a few."""
    missing_count: int
    newest_common: tuple[RecoveryPoint, RecoveryPoint] | None
    """The newest that both have: the primary's, then the offsite one."""


def coverage(
    primary: Sequence[RecoveryPoint],
    offsite: Sequence[RecoveryPoint],
    now: datetime,
    window: timedelta,
    allowance: timedelta,
) -> Coverage:
    """Compares two lists of points. `allowance` is how long it may take until a point is offsite."""
    there = {_identity(point): point for point in offsite}
    recent = [point for point in primary if point.time >= now - window]
    young = [point for point in recent if point.time > now - allowance]
    expected = [point for point in recent if point.time <= now - allowance]
    missing = [point for point in expected if _identity(point) not in there]
    missing.sort(key=lambda point: point.time, reverse=True)
    common = [(point, there[_identity(point)]) for point in primary if _identity(point) in there]
    return Coverage(
        expected=len(expected),
        pending=sum(_identity(point) not in there for point in young),
        missing=tuple(utc_text(point.time) for point in missing[:SHOWN]),
        missing_count=len(missing),
        newest_common=max(common, key=lambda pair: pair[0].time, default=None),
    )


def _identity(point: RecoveryPoint) -> tuple[int, str, tuple[str, ...]]:
    return round(point.time.timestamp() * 1000), point.host, tuple(sorted(point.paths))


def sample(facts: Iterable[FileFact], seed: str, most: int = 8, room: int = 64 << 20) -> tuple[FileFact, ...]:
    """Files to be read from both copies: drawn at random, of no more than `room` bytes together; again by its seed."""
    dice = Random(seed)  # noqa: S311 - a sample, not a secret
    files = sorted((fact for fact in facts if fact.kind == "file" and 0 < fact.size <= room), key=lambda one: one.path)
    found: list[FileFact] = []
    for fact in dice.sample(files, min(8 * most, len(files))):
        if fact.size <= room and len(found) < most:
            found.append(fact)
            room -= fact.size
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Difference:
    """How two lists of what is in a recovery point differ."""

    entries: int
    """That were compared: all of the primary's."""
    count: int
    examples: tuple[str, ...]


def difference(primary: Iterable[FileFact], offsite: Iterable[FileFact]) -> Difference:
    """By path, kind, size and time of change."""
    left, right = {fact.path: fact for fact in primary}, {fact.path: fact for fact in offsite}
    told = [f"{path} is missing" for path in sorted(left.keys() - right.keys())]
    told += [f"{path} is only offsite" for path in sorted(right.keys() - left.keys())]
    for path in sorted(left.keys() & right.keys()):
        one, other = left[path], right[path]
        if one.kind != other.kind:
            told.append(f"{path} is a {other.kind} instead of a {one.kind}")
        elif one.size != other.size:
            told.append(f"{path} has {other.size} instead of {one.size} bytes")
        elif abs(one.mtime - other.mtime) > _GRAIN:
            told.append(f"{path} has another time of change")
    return Difference(len(left), len(told), tuple(told[:SHOWN]))


@dataclass(frozen=True, slots=True)
class Copied:
    """All that was seen of the copy."""

    age_seconds: float | None
    """Of the newest offsite recovery point; None when there is none."""
    newest: str | None
    primary: str | None = None
    """The primary's id; None when none is declared."""
    others: tuple[str, ...] = ()
    """The system's other repositories, by id: what it could be a copy of."""
    unread: str = ""
    """Why the primary could not be read."""
    expected: int = 0
    pending: int = 0
    missing: tuple[str, ...] = ()
    missing_count: int = 0
    window_seconds: float = 0.0
    allowance_seconds: float = 0.0
    compared_by: str = ""
    """`content`: a hash over all of it; `names, sizes and times`; empty when it was not compared."""
    sampled: int | None = None
    """Files whose content was read from both and hashed, where there is no such hash; None when none could be."""
    sampled_bytes: int = 0
    unsampled: str = ""
    """Why not."""
    compared_point: str | None = None
    entries: int | None = None
    differences: int = 0
    examples: tuple[str, ...] = ()


def judge_copied(seen: Copied, rpo: float | None) -> Judgement:
    """The worst of age, completeness and content; when all is well all three are told."""
    found = list(_copied(seen, rpo))
    verdict = combine(one.verdict for one in found)
    if verdict is Verdict.MET:
        return Judgement(verdict, "; ".join(one.reason for one in found))
    return next(one for one in found if one.verdict is verdict)


def _copied(seen: Copied, rpo: float | None) -> Iterator[Judgement]:
    if seen.age_seconds is None:
        mend = "see that what copies to the offsite repository runs, and that `snapshots` fits what it writes"
        yield Judgement(Verdict.MISSED, "there is no recovery point of this system offsite", mend=mend)
        return
    yield _age(seen.age_seconds, rpo)
    if seen.primary is None:
        yield _without_primary(seen.others)
        return
    yield from _complete(seen)


def _without_primary(others: Sequence[str]) -> Judgement:
    if not others:
        told = "the system is backed up nowhere else, so there is nothing that it could be incomplete against"
        return Judgement(Verdict.MET, told)
    what = f"whether all that is in {', '.join(others)} is offsite, too, is not known: no `copy_of` is declared"
    mend = (
        "declare `copy_of` of the offsite repository; of a backup of its own nothing can be compared point by point: "
    )
    return Judgement(Verdict.INCONCLUSIVE, what, mend=f"{mend}copy the primary's instead (`restic copy`)")


def _age(age: float, rpo: float | None) -> Judgement:
    told = f"the newest is {format_duration(age)} old"
    if rpo is None:
        return Judgement(Verdict.INCONCLUSIVE, f"{told}, and there is no RPO to hold it against", mend="give one")
    limit = f"an RPO of {format_duration(rpo)}"
    if age > rpo:
        mend = "see why nothing was copied since, and copy it now"
        return Judgement(Verdict.MISSED, f"{told}, {format_duration(age - rpo)} over {limit}", mend=mend)
    if age < -_AHEAD:
        return Judgement(Verdict.INCONCLUSIVE, "the newest lies in the future: a clock is wrong", mend="set the clocks")
    return Judgement(Verdict.MET, f"{told}, within {limit}")


def _complete(seen: Copied) -> Iterator[Judgement]:
    primary = f"primary {seen.primary!r}"
    if seen.unread:
        what = f"{primary} could not be read, so completeness is not known: {seen.unread}"
        yield Judgement(Verdict.INCONCLUSIVE, what, mend=f"let the drill read {primary}")
        return
    window = format_duration(seen.window_seconds)
    if seen.missing_count:
        what = (
            f"{seen.missing_count} of {seen.expected} recovery points of the last {window} in {primary} "
            f"are not offsite, the newest of {seen.missing[0]}"
        )
        mend = "copy them; if it is no copy but a backup of its own, remove `copy_of`; if it takes longer, say so by "
        yield Judgement(Verdict.MISSED, what, mend=f"{mend}`transfer` of the backup")
    elif not seen.expected:
        what = f"{primary} has no recovery point of the last {window} that should be offsite by now"
        yield Judgement(Verdict.INCONCLUSIVE, what, mend="see why the primary is not written; or lengthen `window`")
    else:
        yield Judgement(Verdict.MET, f"all {seen.expected} recovery points of the last {window} are offsite, too")
    if seen.compared_point is None:
        if not seen.missing_count:
            yield Judgement(Verdict.INCONCLUSIVE, "no recovery point is in both, so no content was compared")
        return
    of = f"the point of {seen.compared_point}"
    if not seen.compared_by:
        yield Judgement(Verdict.INCONCLUSIVE, f"this engine cannot tell what is in {of}, so no content was compared")
    elif seen.differences:
        what = f"{of} differs from the primary's in {seen.differences} places: {seen.examples[0]}"
        yield Judgement(Verdict.MISSED, what, mend="do not rely on this copy: copy that recovery point again")
    elif seen.compared_by == "content":
        yield Judgement(Verdict.MET, f"{of} has the same content, by a hash over all of it")
    elif not seen.entries:
        yield Judgement(Verdict.INCONCLUSIVE, f"{of} is empty in both", mend="see what is backed up at all")
    else:
        yield _by_sample(seen, f"{of} has the same {seen.entries} entries, by {seen.compared_by}")


def _by_sample(seen: Copied, told: str) -> Judgement:
    """Names, sizes and times say nothing of content: a file of zeros has them, too."""
    if not seen.sampled:
        why = seen.unsampled or "this engine cannot hash files of a recovery point"
        what = f"{told}, but no content was compared: {why}"
        return Judgement(Verdict.INCONCLUSIVE, what, mend="copy with the engine's own means (`restic copy`)")
    return Judgement(Verdict.MET, f"{told}, and the same content in {seen.sampled} files that were read from both")
