"""From declarations to drills: which there are, and all that a report needs to know of each."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from drtests.core.events import canonical
from drtests.core.plan import FAILOVER, INTEGRITY, OFFSITE, RECOVERY_POINTS, REPLICATION, RESTORE, DrillPlan, Limit
from drtests.model.project import Objective, Project


@dataclass(frozen=True, slots=True)
class DrillName:
    """A drill of a system: `name` as people write it after `::`, its kind, and the backup it looks at.

    `subject` is the replica, the failover or the repository that it is about.
    """

    name: str
    kind: str
    backup: str
    subject: str = ""


def drills_of(project: Project, system_id: str) -> list[DrillName]:
    """The drills that a system's declaration asks for, in the order in which they run."""
    system = project.systems[system_id]
    chosen = project.backup(system_id, system.restore.backup).id
    found = [DrillName("restore", RESTORE, chosen)]
    several = len(system.backups) > 1
    for backup in system.backups:
        found.append(DrillName(_named(RECOVERY_POINTS, backup.id, several), RECOVERY_POINTS, backup.id))
    seen: set[str] = set()
    for backup in system.backups:
        if backup.repository not in seen:
            seen.add(backup.repository)
            found.append(DrillName(_named(INTEGRITY, backup.repository, several), INTEGRITY, backup.id))
    # A recovery kit is what such a drill begins with: who declares none is not that far, and `drtests plan` says so.
    offsite = {one.id for one in project.estate.repositories if one.offsite and project.estate.kit is not None}
    for backup in system.backups:
        if backup.repository in offsite:
            offsite.remove(backup.repository)
            found.append(DrillName(f"{OFFSITE}[{backup.repository}]", OFFSITE, backup.id, backup.repository))
    for kind, declared in ((REPLICATION, system.replicas), (FAILOVER, system.failovers)):
        found += [DrillName(f"{kind}[{one.id}]", kind, chosen, one.id) for one in declared]
    return found


def _named(kind: str, which: str, several: bool) -> str:
    return f"{kind}[{which}]" if several else kind


def plan_drill(project: Project, system_id: str, drill: DrillName, node: str) -> DrillPlan:
    """Everything known of a drill before it runs."""
    objectives = project.objectives[system_id]
    return DrillPlan(
        id=f"{system_id}::{drill.name}",
        node=node,
        system=system_id,
        system_name=project.systems[system_id].name,
        kind=drill.kind,
        backup=drill.backup,
        criticality=objectives.criticality,
        owner=project.owner(system_id),
        processes=objectives.processes,
        declaration=declaration_digest(project, system_id, drill.subject if drill.kind == OFFSITE else None),
        rto=_limit(objectives.rto),
        rpo=_rpo(project, system_id, drill),
        subject=drill.subject,
    )


def _rpo(project: Project, system_id: str, drill: DrillName) -> Limit | None:
    """The system's, or that of the replica where it asks for more."""
    found = _limit(project.objectives[system_id].rpo)
    replica = next((one for one in project.systems[system_id].replicas if one.id == drill.subject), None)
    if drill.kind != REPLICATION or replica is None or replica.rpo is None:
        return found
    own = Limit(replica.rpo.total_seconds(), f"system:{system_id}")
    return own if found is None or own.seconds < found.seconds else found


def _limit(objective: Objective | None) -> Limit | None:
    return Limit(objective.limit.total_seconds(), objective.bound_by) if objective else None


def declaration_digest(project: Project, system_id: str, offsite: str | None = None) -> str:
    """SHA-256 over all that decides how a system is drilled and judged: a change makes older results stale.

    Of the drill of an offsite repository its primary, its bucket, the sites and the recovery kit are part, too.
    """
    system, objectives = project.systems[system_id], project.objectives[system_id]
    repositories = {backup.repository for backup in system.backups}
    parts = {
        "system": system.model_dump(mode="json"),
        "rto": objectives.rto.limit.total_seconds() if objectives.rto else None,
        "rpo": objectives.rpo.limit.total_seconds() if objectives.rpo else None,
        "repositories": [project.repository(name).model_dump(mode="json") for name in sorted(repositories)],
        "staging": project.staging(system.restore.staging).model_dump(mode="json"),
    }
    if offsite is not None:
        repository, estate = project.repository(offsite), project.estate
        parts["offsite"] = {
            "primary": project.repository(repository.copy_of).model_dump(mode="json") if repository.copy_of else None,
            "stores": [one.model_dump(mode="json") for one in estate.stores if one.id == repository.store],
            "sites": [one.model_dump(mode="json") for one in estate.sites],
            "kit": estate.kit.model_dump(mode="json") if estate.kit else None,
        }
    return hashlib.sha256(canonical(parts).encode()).hexdigest()
