"""Rules about other machines: how they are reached, and what a path means there."""

from __future__ import annotations

from collections.abc import Iterator

from drtests.declarations.rules import Declared
from drtests.declarations.source import Source
from drtests.declarations.yamltext import Path
from drtests.errors import Diagnostic
from drtests.model.estate import Estate

_LOCAL = "local"


def absolute_elsewhere(all_: Declared) -> Iterator[Diagnostic]:
    """The project's root is on the machine that runs drtests, so elsewhere nothing can be relative to it."""
    estate = all_.estate
    if estate is None:
        return
    declared = {host.id for host in estate.hosts}
    for source, at, what, host, path in _paths(all_, estate):
        if host in declared and estate.machine(host) != _LOCAL and not path.startswith("/"):
            mend = "write the whole path, as that host has it, e.g. /srv/drtests"
            yield source.wrong(at, f"{what} on host {host!r} is not absolute: {path!r}", mend)
    yield from _restored_elsewhere(all_, estate)


def _paths(all_: Declared, estate: Estate) -> Iterator[tuple[Source, Path, str, str | None, str]]:
    source = all_.sources["estate"]
    for number, staging in enumerate(estate.staging):
        yield source, ("staging", number, "path"), f"the path of staging {staging.id!r}", staging.host, staging.path
    for number, one in enumerate(estate.repositories):
        if one.folder is not None:
            what = f"the location of repository {one.id!r}"
            yield source, ("repositories", number, "location"), what, one.host, one.folder
    for number, copy in enumerate(estate.kit.copies if estate.kit else ()):
        if copy.path is not None:
            yield source, ("kit", "copies", number, "path"), "the copy of the recovery kit", copy.host, copy.path
    for name, system in all_.systems.items():
        for number, place in enumerate(system.sources):
            yield all_.source(name), ("sources", number, "path"), "a source", place.host, place.path


def _restored_elsewhere(all_: Declared, estate: Estate) -> Iterator[Diagnostic]:
    """A restore opens the repository on the staging's host, whatever host it is listed from."""
    stagings = {staging.id: staging for staging in estate.staging}
    repositories = {one.id: (number, one) for number, one in enumerate(estate.repositories)}
    told: set[str] = set()
    for name, system in all_.systems.items():
        staging = stagings.get(system.restore.staging)
        backup = next((b for b in system.backups if b.id == system.restore.backup), system.backups[0])
        if staging is None or backup.repository not in repositories or backup.repository in told:
            continue
        number, repository = repositories[backup.repository]
        folder = repository.folder
        if estate.machine(staging.host) == _LOCAL or folder is None or folder.startswith("/"):
            continue
        if repository.host and estate.machine(repository.host) != _LOCAL:
            # Told already: it is relative on its own host.
            continue
        told.add(repository.id)
        yield all_.sources["estate"].wrong(
            ("repositories", number, "location"),
            f"the location of repository {repository.id!r} is not absolute, and system {name!r} is restored from it "
            f"on host {staging.host!r}",
            "write the path at which that host finds it, or a location that is reached over the network",
        )


def ways_end(all_: Declared) -> Iterator[Diagnostic]:
    """Hosts that are reached through others are not reached through themselves."""
    if all_.estate is None:
        return
    jumps = {host.id: host.ssh.jump for host in all_.estate.hosts if host.ssh and host.ssh.jump}
    for number, host in enumerate(all_.estate.hosts):
        way = [host.id]
        while (following := jumps.get(way[-1])) is not None and following not in way:
            way.append(following)
        if following == host.id and len(way) > 1:
            yield all_.sources["estate"].wrong(
                ("hosts", number, "ssh", "jump"),
                f"the way to host {host.id!r} goes round in circles: {' -> '.join([*way, following])}",
                "let one of them be reached without `jump`",
            )
