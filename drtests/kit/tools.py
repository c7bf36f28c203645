"""Which programs a recovery needs, as they are found on the hosts that drills run on."""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from drtests import __version__, registry
from drtests.declarations.adapters import spec_of
from drtests.errors import CommandNotFound
from drtests.kit.contents import Tool
from drtests.model.project import Project
from drtests.model.system import Snapshots
from drtests.protocols.capabilities import ByHand
from drtests.protocols.engine import EngineContext
from drtests.protocols.host import Host

_TIMEOUT = 60.0
_WHERE = 'command -v "$1"'
_SERVERS = {
    "postgres": (("postgres", "/usr/lib/postgresql"), ("pg_restore", "")),
    "mariadb": (("mariadbd", ""), ("mariadb", "")),
    "redis": (("redis-server", ""),),
    "sqlite": (("sqlite3", ""),),
}
"""Programs of each type of database, and the folder to look in when they are on no PATH."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A program that is looked for. `host` is None for the machine that runs drtests."""

    name: str
    host: str | None
    folder: str = ""
    carried: bool = False
    """Whether it may go into the kit: one file that needs nothing else."""


def wanted(project: Project) -> Sequence[Wanted]:
    """Backup programs where repositories are read and restored from, and the servers of restored databases."""
    found: dict[tuple[str, str | None], Wanted] = {}

    def want(one: Wanted) -> None:
        found.setdefault((one.name, project.estate.machine(one.host)), one)

    for system in project.systems.values():
        staging = project.staging(system.restore.staging).host
        for backup in system.backups:
            program = backup_program(project, backup.repository)
            if program:
                want(Wanted(program, project.repository(backup.repository).host or staging, carried=True))
                want(Wanted(program, staging, carried=True))
        for database in system.databases:
            adapter = registry.recipe(database.recipe)
            spec_of(adapter, f"database {database.id}", database.options)
            for name, folder in _SERVERS.get(adapter.type, ()):
                want(Wanted(name, staging, folder))
    return tuple(found.values())


def backup_program(project: Project, repository: str) -> str | None:
    """The program that reads a repository; None for an engine that needs none."""
    engine = engine_without_secrets(project, repository, None)
    if not isinstance(engine, ByHand):
        return None
    return engine.by_hand(Snapshots(), "latest", "/", (), False)[0].argv[0]


def engine_without_secrets(project: Project, repository: str, host: Host | None) -> object:
    """The engine as far as it can be made without opening anything: to be asked how it is done by hand."""
    declared = project.repository(repository)
    location = declared.location if declared.folder is None else str(project.path(declared.folder))
    context = EngineContext(declared, location, host, {})  # type: ignore[arg-type]  # nothing is run
    made: object = registry.engine(declared.engine)(context)
    return made


def look(one: Wanted, host: Host) -> Tool:
    """Where it is, which version, and the hash of its file. Not being there is no error: it is told."""
    path = _find(one, host)
    if not path:
        return Tool(one.name, host.id)
    real = host.resolve(path)
    at = PurePosixPath(real)
    [(_, digest)] = host.digests(str(at.parent), [at.name])
    return Tool(PurePosixPath(one.name).name, host.id, real, _version(host, path), digest)


def _find(one: Wanted, host: Host) -> str:
    found = host.run(["sh", "-c", _WHERE, "sh", one.name], timeout=_TIMEOUT)
    if found.exit_code == 0 and found.stdout.strip().startswith("/"):
        return found.stdout.strip()
    if one.folder and host.exists(one.folder):
        there = host.run(["find", one.folder, "-name", one.name, "-type", "f", "-path", "*/bin/*"], timeout=_TIMEOUT)
        return max(there.stdout.split("\n"), default="").strip()
    return ""


def _version(host: Host, path: str) -> str:
    for argument in ("--version", "version"):
        try:
            said = host.run([path, argument], timeout=_TIMEOUT)
        except CommandNotFound:
            return ""
        if said.exit_code == 0 and said.stdout.strip():
            return said.stdout.strip().splitlines()[0][:200]
    return ""


def own_tools() -> Iterator[Tool]:
    """drtests itself, over all its files, and the Python that runs it."""
    package = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        digest.update(f"{file.relative_to(package).as_posix()}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    yield Tool("drtests", "local", str(package), f"drtests {__version__}", digest.hexdigest())
    python = Path(sys.executable).resolve()
    version = f"Python {platform.python_version()}"
    yield Tool("python", "local", str(python), version, hashlib.sha256(python.read_bytes()).hexdigest())
