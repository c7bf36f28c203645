"""What must hold between declarations. Each rule is one function that yields what is wrong.

A rule sees what could be read: `bia` and `estate` are None, and a system is
missing from `systems`, when their files are wrong in themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from pathlib import PurePosixPath
from zoneinfo import ZoneInfo, available_timezones

from drtests import registry
from drtests.core.objectives import a_cycle, components, effective_objectives, hard
from drtests.declarations.adapters import adapter_problems
from drtests.declarations.checks import check_problems
from drtests.declarations.source import Source
from drtests.declarations.yamltext import Path
from drtests.errors import Diagnostic
from drtests.model.bia import Bia
from drtests.model.estate import Estate
from drtests.model.system import System
from drtests.model.units import format_duration
from drtests.model.words import did_you_mean


@dataclass(frozen=True, slots=True)
class Declared:
    """All that was read. `known` are the ids of all systems that have a file, readable or not."""

    root: FilePath
    bia: Bia | None
    estate: Estate | None
    systems: Mapping[str, System]
    known: frozenset[str]
    sources: Mapping[str, Source]
    """By `bia`, `estate` and `system:<id>`."""

    def source(self, system_id: str) -> Source:
        return self.sources[f"system:{system_id}"]

    @property
    def complete(self) -> bool:
        return self.bia is not None and self.estate is not None and self.known == self.systems.keys()


def unique_ids(all_: Declared) -> Iterator[Diagnostic]:
    """Nothing of a kind has the id of another."""
    if all_.bia:
        yield from _twice(all_.sources["bia"], ("processes",), [p.id for p in all_.bia.processes])
        for number, process in enumerate(all_.bia.processes):
            if process.id in all_.known:
                what = f"{process.id!r} is the id of a process and of a system"
                mend = "dependencies would be ambiguous: rename the process"
                yield all_.sources["bia"].wrong(("processes", number, "id"), what, mend)
    if all_.estate:
        for kind in ("sites", "people", "hosts", "repositories", "databases", "stores", "staging"):
            yield from _twice(all_.sources["estate"], (kind,), [one.id for one in getattr(all_.estate, kind)])
    for name, system in all_.systems.items():
        for kind in ("backups", "databases", "replicas", "failovers"):
            yield from _twice(all_.source(name), (kind,), [one.id for one in getattr(system, kind)])


def _twice(source: Source, path: Path, ids: Sequence[str]) -> Iterator[Diagnostic]:
    if len(set(ids)) == len(ids):
        return
    first: dict[str, int] = {}
    for number, one in enumerate(ids):
        if first.setdefault(one, number) != number:
            there = source.at((*path, first[one], "id"))
            what = f"id {one!r} is taken already, at {there}"
            yield source.wrong((*path, number, "id"), what, "give each an id of its own")


def references(all_: Declared) -> Iterator[Diagnostic]:
    """Every id that is named is declared."""
    for source, path, kind, name, known in _references(all_):
        if name is not None and name not in known:
            yield source.wrong(path, f"there is no {kind} {name!r}", did_you_mean(name, known, f"declared as {kind}"))


_Reference = tuple[Source, Path, str, str | None, Iterable[str]]


def _references(all_: Declared) -> Iterator[_Reference]:
    if all_.estate:
        yield from _estate_references(all_.estate, all_.sources["estate"])
    if all_.bia:
        yield from _bia_references(all_, all_.bia, all_.sources["bia"])
    estate = all_.estate
    if estate is None:
        people = hosts = repositories = staging = None
    else:
        people, hosts = {p.id for p in estate.people}, _hosts(estate)
        repositories, staging = {r.id for r in estate.repositories}, {s.id for s in estate.staging}
    for name, system in all_.systems.items():
        source = all_.source(name)
        backups = {backup.id for backup in system.backups}
        yield source, ("restore", "backup"), "backup of this system", system.restore.backup, backups
        for number, dependency in enumerate(system.dependencies):
            path = ("dependencies", number, "target")
            yield source, path, "system", dependency.target, all_.known
        if people is None or hosts is None or repositories is None or staging is None:
            continue
        yield source, ("owner",), "person", system.owner, people
        yield source, ("restore", "staging"), "staging", system.restore.staging, staging
        for number, one in enumerate(system.sources):
            yield source, ("sources", number, "host"), "host", one.host, hosts
        for number, backup in enumerate(system.backups):
            yield source, ("backups", number, "repository"), "repository", backup.repository, repositories


def _estate_references(estate: Estate, source: Source) -> Iterator[_Reference]:
    people, sites, hosts = {p.id for p in estate.people}, {s.id for s in estate.sites}, _hosts(estate)
    for number, person in enumerate(estate.people):
        yield source, ("people", number, "deputy"), "person", person.deputy, people
    for number, host in enumerate(estate.hosts):
        yield source, ("hosts", number, "site"), "site", host.site, sites
        if host.ssh:
            reached = {other.id for other in estate.hosts if other.ssh and other.id != host.id}
            yield source, ("hosts", number, "ssh", "jump"), "other host of type ssh", host.ssh.jump, reached
    for number, repository in enumerate(estate.repositories):
        yield source, ("repositories", number, "site"), "site", repository.site, sites
        yield source, ("repositories", number, "host"), "host", repository.host, hosts
        yield source, ("repositories", number, "store"), "store", repository.store, {s.id for s in estate.stores}
        others = {other.id for other in estate.repositories if other.id != repository.id}
        yield source, ("repositories", number, "copy_of"), "other repository", repository.copy_of, others
    for number, database in enumerate(estate.databases):
        yield source, ("databases", number, "host"), "host", database.host, hosts
        yield source, ("databases", number, "site"), "site", database.site, sites
    for number, store in enumerate(estate.stores):
        yield source, ("stores", number, "site"), "site", store.site, sites
    for number, staging in enumerate(estate.staging):
        yield source, ("staging", number, "host"), "host", staging.host, hosts
    yield from _kit_references(estate, source, people, sites, hosts)


def _kit_references(
    estate: Estate, source: Source, people: set[str], sites: set[str], hosts: set[str]
) -> Iterator[_Reference]:
    if estate.kit is None:
        return
    repositories, stores = {r.id for r in estate.repositories}, {s.id for s in estate.stores}
    for number, copy in enumerate(estate.kit.copies):
        at: Path = ("kit", "copies", number)
        yield source, (*at, "host"), "host", copy.host, hosts
        yield source, (*at, "store"), "store", copy.store, stores
        yield source, (*at, "site"), "site", copy.site, sites
    for number, key in enumerate(estate.kit.keys):
        at = ("kit", "keys", number)
        yield source, (*at, "repository"), "repository", key.repository, repositories
        for place, holder in enumerate(key.holders):
            yield source, (*at, "holders", place), "person", holder, people


def _bia_references(all_: Declared, bia: Bia, source: Source) -> Iterator[_Reference]:
    needed = all_.known | {process.id for process in bia.processes}
    people = {p.id for p in all_.estate.people} if all_.estate else None
    for number, process in enumerate(bia.processes):
        at: Path = ("processes", number)
        for place, dependency in enumerate(process.dependencies):
            path = (*at, "dependencies", place, "target")
            yield source, path, "system or process", dependency.target, needed
        if people is not None:
            yield source, (*at, "owner"), "person", process.owner, people
            yield source, (*at, "deputy"), "person", process.deputy, people
            yield source, (*at, "approver"), "person", process.approver, people


def _hosts(estate: Estate) -> set[str]:
    """`local` needs no declaration: it is the machine that runs drtests."""
    return {host.id for host in estate.hosts} | {"local"}


def no_cycles(all_: Declared) -> Iterator[Diagnostic]:
    """Systems that need each other have a complete order in which to be started; processes never do."""
    systems = all_.systems
    graph = {name: hard(systems[name], systems) for name in sorted(systems)}
    for group in components(graph):
        cycle = a_cycle(group, graph)
        numbers = [systems[name].bootstrap for name in group]
        if not cycle or (len(group) > 1 and None not in numbers and len(set(numbers)) == len(numbers)):
            continue
        mend = "give each of them a `bootstrap` number of its own: the order in which they are started"
        if len(group) == 1:
            mend = "remove it from its own dependencies"
        path = _dependency_on(systems[cycle[0]].dependencies, cycle[1])
        yield all_.source(cycle[0]).wrong(path, f"systems need each other: {' -> '.join(cycle)}", mend)
    if all_.bia is None:
        return
    processes = {process.id: process for process in all_.bia.processes}
    graph = {name: hard(process, processes) for name, process in processes.items()}
    order = [process.id for process in all_.bia.processes]
    for group in components(graph):
        cycle = a_cycle(group, graph)
        if cycle:
            path = _dependency_on(processes[cycle[0]].dependencies, cycle[1])
            what = f"processes need each other: {' -> '.join(cycle)}"
            at: Path = ("processes", order.index(cycle[0]), *path)
            yield all_.sources["bia"].wrong(at, what, "make one of these dependencies `type: soft`, or remove it")


def _dependency_on(dependencies: Sequence[object], target: str) -> Path:
    number = next(n for n, d in enumerate(dependencies) if getattr(d, "target", None) == target)
    return ("dependencies", number)


def tolerable(all_: Declared) -> Iterator[Diagnostic]:
    """RTO + WRT <= MTPD: whoever is back too late is not back."""
    for number, process in enumerate(all_.bia.processes if all_.bia else ()):
        if process.mtpd is None:
            continue
        total = process.rto if process.wrt is None else process.rto + process.wrt
        if total > process.mtpd:
            parts = "RTO" if process.wrt is None else "RTO and WRT together"
            limit = format_duration(process.mtpd.total_seconds())
            what = f"{parts} take {format_duration(total.total_seconds())}, longer than the MTPD of {limit}"
            mend = "shorten `rto` or `wrt`, or let the owner decide on a longer `mtpd`"
            yield all_.sources["bia"].wrong(("processes", number, "rto"), what, mend)


def adapters(all_: Declared) -> Iterator[Diagnostic]:
    """Engines and types of hosts are installed; what is not ours is named as package.module:Class."""
    if all_.estate is None:
        return
    source = all_.sources["estate"]
    for number, repository in enumerate(all_.estate.repositories):
        if ":" not in repository.engine and repository.engine not in registry.engine_names():
            mend = did_you_mean(repository.engine, registry.engine_names(), "installed engines")
            yield source.wrong(("repositories", number, "engine"), f"there is no engine {repository.engine!r}", mend)
    for number, host in enumerate(all_.estate.hosts):
        if ":" not in host.type and host.type not in registry.host_types():
            mend = did_you_mean(host.type, registry.host_types(), "installed types of hosts")
            yield source.wrong(("hosts", number, "type"), f"there is no type of host {host.type!r}", mend)
    for number, repository in enumerate(all_.estate.repositories):
        known = repository.engine in registry.engine_names()
        if known and repository.password is None and registry.engine(repository.engine).PASSWORD_VARIABLE:
            what = f"repository {repository.id!r} has no password, and {repository.engine} always encrypts"
            mend = "add `password:` with a reference: env:NAME, file:/path or command:program args"
            yield source.wrong(("repositories", number), what, mend)


def known_timezone(all_: Declared) -> Iterator[Diagnostic]:
    """Reports show times in this zone."""
    if all_.estate is None:
        return
    name = all_.estate.organisation.timezone
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        zones = available_timezones()
        mend = did_you_mean(name, zones)
        cities = {zone.rpartition("/")[2].lower(): zone for zone in zones}
        if "did you mean" not in mend:
            found = cities.get(name.lower().replace(" ", "_"))
            mend = f"did you mean {found!r}?" if found else "give an IANA name, e.g. Europe/Amsterdam or UTC"
        yield all_.sources["estate"].wrong(("organisation", "timezone"), f"there is no time zone {name!r}", mend)


def steps(all_: Declared) -> Iterator[Diagnostic]:
    """Recovery steps stay inside the restored tree, and services are waited for."""
    for name, system in all_.systems.items():
        for number, step in enumerate(system.start):
            at: Path = ("start", number)
            source = all_.source(name)
            if step.cwd.startswith(("/", "~")) or ".." in PurePosixPath(step.cwd).parts:
                what = f"cwd {step.cwd!r} leads out of the restored tree"
                yield source.wrong((*at, "cwd"), what, "give a folder below the restored tree, e.g. srv/app")
            if step.background and step.ready is None:
                mend = "give `ready`: {http: URL} or {tcp: host:port}, and `within`"
                what = f"nothing tells when the service {step.name!r} is up"
                yield source.wrong((*at, "background"), what, mend, key=True)
            if step.ready is not None and not step.background:
                what = f"step {step.name!r} runs to its end, so it is never asked whether it is up"
                mend = "add `background: true` if it is a service, else remove `ready`"
                yield source.wrong((*at, "ready"), what, mend, key=True)


def checks(all_: Declared) -> Iterator[Diagnostic]:
    """Every check is one that exists, with options that fit it; at least one proves data."""
    for name, system in all_.systems.items():
        yield from check_problems(system, all_.estate, all_.source(name))


def system_adapters(all_: Declared) -> Iterator[Diagnostic]:
    """Databases, replicas and failovers are of kinds that exist, with options that fit and ids that are declared."""
    for name, system in all_.systems.items():
        yield from adapter_problems(system, all_.estate, all_.source(name))


def held_to_something(all_: Declared) -> Iterator[Diagnostic]:
    """Every system has an RTO and an RPO, its own or of a process that needs it."""
    if all_.bia is None or not all_.complete:
        return
    for name, objectives in effective_objectives(all_.bia.processes, all_.systems).items():
        absent = [word for word, value in (("rto", objectives.rto), ("rpo", objectives.rpo)) if value is None]
        if absent:
            what = f"no process needs system {name!r}, and it has no {' and no '.join(absent)} of its own"
            mend = "there is nothing to hold it against: name it in the `dependencies` of a process in "
            mend += f"targets/bia.yaml (a hard one), or give it {' and '.join(f'`{word}`' for word in absent)} here"
            yield all_.source(name).wrong((), what, mend)


RULES: tuple[Callable[[Declared], Iterator[Diagnostic]], ...] = (
    unique_ids,
    references,
    no_cycles,
    tolerable,
    adapters,
    known_timezone,
    steps,
    checks,
    system_adapters,
    held_to_something,
)
