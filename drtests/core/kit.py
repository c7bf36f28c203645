"""Whether a recovery kit would be there, and right, on the day it is needed. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from drtests.model.kit import KeptKey
from drtests.model.project import Project
from drtests.model.units import format_duration
from drtests.model.verdict import Verdict, combine
from drtests.protocols.check import Judgement

_AHEAD = 60.0
"""Seconds by which the clock of whoever made the kit may be ahead."""
_WRITE = "write it anew with `drtests kit`, and let that run by itself: after every change, or every night"


@dataclass(frozen=True, slots=True)
class CopySeen:
    """One copy as it was found."""

    where: str
    site: str | None
    offsite: bool | None
    """None when no site is declared for it."""
    there: bool = False
    made_at: str | None = None
    age_seconds: float | None = None
    same_declarations: bool | None = None
    """Whether it was made from what is declared now."""
    problems: tuple[str, ...] = ()
    """Files that are damaged or lost."""
    unread: str = ""
    """Why it could not be read: then nothing is known of it."""


def production_sites(project: Project, system: str | None = None) -> frozenset[str]:
    """Sites that go down with production: those of that kind, and where the sources are; of one system, or of all."""
    found = {site.id for site in project.estate.sites if site.kind == "production"}
    for name, declared in project.systems.items():
        if system in (None, name):
            found |= {site for source in declared.sources if (site := project.host(source.host or "local").site)}
    return frozenset(found)


def judge_copy(seen: CopySeen, max_age: float) -> Judgement:
    """One copy by itself; the worst of what is wrong with it."""
    found = list(_copy(seen, max_age))
    verdict = combine(one.verdict for one in found) if found else Verdict.MET
    if verdict is Verdict.MET:
        age = format_duration(seen.age_seconds or 0.0)
        return Judgement(verdict, f"the kit at {seen.where} is whole, {age} old, and made from what is declared now")
    return next(one for one in found if one.verdict is verdict)


def _copy(seen: CopySeen, max_age: float) -> Iterator[Judgement]:
    if seen.unread:
        what = f"whether there is a kit at {seen.where} is not known: {seen.unread}"
        yield Judgement(Verdict.INCONCLUSIVE, what, mend="let it be read there")
        return
    if not seen.there:
        yield Judgement(Verdict.MISSED, f"there is no kit at {seen.where}", mend=_WRITE)
        return
    if seen.problems:
        several = f", and {len(seen.problems) - 1} more" if len(seen.problems) > 1 else ""
        yield Judgement(Verdict.MISSED, f"the kit at {seen.where} is damaged: {seen.problems[0]}{several}", mend=_WRITE)
    if seen.same_declarations is False:
        what = f"the kit at {seen.where} is stale: the declarations changed since it was made"
        yield Judgement(Verdict.MISSED, what, mend=_WRITE)
    elif seen.same_declarations is None and not seen.problems:
        yield Judgement(Verdict.INCONCLUSIVE, f"from what the kit at {seen.where} was made is not known", mend=_WRITE)
    if seen.age_seconds is None:
        yield Judgement(Verdict.INCONCLUSIVE, f"when the kit at {seen.where} was made is not known", mend=_WRITE)
    elif seen.age_seconds > max_age:
        old, most = format_duration(seen.age_seconds), format_duration(max_age)
        yield Judgement(Verdict.MISSED, f"the kit at {seen.where} is stale: {old} old, {most} allowed", mend=_WRITE)
    elif seen.age_seconds < -_AHEAD:
        what = f"the kit at {seen.where} was made in the future: a clock is wrong"
        yield Judgement(Verdict.INCONCLUSIVE, what, mend="set the clocks")


def judge_copies(copies: Sequence[CopySeen], max_age: float) -> Judgement:
    """One good copy away from production is needed; the others are told of.

    It is MISSED only when every copy is known not to be one.
    """
    away = [seen for seen in copies if seen.offsite]
    unsure = [
        seen for seen in copies if seen.offsite is None and judge_copy(seen, max_age).verdict is not Verdict.MISSED
    ]
    if not away:
        if unsure:
            return _without_site(unsure[0])
        what = "no copy of the recovery kit is away from production"
        mend = "declare one under `kit: copies`, at a site that is not of kind production, and run `drtests kit`"
        return Judgement(Verdict.MISSED, what, mend=mend)
    judged = [judge_copy(seen, max_age) for seen in away]
    good = [one for one in judged if one.verdict is Verdict.MET]
    if good:
        others = len(judged) - len(good)
        return good[0] if not others else Judgement(Verdict.MET, f"{good[0].reason}; {others} other copies are not")
    unknown = [one for one in judged if one.verdict is Verdict.INCONCLUSIVE]
    if unknown:
        return unknown[0]
    return _without_site(unsure[0]) if unsure else judged[0]


def _without_site(seen: CopySeen) -> Judgement:
    what = f"whether the kit at {seen.where} is away from production is not known: it has no site"
    return Judgement(Verdict.INCONCLUSIVE, what, mend="declare `site` of the copy, of its store or of its host")


def judge_keys(project: Project, repository: str, kept: KeptKey | None) -> Judgement:
    """Whether people could get at the keys: that the place is told, and that it does not hang on one person."""
    if kept is None:
        what = f"the kit does not say where the keys of repository {repository!r} are kept"
        mend = "keep them where they outlive building and administrator, and say where under `kit: keys`"
        return Judgement(Verdict.MISSED, what, mend=mend)
    names = [person.name for holder in dict.fromkeys(kept.holders) if (person := project.person(holder))]
    if len(names) == 1:
        what = f"only {names[0]} can get at the keys of repository {repository!r}"
        return Judgement(Verdict.MISSED, what, mend="let a second person get at them, and name both as `holders`")
    if not names:
        what = f"who can get at the keys of repository {repository!r} is not declared"
        return Judgement(Verdict.INCONCLUSIVE, what, mend="name at least two people as `holders` under `kit: keys`")
    return Judgement(Verdict.MET, f"{len(names)} people can get at the keys of repository {repository!r}")


def age_of(made_at: datetime, now: datetime) -> float:
    """Seconds."""
    return round((now - made_at).total_seconds(), 3)
