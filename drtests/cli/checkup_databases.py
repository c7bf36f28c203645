"""What `drtests doctor` looks at of running databases, recipes and stores. Reads only."""

from __future__ import annotations

from collections.abc import Iterator

from drtests import registry
from drtests.cli.findings import Finding, problem
from drtests.declarations.adapters import spec_of
from drtests.drill.hosts import open_host
from drtests.errors import DrtestsError
from drtests.model.connections import LiveDatabase
from drtests.model.connections import Store as DeclaredStore
from drtests.model.project import Project
from drtests.model.units import format_duration
from drtests.protocols.database import Live, LiveContext, TellsPrograms
from drtests.protocols.store import BucketFacts, Store, StoreContext
from drtests.secrets import resolve

_QUESTIONS = {"redis": "PING"}
"""What every server of a type can answer; `SELECT 1` where nothing else is said."""


def live_databases(project: Project) -> Iterator[Finding]:
    """Whether each answers, and a session that only reads can be opened."""
    for declared in project.estate.databases:
        yield _live(project, declared)


def _live(project: Project, declared: LiveDatabase) -> Finding:
    subject = f"database {declared.id}"
    try:
        password = resolve(declared.password, root=project.root) if declared.password else None
        context = LiveContext(declared, open_host(project, declared.host), password)
        live: Live = registry.database(declared.type)(context)
        version = live.version()
        live.query(_QUESTIONS.get(live.type, "SELECT 1"))
    except DrtestsError as error:
        return problem(subject, error)
    return Finding("ok", subject, f"{version}, answers a session that only reads")


def recipes(project: Project) -> Iterator[Finding]:
    """Whether the programs that restored databases need are on the hosts of their stagings; those that tell."""
    for name, system in sorted(project.systems.items()):
        host_id = project.staging(system.restore.staging).host
        for declared in system.databases:
            subject = f"recipe of {name}/{declared.id}"
            try:
                adapter = registry.recipe(declared.recipe)
                recipe = adapter(spec_of(adapter, f"database {declared.id}", declared.options))
                if isinstance(recipe, TellsPrograms):
                    host = open_host(project, host_id)
                    yield Finding("ok", subject, f"{recipe.programs(host)}, on host {host.id}")
            except DrtestsError as error:
                yield problem(subject, error)


def stores(project: Project) -> Iterator[Finding]:
    """What each tells of its bucket."""
    for declared in project.estate.stores:
        yield _store(project, declared)


def _store(project: Project, declared: DeclaredStore) -> Finding:
    subject = f"store {declared.id}"
    try:
        references = declared.reader.model_dump(exclude_none=True)
        credentials = {name: resolve(reference, root=project.root) for name, reference in references.items()}
        store: Store = registry.store(declared.type)(StoreContext(declared, "reader", credentials))
        facts = store.facts()
    except DrtestsError as error:
        return problem(subject, error)
    if facts.public:
        return Finding("problem", subject, f"open to everybody: {_told(facts)}", "block public access to the bucket")
    return Finding("ok", subject, _told(facts))


def _told(facts: BucketFacts) -> str:
    told = [f"versioning {facts.versioning}"] if facts.versioning is not None else []
    if facts.lock_mode is not None:
        span = f" for {format_duration(facts.lock_seconds)}" if facts.lock_seconds else ""
        told.append(f"lock {facts.lock_mode}{span}")
    if facts.encryption is not None:
        told.append(f"encryption {facts.encryption}")
    if facts.unknown:
        told.append(f"not told: {', '.join(sorted(facts.unknown))}")
    return f"answers: {', '.join(told) or 'tells nothing of itself'}"
