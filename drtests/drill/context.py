"""What every drill of a run shares, and how its parts are put together."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from drtests import registry
from drtests.core.plan import DrillPlan
from drtests.drill.journal import JournalWriter
from drtests.drill.journaled_host import JournaledHost
from drtests.drill.log import DrillLog, Listener
from drtests.model.estate import Repository
from drtests.model.project import Project
from drtests.protocols.clock import Clock
from drtests.protocols.engine import Engine, EngineContext
from drtests.protocols.host import Host
from drtests.secrets import Redactor, resolve


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

    def host(self, host_id: str | None, mark: str, log: DrillLog) -> JournaledHost:
        declared = self.project.host(host_id)
        return JournaledHost(registry.host(declared.type)(declared, mark), log)


def folder_name(run: str, drill: str) -> str:
    """A name for the drill's folder that no two drills of a run share, whatever their ids hold."""
    safe = "".join(c if c.isalnum() or c in "._-" else "-" for c in drill)[:60]
    return f"{run}-{safe}-{hashlib.sha256(drill.encode()).hexdigest()[:8]}"


def secrets_of(repository: Repository, root: Path) -> tuple[dict[str, str], Redactor]:
    """The engine's environment, and a redactor that knows its secrets. Raises SecretError."""
    password = resolve(repository.password, root=root)
    environment = {registry.engine(repository.engine).PASSWORD_VARIABLE: password}
    secrets = [password]
    for name, reference in repository.environment.items():
        if reference.startswith("plain:"):
            environment[name] = reference.removeprefix("plain:")
        else:
            environment[name] = resolve(reference, root=root)
            secrets.append(environment[name])
    return environment, Redactor(secrets)


def engine(project: Project, repository: Repository, host: JournaledHost, log: DrillLog, cache: str | None) -> Engine:
    """The repository's engine on a host; from here on the log redacts the repository's secrets."""
    built, log.redactor = engine_on(project, repository, host, cache)
    return built


def engine_on(project: Project, repository: Repository, host: Host, cache: str | None) -> tuple[Engine, Redactor]:
    """The repository's engine, and a redactor for whatever is written of it. Raises SecretError."""
    environment, redactor = secrets_of(repository, project.root)
    location = repository.location if repository.folder is None else str(project.path(repository.folder))
    context = EngineContext(repository, location, host, environment, cache)
    built: Engine = registry.engine(repository.engine)(context)
    return built, redactor
