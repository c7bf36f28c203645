"""Reaps what a crash left: processes, restored data, leases."""

from __future__ import annotations

from dataclasses import dataclass, field

from drtests.drill.hosts import open_host
from drtests.drill.safety import refuse_unsafe
from drtests.drill.staging import LOCK, leases
from drtests.errors import DrtestsError, HostBusy
from drtests.model.project import Project
from drtests.protocols.host import Host


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
        result = Reaped(staging.id)
        try:
            host = open_host(project, staging.host)
            path = refuse_unsafe(project, staging, host)
            if host.exists(f"{path}/{LOCK}"):
                with host.lock(f"{path}/{LOCK}", 0):
                    _reap_one(project, host, path, staging.host, result, dry_run)
        except HostBusy:
            result = Reaped(staging.id, busy=True)
        except DrtestsError as error:
            result.problems.append(error.what)
        found.append(result)
    return found


def _reap_one(project: Project, here: Host, path: str, host_id: str | None, result: Reaped, dry_run: bool) -> None:
    for lease in leases(path, here):
        if dry_run:
            result.folders.append(lease.folder)
            continue
        try:
            if lease.mark:
                result.processes.extend(open_host(project, host_id, lease.mark).sweep())
            here.remove_tree(lease.folder)
            here.remove_tree(lease.file)
        except DrtestsError as error:
            result.problems.append(error.what)
            continue
        result.folders.append(lease.folder)
