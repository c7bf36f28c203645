"""What `drtests doctor` looks at. Reads only: no lock, no restore, nothing written."""

from __future__ import annotations

from drtests import __version__
from drtests.cli.checkup_databases import live_databases, recipes, stores
from drtests.cli.findings import Finding
from drtests.drill.context import engine_on
from drtests.drill.hosts import open_host
from drtests.drill.safety import refuse_unsafe
from drtests.errors import DrtestsError
from drtests.model.estate import Repository, Staging
from drtests.model.project import Project
from drtests.model.system import Snapshots
from drtests.model.units import format_size, utc_text

_STATISTICS_TIMEOUT = 600.0


def check_up(project: Project) -> list[Finding]:
    """Everything a run needs, one finding each."""
    found = [Finding("ok", "drtests", __version__)]
    for host in project.estate.hosts:
        found.append(_host(project, host.id))
    sizes: dict[str, int] = {}
    for repository in project.estate.repositories:
        found += _repository(project, repository, sizes)
        found += _from_stagings(project, repository)
    for staging in project.estate.staging:
        found.append(_staging(project, staging, sizes))
    found += [*live_databases(project), *recipes(project), *stores(project)]
    return found


def _host(project: Project, host_id: str) -> Finding:
    try:
        result = open_host(project, host_id).run(["uname", "-sr"], timeout=30)
    except DrtestsError as error:
        return Finding("problem", f"host {host_id}", error.what, error.mend)
    return Finding("ok", f"host {host_id}", f"answers: {result.stdout.strip()}")


def _repository(project: Project, repository: Repository, sizes: dict[str, int]) -> list[Finding]:
    subject = f"repository {repository.id}"
    users = [
        (name, backup)
        for name, system in sorted(project.systems.items())
        for backup in system.backups
        if backup.repository == repository.id
    ]
    try:
        found = engine_on(project, repository, open_host(project, repository.host), None).engine
        version = found.version()
        points = found.recovery_points(Snapshots())
        found.guard()
    except DrtestsError as error:
        return [Finding("problem", subject, error.what, error.mend)]
    findings = [Finding("ok", subject, f"{version}, {len(points)} recovery points")]
    for name, backup in users:
        try:
            mine = found.recovery_points(backup.snapshots)
            if not mine:
                findings.append(
                    Finding(
                        "problem",
                        f"backup {name}/{backup.id}",
                        "no recovery point matches",
                        "compare `snapshots` (host, tags, paths) with what the backup program writes",
                    )
                )
                continue
            size = found.statistics(mine[-1], _STATISTICS_TIMEOUT)
        except DrtestsError as error:
            findings.append(Finding("problem", f"backup {name}/{backup.id}", error.what, error.mend))
            continue
        staging = project.systems[name].restore.staging
        sizes[staging] = max(sizes.get(staging, 0), size.bytes)
        text = f"newest of {utc_text(mine[-1].time)}, {size.files} files, {format_size(size.bytes)} once restored"
        findings.append(Finding("ok", f"backup {name}/{backup.id}", text))
    return findings


def _from_stagings(project: Project, repository: Repository) -> list[Finding]:
    """Restores run on the staging's host: what can be read from here may be out of its reach."""
    machine = project.estate.machine
    seen = {machine(repository.host)}
    findings = []
    for name, system in sorted(project.systems.items()):
        host = project.staging(system.restore.staging).host
        used = project.backup(name, system.restore.backup).repository == repository.id
        if not used or machine(host) in seen:
            continue
        seen.add(machine(host))
        subject = f"repository {repository.id} from host {host}"
        try:
            found = engine_on(project, repository, open_host(project, host), None).engine
            text = f"{found.version()}, {len(found.recovery_points(Snapshots()))} recovery points"
        except DrtestsError as error:
            findings.append(Finding("problem", subject, error.what, error.mend))
        else:
            findings.append(Finding("ok", subject, text))
    return findings


def _staging(project: Project, staging: Staging, sizes: dict[str, int]) -> Finding:
    subject = f"staging {staging.id}"
    try:
        host = open_host(project, staging.host)
        path = refuse_unsafe(project, staging, host)
        free = host.free_bytes(path)
    except DrtestsError as error:
        return Finding("problem", subject, error.what, error.mend)
    need = sizes.get(staging.id, 0)
    text = f"{format_size(free)} free, {format_size(need)} needed by the largest recovery point"
    if free < need:
        return Finding("problem", subject, text, f"make room at {path}, or move the staging to a larger disk")
    if free < need * 1.2:
        return Finding("warning", subject, text, "leave room for the engine's cache and for growth")
    return Finding("ok", subject, text)
