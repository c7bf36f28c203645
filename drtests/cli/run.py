"""`drtests run`: pytest, with words for people who do not think in pytest."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from pathlib import Path

import click
import pytest

from drtests.cli.common import find_root, json_option, print_json, project_option, reports_option
from drtests.cli.display import Display
from drtests.declarations.load import load_project
from drtests.drill.recovery import parse_point
from drtests.errors import EXIT_NOTHING_RAN, UsageError


@click.command()
@click.argument("drills", nargs=-1)
@project_option
@reports_option
@click.option("-k", "keyword", help="Only drills whose names fit the expression (as in pytest).")
@click.option(
    "-m",
    "marker",
    help="Only drills with the marker: restore, recovery_points, integrity, replication, failover, offsite, recovery.",
)
@click.option("-x", "--exitfirst", is_flag=True, help="Stop at the first drill that is not MET.")
@click.option("-n", "workers", type=click.IntRange(min=1), help="Run so many drills at a time (needs pytest-xdist).")
@click.option("--point", help="Recovery point: latest, an id, before:TIME, at:TIME or random:DURATION.")
@click.option("--seed", help="Seed of a random recovery point, to repeat an earlier choice.")
@click.option("--lock-timeout", default=14400.0, show_default=True, help="Longest wait for a staging, in seconds.")
@json_option
def run(
    drills: tuple[str, ...],
    directory: Path,
    reports: Path | None,
    keyword: str | None,
    marker: str | None,
    exitfirst: bool,
    workers: int | None,
    point: str | None,
    seed: str | None,
    lock_timeout: float,
    as_json: bool,
) -> int:
    """Carry out DRILLS (system or system::drill; all when none is given) and write the evidence pack."""
    root = find_root(directory)
    # Before pytest starts, so that problems are shown the way `drtests check` shows them.
    project = load_project(root)
    _known(drills, project.systems)
    if point:
        try:
            parse_point(point)
        except ValueError as error:
            raise UsageError(str(error), where="--point") from None
    arguments = [str(root / "targets"), "--rootdir", str(root), "-p", "no:terminal", "-p", "no:cacheprovider"]
    arguments += ["--drtests-lock-timeout", str(lock_timeout)]
    for option, value in (
        ("-k", keyword),
        ("-m", marker),
        ("-n", workers),
        ("--drtests-point", point),
        ("--drtests-seed", seed),
        ("--drtests-reports", reports),
    ):
        if value is not None:
            arguments += [option, str(value)]
    for drill in drills:
        arguments += ["--drtests-only", drill]
    if exitfirst:
        arguments.append("-x")
    if workers is not None:
        _need_xdist()
    with Display(quiet=as_json) as display:
        code = int(pytest.main(arguments, plugins=[display]))
        if as_json and display.record is not None:
            print_json({"exit_code": code, "pack": str(display.pack), "record": display.record.model_dump(mode="json")})
    if code == EXIT_NOTHING_RAN:
        click.echo("no drill fits the selection: nothing ran", err=True)
    return code


def _known(drills: Iterable[str], names: Collection[str]) -> None:
    for drill in drills:
        system = drill.split("::")[0]
        if system not in names:
            close = difflib.get_close_matches(system, names, 1)
            raise UsageError(
                f"there is no system {system!r}",
                mend=f"did you mean {close[0]!r}?" if close else f"declared are: {', '.join(sorted(names)[:20])}",
            )


def _need_xdist() -> None:
    try:
        import xdist  # noqa: F401 - only to see whether it is there
    except ImportError:
        raise UsageError("-n needs pytest-xdist", mend="pip install 'drtests[parallel]'") from None
