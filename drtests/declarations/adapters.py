"""Adapters that are declared by name with options of their own: databases, replicas and failovers of a system."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from drtests import registry
from drtests.declarations.problems import explain
from drtests.declarations.source import Source
from drtests.declarations.yamltext import Path
from drtests.errors import ConfigurationError, Diagnostic, UsageError
from drtests.model.base import Refers
from drtests.model.estate import Estate
from drtests.model.system import Database, Failover, Replica, System
from drtests.model.words import did_you_mean

Known = Mapping[str, frozenset[str]]
"""Ids that are declared, by what a `Refers` calls them."""


def spec_of(adapter: Any, said: str, options: Mapping[str, Any]) -> Any:
    """The adapter's options, checked. Raises ConfigurationError when they do not fit."""
    try:
        return adapter.Spec.model_validate(dict(options))
    except ValidationError as error:
        raise ConfigurationError(explain(error, adapter.Spec, Source(said, b"", dict(options)))) from None


def known_ids(estate: Estate | None, system: System) -> Known:
    """All that options may refer to; without an estate that can be read, what the system itself declares."""
    known = {"database": frozenset(one.id for one in system.databases)}
    if estate is not None:
        known |= {
            "host": frozenset(host.id for host in estate.hosts) | {"local"},
            "repository": frozenset(one.id for one in estate.repositories),
            "live database": frozenset(one.id for one in estate.databases),
            "store": frozenset(one.id for one in estate.stores),
        }
    return known


def adapter_problems(system: System, estate: Estate | None, source: Source) -> Iterator[Diagnostic]:
    """What is wrong with a system's databases, replicas and failovers, each at its line."""
    known = known_ids(estate, system)
    for number, database in enumerate(system.databases):
        at: Path = ("databases", number)
        yield from _one(registry.recipe, database.recipe, "recipe", database, source, at, known)
        live = known.get("live database")
        if live is not None and database.live is not None and database.live not in live:
            yield _unknown(source, (*at, "live"), "live database", database.live, known)
    for number, replica in enumerate(system.replicas):
        at = ("replicas", number)
        yield from _one(registry.replication, replica.kind, "kind", replica, source, at, known)
    for number, failover in enumerate(system.failovers):
        at = ("failovers", number)
        yield from _one(registry.rehearsal, failover.kind, "kind", failover, source, at, known)
        if failover.stands_for not in known["database"]:
            yield _unknown(source, (*at, "stands_for"), "database", failover.stands_for, known)


def _one(
    find: Callable[[str], Any],
    name: str,
    key: str,
    declared: Database | Replica | Failover,
    source: Source,
    at: Path,
    known: Known,
) -> Iterator[Diagnostic]:
    try:
        adapter = find(name)
    except UsageError as error:
        yield source.wrong((*at, key), error.what, error.mend)
        return
    written = source.value[at[0]][at[1]]
    place = (*at, "options") if "options" in written else at
    try:
        spec = adapter.Spec.model_validate(declared.options)
    except ValidationError as error:
        # Keys that all of the kind have stand beside these, and are no mistakes.
        common = [name for name in type(declared).model_fields if name != "options"]
        yield from explain(error, adapter.Spec, source, place, common)
        return
    yield from reference_problems(spec, source, place, known)


def reference_problems(spec: BaseModel, source: Source, at: Path, known: Known) -> Iterator[Diagnostic]:
    """Ids in the options that nothing declares."""
    for path, kind, name in _named(spec, at):
        if kind in known and name not in known[kind]:
            yield _unknown(source, path, kind, name, known)


def ids_in(spec: BaseModel, kind: str) -> frozenset[str]:
    """All ids in the options that are of one kind, as a `Refers` calls it."""
    return frozenset(name for _, found, name in _named(spec, ()) if found == kind)


def _named(spec: BaseModel, at: Path) -> Iterator[tuple[Path, str, str]]:
    """Where an id stands, of what it is one, and the id."""
    for name, field in type(spec).model_fields.items():
        value, path = getattr(spec, name), (*at, field.alias or name)
        yield from _marked(field.metadata, value, path)
        yield from _inside(field.annotation, value, path)


def _marked(marks: Iterable[Any], value: Any, path: Path) -> Iterator[tuple[Path, str, str]]:
    for mark in marks:
        if isinstance(mark, Refers) and isinstance(value, str):
            yield path, mark.kind, value


def _inside(annotation: Any, value: Any, path: Path) -> Iterator[tuple[Path, str, str]]:
    """What the parts of a type refer to: those of a union, of a list, of a mapping, of a model."""
    if isinstance(value, BaseModel):
        if annotation is type(value):
            yield from _named(value, path)
            return
    elif isinstance(value, (list, tuple)) and get_origin(annotation) in (list, tuple):
        for number, item in enumerate(value):
            yield from _inside(get_args(annotation)[0], item, (*path, number))
        return
    elif isinstance(value, Mapping) and get_args(annotation) and get_origin(annotation) not in (Union, UnionType):
        for key, item in value.items():
            yield from _inside(get_args(annotation)[-1], item, (*path, key))
        return
    if get_origin(annotation) is Annotated:
        part, *marks = get_args(annotation)
        yield from _marked(marks, value, path)
        yield from _inside(part, value, path)
    elif get_origin(annotation) in (Union, UnionType):
        for part in get_args(annotation):
            yield from _inside(part, value, path)


def _unknown(source: Source, at: Path, kind: str, value: str, known: Known) -> Diagnostic:
    where = "in `databases` of this system" if kind == "database" else "in targets/estate.yaml"
    return source.wrong(at, f"there is no {kind} {value!r}", did_you_mean(value, known[kind], f"declared {where}"))
