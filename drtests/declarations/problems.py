"""What pydantic has to say, in words for people who have never heard of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from drtests.declarations.source import Source
from drtests.declarations.yamltext import Path
from drtests.errors import Diagnostic
from drtests.model.words import did_you_mean

_SECRET = re.compile(
    "pass(word|phrase|wd)|secret|token|access_key|credential|^environment$|^reader$|^writer$", re.IGNORECASE
)
"""What stands below keys that are called so is never repeated."""


def explain(
    error: ValidationError, model: type[BaseModel], source: Source, base: Path = (), beside: Sequence[str] = ()
) -> list[Diagnostic]:
    """One diagnostic for each thing that is wrong, however many ways pydantic tried to read it.

    `beside` are further keys that may stand at `base`, which the model does not know.
    """
    top = _value_at(source.value, base)
    found = [_Found(details, *_resolve(details, top)) for details in error.errors(include_url=False)]
    found = [one for one in found if not _echo(one, top) and not _misspelt(one, found, model)]
    told: list[Diagnostic] = []
    for union, group in groupby(found, key=lambda one: one.union):
        several = list(group)
        if union is None or len(several) == 1:
            told += [_tell(one, model, source, base, beside) for one in several]
        else:
            told.append(_tell_union(union, several, model, source, base))
    return told


def _echo(found: _Found, data: Any) -> bool:
    """A list counts as too short when what is in it is wrong; that is told already."""
    details = found.details
    return details["type"] == "too_short" and len(_value_at(data, found.path)) >= details["ctx"]["min_length"]


def _misspelt(found: _Found, all_: Sequence[_Found], model: type[BaseModel]) -> bool:
    """A missing key that is there under nearly its name is told as an unknown key only."""
    if found.details["type"] != "missing":
        return False
    *place, name = found.path
    near = [o.path[-1] for o in all_ if o.details["type"] == "extra_forbidden" and o.path[:-1] == tuple(place)]
    known = fields_at(model, tuple(place))
    return any(did_you_mean(str(word), known) == did_you_mean(str(name), [str(name)]) for word in near)


class _Found:
    """An error and where it is: `path` is in the data; `union` is where pydantic tried several forms."""

    def __init__(self, details: ErrorDetails, path: Path, union: Path | None) -> None:
        self.details = details
        self.path = path
        self.union = union


def _resolve(details: ErrorDetails, data: Any) -> tuple[Path, Path | None]:
    """Pydantic's location without the labels of union members, which are no part of the data."""
    loc, missing = details["loc"], details["type"] == "missing"
    path: list[str | int] = []
    union: Path | None = None
    for number, part in enumerate(loc):
        inside, below = _step(data, part)
        if inside:
            path.append(part)
            data = below
        elif missing and isinstance(data, dict) and number == len(loc) - 1:
            path.append(part)
        elif union is None:
            # `{before: x}` is tried as `Before`: the label is passed over, and `before` is found after it.
            union = tuple(path)
    return tuple(path), union


def _step(data: Any, part: str | int) -> tuple[bool, Any]:
    if isinstance(data, dict) and part in data:
        return True, data[part]
    if isinstance(data, list) and isinstance(part, int) and part < len(data):
        return True, data[part]
    return False, None


def _value_at(data: Any, path: Path) -> Any:
    for part in path:
        data = _step(data, part)[1]
    return data


def _tell_union(union: Path, found: Sequence[_Found], model: type[BaseModel], source: Source, base: Path) -> Diagnostic:
    """The error of the form that was meant, when that can be told; else what the forms are."""
    named = [one for one in found if one.details["type"] == "literal_error"]
    if len(named) == 1 and isinstance(_value_at(source.value, base + union), str):
        told = _tell(named[0], model, source, base)
        if "did you mean" in told.mend:
            return told
    deeper = [one for one in found if len(one.path) > len(union)]
    meant = [one for one in deeper if one.details["type"] not in ("extra_forbidden", "missing")]
    if len(meant) == 1:
        return _tell(meant[0], model, source, base)
    place = base + union
    if place and _value_at(source.value, place) is None:
        return source.wrong(place, f"{str(place[-1])!r} is empty", "give it a value, or remove the key")
    shown = _shown(_value_at(source.value, place), place)
    forms = sorted({_wanted(one.details) for one in found if one not in deeper})
    return source.wrong(place, f"{shown}none of the forms allowed here", f"give {' or '.join(forms)}")


