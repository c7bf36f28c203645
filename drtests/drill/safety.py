"""What must never happen: a restore over, into, or around something that is not disposable."""

from __future__ import annotations

from pathlib import PurePosixPath

from drtests.errors import SafetyError
from drtests.model.estate import Staging
from drtests.model.project import Project
from drtests.protocols.host import Host


def refuse_unsafe(project: Project, staging: Staging, host: Host) -> str:
    """The staging's real path, links followed. Raises SafetyError when a restore there could harm anything.

    The declarations were checked as text already; this looks at the machine,
    where a link may lead elsewhere.
    """
    real = host.resolve(str(project.path(staging.path)))
    where = f"staging {staging.id!r} ({real})"
    if not staging.disposable:
        raise SafetyError(
            "the staging is not declared disposable",
            where=where,
            mend="only if nothing in it is ever missed, declare `disposable: true` in targets/estate.yaml",
        )
    if real == "/" or PurePosixPath(real) in PurePosixPath(host.resolve(str(project.root))).parents:
        raise SafetyError("the staging contains the project itself", where=where, mend="use a folder of its own")
    for label, path in _precious(project, staging):
        other = host.resolve(path)
        if _overlap(real, other):
            raise SafetyError(
                f"the staging overlaps {label} at {other}",
                where=where,
                mend="restore to a folder, best on a file system, that has nothing to do with production",
            )
    return real


def _precious(project: Project, staging: Staging) -> list[tuple[str, str]]:
    here = project.estate.machine(staging.host)
    found = [
        (f"production data of system {name!r}", str(project.path(source.path)))
        for name, system in project.systems.items()
        for source in system.sources
        if project.estate.machine(source.host) == here
    ]
    # Without a host of its own, a repository is opened on the host of whatever staging it is restored to.
    found += [
        (f"repository {repository.id!r}", str(project.path(repository.folder)))
        for repository in project.estate.repositories
        if repository.folder is not None and (not repository.host or project.estate.machine(repository.host) == here)
    ]
    return [*found, ("the declarations", str(project.root / "targets"))]


def _overlap(one: str, other: str) -> bool:
    a, b = PurePosixPath(one), PurePosixPath(other)
    return a == b or a in b.parents or b in a.parents
