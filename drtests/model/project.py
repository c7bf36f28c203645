"""All declarations together, as one frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from drtests.model.base import Criticality
from drtests.model.bia import Bia
from drtests.model.estate import Estate, Host, Person, Repository, Staging
from drtests.model.system import Backup, System


@dataclass(frozen=True, slots=True)
class Objective:
    """One objective and what binds it: `process:<id>` or `system:<id>`."""

    limit: timedelta
    bound_by: str


@dataclass(frozen=True, slots=True)
class Objectives:
    """A system's effective objectives; `None` where nothing asks for any."""

    rto: Objective | None
    rpo: Objective | None
    criticality: Criticality
    processes: tuple[str, ...]
    """Every process that needs the system, directly or through others."""


@dataclass(frozen=True, slots=True)
class Project:
    """What is declared below one `targets/` folder.

    `digests` maps each file, relative to the root, to its SHA-256.
    """

    root: Path
    bia: Bia
    estate: Estate
    systems: Mapping[str, System]
    objectives: Mapping[str, Objectives]
    digests: Mapping[str, str]

    def repository(self, repository_id: str) -> Repository:
        return next(r for r in self.estate.repositories if r.id == repository_id)

    def staging(self, staging_id: str) -> Staging:
        return next(s for s in self.estate.staging if s.id == staging_id)

    def host(self, host_id: str | None) -> Host:
        return next((h for h in self.estate.hosts if h.id == host_id), Host(id=host_id or "local"))

    def person(self, person_id: str | None) -> Person | None:
        return next((p for p in self.estate.people if p.id == person_id), None)

    def backup(self, system_id: str, backup_id: str | None = None) -> Backup:
        backups = self.systems[system_id].backups
        return next((b for b in backups if b.id == backup_id), backups[0])

    def owner(self, system_id: str) -> str:
        """System owner, else the owner of the process that binds its RTO, else of any that needs it."""
        system, objectives = self.systems[system_id], self.objectives[system_id]
        if system.owner:
            return system.owner
        owners = {p.id: p.owner for p in self.bia.processes}
        bound = objectives.rto.bound_by.removeprefix("process:") if objectives.rto else ""
        candidates = [bound, *objectives.processes]
        return next((owners[c] for c in candidates if c in owners), "")

    def path(self, declared: str) -> Path:
        """A declared path; relative ones are taken from the project's root."""
        return self.root / Path(declared).expanduser()
