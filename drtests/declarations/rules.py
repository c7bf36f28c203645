"""What must hold between declarations. Each rule goes as far as the files could be read."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from zoneinfo import ZoneInfo

from drtests.core.objectives import cycles, effective_objectives
from drtests.declarations.checks import check_problems
from drtests.declarations.explain import suggest
from drtests.declarations.yamlfile import YamlFile
from drtests.errors import Diagnostic
from drtests.model.bia import Bia
from drtests.model.estate import Estate
from drtests.model.system import System
from drtests.model.units import format_duration


@dataclass(frozen=True, slots=True)
class Declared:
    """All files, and as much of them as could be understood."""

    root: Path
    bia_file: YamlFile
    bia: Bia | None
    estate_file: YamlFile
    estate: Estate | None
    files: Mapping[str, YamlFile]
    systems: Mapping[str, System]


Found = Iterator[Diagnostic]


def problems_of(all_: Declared) -> list[Diagnostic]:
    """Every rule that is broken, in the order of the rules."""
    return [problem for rule in _RULES for problem in rule(all_)]


def _twice(file: YamlFile, path: Sequence[str | int], ids: Iterable[str]) -> Found:
    seen: set[str] = set()
    for number, name in enumerate(ids):
        if name in seen:
            yield Diagnostic(f"the id {name!r} stands here twice", file.where((*path, number, "id")), "rename one of them")
        seen.add(name)


def duplicate_ids(all_: Declared) -> Found:
    if all_.bia:
        yield from _twice(all_.bia_file, ("processes",), (p.id for p in all_.bia.processes))
        for number, process in enumerate(all_.bia.processes):
            if process.id in all_.files:
                yield Diagnostic(
                    f"the id {process.id!r} names both a process and a system",
                    all_.bia_file.where(("processes", number, "id")),
                    "rename one of them, or dependencies on it are ambiguous",
                )
    if all_.estate:
        for kind in ("sites", "people", "hosts", "repositories", "staging"):
            yield from _twice(all_.estate_file, (kind,), (one.id for one in getattr(all_.estate, kind)))
    for name, system in all_.systems.items():
        yield from _twice(all_.files[name], ("backups",), (backup.id for backup in system.backups))


def _dangling(file: YamlFile, path: tuple[str | int, ...], what: str, name: str | None, known: Iterable[str]) -> Found:
    names = list(known)
    if name is not None and name not in names:
        yield Diagnostic(f"there is no {what} {name!r}", file.where(path), suggest(name, names, "declared are"))


def references_of_processes(all_: Declared) -> Found:
    if not all_.bia:
        return
    targets = [*(p.id for p in all_.bia.processes), *all_.files]
    for number, process in enumerate(all_.bia.processes):
        here = ("processes", number)
        if all_.estate:
            people = [person.id for person in all_.estate.people]
            for field in ("owner", "deputy", "approver"):
                yield from _dangling(all_.bia_file, (*here, field), "person", getattr(process, field), people)
        for place, dependency in enumerate(process.dependencies):
            path = (*here, "dependencies", place)
            yield from _dangling(all_.bia_file, path, "system or process", dependency.target, targets)


def references_of_estate(all_: Declared) -> Found:
    estate, file = all_.estate, all_.estate_file
    if not estate:
        return
    sites, hosts = [site.id for site in estate.sites], [host.id for host in estate.hosts]
    people = [person.id for person in estate.people]
    for number, person in enumerate(estate.people):
        yield from _dangling(file, ("people", number, "deputy"), "person", person.deputy, people)
    for number, host in enumerate(estate.hosts):
        yield from _dangling(file, ("hosts", number, "site"), "site", host.site, sites)
    for number, repository in enumerate(estate.repositories):
        yield from _dangling(file, ("repositories", number, "site"), "site", repository.site, sites)
        yield from _dangling(file, ("repositories", number, "host"), "host", repository.host, hosts)
    for number, staging in enumerate(estate.staging):
        yield from _dangling(file, ("staging", number, "host"), "host", staging.host, hosts)
    try:
        ZoneInfo(estate.organisation.timezone)
    except (OSError, ValueError):
        yield Diagnostic(
            f"there is no time zone {estate.organisation.timezone!r}",
            file.where(("organisation", "timezone")),
            "write an IANA name such as Europe/Amsterdam",
        )


def references_of_systems(all_: Declared) -> Found:
    for name, system in all_.systems.items():
        file = all_.files[name]
        for place, dependency in enumerate(system.dependencies):
            yield from _dangling(file, ("dependencies", place), "system", dependency.target, all_.files)
        backups = [backup.id for backup in system.backups]
        yield from _dangling(file, ("restore", "backup"), "backup", system.restore.backup, backups)
        if not all_.estate:
            continue
        estate = all_.estate
        yield from _dangling(file, ("owner",), "person", system.owner, [p.id for p in estate.people])
        stagings = [s.id for s in estate.staging]
        yield from _dangling(file, ("restore", "staging"), "staging", system.restore.staging, stagings)
        for place, backup in enumerate(system.backups):
            known = [r.id for r in estate.repositories]
            yield from _dangling(file, ("backups", place, "repository"), "repository", backup.repository, known)
        for place, source in enumerate(system.sources):
            path = ("sources", place, "host")
            yield from _dangling(file, path, "host", source.host, [h.id for h in estate.hosts])


def system_names(all_: Declared) -> Found:
    for name, file in all_.files.items():
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", name):
            yield Diagnostic(
                f"{name!r} is no id for a system", file.name, "name the file in lower case, e.g. student-records.yaml"
            )


def cyclic_dependencies(all_: Declared) -> Found:
    needs = {
        name: [d.target for d in system.dependencies if d.type == "hard"] for name, system in all_.systems.items()
    }
    for name, targets in needs.items():
        if name in targets:
            yield Diagnostic(
                f"system {name!r} depends on itself", all_.files[name].where(("dependencies",)), "take the dependency out"
            )
    for cycle in cycles(needs):
        order = [all_.systems[name].bootstrap for name in cycle]
        if None in order or len(set(order)) < len(order):
            yield Diagnostic(
                f"systems need each other in a circle: {', '.join(cycle)}",
                all_.files[cycle[0]].where(("dependencies",)),
                "say in which order they can be started after a disaster: `bootstrap: 1`, `2`, ... in each of them, "
                "no number twice",
            )
    if all_.bia:
        processes = {p.id: [d.target for d in p.dependencies if d.type == "hard"] for p in all_.bia.processes}
        for cycle in cycles(processes):
            yield Diagnostic(
                f"processes need each other in a circle: {', '.join(cycle)}",
                all_.bia_file.name,
                "make one of the dependencies `type: soft`, or merge the processes",
            )


def disruption_fits(all_: Declared) -> Found:
    """BIA rule 1: RTO + WRT <= MTPD."""
    for number, process in enumerate(all_.bia.processes if all_.bia else ()):
        if process.mtpd is None:
            continue
        total = process.rto + process.wrt if process.wrt else process.rto
        if total > process.mtpd:
            yield Diagnostic(
                f"process {process.id!r}: RTO{' + WRT' if process.wrt else ''} is "
                f"{format_duration(total.total_seconds())}, longer than the MTPD of "
                f"{format_duration(process.mtpd.total_seconds())}",
                all_.bia_file.where(("processes", number, "rto")),
                "shorten the RTO, or have the process owner decide on a longer MTPD",
            )


def objectives_exist(all_: Declared) -> Found:
    if not all_.bia or len(all_.systems) < len(all_.files):
        return
    for name, found in effective_objectives(all_.bia.processes, all_.systems).items():
        if found.rto is None or found.rpo is None:
            missing = " and ".join(w for w, o in (("RTO", found.rto), ("RPO", found.rpo)) if o is None)
            yield Diagnostic(
                f"system {name!r} has no {missing}: nothing to hold a drill against",
                all_.files[name].name,
                "let a process in bia.yaml depend on it, or give the system `rto` and `rpo` of its own",
            )


def stagings_are_disposable(all_: Declared) -> Found:
    for number, staging in enumerate(all_.estate.staging if all_.estate else ()):
        if not staging.disposable:
            yield Diagnostic(
                f"staging {staging.id!r} is not declared disposable",
                all_.estate_file.where(("staging", number)),
                "drtests restores only to places that may be destroyed: `disposable: true`, if it is one",
            )


def stagings_are_apart(all_: Declared) -> Found:
    """As written; the drill looks again on the machine, with links followed."""
    if not all_.estate:
        return
    precious = [
        (f"production data of system {name!r}", source.host or "local", _absolute(all_.root, source.path))
        for name, system in all_.systems.items()
        for source in system.sources
    ]
    precious += [
        (f"repository {r.id!r}", r.host or "local", _absolute(all_.root, r.location))
        for r in all_.estate.repositories
        if ":" not in r.location
    ]
    precious.append(("the declarations", "local", _absolute(all_.root, "targets")))
    for number, staging in enumerate(all_.estate.staging):
        place = _absolute(all_.root, staging.path)
        for label, host, other in precious:
            if host == (staging.host or "local") and _overlap(place, other):
                yield Diagnostic(
                    f"staging {staging.id!r} at {place} overlaps {label} at {other}",
                    all_.estate_file.where(("staging", number, "path")),
                    "give the staging a folder of its own, best on a disk of its own",
                )
        for second in all_.estate.staging[:number]:
            other = _absolute(all_.root, second.path)
            if (second.host or "local") == (staging.host or "local") and _overlap(place, other):
                yield Diagnostic(
                    f"stagings {second.id!r} and {staging.id!r} overlap",
                    all_.estate_file.where(("staging", number, "path")),
                    "give each a folder of its own: a staging is locked for one drill at a time",
                )


def _absolute(root: Path, declared: str) -> PurePosixPath:
    return PurePosixPath(os.path.normpath(root / Path(declared).expanduser()))


def _overlap(one: PurePosixPath, other: PurePosixPath) -> bool:
    return one == other or one in other.parents or other in one.parents


def steps_stay_inside(all_: Declared) -> Found:
    for name, system in all_.systems.items():
        for number, step in enumerate(system.start):
            where = all_.files[name].where(("start", number))
            if PurePosixPath(step.cwd).is_absolute() or ".." in PurePosixPath(step.cwd).parts:
                yield Diagnostic(
                    f"step {step.name!r}: cwd {step.cwd!r} leads out of the restored tree",
                    where,
                    "write it relative to the restored tree, as in srv/app",
                )
            if step.background and step.ready is None:
                yield Diagnostic(
                    f"step {step.name!r} runs in the background, and nothing says when it is up",
                    where,
                    "add `ready: {http: URL}` or `ready: {tcp: 'host:port'}`",
                )
            if step.ready is not None and not step.background:
                yield Diagnostic(
                    f"step {step.name!r} has `ready` but is waited for to end", where, "add `background: true`"
                )


def checks_prove_data(all_: Declared) -> Found:
    for name, system in all_.systems.items():
        file = all_.files[name]
        problems, proves = check_problems(file, system.checks)
        yield from problems
        if not proves and not problems:
            yield Diagnostic(
                f"no check of system {name!r} looks at the data itself",
                file.where(("checks",), key=True),
                "add a `tree`, `sqlite` (with a query) or `marker` check, or `files` with a sha256: "
                "that files exist does not prove what is in them",
            )


_RULES: tuple[Callable[[Declared], Found], ...] = (
    system_names,
    duplicate_ids,
    references_of_processes,
    references_of_estate,
    references_of_systems,
    cyclic_dependencies,
    disruption_fits,
    objectives_exist,
    stagings_are_disposable,
    stagings_are_apart,
    steps_stay_inside,
    checks_prove_data,
)
