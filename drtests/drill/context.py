"""What every drill of a run shares, and how its parts are put together."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from drtests import registry
from drtests.core.plan import DrillPlan
from drtests.drill.journal import JournalWriter
from drtests.drill.log import DrillLog, Listener
from drtests.errors import UsageError
from drtests.model.estate import Repository
from drtests.model.project import Project
from drtests.model.words import did_you_mean
from drtests.protocols.clock import Clock
from drtests.protocols.engine import Engine, EngineContext
from drtests.protocols.host import Host
from drtests.protocols.store import Store, StoreContext, Usage
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


@dataclass(frozen=True, slots=True)
class OpenedEngine:
    """A repository's engine, the secrets it was given (to be redacted), and the bucket it reads, if any."""

    engine: Engine
    secrets: tuple[str, ...] = field(repr=False)
    store: Store | None = None


def engine_on(
    project: Project,
    repository: Repository,
    host: Host,
    cache: str | None,
    usage: dict[str, Usage] | None = None,
    instead: Mapping[str, str] | None = None,
) -> OpenedEngine:
    """Opens a repository, from a host. `instead` overrules variables of its environment. Raises SecretError."""
    adapter = registry.engine(repository.engine)
    environment: dict[str, str] = {}
    secrets: list[str] = []
    if repository.password is not None and adapter.PASSWORD_VARIABLE:
        environment[adapter.PASSWORD_VARIABLE] = resolve(repository.password, root=project.root)
        secrets.append(environment[adapter.PASSWORD_VARIABLE])
    for name, reference in repository.environment.items():
        if reference.startswith("plain:"):
            environment[name] = reference.removeprefix("plain:")
        else:
            environment[name] = resolve(reference, root=project.root)
            secrets.append(environment[name])
    store = None
    if repository.store is not None:
        store, keys = open_store(project, repository.store, writer=False, usage=usage)
        secrets += keys
    location = repository.location if repository.folder is None else str(project.path(repository.folder))
    given = {**environment, **(instead or {})}
    built: Engine = adapter(EngineContext(repository, location, host, given, cache, store))
    return OpenedEngine(built, tuple(secrets), store)


def open_store(
    project: Project, store_id: str, *, writer: bool, usage: dict[str, Usage] | None = None
) -> tuple[Store, list[str]]:
    """A declared bucket, and the secrets that open it. Raises SecretError, UsageError.

    `usage` is kept by store: all that share it share the budget.
    """
    declared = next((one for one in project.estate.stores if one.id == store_id), None)
    if declared is None:
        known = [one.id for one in project.estate.stores]
        raise UsageError(f"there is no store {store_id!r}", mend=did_you_mean(store_id, known, "declared as store"))
    keys = declared.writer if writer else declared.reader
    if keys is None:
        raise UsageError(
            f"store {store_id!r} declares no credentials of the backup writer",
            mend="give `writer` in targets/estate.yaml",
        )
    references = keys.model_dump(exclude_none=True)
    credentials = {name: resolve(reference, root=project.root) for name, reference in references.items()}
    counted = Usage() if usage is None else usage.setdefault(store_id, Usage())
    context = StoreContext(declared, "writer" if writer else "reader", credentials, counted)
    made: Store = registry.store(declared.type)(context)
    return made, list(credentials.values())
