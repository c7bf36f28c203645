"""Turns what pydantic says into what a person can mend: file, line, value, what is allowed, did you mean."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from drtests.declarations.yamlfile import YamlFile
from drtests.errors import Diagnostic

Path = tuple[str | int, ...]


def explain(file: YamlFile, error: ValidationError, model: type[BaseModel], prefix: Path = ()) -> list[Diagnostic]:
    """One diagnostic for each place that is wrong."""
    found: dict[tuple[str, str], Diagnostic] = {}
    for one in error.errors(include_url=False):
        location: Path = tuple(one["loc"])
        told = _one(file, one, model, prefix, location)
        found.setdefault((told.where, told.what), told)
    return list(found.values())


def _one(file: YamlFile, one: Any, model: type[BaseModel], prefix: Path, location: Path) -> Diagnostic:
    path = (*prefix, *location)
    shown = dotted(path)
    match one["type"]:
        case "missing":
            allowed = _description(model, location)
            return Diagnostic(f"`{location[-1]}` is missing in {dotted(path[:-1])}", file.where(path[:-1]), allowed)
        case "extra_forbidden":
            fields = _fields(model, location[:-1])
            return Diagnostic(
                f"unknown key `{location[-1]}` in {dotted(path[:-1])}",
                file.where(path, key=True),
                suggest(str(location[-1]), fields, "allowed are"),
            )
        case "literal_error":
            choices = [choice.strip("'") for choice in one["ctx"]["expected"].replace(" or ", ", ").split(", ")]
            return Diagnostic(
                f"{shown}: {_value(one['input'])} is not allowed", file.where(path), suggest(str(one["input"]), choices)
            )
        case "value_error":
            return Diagnostic(f"{shown}: {one['ctx']['error']}", file.where(path), "")
        case "string_pattern_mismatch" if one["ctx"]["pattern"].startswith("^[a-z0-9]"):
            return Diagnostic(
                f"{shown}: {_value(one['input'])} is no id",
                file.where(path),
                "use lower case letters, digits, `.`, `_` and `-`, beginning with a letter or digit",
            )
        case "model_type" | "dict_type" | "model_attributes_type":
            return Diagnostic(
                f"{shown}: {_value(one['input'])} where `key: value` lines belong",
                file.where(path),
                suggest("", _fields(model, location), "allowed are"),
            )
        case "tuple_type" | "list_type":
            return Diagnostic(
                f"{shown}: {_value(one['input'])} where a list belongs", file.where(path), "write `- ` before each entry"
            )
        case "string_type":
            return Diagnostic(f"{shown}: {_value(one['input'])} is not text", file.where(path), "put it in quotes")
        case "bool_parsing" | "bool_type":
            return Diagnostic(
                f"{shown}: {_value(one['input'])} is not true or false", file.where(path), "write true or false"
            )
        case "too_short":
            return Diagnostic(f"{shown} is empty", file.where(path), "it needs at least one entry")
    message = one["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return Diagnostic(f"{shown}: {_value(one['input'])} should be {message}", file.where(path), "")


def dotted(path: Sequence[str | int]) -> str:
    """`processes[0].rto`; the file itself when empty."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f"{'.' if text else ''}{part}"
    return f"`{text}`" if text else "the file"


def suggest(value: str, allowed: Iterable[str], words: str = "allowed are") -> str:
    """A did-you-mean when something is close, and what is allowed."""
    names = sorted(set(allowed))
    close = difflib.get_close_matches(value, names, 1, 0.6)
    hint = f"did you mean `{close[0]}`? " if close else ""
    listed = ", ".join(names[:30]) + (", ..." if len(names) > 30 else "")
    return f"{hint}{words}: {listed}" if names else hint.strip()


def _value(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def _models_at(model: type[BaseModel], location: Sequence[str | int]) -> list[type[BaseModel]]:
    candidates = [model]
    for part in location:
        if isinstance(part, int):
            continue
        following = [
            inner
            for candidate in candidates
            if part in candidate.model_fields
            for inner in _models(candidate.model_fields[part].annotation)
        ]
        candidates = following or candidates
    return candidates


def _fields(model: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    return [name for candidate in _models_at(model, location) for name in candidate.model_fields]


def _description(model: type[BaseModel], location: Sequence[str | int]) -> str:
    for candidate in _models_at(model, location[:-1]):
        field = candidate.model_fields.get(str(location[-1]))
        if field is not None and field.description:
            return f"`{location[-1]}`: {' '.join(field.description.split())}"
    return f"add `{location[-1]}:`"
