"""What goes into a recovery kit, as values. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from drtests import __version__
from drtests.core.events import canonical
from drtests.core.objectives import recovery_order
from drtests.model.kit import KeptKey
from drtests.model.project import Project
from drtests.model.units import format_duration, utc_text
from drtests.protocols.capabilities import HandStep

SCHEMA = "drtests-kit"
SCHEMA_VERSION = 1
MANIFEST = "kit.json"
SUMS = "SHA256SUMS"
DOCUMENT = "recovery-kit.html"


@dataclass(frozen=True, slots=True)
class Tool:
    """A program as it was found on a host. `path` is empty when it is not there; `file` is its place in the kit."""

    name: str
    host: str
    path: str = ""
    version: str = ""
    sha256: str = ""
    file: str = ""


@dataclass(frozen=True, slots=True)
class ByHandSteps:
    """How one backup of a system is restored by hand; no steps where the engine cannot tell."""

    backup: str
    repository: str
    steps: tuple[HandStep, ...]
    secrets: tuple[str, ...]
    """Variables that hold secrets."""
    plain: Mapping[str, str]
    """Variables that do not."""


@dataclass(frozen=True, slots=True)
class Contents:
    """All that a kit is made of."""

    project: Project
    made_at: datetime
    tools: tuple[Tool, ...]
    by_hand: Mapping[str, Sequence[ByHandSteps]]
    """By system; the backup that is restored by default comes first."""

    def waves(self) -> list[list[str]]:
        return recovery_order(self.project.systems)


def declarations_digest(project: Project) -> str:
    """SHA-256 over what is declared, comments and order of keys aside: another one makes a kit stale."""
    parts = {
        "bia": project.bia.model_dump(mode="json", exclude_defaults=True),
        "estate": project.estate.model_dump(mode="json", exclude_defaults=True),
        "systems": {name: s.model_dump(mode="json", exclude_defaults=True) for name, s in project.systems.items()},
    }
    return hashlib.sha256(canonical(parts).encode()).hexdigest()


def kept_key(project: Project, repository: str) -> KeptKey | None:
    """Where the keys of a repository are kept, as declared."""
    keys = project.estate.kit.keys if project.estate.kit else ()
    return next((key for key in keys if key.repository == repository), None)


def restore_target(system: str) -> str:
    """Where the runbooks restore to."""
    return f"/restore/{system}"


def manifest(contents: Contents, files: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """`kit.json`: what machines read, the offsite drill among them. References to secrets, never secrets."""
    project = contents.project
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "tool": f"drtests {__version__}",
        "organisation": project.estate.organisation.name,
        "made_at": utc_text(contents.made_at),
        "declarations": declarations_digest(project),
        "waves": contents.waves(),
        "systems": {name: _system(project, name) for name in sorted(project.systems)},
        "repositories": [repository_entry(project, one.id) for one in project.estate.repositories],
        "tools": [asdict(tool) for tool in contents.tools],
        "files": [dict(one) for one in files],
    }


def _system(project: Project, name: str) -> dict[str, Any]:
    objectives, system = project.objectives[name], project.systems[name]
    return {
        "name": system.name,
        "rto": format_duration(objectives.rto.limit.total_seconds()) if objectives.rto else None,
        "rpo": format_duration(objectives.rpo.limit.total_seconds()) if objectives.rpo else None,
        "needs": [dependency.target for dependency in system.dependencies],
        "repositories": [backup.repository for backup in system.backups],
        "runbook": runbook_file(name),
    }


def runbook_file(system: str) -> str:
    return f"runbooks/{system}.md"


def repository_entry(project: Project, repository: str) -> dict[str, Any]:
    """What the kit says of a repository. A copy that says anything else was not written from these declarations."""
    declared = project.repository(repository)
    kept = kept_key(project, repository)
    return {
        "declared": declared.model_dump(mode="json", exclude_defaults=True),
        "kept": kept.kept if kept else "",
        "holders": list(kept.holders) if kept else [],
        "password": (kept.password if kept else None) or declared.password,
        "environment": {**declared.environment, **(kept.environment if kept else {})},
    }


def unkept(project: Project, repository: str) -> list[str]:
    """Keys of a repository that are not known to be kept apart: without a reference of their own, `password` first."""
    declared, kept = project.repository(repository), kept_key(project, repository)
    needed = {} if declared.password is None else {"password": declared.password}
    needed |= {name: one for name, one in declared.environment.items() if not one.startswith("plain:")}
    own = {} if kept is None else {"password": kept.password, **kept.environment}
    return [name for name, reference in needed.items() if own.get(name) in {None, reference}]


def carried_as(host: str, program: str) -> str:
    """The file of a program within the kit."""
    return f"tools/{host}/{program}"
