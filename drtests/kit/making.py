"""Makes a kit: looks for the tools, renders the pages, and lets no secret through."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from drtests import registry
from drtests.errors import DrtestsError, SafetyError, SecretError
from drtests.kit.contents import (
    DOCUMENT,
    MANIFEST,
    SUMS,
    ByHandSteps,
    Contents,
    Tool,
    carried_as,
    manifest,
    restore_target,
)
from drtests.kit.document import document
from drtests.kit.pages import pages
from drtests.kit.places import LARGEST
from drtests.kit.tools import engine_without_secrets, look, own_tools, wanted
from drtests.model.project import Project
from drtests.model.system import Backup
from drtests.protocols.capabilities import ByHand
from drtests.protocols.host import Host
from drtests.secrets import Redactor, resolve

OpenHost = Callable[[str | None], Host]


@dataclass(frozen=True, slots=True)
class Made:
    """A kit's files by name. `notes` say what could not be found or looked at."""

    files: Mapping[str, bytes]
    notes: tuple[str, ...]


def make(project: Project, made_at: datetime, open_host: OpenHost, *, with_tools: bool) -> Made:
    """The whole kit. Raises SafetyError when a secret's value would stand in it."""
    notes: list[str] = []
    tools, carried = _tools(project, open_host, with_tools, notes)
    by_hand = {name: tuple(_by_hand(project, name)) for name in project.systems}
    contents = Contents(project, made_at, (*own_tools(), *tools), by_hand)
    written = pages(contents)
    title = f"Recovery kit of {project.estate.organisation.name}"
    files = {name: page.encode() for name, page in written.items()}
    files[DOCUMENT] = document(title, written).encode()
    for name in sorted(project.digests):
        files[f"declarations/{name}"] = (project.root / name).read_bytes()
    listed = [*_listed(files), *_listed(carried)]
    told = manifest(contents, sorted(listed, key=lambda one: str(one["path"])))
    files[MANIFEST] = (json.dumps(told, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
    notes += _refuse_secrets(project, files)
    files |= carried
    files[SUMS] = "".join(f"{_sha256(data)}  {name}\n" for name, data in sorted(files.items())).encode()
    return Made(files, tuple(notes))


def _listed(files: Mapping[str, bytes]) -> Iterator[dict[str, Any]]:
    for name, data in files.items():
        yield {"path": name, "sha256": _sha256(data), "bytes": len(data)}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _tools(
    project: Project, open_host: OpenHost, with_tools: bool, notes: list[str]
) -> tuple[list[Tool], dict[str, bytes]]:
    found: list[Tool] = []
    carried: dict[str, bytes] = {}
    for one in wanted(project):
        try:
            host = open_host(one.host)
            tool = look(one, host)
            if not tool.path:
                notes.append(f"{one.name} was not found on host {host.id}")
            elif one.carried and with_tools:
                data = host.read(tool.path, LARGEST)
                tool = replace(tool, file=carried_as(host.id, tool.name), sha256=_sha256(data))
                carried[tool.file] = data
        except DrtestsError as error:
            notes.append(f"{one.name} could not be looked for on host {one.host or 'local'}: {error.what}")
            tool = Tool(one.name, one.host or "local")
        found.append(tool)
    return found, carried


def _by_hand(project: Project, name: str) -> Iterator[ByHandSteps]:
    """The backup that drills restore comes first."""
    system = project.systems[name]
    chosen = project.backup(name, system.restore.backup)
    for backup in (chosen, *(other for other in system.backups if other.id != chosen.id)):
        yield _way(project, name, backup)


def _way(project: Project, name: str, backup: Backup) -> ByHandSteps:
    system, repository = project.systems[name], project.repository(backup.repository)
    engine = engine_without_secrets(project, backup.repository, None)
    point = system.restore.point if isinstance(system.restore.point, str) else "latest"
    steps: Sequence[Any] = ()
    if isinstance(engine, ByHand):
        include, verify = system.restore.include, system.restore.verify
        steps = engine.by_hand(backup.snapshots, point, restore_target(name), include, verify)
    variable = registry.engine(repository.engine).PASSWORD_VARIABLE
    secrets = [variable] if repository.password and variable else []
    secrets += [key for key, value in repository.environment.items() if not value.startswith("plain:")]
    plain = {k: v.removeprefix("plain:") for k, v in repository.environment.items() if v.startswith("plain:")}
    return ByHandSteps(backup.id, backup.repository, tuple(steps), tuple(secrets), plain)


def _refuse_secrets(project: Project, files: Mapping[str, bytes]) -> Iterator[str]:
    """Raises SafetyError when a value behind any reference stands in a file; tells which could not be looked for."""
    texts = {name: data.decode("utf-8", errors="replace") for name, data in files.items()}
    no_secret = Redactor()
    for name, text in texts.items():
        if no_secret.text(text) != text:
            raise _leak("a URL with a password in it", name)
    for reference in sorted(set(references(project))):
        shown = reference if not reference.startswith("command:") else reference.split()[0]
        try:
            redactor = Redactor([resolve(reference, root=project.root)])
        except SecretError:
            yield f"whether the secret behind {shown} stands in the kit is not known: it cannot be had here"
            continue
        for name, text in texts.items():
            if redactor.text(text) != text:
                raise _leak(f"the secret behind {shown}", name)


def _leak(what: str, name: str) -> SafetyError:
    return SafetyError(
        f"{what} would stand in the recovery kit; nothing was written",
        where=name,
        mend="find it in targets/, and give it by reference (env:, file: or command:) there; then change the secret",
    )


def references(project: Project) -> Iterator[str]:
    """Every reference to a secret that is declared."""
    estate = project.estate
    for repository in estate.repositories:
        yield from _given(repository.password, *repository.environment.values())
    for database in estate.databases:
        yield from _given(database.password)
    for store in estate.stores:
        for keys in (store.reader, store.writer):
            yield from _given(*(keys.model_dump().values() if keys else ()))
    for host in estate.hosts:
        yield from _given(*((host.ssh.passphrase, host.ssh.sudo_password) if host.ssh else ()))
    for key in estate.kit.keys if estate.kit else ():
        yield from _given(key.password, *key.environment.values())
    for system in project.systems.values():
        yield from _in_options(system)


def _given(*found: str | None) -> Iterator[str]:
    yield from (one for one in found if one and not one.startswith("plain:"))


def _in_options(value: Any) -> Iterator[str]:
    """Options of plug-ins may hold references anywhere. Commands are left alone: it may be no reference at all."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if isinstance(value, str):
        if value.startswith(("env:", "file:")) and value.partition(":")[2].strip() == value.partition(":")[2] != "":
            yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _in_options(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _in_options(item)
