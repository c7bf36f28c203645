"""What all commands share: finding the project, saying what is wrong, printing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from drtests.declarations.load import load_project
from drtests.errors import DrtestsError, UsageError
from drtests.evidence.pack import RECORD, packs
from drtests.model.project import Project
from drtests.pytest_plugin.roots import root_of

project_option = click.option(
    "--project",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    show_default="this folder",
    help="Folder that holds targets/, or any folder below it.",
)
reports_option = click.option(
    "--reports",
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    show_default="reports/ of the project",
    help="Folder of the evidence packs.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")


def console(stderr: bool = False) -> Console:
    """Colour in a terminal; plain lines of any length elsewhere."""
    made = Console(stderr=stderr, highlight=False, soft_wrap=True)
    if not made.is_terminal:
        made = Console(stderr=stderr, highlight=False, soft_wrap=True, width=200, no_color=True)
    return made


def find_root(directory: Path) -> Path:
    """The project's root. Raises UsageError when there is none."""
    root = root_of(directory.resolve())
    if root is None:
        if (directory / "targets").is_dir():
            return directory.resolve()
        raise UsageError(
            "there is no targets/bia.yaml here or above",
            where=str(directory.resolve()),
            mend="start with `drtests init`",
        )
    return root


def project_at(directory: Path) -> Project:
    """The project, read and checked. Raises UsageError, ConfigurationError."""
    return load_project(find_root(directory))


def reports_at(directory: Path, reports: Path | None) -> Path:
    """The folder of the packs; needs no valid declarations, so that packs can be read anywhere."""
    if reports is not None:
        return reports.resolve()
    root = root_of(directory.resolve())
    return (root or directory.resolve()) / "reports"


def pack_at(run: str, directory: Path, reports: Path | None) -> Path:
    """A pack by path, by run id, or `latest`. Raises UsageError when there is none."""
    if os.sep in run or Path(run, "manifest.json").exists() or Path(run, "journal").is_dir():
        return Path(run).resolve()
    folder = reports_at(directory, reports)
    found = packs(folder)
    if run == "latest" and found:
        return found[-1]
    fitting = [pack for pack in found if pack.name == run] or [pack for pack in found if pack.name.startswith(run)]
    if len(fitting) == 1:
        return fitting[0]
    names = ", ".join(pack.name for pack in found[-5:]) or "none"
    raise UsageError(
        f"{len(fitting) or 'no'} pack{'s' if len(fitting) != 1 else ''} of run {run!r}",
        where=str(folder),
        mend=f"the newest there are: {names}",
    )


def latest_finished(folder: Path) -> Path | None:
    """The newest pack that has a record."""
    return next((pack for pack in reversed(packs(folder)) if (pack / RECORD).is_file()), None)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False))


def report_error(error: DrtestsError) -> None:
    """Every diagnostic on standard error: what, where, and how to mend it."""
    out = console(stderr=True)
    shown = error.diagnostics()
    for diagnostic in shown[:50]:
        head = f"{diagnostic.where}: " if diagnostic.where else ""
        out.print(f"error: {head}{diagnostic.what}", style="red", markup=False)
        if diagnostic.mend:
            out.print(f"    mend: {diagnostic.mend}", markup=False)
    if len(shown) > 50:
        out.print(f"... and {len(shown) - 50} more", markup=False)
    if len(shown) > 1:
        out.print(f"{len(shown)} problems", markup=False)
