"""A run from its first line to its pack, and what it inherits from the runs before it."""

from __future__ import annotations

import platform
import secrets
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from drtests import __version__
from drtests.core import events as e
from drtests.core.fold import fold
from drtests.core.plan import INTEGRITY, DrillPlan
from drtests.drill.journal import JournalWriter, abandoned
from drtests.errors import PackError
from drtests.evidence.index import write_index
from drtests.evidence.pack import JOURNALS, RECORD, packs, read_journals, read_record, write_pack
from drtests.evidence.reporters import REPORTERS
from drtests.model.project import Project
from drtests.model.record import ActionItem, Record

LOCK = ".drtests.lock"
"""Below reports/."""


def new_run_id(now: datetime) -> str:
    """Sorts by time; the tail keeps two runs of one second apart."""
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


@dataclass(frozen=True, slots=True)
class Inheritance:
    """What earlier runs left: action items, and how far each repository was read (part, parts) by drill."""

    source: str | None = None
    actions: tuple[ActionItem, ...] = ()
    parts: Mapping[str, tuple[int, int]] = field(default_factory=dict)


def inherit(reports: Path, drills: Iterable[str], run: str) -> Inheritance:
    """What all other runs left: action items as the run that ended last has them, and the parts read, newest first.

    Runs that were killed are folded first, so that what they found counts
    too. A pack that cannot be read raises PackError: going on without its
    action items would lose them silently.
    """
    finish_abandoned(reports, run)
    others = [folder for folder in packs(reports) if folder.name != run and (folder / RECORD).is_file()]
    records = sorted((read_record(folder) for folder in others), key=_ended, reverse=True)
    wanted = set(drills)
    parts: dict[str, tuple[int, int]] = {}
    for record in records:
        for drill in record.drills:
            seen = drill.facts.get("integrity") if drill.kind == INTEGRITY else None
            if seen and drill.id in wanted:
                parts[drill.id] = (int(seen["part"]), int(seen["parts"]))
                wanted.discard(drill.id)
        if not wanted:
            break
    return Inheritance(records[0].run.id, records[0].actions, parts) if records else Inheritance()


def _ended(record: Record) -> str:
    """When a run ended; runs may overlap, so the one that began last need not know most."""
    return max(
        [
            record.run.finished_at or record.run.started_at,
            *(event.at for item in record.actions for event in item.history),
        ]
    )


def finish_abandoned(reports: Path, run: str) -> list[Path]:
    """Writes the packs of runs whose processes are gone and that never got to it; returns those folders."""
    finished = []
    for folder in packs(reports):
        if folder.name == run or (folder / RECORD).exists():
            continue
        journals = sorted((folder / JOURNALS).glob("*.jsonl"))
        if journals and all(abandoned(journal) for journal in journals):
            try:
                write_evidence(folder)
            except PackError:
                # Killed before it said which run it was: there is nothing to tell.
                continue
            finished.append(folder)
    return finished


def write_evidence(folder: Path) -> Record:
    """Folds the journals of a pack and writes all that is made from them; the same bytes every time.

    Raises PackError when there is nothing to fold.
    """
    record = fold(read_journals(folder))
    write_pack(folder, record, REPORTERS)
    return record


def begin(journal: JournalWriter, run: str, project: Project, plans: Iterable[DrillPlan], left: Inheritance) -> None:
    """The first lines of a journal: which run, what is declared, what is planned, what is carried over."""
    estate = project.estate
    due = estate.actions.due
    journal.append(
        e.RUN_STARTED,
        data={
            "run": run,
            "tool": f"drtests {__version__}",
            "organisation": estate.organisation.name,
            "timezone": estate.organisation.timezone,
            "classification": estate.organisation.classification,
            "environment": environment(),
            "declarations": dict(project.digests),
            "people": {person.id: person.name for person in estate.people},
            "policy": {
                "due": {level: getattr(due, level).total_seconds() for level in ("low", "medium", "high", "critical")}
            },
            "systems": [{"id": name, "name": system.name} for name, system in sorted(project.systems.items())],
        },
    )
    journal.append(e.RUN_PLANNED, data={"drills": [plan.data() for plan in plans]})
    carried: dict[str, Any] = {
        "source": left.source,
        "actions": [item.model_dump(mode="json") for item in left.actions],
    }
    journal.append(e.RUN_CARRIED, data=carried)


def end(journal: JournalWriter, reports: Path, run: str, interrupted: bool, seconds: float) -> Record:
    """The last lines of a run's journal, its pack, and the list of all packs.

    Action items are carried over once more: another run may have ended in
    the meantime. One run at a time does this.
    """
    with FileLock(reports / LOCK).acquire(timeout=600):
        journal.append(e.RUN_CARRIED, data=_carried(inherit(reports, (), run)))
        journal.append(e.RUN_INTERRUPTED if interrupted else e.RUN_FINISHED, data={"seconds": round(seconds, 6)})
        journal.close()
        record = write_evidence(reports / run)
        write_index(reports)
    return record


def _carried(left: Inheritance) -> dict[str, Any]:
    return {"source": left.source, "actions": [item.model_dump(mode="json") for item in left.actions]}


def environment() -> dict[str, str]:
    """Facts of the machine that a reader needs to repeat the run."""
    return {
        "host": platform.node(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": sys.version.split()[0],
    }
