"""What must never happen: a restore over, into, or around something that is not disposable."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from drtests.errors import SafetyError
from drtests.model.estate import Staging
from drtests.model.project import Project
from drtests.protocols.host import Host

_LOCAL = "local"
_BOOT = "/proc/sys/kernel/random/boot_id"


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
    if real == "/":
        raise SafetyError("the staging is the whole machine", where=where, mend="use a folder of its own")
    machines = machines_of(project, staging, host)
    if _LOCAL in machines and PurePosixPath(real) in PurePosixPath(host.resolve(str(project.root))).parents:
        raise SafetyError("the staging contains the project itself", where=where, mend="use a folder of its own")
    for label, path in _not_to_be_touched(project, machines):
        other = host.resolve(path)
        if _overlap(real, other):
            raise SafetyError(
                f"the staging overlaps {label} at {other}",
                where=where,
                mend="restore to a folder, best on a file system, that has nothing to do with production",
            )
    return real


def machines_of(project: Project, staging: Staging, host: Host) -> set[str]:
    """Which machines the staging's host is. One that is reached over SSH may be this one, by another name."""
    here = project.estate.machine(staging.host)
    return {here, _LOCAL} if here == _LOCAL or _is_this(host) else {here}


def _is_this(host: Host) -> bool:
    """Whether it runs the very kernel that drtests runs on: so do containers, which then count as this machine."""
    try:
        own = Path(_BOOT).read_bytes()
    except OSError:
        return False
    return host.exists(_BOOT) and host.read(_BOOT, 100) == own


def precious(project: Project, machines: set[str], but: str = "") -> list[tuple[str, str]]:
    """Production data and repositories on these machines, the repository `but` aside: what it is, path."""
    machine = project.estate.machine
    found = [
        (f"production data of system {name!r}", str(project.path(source.path)))
        for name, system in project.systems.items()
        for source in system.sources
        if machine(source.host) in machines
    ]
    # Without a host of its own, a repository is opened on the host of whatever staging it is restored to.
    found += [
        (f"repository {repository.id!r}", str(project.path(repository.folder)))
        for repository in project.estate.repositories
        if repository.folder is not None
        and repository.id != but
        and (machine(repository.host) in machines or (not repository.host and repository.folder.startswith("/")))
    ]
    return found


def _not_to_be_touched(project: Project, machines: set[str]) -> list[tuple[str, str]]:
    machine = project.estate.machine
    found = precious(project, machines)
    kit = project.estate.kit.folders() if project.estate.kit else ()
    found += [("the recovery kit", str(project.path(path))) for host, path in kit if machine(host) in machines]
    return [*found, ("the declarations", str(project.root / "targets"))] if _LOCAL in machines else found


def _overlap(one: str, other: str) -> bool:
    a, b = PurePosixPath(one), PurePosixPath(other)
    return a == b or a in b.parents or b in a.parents
