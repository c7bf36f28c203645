"""JSON Schema of a model as Markdown tables: how reference pages are made from the code they describe."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pydantic import TypeAdapter

from drtests.model.units import format_duration

_ISO_DURATION = re.compile(r"P(?:\d+D)?(?:T[\dHMS.]+)?")


def sections(name: str, schema: Mapping[str, Any], *, written: bool = False, level: int = 2) -> str:
    """A section for the model, then one for each part in order of first use.

    `written`: the model is written by people, so that what must be given and
    what is taken when it is not are told, too.
    """
    parts: dict[str, Any] = schema.get("$defs", {})
    order: list[str] = []
    told = [_section(name, schema, parts, order, written, level)]
    for part_name in order:  # grows while it is read: parts name further parts
        part = parts[part_name]
        if "properties" in part:
            told.append(_section(part_name, part, parts, order, written, level + written))
        else:
            told.append(f"\n{'#' * level} {part_name}\n\n{_text(part)}\n\n{_values(part['enum'])}\n")
    return "".join(told)


def _section(
    name: str, part: Mapping[str, Any], parts: Mapping[str, Any], order: list[str], written: bool, level: int
) -> str:
    head = (
        "| field | type | needed | meaning |\n|---|---|---|---|"
        if written
        else "| field | type | meaning |\n|---|---|---|"
    )
    lines = [f"\n{'#' * level} {name}\n", f"{_text(part)}\n", head]
    for field, described in part["properties"].items():
        # Pydantic leaves out a description that is the same as that of the part referred to.
        text = _text(described) or _text(parts.get(described.get("$ref", "").rsplit("/", 1)[-1], {}))
        cells = [f"`{field}`", _type(described, order)]
        if written:
            cells.append("yes" if field in part.get("required", ()) else _default(described))
        lines.append(f"| {' | '.join([*cells, _escaped(text)])} |")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _default(described: Mapping[str, Any]) -> str:
    value = described.get("default")
    if value in (None, "", [], {}) or isinstance(value, dict):
        return "no"
    if isinstance(value, str) and _ISO_DURATION.fullmatch(value):
        # How pydantic writes a duration; people write it otherwise.
        value = format_duration(TypeAdapter(timedelta).validate_python(value).total_seconds())
    return f"no: `{str(value).lower() if isinstance(value, bool) else value}`"


def _text(part: Mapping[str, Any]) -> str:
    return " ".join(str(part.get("description", "")).split())


def _values(values: list[Any]) -> str:
    return " or ".join(f"`{value}`" for value in values)


def _type(described: Mapping[str, Any], order: list[str]) -> str:
    if "$ref" in described:
        name = described["$ref"].rsplit("/", 1)[1]
        if name not in order:
            order.append(name)
        return f"[{name}](#{name.lower()})"
    if "anyOf" in described:
        options = [_type(option, order) for option in described["anyOf"]]
        return " or ".join(dict.fromkeys(options))
    if "const" in described:
        return f"always `{described['const']}`"
    if "enum" in described:
        return _values(described["enum"])
    if described.get("type") == "array":
        return f"list of {_type(described.get('items', {}), order)}"
    if described.get("type") == "object":
        inside = described.get("additionalProperties")
        return f"object of {_type(inside, order)} by name" if isinstance(inside, dict) else "object"
    if described.get("examples"):
        return f"as in `{described['examples'][0]}`"
    kind = described.get("type", "any")
    return " or ".join(kind) if isinstance(kind, list) else str(kind)
