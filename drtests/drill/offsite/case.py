"""What the parts of an offsite drill share, and how one is carried out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from drtests.core import events as e
from drtests.core.actions import Severity, worst
from drtests.core.offsite.rule import TITLES
from drtests.core.plan import DrillPlan
from drtests.drill.context import RunContext
from drtests.drill.log import DrillLog
from drtests.drill.reach import DrillReach
from drtests.errors import DrtestsError
from drtests.kit.copies import Looked
from drtests.model.estate import Repository
from drtests.model.project import Project
from drtests.model.system import Backup, System
from drtests.model.verdict import Verdict
from drtests.protocols.check import Judgement
from drtests.protocols.engine import RecoveryPoint
from drtests.protocols.store import BucketFacts

Seen = tuple[Mapping[str, Any], Judgement]
"""What was seen, as JSON values, and what to think of it."""


@dataclass(slots=True)
class Case:
    """One offsite repository of one system. What a part finds out is left here for later ones."""

    plan: DrillPlan
    context: RunContext
    log: DrillLog
    reach: DrillReach
    kits: Sequence[Looked] = ()
    points: Sequence[RecoveryPoint] | None = None
    """Of the offsite repository; None when they could not be listed."""
    primary_points: Sequence[RecoveryPoint] | None = None
    names: tuple[str, ...] = ()
    """Some paths that were backed up, which must be nowhere in what is stored."""
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    """By part."""
    told: dict[str, BucketFacts] = field(default_factory=dict)
    """What each bucket told of itself, by its store. Asked again after it was changed."""
    measured: Sequence[str] = ()
    """What was seen to be apart from production, not only declared."""

    @property
    def project(self) -> Project:
        return self.context.project

    @property
    def system(self) -> System:
        return self.project.systems[self.plan.system]

    @property
    def repository(self) -> Repository:
        return self.project.repository(self.plan.subject)

    @property
    def backup(self) -> Backup:
        return self.project.backup(self.plan.system, self.plan.backup)

    def facts(self, store: str) -> BucketFacts:
        """What the bucket tells of itself: asked once. Raises StoreError, SecretError."""
        if store not in self.told:
            self.told[store] = self.reach.store(store).facts()
        return self.told[store]

    @property
    def kit(self) -> Looked | None:
        """The copy of the kit that the restore goes by: away from production and whole by preference; else any."""
        readable = [one for one in self.kits if one.read.manifest is not None and one.seen.offsite]
        return min(readable, key=lambda one: (bool(one.read.problems), not one.seen.same_declarations), default=None)


def carry_out(case: Case, kind: str, part: Callable[[Case], Seen]) -> None:
    """Journals what a part saw and what to think of it. Whatever it raises is INCONCLUSIVE."""
    log = case.log
    began = log.clock.monotonic()
    seen: Mapping[str, Any] = {}
    try:
        seen, judged = part(case)
    except DrtestsError as error:
        judged = Judgement(Verdict.INCONCLUSIVE, f"could not be carried out: {error.what}", mend=error.mend)
    except Exception as error:  # noqa: BLE001 - any fault of a part means that we do not know
        told = str(error).strip().split("\n")[0][:300]
        judged = Judgement(Verdict.INCONCLUSIVE, f"could not be carried out: {type(error).__name__}: {told}")
    case.verdicts[kind] = judged.verdict
    written: dict[str, Any] = {
        "kind": kind,
        "title": TITLES[kind],
        "proves_data": False,
        "verdict": judged.verdict,
        "reason": judged.reason,
        "mend": judged.mend,
        "seconds": round(log.clock.monotonic() - began, 6),
        "observation": dict(seen),
        "data_loss_seconds": None,
        "severity": _severity(seen),
    }
    log.write(e.CHECK_JUDGED, **written)


def _severity(seen: Mapping[str, Any]) -> Severity | None:
    """Of the worst of its findings."""
    found = [one["severity"] for one in seen.get("findings", ()) if one["severity"] is not None]
    return worst(found) if found else None
