"""`drtests kit`: writes the recovery kit and its copies, or looks whether they would do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import click

from drtests.cli.common import console, json_option, print_json, project_at, project_option
from drtests.core.kit import judge_copies, judge_copy
from drtests.drill.context import open_store
from drtests.drill.hosts import open_host
from drtests.errors import EXIT_INCONCLUSIVE, EXIT_MET, EXIT_MISSED, DrtestsError, UsageError
from drtests.kit.copies import Copy, copies, look_at
from drtests.kit.making import make
from drtests.kit.places import Folder
from drtests.model.kit import Kit
from drtests.model.project import Project
from drtests.model.units import format_size
from drtests.model.verdict import Verdict
from drtests.protocols.store import Store

_CODES = {Verdict.MET: EXIT_MET, Verdict.MISSED: EXIT_MISSED, Verdict.INCONCLUSIVE: EXIT_INCONCLUSIVE}


@click.command()
@project_option
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write to, instead of `path` of `kit` in targets/estate.yaml.",
)
@click.option(
    "--with-tools/--without-tools",
    default=None,
    show_default="as declared",
    help="Put the backup programs themselves in.",
)
@click.option("--copies/--no-copies", "spread", default=True, help="Write the declared copies, too.")
@click.option("--check", "only_check", is_flag=True, help="Write nothing: look whether the copies would do.")
@json_option
def kit(
    directory: Path, output: Path | None, with_tools: bool | None, spread: bool, only_check: bool, as_json: bool
) -> int:
    """Write the recovery kit: plan, runbooks, contacts, tools, and where keys are kept. It never holds a secret.

    \b
    Files, and all of them as one document to be printed. Exit code 2 when a copy
    could not be written. With --check: 1 when no copy would do, 2 when that is not known.
    """
    project = project_at(directory)
    declared = project.estate.kit or Kit()
    if only_check:
        return _check(project, declared, as_json)
    now = datetime.now(UTC)
    made = make(
        project,
        now,
        lambda host: open_host(project, host),
        with_tools=declared.tools if with_tools is None else with_tools,
    )
    main = Folder(open_host(project, None), str(output.resolve() if output else project.path(declared.path)))
    main.write(made.files)
    written, problems = [main.where], []
    for copy in _copies(project) if spread else ():
        try:
            copy.place.write(made.files)
            written.append(copy.where)
        except DrtestsError as error:
            problems.append({"where": copy.where, "what": error.what, "mend": error.mend})
    size = sum(map(len, made.files.values()))
    if as_json:
        print_json(
            {
                "written": written,
                "files": sorted(made.files),
                "bytes": size,
                "notes": list(made.notes),
                "problems": problems,
            }
        )
    else:
        _print(written, f"{len(made.files)} files, {format_size(size)}", made.notes, problems)
        if not any(copy.site for copy in _copies(project)):
            click.echo("note: no copy with a site is declared under `kit`: a kit at home burns with the house")
    return EXIT_INCONCLUSIVE if problems else EXIT_MET


def _print(written: Sequence[str], size: str, notes: Sequence[str], problems: Sequence[dict[str, str]]) -> None:
    out = console()
    for where in written:
        click.echo(f"wrote {where}: {size}")
    for note in notes:
        out.print(f"note: {note}", style="yellow", markup=False)
    for problem in problems:
        out.print(f"not written: {problem['where']}: {problem['what']}", style="red", markup=False)
        if problem["mend"]:
            out.print(f"    mend: {problem['mend']}", markup=False)


def _copies(project: Project) -> list[Copy]:
    def store(store_id: str, below: str | None) -> Store:
        if below is None:
            return open_store(project, store_id, writer=False)[0]
        # A store writes below its probe prefix only; here that is the kit's key.
        stores = [
            one.model_copy(update={"probe_prefix": f"{below}/"}) if one.id == store_id else one
            for one in project.estate.stores
        ]
        only_kit = replace(project, estate=project.estate.model_copy(update={"stores": tuple(stores)}))
        return open_store(only_kit, store_id, writer=True)[0]

    return list(copies(project, lambda host: open_host(project, host), store))


def _check(project: Project, declared: Kit, as_json: bool) -> int:
    if project.estate.kit is None:
        raise UsageError("no recovery kit is declared", mend="declare `kit` with its `copies` in targets/estate.yaml")
    now, most = datetime.now(UTC), declared.max_age.total_seconds()
    seen = [look_at(project, copy, now).seen for copy in _copies(project)]
    judged = judge_copies(seen, most)
    each = [judge_copy(one, most) for one in seen]
    if as_json:
        rows = [{**asdict(s), "verdict": j.verdict, "reason": j.reason} for s, j in zip(seen, each, strict=True)]
        print_json({"verdict": judged.verdict, "reason": judged.reason, "copies": rows})
        return _CODES[judged.verdict]
    for one in each:
        click.echo(f"{one.verdict}: {one.reason}")
    click.echo(f"{judged.verdict}: {judged.reason}")
    if judged.mend:
        click.echo(f"    mend: {judged.mend}")
    return _CODES[judged.verdict]
