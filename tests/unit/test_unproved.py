"""What was read, and can be held against no hash, is not known to be sound."""

from __future__ import annotations

from typing import Any

import pytest

from drtests.core import events as e
from drtests.core.events import Event
from drtests.core.fold import fold
from drtests.model.verdict import Verdict
from tests.support.journals import AT, journal_of, met_drill, plan, whole_run

_WHY = "it was uploaded in parts"


def _judged(kind: str, name: str, value: Any) -> tuple[Verdict, tuple[str, ...]]:
    of = plan(kind=kind)
    drill = met_drill(of)
    drill.insert(-1, Event(e.FACT, AT, 59.0, of.id, {"name": name, "value": value}))
    [told] = fold([journal_of(whole_run(of, drills=drill))]).drills
    return told.verdict, tuple(told.reasons)


@pytest.mark.parametrize(("unproved", "verdict"), [(None, Verdict.MET), (2, Verdict.INCONCLUSIVE)])
def test_integrity(unproved: int | None, verdict: Verdict) -> None:
    seen: dict[str, Any] = {"part": 1, "parts": 1, "problems": [], "packs_read": 40, "packs": 40}
    if unproved:
        seen |= {"unproved": unproved, "why": _WHY}
    found, reasons = _judged("integrity", "integrity", seen)
    assert found is verdict
    assert any(f"2 of 40 cannot be told to be what was stored: {_WHY}" in one for one in reasons) is bool(unproved)


def test_damage_counts_more() -> None:
    seen = {"part": 1, "parts": 1, "problems": ["x"], "packs_read": 4, "packs": 4, "unproved": 1, "why": _WHY}
    assert _judged("integrity", "integrity", seen)[0] is Verdict.MISSED


@pytest.mark.parametrize(("demanded", "verdict"), [(False, Verdict.MET), (True, Verdict.INCONCLUSIVE)])
def test_a_restore_that_had_to_be_verified(demanded: bool, verdict: Verdict) -> None:
    seen = {"files": 3, "why": _WHY, "demanded": demanded}
    found, reasons = _judged("restore", "not held against a hash", seen)
    assert found is verdict
    assert any("3 restored files" in one for one in reasons) is demanded
