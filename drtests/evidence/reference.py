"""docs/reference/record.md, made from the descriptions in the record's own model.

`python -m drtests.evidence.reference docs/reference/record.md` writes it anew.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from drtests.model.record import Record

_HEAD = """# record.json, field by field

Made from `drtests/model/record.py` by `python -m drtests.evidence.reference`; do not edit.

Schema version 1. Within a version, fields are only ever added. Times are UTC (`2026-03-01T03:00:00.000Z`), durations
are seconds, sizes are bytes. Null means not known, never zero.
"""


def render_reference() -> str:
    """The page, as Markdown: a section for the record, then one for each part in order of first use."""
    schema = Record.model_json_schema(mode="serialization")
    parts: dict[str, Any] = schema.get("$defs", {})
    order: list[str] = []
    sections = [_section("record", schema, parts, order)]
    for name in order:  # grows while it is read: parts name further parts
        part = parts[name]
        sections.append(_section(name, part, parts, order) if "properties" in part else _choice(name, part))
    return _HEAD + "".join(sections)


def _section(name: str, part: dict[str, Any], parts: dict[str, Any], order: list[str]) -> str:
    lines = [f"\n## {name}\n", f"{_text(part)}\n", "| field | type | meaning |", "|---|---|---|"]
    for field, described in part["properties"].items():
        # Pydantic leaves out a description that is the same as that of the part referred to.
        text = _text(described) or _text(parts.get(described.get("$ref", "").rsplit("/", 1)[-1], {}))
        text = text.replace("|", "\\|")
        lines.append(f"| `{field}` | {_type(described, order)} | {text} |")
    return "\n".join(lines) + "\n"


def _choice(name: str, part: dict[str, Any]) -> str:
    return f"\n## {name}\n\n{_text(part)}\n\n{_values(part['enum'])}\n"


def _text(part: dict[str, Any]) -> str:
    return " ".join(str(part.get("description", "")).split())


def _values(values: list[Any]) -> str:
    return " or ".join(f"`{value}`" for value in values)


def _type(described: dict[str, Any], order: list[str]) -> str:
    if "$ref" in described:
        name = described["$ref"].rsplit("/", 1)[1]
        if name not in order:
            order.append(name)
        return f"[{name}](#{name.lower()})"
    if "anyOf" in described:
        return " or ".join(_type(option, order) for option in described["anyOf"])
    if "const" in described:
        return f"always `{described['const']}`"
    if "enum" in described:
        return _values(described["enum"])
    if described.get("type") == "array":
        return f"list of {_type(described['items'], order)}"
    if described.get("type") == "object":
        inside = described.get("additionalProperties")
        return f"object of {_type(inside, order)} by name" if isinstance(inside, dict) else "object"
    return str(described.get("type", "any"))


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(render_reference(), encoding="utf-8")
