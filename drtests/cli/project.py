"""Commands about declarations: init, check, plan, schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.table import Table

from drtests.cli.common import console, json_option, print_json, project_at, project_option
from drtests.cli.planning import planned
from drtests.cli.scaffold import write_scaffold
from drtests.declarations.schemas import write_schemas
from drtests.model.units import format_duration


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), default=Path())
@click.option("--organisation", help="Name of the organisation.")
@click.option("--repository", help="Location of your restic repository, as restic -r takes it.")
@click.option("--password", help="Where its password is: env:NAME, file:PATH or command:PROGRAM ARGS.")
@click.option("--staging", help="Folder that may be destroyed, for restores.")
@click.option("--path", help="A path inside the backup, to check for.")
@click.option("--yes", is_flag=True, help="Ask nothing; take the defaults for what is not given.")
def init(
    directory: Path,
    organisation: str | None,
    repository: str | None,
    password: str | None,
    staging: str | None,
    path: str | None,
    yes: bool,
) -> None:
    """Write a working, commented targets/ into DIRECTORY. Never overwrites a file."""
    given = any((organisation, repository, password, staging, path))
    values = {"organisation": organisation, "repository": repository, "password": password, "staging": staging}
    for name, (question, default) in _QUESTIONS.items():
        if values[name] is None:
            ask = not yes and not given and console().is_terminal
            values[name] = click.prompt(question, default=default) if ask else default
    written = write_scaffold(directory, path=path, **{name: str(value) for name, value in values.items()})
    for file in written:
        click.echo(f"wrote {file}")
    click.echo("next: read and edit targets/, then `drtests check`, `drtests doctor`, `drtests run`")


_QUESTIONS = {
    "organisation": ("Name of the organisation", "My school"),
    "repository": ("Location of your restic repository", "/srv/backups/restic"),
    "password": ("Where is its password (env:NAME, file:PATH, command:...)", "env:RESTIC_PASSWORD"),
    "staging": ("Folder that may be destroyed, for restores", "/var/tmp/drtests-staging"),  # noqa: S108 - a default that is shown, for data that may be lost
}


@click.command()
@project_option
@json_option
def check(directory: Path, as_json: bool) -> None:
    """Check the declarations; show every problem at once, and what the objectives come to."""
    project = project_at(directory)
    rows = [
        {
            "system": name,
            "criticality": objectives.criticality,
            "rto": format_duration(objectives.rto.limit.total_seconds()) if objectives.rto else None,
            "rto_bound_by": objectives.rto.bound_by if objectives.rto else None,
            "rpo": format_duration(objectives.rpo.limit.total_seconds()) if objectives.rpo else None,
            "rpo_bound_by": objectives.rpo.bound_by if objectives.rpo else None,
            "owner": project.owner(name),
        }
        for name, objectives in sorted(project.objectives.items())
    ]
    if as_json:
        print_json({"valid": True, "systems": rows})
        return
    table = Table("system", "criticality", "RTO", "asked by", "RPO", "asked by", "owner", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(row[key] or "none" for key in _CHECK_COLUMNS))
    console().print(table)
    click.echo(f"{len(rows)} systems, {len(project.bia.processes)} processes: no problems found")


_CHECK_COLUMNS = ("system", "criticality", "rto", "rto_bound_by", "rpo", "rpo_bound_by", "owner")


@click.command()
@project_option
@click.option("--offline", is_flag=True, help="Do not look up recovery points.")
@json_option
def plan(directory: Path, offline: bool, as_json: bool) -> None:
    """Show what would run, in which order, from which recovery points, into which staging; touch nothing."""
    found = planned(project_at(directory), offline)
    if as_json:
        print_json(found)
        return
    table = Table("wave", "drill", "RTO", "RPO", "recovery point", "staging", box=None, pad_edge=False)
    for row in found["drills"]:
        table.add_row(*(_cell(row[key]) for key in ("wave", "drill", "rto", "rpo", "recovery_point", "staging")))
    console().print(table)
    for gap in found["gaps"]:
        console().print(f"gap: {gap}", style="yellow", markup=False)


def _cell(value: Any) -> str:
    return "" if value is None else str(value)


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), default=Path("targets/.schemas"))
def schema(directory: Path) -> None:
    """Write the JSON Schemas of the declarations into DIRECTORY, for editors."""
    directory.mkdir(parents=True, exist_ok=True)
    for file in write_schemas(directory):
        click.echo(f"wrote {file}")
