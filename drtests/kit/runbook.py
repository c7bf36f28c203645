"""One system's runbook: the steps of a drill, as a person carries them out. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from drtests import registry
from drtests.declarations.checks import build_checks
from drtests.kit.contents import ByHandSteps, Contents, restore_target
from drtests.kit.markdown import block, code, text
from drtests.model.project import Project
from drtests.model.system import Check, Database, Step, System
from drtests.model.units import format_duration


def runbook(contents: Contents, name: str) -> str:
    """From the keys to the checks, in the order of a drill."""
    project, system = contents.project, contents.project.systems[name]
    parts = [_head(project, name, system)]
    parts += _restore(contents, name)
    parts += _databases(name, system)
    parts += _start(name, system)
    parts += _checks(system)
    return "\n".join(parts)


def _head(project: Project, name: str, system: System) -> str:
    objectives = project.objectives[name]
    rto = format_duration(objectives.rto.limit.total_seconds()) if objectives.rto else "not set"
    rpo = format_duration(objectives.rpo.limit.total_seconds()) if objectives.rpo else "not set"
    owner = project.person(project.owner(name))
    who = f"{owner.name}, {owner.phone or 'no telephone number declared'}" if owner else "not declared"
    needs = ", ".join(dependency.target for dependency in system.dependencies) or "nothing"
    manual = "".join(
        f"- First, by people: {text(step.name)} ({format_duration(step.duration.total_seconds())})\n"
        for step in system.manual
    )
    sources = ", ".join(code(source.path) for source in system.sources) or "not declared"
    return (
        f"# Runbook: {text(system.name)}\n\n{text(system.description)}\n\n"
        f"- Back within {rto}; may lose {rpo} of data.\n- Needs first: {text(needs)}.\n- Owner: {text(who)}.\n"
        f"- Its data lay at: {sources}.\n{manual}"
        f"- With drtests at hand: `drtests run {name}::restore` does all of this into a staging, and measures it.\n"
    )


def _restore(contents: Contents, name: str) -> Iterator[str]:
    ways = contents.by_hand[name]
    for number, way in enumerate(ways, 1):
        which = f", way {number} of {len(ways)}" if len(ways) > 1 else ""
        repository = contents.project.repository(way.repository)
        where = "offsite" if repository.offsite else "not offsite"
        yield f"## Restore from {text(way.repository)} ({where}{which})\n"
        yield "Keys: see [repositories](../repositories.md). Type them; do not save them in a file of commands.\n"
        if not way.steps:
            yield f"Engine {code(repository.engine)} tells no command lines: use `drtests run {name}::restore`.\n"
            continue
        yield block(list(_commands(way)), "sh")
        yield f"`latest` may be any id of that list. All of it comes back below {code(restore_target(name))}.\n"


def _commands(way: ByHandSteps) -> Iterator[str]:
    for variable in way.secrets:
        yield f"read -rs -p '{variable} of {way.repository}: ' {variable} && export {variable}"
    for variable, value in way.plain.items():
        yield f"export {variable}={shlex.quote(value)}"
    for step in way.steps:
        yield f"# {step.what}"
        yield shlex.join(step.argv)


def _databases(name: str, system: System) -> Iterator[str]:
    for database in system.databases:
        yield f"## Start the database {text(database.id)}\n"
        yield f"Recipe {code(database.recipe)}: {text(_told(database))}\n"
        if database.options:
            yield block(_yaml(database.options), "yaml")
        yield f"Paths are below {code(restore_target(name))}.\n"


def _told(database: Database) -> str:
    """What a recipe says of itself, in its first paragraph."""
    told = (registry.recipe(database.recipe).__doc__ or "").strip().split("\n\n")[0]
    return told or "see the documentation of the recipe"


def _start(name: str, system: System) -> Iterator[str]:
    if system.start:
        yield "## Start it\n"
        root = restore_target(name)
        lines = [f"export DRTESTS_ROOT={shlex.quote(root)}"]
        if system.databases:
            lines.append("# and the variables by which the database is reached (PGHOST, PGPORT ...)")
        for step in system.start:
            lines += _step(step, root)
        yield block(lines, "sh")


def _step(step: Step, root: str) -> Iterator[str]:
    yield f"# {' '.join(step.name.split())}"
    yield f"cd {shlex.quote(root if step.cwd == '.' else f'{root}/{step.cwd}')}"
    assigned = " ".join(f"{variable}={shlex.quote(value)}" for variable, value in step.environment.items())
    yield f"{assigned + ' ' if assigned else ''}{shlex.join(step.run)}{' &' if step.background else ''}"
    if step.ready:
        within = format_duration(step.ready.within.total_seconds())
        yield f"# it is up when {step.ready.http or step.ready.tcp} answers, within {within}"


def _checks(system: System) -> Iterator[str]:
    yield "## Check it, before anybody works with it\n"
    for named, declared in zip(build_checks(system), system.checks, strict=True):
        yield f"- [ ] {text(named.title)}{'' if not named.check.proves_data else ' (proves the data)'}\n"
        yield _indented(block(_yaml(_options(declared)), "yaml"))
    yield "\nThen: the owner looks at it, and says that it may be used. Write down when.\n"


def _options(check: Check) -> Mapping[str, Any]:
    return {check.kind: dict(check.options)}


def _yaml(value: Mapping[str, Any]) -> list[str]:
    return yaml.safe_dump(dict(value), sort_keys=False, allow_unicode=True, default_flow_style=False).splitlines()


def _indented(lines: str) -> str:
    return "".join(f"  {line}\n" for line in lines.splitlines())
