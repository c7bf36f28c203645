"""Reaps what a crash left: processes, restored data, leases."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from drtests import registry
from drtests.drill.safety import refuse_unsafe
from drtests.drill.staging import LOCK, leases
from drtests.errors import DrtestsError
from drtests.model.project import Project


@dataclass(frozen=True, slots=True)
class Reaped:
    """What was found in one staging. `busy`: a drill is using it, so nothing was touched."""

    staging: str
    busy: bool = False
    processes: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def reap(project: Project, dry_run: bool = False) -> list[Reaped]:
    """Goes through every staging. Whoever holds a staging's lock knows that all its leases are stale."""
    found = []
    for staging in project.estate.staging:
        declared = project.host(staging.host)
        result = Reaped(staging.id)
        try:
            path = Path(refuse_unsafe(project, staging, registry.host(declared.type)(declared, "")))
            if (path / LOCK).exists():
                with FileLock(path / LOCK).acquire(timeout=0):
                    _reap_one(project, path, staging.host, result, dry_run)
        except Timeout:
            result = Reaped(staging.id, busy=True)
        except (DrtestsError, OSError) as error:
            result.problems.append(error.what if isinstance(error, DrtestsError) else str(error))
        found.append(result)
    return found


def _reap_one(project: Project, path: Path, host_id: str | None, result: Reaped, dry_run: bool) -> None:
    declared = project.host(host_id)
    for lease in leases(path):
        if dry_run:
            result.folders.append(lease.folder)
            continue
        host = registry.host(declared.type)(declared, lease.mark)
        if lease.mark:
            result.processes.extend(host.sweep())
        try:
            host.remove_tree(lease.folder)
            lease.file.unlink(missing_ok=True)
        except DrtestsError as error:
            result.problems.append(error.what)
            continue
        result.folders.append(lease.folder)
