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
from drtests.model.verdict import Verdict
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

    def data(self) -> dict[str, Any]:
        """As it is shown; None is shown as not known."""
        return {"met": self.met, "evidence": self.evidence}


@dataclass(frozen=True, slots=True)
class Holding:
    """A repository that holds the system. `read` is None when the drill did not look."""

    id: str
    media: str | None
    read: bool | None


def media_of(project: Project, repository: Repository) -> str | None:
    """As declared; object storage and folders tell by themselves."""
    if repository.media:
        return repository.media.casefold()
    if store_of(project, repository) or repository.location.partition(":")[0] in _OBJECT:
        return "object"
    return "disk" if repository.folder is not None else None


def score(
    holdings: Sequence[Holding], separation: Verdict | None, immutability: Verdict | None, errors: Mapping[str, Verdict]
) -> tuple[Digit, ...]:
    """The five digits; a verdict is None for what was not carried out. `errors` are what zero errors is made of."""
    return (_copies(holdings), _media(holdings), *_kept_apart(separation, immutability), _errors(errors))


def _copies(holdings: Sequence[Holding]) -> Digit:
    read = [one.id for one in holdings if one.read]
    told = [one.id for one in holdings if one.read is None]
    unread = [one.id for one in holdings if one.read is False]
    evidence = "production itself"
    evidence += f", {', '.join(read)} (read in this drill)" if read else ""
    evidence += f", {', '.join(told)} (declared)" if told else ""
    evidence += f"; without recovery points: {', '.join(unread)}" if unread else ""
    met = 1 + len(read) + len(told) >= 3
    return Digit(3, "copies, production among them", met, evidence)


def _media(holdings: Sequence[Holding]) -> Digit:
    usable = [one for one in holdings if one.read is not False]
    kinds = {SOURCE_MEDIA: "production"} | {one.media: one.id for one in reversed(usable) if one.media}
    unknown = [one.id for one in usable if one.media is None]
    evidence = ", ".join(f"{media} ({where})" for media, where in kinds.items())
    evidence += f"; not declared: {', '.join(unknown)}" if unknown else ""
    met = True if len(kinds) >= 2 else None if unknown else False
    return Digit(2, "kinds of media", met, evidence)


def _kept_apart(separation: Verdict | None, immutability: Verdict | None) -> Iterator[Digit]:
    yield Digit(1, "offsite", _truth(separation), f"separation: {separation or 'not looked at'}")
    yield Digit(1, "immutable or offline", _truth(immutability), f"immutability: {immutability or 'not looked at'}")


def _truth(verdict: Verdict | None) -> bool | None:
    return {Verdict.MET: True, Verdict.MISSED: False}.get(verdict) if verdict else None


def _errors(errors: Mapping[str, Verdict]) -> Digit:
    told = ", ".join(f"{name}: {verdict}" for name, verdict in errors.items())
    wrong = any(verdict is Verdict.MISSED for verdict in errors.values())
    sure = bool(errors) and all(verdict is Verdict.MET for verdict in errors.values())
    return Digit(0, "errors", False if wrong else True if sure else None, told or "nothing was looked at")


def judge_score(digits: Sequence[Digit]) -> Judgement:
    """What fails, else what is not known."""
    shown = "-".join(f"{digit.wanted}{_MARKS[digit.met]}" for digit in digits)
    failed = [digit for digit in digits if digit.met is False]
    unknown = [digit for digit in digits if digit.met is None]
    if failed:
        told = "; ".join(f"{digit.wanted} {digit.of}: {digit.evidence}" for digit in failed)
        return Judgement(Verdict.MISSED, f"{shown}: not {told}", mend="mend the parts that this digit is made of")
    if unknown or not digits:
        told = "; ".join(f"{digit.wanted} {digit.of}: {digit.evidence}" for digit in unknown)
        return Judgement(Verdict.INCONCLUSIVE, f"{shown}: not known: {told}")
    return Judgement(Verdict.MET, "; ".join(f"{digit.wanted} {digit.of}: {digit.evidence}" for digit in digits))


_MARKS = {True: "", False: "\N{MULTIPLICATION X}", None: "?"}
