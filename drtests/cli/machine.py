"""Commands about this machine: doctor, gc, seal."""

from __future__ import annotations

from pathlib import Path

import click
from rich.table import Table

from drtests.cli.checkup import check_up
from drtests.cli.common import console, json_option, print_json, project_at, project_option
from drtests.drill.reaping import reap
from drtests.errors import EXIT_INCONCLUSIVE, EXIT_MET
from drtests.model.units import format_size
from drtests.seal import MANIFEST_NAME
from drtests.seal import seal as seal_tree

_STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}


@click.command()
@project_option
@json_option
def doctor(directory: Path, as_json: bool) -> int:
    """Look whether a run could work: hosts, repositories, room in staging, databases, stores. Exit code 2 when not."""
    findings = check_up(project_at(directory))
    bad = any(finding.level == "problem" for finding in findings)
    if as_json:
        print_json({"ok": not bad, "findings": [finding.data() for finding in findings]})
        return EXIT_INCONCLUSIVE if bad else EXIT_MET
    table = Table("", "what", "finding", box=None, pad_edge=False)
    for finding in findings:
        table.add_row(f"[{_STYLES[finding.level]}]{finding.level}[/]", finding.subject, finding.text)
    out = console()
    out.print(table)
    for finding in findings:
        if finding.mend:
            out.print(f"{finding.subject}: mend: {finding.mend}", markup=False)
    return EXIT_INCONCLUSIVE if bad else EXIT_MET


@click.command()
@project_option
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@json_option
def gc(directory: Path, dry_run: bool, as_json: bool) -> int:
    """Reap what a crashed run left in the stagings: processes and restored data."""
    found = reap(project_at(directory), dry_run)
    if as_json:
        print_json([{name: getattr(one, name) for name in one.__slots__} for one in found])
    for one in [] if as_json else found:
        if one.busy:
            click.echo(f"{one.staging}: in use by a drill; left alone")
        for process in one.processes:
            click.echo(f"{one.staging}: ended {process}")
        for folder in one.folders:
            click.echo(f"{one.staging}: {'would remove' if dry_run else 'removed'} {folder}")
        for problem in one.problems:
            click.echo(f"{one.staging}: {problem}", err=True)
        if not (one.busy or one.processes or one.folders or one.problems):
            click.echo(f"{one.staging}: nothing left behind")
    return EXIT_INCONCLUSIVE if any(one.problems for one in found) else EXIT_MET


@click.command()
@click.argument("path", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help=f"Default: PATH/{MANIFEST_NAME}")
@click.option("--ignore", multiple=True, help="Leave out what fits this pattern (repeatable).")
def seal(path: Path, output: Path | None, ignore: tuple[str, ...]) -> None:
    """Write a manifest of hashes of all files below PATH. Run it right before the backup, so that it is backed up."""
    summary = seal_tree(path, output or path / MANIFEST_NAME, ignore=ignore)
    click.echo(f"sealed {summary.files} files, {format_size(summary.bytes)}: {output or path / MANIFEST_NAME}")
