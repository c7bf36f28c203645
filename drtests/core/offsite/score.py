"""3-2-1-1-0: three copies, on two kinds of media, one offsite, one immutable or offline, no errors.

The rule is Veeam's extension of Peter Krogh's 3-2-1. A digit without evidence
is not known: it is never taken for granted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from drtests.core.offsite.apart import store_of
from drtests.model.estate import Repository
from drtests.model.project import Project
from drtests.model.verdict import Basis, Verdict
from drtests.protocols.check import Judgement

SOURCE_MEDIA = "disk"
_OBJECT = ("s3", "azure", "gs", "b2", "swift")


@dataclass(frozen=True, slots=True)
class Digit:
    """One digit of the rule. `met` is None without evidence."""

    wanted: int
    of: str
    met: bool | None
    evidence: str
    basis: Basis
    """`measured` when the drill saw all that it rests on, `declared` when somebody's word is part of it."""

    def data(self) -> dict[str, Any]:
        """As it is shown; None is shown as not known."""
        return {"met": self.met, "evidence": self.evidence, "basis": self.basis}


@dataclass(frozen=True, slots=True)
class Holding:
    """A repository that is declared to hold the system.

    `read` is whether recovery points were found there; None when that is not known: nobody looked, or it did not
    answer. `media` rests on somebody's word when `media_declared`; else its location tells.
    """

    id: str
    media: str | None
    read: bool | None
    media_declared: bool = False


def media_of(project: Project, repository: Repository) -> str | None:
    """As declared; object storage and folders tell by themselves."""
    if repository.media:
        return repository.media.casefold()
    if store_of(project, repository) or repository.location.partition(":")[0] in _OBJECT:
        return "object"
    return "disk" if repository.folder is not None else None


def score(
    holdings: Sequence[Holding],
    separation: Verdict | None,
    immutability: Verdict | None,
    errors: Mapping[str, Verdict],
    apart: Sequence[str] = (),
) -> tuple[Digit, ...]:
    """The five digits; a verdict is None for what was not carried out.

    `errors` are what zero errors is made of; `apart` is what was measured of the separation.
    """
    return (_copies(holdings), _media(holdings), *_kept_apart(separation, immutability, apart), _errors(errors))


def _copies(holdings: Sequence[Holding]) -> Digit:
    """Production is one: what is backed up is there. A repository counts when its recovery points were seen."""
    read = [one.id for one in holdings if one.read]
    told = [one.id for one in holdings if one.read is None]
    empty = [one.id for one in holdings if one.read is False]
    evidence = "production itself (declared)"
    evidence += f", {', '.join(read)} (measured: recovery points were read)" if read else ""
    evidence += f"; only declared: {', '.join(told)}" if told else ""
    evidence += f"; without recovery points: {', '.join(empty)}" if empty else ""
    met = True if 1 + len(read) >= 3 else None if 1 + len(read) + len(told) >= 3 else False
    return Digit(3, "copies, production among them", met, evidence, Basis.MEASURED if met else Basis.DECLARED)


def _media(holdings: Sequence[Holding]) -> Digit:
    """Of what was read; production is taken to be on disk, which makes two kinds the harder to reach."""
    read = [one for one in holdings if one.read]
    seen = {one.media: one for one in reversed(read) if one.media}
    kinds = {SOURCE_MEDIA: "production, declared"}
    kinds |= {media: f"{one.id}, {'declared' if one.media_declared else 'measured'}" for media, one in seen.items()}
    unknown = [one.id for one in holdings if one.read is not False and (one.media is None or one.read is None)]
    evidence = ", ".join(f"{media} ({where})" for media, where in kinds.items())
    evidence += f"; not known of {', '.join(unknown)}" if unknown else ""
    met = True if len(kinds) >= 2 else None if unknown else False
    sure = any(not one.media_declared for media, one in seen.items() if media != SOURCE_MEDIA)
    return Digit(2, "kinds of media", met, evidence, Basis.MEASURED if sure else Basis.DECLARED)


def _kept_apart(separation: Verdict | None, immutability: Verdict | None, measured: Sequence[str]) -> Iterator[Digit]:
    told = f"separation: {separation or 'not looked at'}"
    # Where a site is, nobody can measure.
    told += f" (measured: {', '.join(measured)}; declared: the rest)" if measured else " (declared)" * bool(separation)
    yield Digit(1, "offsite", _truth(separation), told, Basis.DECLARED)
    attacked = f"immutability: {immutability or 'not looked at'}"
    yield Digit(1, "immutable or offline", _truth(immutability), attacked, Basis.MEASURED)


def _truth(verdict: Verdict | None) -> bool | None:
    return {Verdict.MET: True, Verdict.MISSED: False}.get(verdict) if verdict else None


def _errors(errors: Mapping[str, Verdict]) -> Digit:
    told = ", ".join(f"{name}: {verdict}" for name, verdict in errors.items())
    wrong = any(verdict is Verdict.MISSED for verdict in errors.values())
    sure = bool(errors) and all(verdict is Verdict.MET for verdict in errors.values())
    return Digit(
        0, "errors", False if wrong else True if sure else None, told or "nothing was looked at", Basis.MEASURED
    )


def judge_score(digits: Sequence[Digit]) -> Judgement:
    """What fails, else what is not known."""
    shown = "-".join(f"{digit.wanted}{_MARKS[digit.met]}" for digit in digits)
    failed = [digit for digit in digits if digit.met is False]
    unknown = [digit for digit in digits if digit.met is None]
    if failed:
        told = _told(failed)
        return Judgement(Verdict.MISSED, f"{shown}: not {told}", mend="mend the parts that this digit is made of")
    if unknown or not digits:
        told = _told(unknown)
        return Judgement(Verdict.INCONCLUSIVE, f"{shown}: not known: {told}")
    return Judgement(Verdict.MET, _told(digits))


def _told(digits: Sequence[Digit]) -> str:
    return "; ".join(f"{digit.wanted} {digit.of} ({digit.basis}): {digit.evidence}" for digit in digits)


_MARKS = {True: "", False: "\N{MULTIPLICATION X}", None: "?"}
