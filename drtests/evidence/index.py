"""reports/index.html: all packs, the newest first."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from drtests.errors import PackError
from drtests.evidence.pack import packs, read_record, write_atomically
from drtests.model.record import Record

_ENVIRONMENT = Environment(
    loader=PackageLoader("drtests.evidence"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def write_index(reports: Path) -> None:
    """Lists every pack with its verdict; one that cannot be read is listed as such."""
    rows: list[tuple[str, Record | None, str]] = []
    for folder in reversed(packs(reports)):
        try:
            rows.append((folder.name, read_record(folder), ""))
        except PackError as error:
            rows.append((folder.name, None, error.what))
    text = _ENVIRONMENT.get_template("index.html.j2").render(rows=rows)
    write_atomically(reports / "index.html", text.encode("utf-8"))
