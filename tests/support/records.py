"""A run of a small school in which nearly everything that can happen did, as journals and as the record they give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from drtests.core import events as e
from drtests.core.actions import fingerprint
from drtests.core.events import Event
from drtests.core.fold import fold
from drtests.core.plan import DrillPlan, Limit
from drtests.evidence.pack import JOURNALS, read_journals, write_pack
from drtests.evidence.reporters import REPORTERS
from drtests.model.record import Record
from tests.support.journals import check, journal_of, lines_of, run_started

RUN = "20260301T030000Z-4f2a"
EARLIER = "20260201T030000Z-11aa"
START, END = "2026-03-01T03:00:00.000Z", "2026-03-01T05:10:00.000Z"
LONG = "an-extraordinarily-long-name-" * 11
SCRIPT = "<script>alert('x')</script>"


def plan(system: str, name: str, kind: str = "restore", rto: float | None = None, **more: Any) -> DrillPlan:
    given: dict[str, Any] = {"criticality": "high", "owner": "jan", "rpo": Limit(86400.0, "process:teaching")} | more
    return DrillPlan(
        id=f"{system}::{kind}",
        node=f"targets/systems/{system}.yaml::{kind}",
        system=system,
        system_name=name,
        kind=kind,
        backup="nightly",
        processes=("teaching", "exams"),
        declaration="5e" * 32,
        rto=Limit(rto, "process:teaching") if rto else None,
        **given,
    )


PLANS = (
    plan("student-records", "Leerlingadministratie Zoë", rto=7200.0, criticality="critical"),
    plan("student-records", "Leerlingadministratie Zoë", "recovery_points", criticality="critical"),
    plan("file-share", "File share", rto=3600.0, owner="mee"),
    plan("website", f"Website {SCRIPT}", rto=14400.0, criticality="low"),
    plan("intranet", LONG, rto=3600.0, criticality="medium"),
    plan("intranet", LONG, "integrity", criticality="medium"),
    plan("timetable", "Timetable", rto=28800.0),
    plan("library", "Library", rto=28800.0, criticality="low"),
)
CLOSES = "intranet::integrity"


class Story:
    """One drill's events, on a clock that the story moves itself."""

    def __init__(self, of: DrillPlan, t: float, **started: Any) -> None:
        self.of, self.t, self.number = of, t, 0
        self.events: list[Event] = []
        told = {"kind": of.kind, "checks": 1, "moment": START, "moment_basis": "now", "manual": []}
        self.add(e.DRILL_STARTED, **(told | started))

    def add(self, kind: str, /, **data: Any) -> Story:
        self.events.append(Event(kind, START, self.t, self.of.id, data))
        return self

    def phase(self, name: str, seconds: float, *inside: tuple[str, dict[str, Any]], outcome: str = "done") -> Story:
        self.add(e.PHASE_STARTED, phase=name)
        self.t += seconds
        for kind, data in inside:
            self.add(kind, **data)
        return self.add(e.PHASE_FINISHED, phase=name, outcome=outcome)

    def command(self, phase: str, argv: list[str], code: int | None, seconds: float, output: str = "") -> Story:
        self.number += 1
        base = {"number": self.number, "host": "runner", "phase": phase, "argv": argv}
        self.add(e.COMMAND_STARTED, **base)
        return self.add(e.COMMAND_FINISHED, **base, exit_code=code, seconds=seconds, output=output)

    def end(self, outcome: str = "done") -> list[Event]:
        return self.add(e.DRILL_FINISHED, outcome=outcome).events


def point(age: float) -> tuple[tuple[str, dict[str, Any]], ...]:
    located = {
        "id": "9c41e07b" * 8,
        "time": "2026-02-28T22:00:00.000Z",
        "host": "nas-zürich",
        "paths": ["/srv/données", "/etc"],
        "tags": ["nightly"],
        "repository": "vault",
        "chosen": "the latest",
    }
    return (e.POINT_LOCATED, located), (e.FACT, {"name": "recovery_point_age", "value": age})


def judged(*checks: dict[str, Any]) -> tuple[tuple[str, dict[str, Any]], ...]:
    return tuple((e.CHECK_JUDGED, told) for told in checks)


MARKER = check(
    kind="marker",
    title="newest row in table lesson",
    reason="the newest marker is of 2026-02-28 21:52",
    loss=18480.0,
    observation={"newest": "2026-02-28T21:52:00.000Z", "rows": 18221, "per_class": {"3a": 41, "3b": 38}},
)


def _met() -> list[Event]:
    story = Story(PLANS[0], 1, checks=2, manual=[{"name": "approval by the director", "seconds": 1500.0}])
    story.phase("locate", 12.4, *point(18000.0)).command(
        "restore", ["restic", "--json", "restore", "9c41e07b", "--target", "/srv/staging dir"], 0, 1911.2
    )
    story.phase("provision", 300.0, (e.LOCK_WAITED, {"seconds": 240.0}))
    story.phase("restore", 1911.2, (e.MEASURED, _measure("restored_bytes", 48_318_382_080, "B")))
    story.phase("start", 74.0).phase("verify", 201.7, *judged(check(), MARKER)).phase("clean up", 31.0)
    return story.add(e.MEASURED, **_measure("restored_files", 218_334, "count")).end()


def _measure(name: str, value: float, unit: str) -> dict[str, Any]:
    return {"name": name, "value": value, "unit": unit, "basis": "measured"}


