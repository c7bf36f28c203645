"""Commands that read packs alone: report, verify, actions. None needs declarations, a network or a backup tool."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from drtests import runs
from drtests.cli.common import (
    console,
    json_option,
    latest_finished,
    pack_at,
    print_json,
    project_option,
    reports_at,
    reports_option,
)
from drtests.cli.tables import print_actions, print_summary
from drtests.core.actions import overdue
from drtests.core.fold import fold
from drtests.errors import EXIT_MET, EXIT_MISSED, UsageError
from drtests.evidence.index import write_index
from drtests.evidence.pack import read_record, verify_pack


@click.command()
@click.argument("pack", default="latest")
@project_option
@reports_option
@json_option
def report(pack: str, directory: Path, reports: Path | None, as_json: bool) -> None:
    """Rebuild the report of PACK (a folder, a run's id, or `latest`) from its journals, and sum it up."""
    folder = pack_at(pack, directory, reports)
    record = runs.write_evidence(folder)
    write_index(folder.parent)
    if as_json:
        print_json(record.model_dump(mode="json"))
    else:
        print_summary(console(), record, folder)


@click.command()
@click.argument("pack", default="latest")
@project_option
@reports_option
@json_option
def verify(pack: str, directory: Path, reports: Path | None, as_json: bool) -> int:
    """Check that nothing in PACK was changed, added or removed since it was written. Exit code 1 when it was."""
    folder = pack_at(pack, directory, reports)
    found = verify_pack(folder, fold)
    if as_json:
        print_json(
            {
                "pack": str(folder),
                "intact": found.intact,
                "changed": list(found.changed),
                "added": list(found.added),
                "missing": list(found.missing),
                "problems": list(found.problems),
            }
        )
        return EXIT_MET if found.intact else EXIT_MISSED
    out = console()
    for label, names in (("changed", found.changed), ("added", found.added), ("missing", found.missing)):
        for name in names:
            out.print(f"{label}: {name}", style="red", markup=False)
    for problem in found.problems:
        out.print(f"problem: {problem}", style="red", markup=False)
    if found.intact:
        out.print(f"{folder.name}: intact, every file is as it was written", style="green", markup=False)
        out.print("this proves that the pack is unchanged since then, not that whoever wrote it told the truth")
        return EXIT_MET
    out.print(f"{folder.name}: NOT intact", style="bold red", markup=False)
    return EXIT_MISSED


@click.command()
@project_option
@reports_option
@click.option("--all", "everything", is_flag=True, help="Closed ones too.")
@click.option("--overdue", "only_overdue", is_flag=True, help="Overdue ones only; exit code 1 when there are any.")
@json_option
def actions(directory: Path, reports: Path | None, everything: bool, only_overdue: bool, as_json: bool) -> int:
    """List action items, as the newest run left them: open, overdue and closed."""
    folder = reports_at(directory, reports)
    newest = latest_finished(folder)
    if newest is None:
        raise UsageError("there is no run yet", where=str(folder), mend="`drtests run` makes one")
    now = datetime.now(UTC)
    items = [
        item
        for item in read_record(newest).actions
        if (overdue(item, now) if only_overdue else everything or item.status == "open")
    ]
    if as_json:
        print_json(
            {
                "run": newest.name,
                "actions": [{**item.model_dump(mode="json"), "overdue": overdue(item, now)} for item in items],
            }
        )
    elif items:
        print_actions(console(), items, now)
    else:
        console().print(
            f"no {'overdue' if only_overdue else 'open'} action items after run {newest.name}", markup=False
        )
    return EXIT_MISSED if only_overdue and items else EXIT_MET
