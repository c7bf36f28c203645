"""JSON Schemas of the three kinds of file, for editors.

Generated from the models and from the options of all installed checks, so
that an editor completes `- tree: {...}` too. Loading does not use them: it
says more, and finds more. Write them anew with
`python -m drtests.declarations.schemas drtests/schemas`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema

from drtests import registry
from drtests.model.bia import Bia
from drtests.model.estate import Estate
from drtests.model.system import (
    CHECK_PLACEHOLDER,
    DATABASE_PLACEHOLDER,
    FAILOVER_PLACEHOLDER,
    REPLICA_PLACEHOLDER,
    Database,
    Failover,
    Replica,
    System,
)
from drtests.model.units import format_duration

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ISO_DURATION = re.compile(r"P(?=[0-9T])[0-9DWTHMS.]+")
_DURATION = TypeAdapter(timedelta)
_FILES: Mapping[str, type[BaseModel]] = {"bia": Bia, "estate": Estate, "system": System}
_TITLES = {"bia": "targets/bia.yaml", "estate": "targets/estate.yaml", "system": "targets/systems/<system>.yaml"}


def schemas() -> dict[str, dict[str, Any]]:
    """The schemas of `bia`, `estate` and `system`, with all checks that are installed here."""
    return {name: _schema(name, model) for name, model in _FILES.items()}


def file_name(name: str) -> str:
    """As editor hint lines name it."""
    return f"{name}.schema.json"


def text_of(schema: Mapping[str, Any]) -> str:
    """As it is written to a file: the same text for the same schema."""
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def write_schemas(directory: Path) -> list[Path]:
    """Writes all of them into an existing directory; returns their paths."""
    written: list[Path] = []
    for name, schema in schemas().items():
        path = directory / file_name(name)
        path.write_text(text_of(schema), encoding="utf-8")
        written.append(path)
    return written


def _schema(name: str, model: type[BaseModel]) -> dict[str, Any]:
    found = model.model_json_schema()
    if name == "system":
        _join(found["$defs"], _checks(), "Check")
        for part in _KINDED:
            _join(found["$defs"], _kinded(part), part.model.__name__)
    _polish(found)
    return {"$schema": DIALECT, **found, "title": _TITLES[name]}


def _join(definitions: dict[str, Any], more: Mapping[str, Any], owner: str) -> None:
    """Adds definitions. What is called as something else is already gets its owner's name before its own."""
    renamed = {name: f"{owner}{name}" for name in more if name in definitions and definitions[name] != more[name]}
    for name, definition in more.items():
        definitions[renamed.get(name, name)] = _pointing(definition, renamed)


def _pointing(part: Any, renamed: Mapping[str, str]) -> Any:
    """The same with references to what was renamed."""
    if isinstance(part, list):
        return [_pointing(item, renamed) for item in part]
    if not isinstance(part, dict):
        return part
    reference = part.get("$ref", "")
    name = reference.rpartition("/")[2] if isinstance(reference, str) else ""
    changed = {key: _pointing(value, renamed) for key, value in part.items()}
    return changed | {"$ref": f"#/$defs/{renamed[name]}"} if name in renamed else changed


def _checks() -> dict[str, Any]:
    """`#/$defs/Check`, and what it refers to."""
    kinds = registry.check_kinds()
    specs: list[type[BaseModel]] = [registry.check(kind).Spec for kind in kinds]
    references, defined = models_json_schema([(spec, "validation") for spec in specs])
    options = {kind: references[spec, "validation"] for kind, spec in zip(kinds, specs, strict=True)}
    name = {"type": "string", "description": "What the report calls it; the check's own words when not given."}
    check = {
        "type": "object",
        "description": "One kind of check and its options.",
        "properties": {"name": name, **options},
        # A check that is not ours is named as package.module:Class.
        "patternProperties": {"^[^:]+:[^:]+$": {"type": "object"}},
        "additionalProperties": False,
        "if": {"required": ["name"]},
        "then": {"minProperties": 2, "maxProperties": 2},
        "else": {"minProperties": 1, "maxProperties": 1},
    }
    return {**defined.get("$defs", {}), "Check": check}


@dataclass(frozen=True, slots=True)
class _Kinded:
    """A part of system.yaml whose options depend on which adapter its `key` names."""

    model: type[BaseModel]
    placeholder: Mapping[str, Any]
    key: str
    names: Callable[[], Sequence[str]]
    adapter: Callable[[str], Any]


_KINDED = (
    _Kinded(Database, DATABASE_PLACEHOLDER, "recipe", registry.recipe_names, registry.recipe),
    _Kinded(Replica, REPLICA_PLACEHOLDER, "kind", registry.replication_kinds, registry.replication),
    _Kinded(Failover, FAILOVER_PLACEHOLDER, "kind", registry.rehearsal_kinds, registry.rehearsal),
)


def _kinded(part: _Kinded) -> dict[str, Any]:
    """`#/$defs/<model>`: one form for each adapter, the keys that all have beside its own options."""
    names, key = part.names(), part.key
    common = part.model.model_json_schema()
    del common["properties"]["options"]
    specs: list[type[BaseModel]] = [part.adapter(name).Spec for name in names]
    references, defined = models_json_schema([(spec, "validation") for spec in specs])
    definitions = {**common.pop("$defs", {}), **defined.get("$defs", {})}
    forms: list[dict[str, Any]] = []
    for name, spec in zip(names, specs, strict=True):
        own = definitions[references[spec, "validation"]["$ref"].rpartition("/")[2]]
        told = {"const": name, "description": own.get("description", "")}
        forms.append(
            {
                "type": "object",
                "properties": {**common["properties"], **own.get("properties", {}), key: told},
                "required": sorted({*common.get("required", ()), *own.get("required", ())}),
                "additionalProperties": False,
            }
        )
    # An adapter that is not ours is named as package.module:Class, and has options that we do not know.
    forms.append(
        {
            "type": "object",
            "properties": {**common["properties"], key: {"type": "string", "pattern": "^[^:]+:[^:]+$"}},
            "required": sorted(common.get("required", ())),
        }
    )
    return {**definitions, part.model.__name__: {"anyOf": forms}}


_SHORT_DEPENDENCY = "the id alone: a hard dependency"


def _polish(part: Any) -> None:
    """Leaves out titles that only repeat names; allows a dependency to be written as its id alone."""
    if isinstance(part, list):
        for item in part:
            _polish(item)
        return
    if not isinstance(part, dict):
        return
    if isinstance(part.get("title"), str):
        del part["title"]
    if "default" in part:
        part["default"] = _default(part["default"])
        if part["default"] is None:
            del part["default"]
    if part.get("items") == {"$ref": "#/$defs/Dependency"}:
        part["items"] = {"anyOf": [{"type": "string", "description": _SHORT_DEPENDENCY}, part["items"]]}
    if part.get("items") == CHECK_PLACEHOLDER:
        part["items"] = {"$ref": "#/$defs/Check"}
    for kinded in _KINDED:
        if part.get("items") == kinded.placeholder:
            part["items"] = {"$ref": f"#/$defs/{kinded.model.__name__}"}
    for value in part.values():
        _polish(value)


def _default(value: Any) -> Any:
    """Durations as people write them; None for what says nothing to somebody who types."""
    if isinstance(value, (dict, list)):
        return None
    if isinstance(value, str) and _ISO_DURATION.fullmatch(value):
        return format_duration(_DURATION.validate_python(value).total_seconds())
    return value


if __name__ == "__main__":
    for path in write_schemas(Path(sys.argv[1])):
        print(path)
