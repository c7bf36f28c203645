"""Rules about stagings: where a drill restores to, nothing of value may be.

Paths are compared as they are written. Links are followed just before a
restore, on the machine itself.
"""

from __future__ import annotations

import os.path
from collections.abc import Iterator
from pathlib import Path as FilePath

from drtests.declarations.rules import Declared
from drtests.errors import Diagnostic
from drtests.model.estate import Estate

_EVERYWHERE = "*"
Places = dict[tuple[str, str], str]
"""What lies at (host, path)."""


def disposable(all_: Declared) -> Iterator[Diagnostic]:
    """The owner of every staging gave their word that nothing in it is missed."""
    for number, staging in enumerate(all_.estate.staging if all_.estate else ()):
        if not staging.disposable:
            mend = "only if nothing in it is ever missed, write `disposable: true`"
            what = f"staging {staging.id!r} is not declared disposable"
            yield all_.sources["estate"].wrong(("staging", number, "disposable"), what, mend)


def stagings_apart(all_: Declared) -> Iterator[Diagnostic]:
    """No staging is, contains, or is inside anything of value, or another staging."""
    if all_.estate is None:
        return
    source = all_.sources["estate"]
    precious = _precious(all_, all_.estate)
    stagings: Places = {}
    for number, staging in enumerate(all_.estate.staging):
        host = all_.estate.machine(staging.host)
        path = _absolute(all_.root, staging.path)
        at = ("staging", number, "path")
        for found in _overlapping(host, path, precious, _parents_of(precious)):
            mend = "restore to a folder, best on a file system, that has nothing to do with production"
            yield source.wrong(at, f"staging {staging.id!r} at {path} {found}", mend)
        for found in _overlapping(host, path, stagings, _parents_of(stagings)):
            yield source.wrong(at, f"staging {staging.id!r} at {path} {found}", "give each staging a folder of its own")
        stagings[host, path] = f"staging {staging.id!r}"


def _precious(all_: Declared, estate: Estate) -> Places:
    found: Places = {("local", _absolute(all_.root, "targets")): "the declarations in targets/"}
    for name, system in all_.systems.items():
        for one in system.sources:
            where = estate.machine(one.host), _absolute(all_.root, one.path)
            found[where] = f"production data of system {name!r}"
    for repository in estate.repositories:
        if repository.folder is not None:
            # Without a host it is opened on the host of whatever staging it is restored to; but a relative path
            # means the project's root.
            anywhere = repository.host is None and repository.folder.startswith("/")
            host = _EVERYWHERE if anywhere else estate.machine(repository.host)
            found[host, _absolute(all_.root, repository.folder)] = f"repository {repository.id!r}"
    for at, path in estate.kit.folders() if estate.kit else ():
        found[estate.machine(at), _absolute(all_.root, path)] = "the recovery kit"
    return found


def _parents_of(places: Places) -> dict[tuple[str, str], tuple[str, str]]:
    """Every folder above a place, with one of the places that it contains."""
    return {(host, parent): (host, path) for host, path in reversed(places) for parent in _parents(path)}


def _overlapping(host: str, path: str, places: Places, above: dict[tuple[str, str], tuple[str, str]]) -> Iterator[str]:
    for machine in (host, _EVERYWHERE):
        if (machine, path) in places:
            yield f"is {places[machine, path]}"
        elif (machine, path) in above:
            inside = above[machine, path]
            yield f"contains {places[inside]} at {inside[1]}"
        for parent in _parents(path):
            if (machine, parent) in places:
                yield f"is inside {places[machine, parent]} at {parent}"


def _parents(path: str) -> Iterator[str]:
    while (parent := os.path.dirname(path)) != path:
        yield parent
        path = parent


def _absolute(root: FilePath, path: str) -> str:
    joined = os.path.normpath(os.path.join(root, os.path.expanduser(path)))
    return "/" + joined.lstrip("/")  # two leading slashes mean the same to Linux
