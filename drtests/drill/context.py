"""What every drill of a run shares, and how its parts are put together."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from drtests import registry
from drtests.core.plan import DrillPlan
from drtests.drill.journal import JournalWriter
from drtests.drill.log import DrillLog, Listener
from drtests.model.estate import Repository
from drtests.model.project import Project
from drtests.protocols.clock import Clock
from drtests.protocols.engine import Engine, EngineContext
from drtests.protocols.host import Host
from drtests.secrets import resolve


@dataclass(frozen=True, slots=True)
class Options:
    """What a person may ask of a run. `point` and `seed` overrule what is declared; times in seconds."""

    point: str | None = None
    seed: str | None = None
    lock_timeout: float = 4 * 3600.0


@dataclass(frozen=True, slots=True)
class RunContext:
    """One per process. `parts` holds, by drill, the part of the repository that was read last and of how many."""

    run: str
    project: Project
    journal: JournalWriter
    clock: Clock
    parts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    options: Options = Options()
    listener: Listener = field(default_factory=Listener)

    def log(self, drill: str) -> DrillLog:
        return DrillLog(self.journal, drill, self.clock, self.listener)

    def mark(self, plan: DrillPlan) -> str:
        """Carried in the environment of every process of the drill, so that none is lost sight of."""
        return f"{self.run}/{plan.id}"


def folder_name(run: str, drill: str) -> str:
    """A name for the drill's folder that no two drills of a run share, whatever their ids hold."""
    safe = "".join(c if c.isalnum() or c in "._-" else "-" for c in drill)[:60]
    return f"{run}-{safe}-{hashlib.sha256(drill.encode()).hexdigest()[:8]}"


def engine_on(project: Project, repository: Repository, host: Host, cache: str | None) -> tuple[Engine, list[str]]:
    """The repository's engine, and the secrets it was given, to be redacted. Raises SecretError."""
    adapter = registry.engine(repository.engine)
    environment: dict[str, str] = {}
    secrets: list[str] = []
    if repository.password is not None:
        environment[adapter.PASSWORD_VARIABLE] = resolve(repository.password, root=project.root)
        secrets.append(environment[adapter.PASSWORD_VARIABLE])
    for name, reference in repository.environment.items():
        if reference.startswith("plain:"):
            environment[name] = reference.removeprefix("plain:")
        else:
            environment[name] = resolve(reference, root=project.root)
            secrets.append(environment[name])
    location = repository.location if repository.folder is None else str(project.path(repository.folder))
    built: Engine = adapter(EngineContext(repository, location, host, environment, cache))
    return built, secrets
