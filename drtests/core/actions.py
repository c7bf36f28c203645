"""Findings become action items; only a passing retest of the same drill closes one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from drtests.model.record import ActionEvent, ActionItem, DrillRecord
from drtests.model.units import parse_instant, utc_text
from drtests.model.verdict import Verdict

Severity = Literal["low", "medium", "high", "critical"]
SEVERITIES: tuple[Severity, ...] = ("low", "medium", "high", "critical")
"""The least first."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Seconds a finding may stay open by severity, and the names of people by id."""

    due: Mapping[str, float]
    people: Mapping[str, str]


def fingerprint(system: str, drill: str) -> str:
    """SHA-256 over what a finding is about. Not over verdict or numbers: those change while the finding stays."""
    return hashlib.sha256(f"drtests-finding-1\0{system}\0{drill}".encode()).hexdigest()


def severity(criticality: str, verdict: Verdict, found: Sequence[Severity] = ()) -> Severity:
    """A proven miss is as severe as the system is critical; not knowing is one step less.

    What checks found to be worse by itself, `found`, makes it as severe as that.
    """
    step = SEVERITIES.index(criticality) if criticality in SEVERITIES else 1
    return worst([SEVERITIES[step if verdict is Verdict.MISSED else max(0, step - 1)], *found])


def worst(severities: Sequence[Severity]) -> Severity:
    """Of at least one."""
    return max(severities, key=SEVERITIES.index)


def update(
    carried: Sequence[ActionItem], drills: Sequence[DrillRecord], run: str, at: str, policy: Policy
) -> tuple[ActionItem, ...]:
    """All action items after this run: carried ones it did not touch stay as they are. Sorted by id."""
    items = {item.fingerprint: item for item in carried}
    for drill in drills:
        key = fingerprint(drill.system, drill.id)
        item = items.get(key)
        if drill.verdict is Verdict.MET:
            if item and item.status == "open":
                items[key] = _close(item, run, at)
        else:
            items[key] = _see(item, drill, key, run, at, policy)
    return tuple(sorted(items.values(), key=lambda item: (item.id, item.fingerprint)))


def overdue(item: ActionItem, now: datetime) -> bool:
    """Computed, never stored."""
    return item.status == "open" and parse_instant(item.due) < now


def _close(item: ActionItem, run: str, at: str) -> ActionItem:
    event = ActionEvent(run=run, at=at, what="closed", verdict=Verdict.MET)
    return item.model_copy(
        update={"status": "closed", "retest_run": run, "closed_at": at, "history": (*item.history, event)}
    )


def _see(item: ActionItem | None, drill: DrillRecord, key: str, run: str, at: str, policy: Policy) -> ActionItem:
    level = severity(drill.criticality, drill.verdict, [check.severity for check in drill.checks if check.severity])
    due = utc_text(parse_instant(at) + timedelta(seconds=policy.due[level]))
    what: Literal["opened", "seen again", "reopened"] = "opened"
    if item:
        what = "seen again" if item.status == "open" else "reopened"
    event = ActionEvent(run=run, at=at, what=what, verdict=drill.verdict)
    still_open = item if item and item.status == "open" else None
    if still_open:
        # Worse than thought brings the date forward; nothing that a rerun finds pushes it back.
        due = min(due, still_open.due, key=parse_instant)
    return ActionItem(
        id=f"A-{key[:10]}",
        fingerprint=key,
        drill=drill.id,
        system=drill.system,
        controls=drill.controls,
        weakness=drill.reasons[0] if drill.reasons else "no reason was recorded",
        remediation=" ".join([*drill.advice, f"Then prove it: drtests run {drill.id}"]),
        verdict=drill.verdict,
        severity=level,
        owner=drill.owner,
        owner_name=policy.people.get(drill.owner, drill.owner),
        status="open",
        detected_at=still_open.detected_at if still_open else at,
        detected_by=still_open.detected_by if still_open else run,
        due=due,
        times_seen=(item.times_seen if item else 0) + 1,
        recurring=item is not None,
        history=(*(item.history if item else ()), event),
    )
