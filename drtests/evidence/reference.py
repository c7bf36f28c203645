"""docs/reference/record.md, made from the descriptions in the record's own model.

`python -m drtests.evidence.reference docs/reference/record.md` writes it anew.
"""

from __future__ import annotations

import sys
from pathlib import Path

from drtests.model.markdown import sections
from drtests.model.record import Record

_HEAD = """# record.json, field by field

Made from `drtests/model/record.py` by `python -m drtests.evidence.reference`; do not edit.

Schema version 1. Within a version, fields are only ever added. Times are UTC (`2026-03-01T03:00:00.000Z`), durations
are seconds, sizes are bytes. Null means not known, never zero.
"""


def render_reference() -> str:
    """The page, as Markdown."""
    return _HEAD + sections("record", Record.model_json_schema(mode="serialization"))


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(render_reference(), encoding="utf-8")