def _history() -> list[Event]:
    seen = {
        "age": 18000.0, "selection": "tag nightly", "duration": 1200.0, "transfer": 600.0, "worst_gap": 176400.0,
        "worst_gap_from": "2026-02-14T22:00:00Z", "worst_case": 178200.0, "interval": 86400.0,
        "declared_worst_case": 88200.0,
    }  # fmt: skip
    return Story(PLANS[1], 1).phase("locate", 3.2, (e.HISTORY_JUDGED, seen)).end()


def _missed() -> list[Event]:
    story = Story(PLANS[2], 10, checks=1).phase("locate", 4, *point(18000.0)).phase("provision", 22)
    story.phase("restore", 5220).phase("start", 3).phase("verify", 340, *judged(check())).phase("clean up", 45)
    return story.end()


def _broken() -> list[Event]:
    story = Story(PLANS[3], 10).phase("locate", 2.1, *point(200.0)).phase("provision", 0.02)
    story.command(
        "restore", ["restic", "restore", SCRIPT], 1, 64.8, f"Fatal: no space left on device {SCRIPT}\n\x1b[0m"
    )
    full = {
        "what": f"no space left on device in {SCRIPT}",
        "where": "runner:/srv/staging",
        "mend": "Give staging 40 GiB more.",
    }
    return story.phase("restore", 64.8, (e.PROBLEM, full), outcome="failed").phase("clean up", 1.0).end("failed")


def _changed() -> list[Event]:
    wrong = check("MISSED", title=f"tree {LONG}", mend="Restore from an older recovery point and compare.")
    story = Story(PLANS[4], 10).phase("locate", 2, *point(90000.0)).phase("provision", 1).phase("restore", 61)
    return story.phase("start", 1).phase("verify", 9, *judged(wrong)).phase("clean up", 1).end()


def _sound() -> list[Event]:
    seen = {"part": 3, "parts": 12, "packs_read": 40, "packs": 481, "problems": []}
    return Story(PLANS[5], 1, moment=None).phase("verify", 90, (e.FACT, {"name": "integrity", "value": seen})).end()


def _cut() -> list[Event]:
    story = Story(PLANS[6], 10).phase("locate", 2, *point(100.0)).phase("provision", 8)
    story.add(e.PHASE_STARTED, phase="restore")
    story.t += 120
    return story.add(e.PROGRESS, bytes=10).events


def _carried() -> list[dict[str, Any]]:
    def item(system: str, drill: str, due: str, status: str = "open", **more: Any) -> dict[str, Any]:
        key = fingerprint(system, drill)
        opened = {"run": EARLIER, "at": "2026-02-01T03:00:00.000Z", "what": "opened", "verdict": "MISSED"}
        return {
            "id": f"A-{key[:10]}", "fingerprint": key, "drill": drill, "system": system, "controls": ["BC.02"],
            "weakness": "3 files came back damaged", "remediation": f"Repair the repository. drtests run {drill}",
            "verdict": "MISSED", "severity": "high", "owner": "jan", "owner_name": "Jan de Vries", "status": status,
            "detected_at": "2026-02-01T03:00:00.000Z", "detected_by": EARLIER, "due": due, "times_seen": 1,
            "recurring": False, "history": [opened],
        } | more  # fmt: skip

    shut = {"retest_run": "20260215T030000Z-77cc", "closed_at": "2026-02-15T03:20:00.000Z"}
    return [
        item("file-share", "file-share::restore", "2026-03-15T03:00:00.000Z"),
        item("intranet", CLOSES, "2026-02-15T03:00:00.000Z"),
        item("mail", "mail::restore", "2026-02-15T03:00:00.000Z", owner_name=f"Renée {SCRIPT}"),
        item("door", "door::restore", "2026-02-20T03:00:00.000Z", "closed", **shut),
    ]


def sample_events(*, finished: bool = True) -> list[Event]:
    """The journal of the run; unfinished it also holds a drill that was cut off and one that never started."""
    systems = [{"id": p.system, "name": p.system_name} for p in PLANS if p.kind == "restore"]
    begun = run_started(RUN)
    about = {
        "organisation": "Scholengroep De Brug & Zonen",
        "systems": [*systems, {"id": "mail", "name": "Mail"}],
        "environment": {"host": "runner-01", "system": "Linux 6.1.0 x86_64", "python": "3.11.2"},
        "declarations": {f"targets/{name}.yaml": "3d" * 32 for name in ("bia", "estate", "systems/file-share")},
        "people": {"jan": "Jan de Vries", "mee": "Mevrouw Müller"},
    }
    plans = PLANS[:6] if finished else PLANS
    events = [
        Event(begun.type, START, 0.0, None, {**begun.data, **about}),
        Event(e.RUN_PLANNED, START, 0.1, None, {"drills": [p.data() for p in plans]}),
        Event(e.RUN_CARRIED, START, 0.2, None, {"source": EARLIER, "actions": _carried()}),
    ]
    for drill in (_met, _history, _missed, _broken, _changed, _sound):
        events += drill()
    if not finished:
        return events + _cut()
    events.append(Event(e.RUN_FINISHED, END, 7800.0, None, {"seconds": 7800.0}))
    return [*events, Event(e.JOURNAL_CLOSED, END, 7800.1, None, {})]


def sample_record(*, finished: bool = True) -> Record:
    return fold([journal_of(sample_events(finished=finished))])


def sample_pack(reports: Path, *, finished: bool = True) -> Path:
    """A pack as a run leaves it: journals, and all that follows from them."""
    folder = reports / RUN
    (folder / JOURNALS).mkdir(parents=True)
    lines = lines_of(sample_events(finished=finished))
    torn = b"" if finished else b'{"seq": 99, "pr'
    (folder / JOURNALS / "main.jsonl").write_bytes(b"".join(lines) + torn)
    write_pack(folder, fold(read_journals(folder)), REPORTERS)
    return folder
