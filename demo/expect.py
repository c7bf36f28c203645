"""What the demo says will happen, held against what the evidence packs say has happened."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SHORTFALL = "student-records::restore"
"""The one drill that misses its objective in the first run."""
SYSTEMS = ("file-share", "student-records", "timetable", "website")
PYTHON_TESTS = ("test_a_mark_can_be_entered", "test_marks_add_up")
DRILLS = tuple(
    sorted(
        [f"{system}::{kind}" for system in SYSTEMS for kind in ("restore", "recovery_points", "integrity")]
        + [f"student-records::{test}" for test in PYTHON_TESTS]
        + ["timetable::replication[standby]", "timetable::failover[standby]"]
    )
)


@dataclass(frozen=True, slots=True)
class Pack:
    """What two files of an evidence pack say."""

    folder: Path
    record: Mapping[str, Any]
    actions: Sequence[Mapping[str, Any]]

    @property
    def verdicts(self) -> dict[str, str]:
        return {drill["id"]: drill["verdict"] for drill in self.record["drills"]}

    def drill(self, wanted: str) -> Mapping[str, Any]:
        return next(drill for drill in self.record["drills"] if drill["id"] == wanted)


def newest_pack(reports: Path, after: Path | None) -> Pack | None:
    """The newest finished pack, None when there is none newer than `after`."""
    folders = sorted(path.parent for path in reports.glob("*/record.json"))
    if not folders or (after is not None and folders[-1].name <= after.name):
        return None
    actions = json.loads((folders[-1] / "actions.json").read_text())
    items = actions["actions"] if isinstance(actions, dict) else actions
    return Pack(folders[-1], json.loads((folders[-1] / "record.json").read_text()), items)


def first_run(code: int, pack: Pack | None) -> Iterator[str]:
    """How the first run differs from what was said: nothing when it does not."""
    yield from _differences(code, 1, pack, {drill: "MISSED" if drill == SHORTFALL else "MET" for drill in DRILLS})
    if pack is None:
        return
    opened = [(item["drill"], item["status"]) for item in pack.actions]
    if opened != [(SHORTFALL, "open")]:
        yield f"one open action for {SHORTFALL} was expected, there are: {opened}"
    missed = pack.drill(SHORTFALL) if SHORTFALL in pack.verdicts else None
    loss, rpo = (missed or {}).get("data_loss"), (missed or {}).get("rpo")
    if not loss or not rpo:
        yield f"{SHORTFALL} tells no data loss"
    elif not loss["recovery_point_age_seconds"] < rpo["seconds"] < (loss["proved_seconds"] or 0):
        yield "the recovery point was to be fresh and its data stale, but the evidence says otherwise"


def second_run(code: int, pack: Pack | None, first: Pack) -> Iterator[str]:
    """The same for the run after the mend."""
    yield from _differences(code, 0, pack, dict.fromkeys(DRILLS, "MET"))
    if pack is None:
        return
    seen = [(item["fingerprint"], item["status"], item["retest_run"]) for item in pack.actions]
    wanted = [(item["fingerprint"], "closed", pack.record["run"]["id"]) for item in first.actions]
    if seen != wanted:
        yield f"the action was to be closed by this run, there are: {seen}"


def _differences(code: int, wanted_code: int, pack: Pack | None, wanted: Mapping[str, str]) -> Iterator[str]:
    if code != wanted_code:
        yield f"`drtests run` ended with {code}, {wanted_code} was expected"
    if pack is None:
        yield "`drtests run` left no evidence pack"
        return
    verdicts = pack.verdicts
    for drill in sorted(wanted.keys() | verdicts.keys()):
        seen, expected = verdicts.get(drill, "not there"), wanted.get(drill, "no such drill")
        if seen != expected:
            reasons = "; ".join(pack.drill(drill)["reasons"]) if drill in verdicts else ""
            yield f"{drill}: {expected} was expected, {seen} was found{f' ({reasons})' if reasons else ''}"