def _tell(found: _Found, model: type[BaseModel], source: Source, base: Path, beside: Sequence[str] = ()) -> Diagnostic:
    details, place = found.details, base + found.path
    kind, context = details["type"], details.get("ctx", {})
    name = str(found.path[-1]) if found.path else ""
    if kind == "extra_forbidden":
        known = [*fields_at(model, found.path[:-1]), *(beside if len(found.path) == 1 else ())]
        given = _value_at(source.value, place[:-1])
        free = [field for field in known if not isinstance(given, dict) or field not in given]
        return source.wrong(place, f"unknown key {name!r}", did_you_mean(name, free, "known keys"), key=True)
    if kind == "missing":
        nearly = _nearly(name, _value_at(source.value, place[:-1]), fields_at(model, found.path[:-1]))
        if nearly:
            return source.wrong(
                (*place[:-1], nearly), f"unknown key {nearly!r}", did_you_mean(nearly, [name]), key=True
            )
        return source.wrong(place[:-1], f"{name!r} is missing", f"add `{name}: ...`", key=True)
    value = _value_at(source.value, place)
    if value is None:
        wanted = "it a value" if kind == "value_error" else _wanted(details)
        return source.wrong(place, f"{name!r} is empty", f"give {wanted}, or remove the key")
    if kind == "value_error":
        # Our own words: they say what is allowed, and leave out what could be secret.
        what, _, mend = str(context.get("error", "")).partition("; ")
        return source.wrong(place, what, mend)
    if kind == "too_short":
        return source.wrong(place, f"{name!r} holds {len(value)}", f"give {_wanted(details)}")
    what = f"{_shown(value, place)}not {_wanted(details)}"
    if kind == "literal_error":
        allowed = [word.strip("'") for word in context["expected"].replace(" or ", ", ").split(", ")]
        mend = did_you_mean(str(value), allowed)
        if "did you mean" in mend:
            mend += f" allowed here: {', '.join(allowed)}"
        return source.wrong(place, f"{_shown(value, place)}not allowed here", mend)
    return source.wrong(place, what, f"give {_wanted(details)}")


def _nearly(name: str, given: Any, known: Sequence[str]) -> str:
    """The key that was probably meant to be `name`: where options of adapters stand, any key is let pass at first."""
    others = [str(key) for key in given if key not in known] if isinstance(given, dict) else []
    return next((key for key in others if did_you_mean(key, [name]) == did_you_mean(name, [name])), "")


def _shown(value: Any, place: Path) -> str:
    """The offending value, unless it may be a secret; of lists and mappings only what they are."""
    if any(_SECRET.search(part) for part in place if isinstance(part, str)):
        return "the value is "
    if isinstance(value, dict):
        return "a mapping is "
    if isinstance(value, list):
        return "a list is "
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"{(text if len(text) <= 80 else text[:77] + '...')!r} is "


_WANTED: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "string_type": lambda _: "text (put numbers and true/false in quotes)",
    "bool_type": lambda _: "true or false",
    "bool_parsing": lambda _: "true or false",
    "int_type": lambda _: "a whole number",
    "int_parsing": lambda _: "a whole number",
    "int_from_float": lambda _: "a whole number",
    "float_type": lambda _: "a number",
    "float_parsing": lambda _: "a number",
    "tuple_type": lambda _: "a list (lines that start with `- `)",
    "list_type": lambda _: "a list (lines that start with `- `)",
    "dict_type": lambda _: "a mapping (lines `key: value`)",
    "model_type": lambda _: "a mapping (lines `key: value`)",
    "model_attributes_type": lambda _: "a mapping (lines `key: value`)",
    "too_short": lambda c: f"at least {c['min_length']}",
    "too_long": lambda c: f"a list of at most {c['max_length']}",
    "string_too_short": lambda c: f"text of at least {_count(c['min_length'], 'character')}",
    "string_too_long": lambda c: f"text of at most {_count(c['max_length'], 'character')}",
    "greater_than_equal": lambda c: f"{c['ge']} or more",
    "greater_than": lambda c: f"more than {c['gt']}",
    "less_than_equal": lambda c: f"{c['le']} or less",
    "less_than": lambda c: f"less than {c['lt']}",
    "literal_error": lambda c: c["expected"].replace("'", ""),
}

_PATTERNS = {
    r"^[a-z0-9][a-z0-9._-]*$": "an id: lower case letters, digits, `.`, `_` and `-`, starting with a letter or digit",
    "^[0-9a-f]{64}$": "a SHA-256 of 64 hexadecimal digits",
    "^[A-Z]{3}$": "a code of three capital letters, e.g. EUR",
    "^[^:]+:[^:]+$": "package.module:Class",
}


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"


def _wanted(details: ErrorDetails) -> str:
    context = details.get("ctx", {})
    if details["type"] == "string_pattern_mismatch":
        pattern = str(context["pattern"])
        return _PATTERNS.get(pattern, f"text of the form {pattern}")
    told = _WANTED.get(details["type"])
    return told(context) if told else details["msg"].removeprefix("Input should be ").removeprefix("a valid ")


def fields_at(model: type[BaseModel], path: Path) -> list[str]:
    """Names of the keys that may stand in the mapping at `path`."""
    models: list[type[BaseModel]] = [model]
    for part in path:
        if isinstance(part, str):
            annotations = [m.model_fields[part].annotation for m in models if part in m.model_fields]
            models = [found for annotation in annotations for found in _models(annotation)]
    return sorted({name for found in models for name in found.model_fields})


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
