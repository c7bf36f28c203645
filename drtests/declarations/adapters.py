"""Adapters that are declared by name with options of their own: databases, replicas and failovers of a system."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

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


def known_ids(estate: Estate, system: System) -> Known:
    """All that options may refer to."""
    return {
        "host": frozenset(host.id for host in estate.hosts) | {"local"},
        "repository": frozenset(one.id for one in estate.repositories),
        "live database": frozenset(one.id for one in estate.databases),
        "store": frozenset(one.id for one in estate.stores),
        "database": frozenset(one.id for one in system.databases),
    }


def adapter_problems(system: System, estate: Estate | None, source: Source) -> Iterator[Diagnostic]:
    """What is wrong with a system's databases, replicas and failovers, each at its line."""
    known = known_ids(estate, system) if estate else None
    for number, database in enumerate(system.databases):
        at: Path = ("databases", number)
        yield from _one(registry.recipe, database.recipe, "recipe", database, source, at, known)
        if known and database.live is not None and database.live not in known["live database"]:
            yield _unknown(source, (*at, "live"), "live database", database.live, known)
    for number, replica in enumerate(system.replicas):
        at = ("replicas", number)
        yield from _one(registry.replication, replica.kind, "kind", replica, source, at, known)
    for number, failover in enumerate(system.failovers):
        at = ("failovers", number)
        yield from _one(registry.rehearsal, failover.kind, "kind", failover, source, at, known)
        if failover.database not in {one.id for one in system.databases}:
            declared = {"database": frozenset(one.id for one in system.databases)}
            yield _unknown(source, (*at, "database"), "database", failover.database, declared)


def _one(
    find: Callable[[str], Any],
    name: str,
    key: str,
    declared: Database | Replica | Failover,
    source: Source,
    at: Path,
    known: Known | None,
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
    if known:
        yield from reference_problems(spec, source, place, known)


def reference_problems(spec: BaseModel, source: Source, at: Path, known: Known) -> Iterator[Diagnostic]:
    """Ids in the options that nothing declares."""
    for name, field in type(spec).model_fields.items():
        value = getattr(spec, name)
        for refers in (mark for mark in field.metadata if isinstance(mark, Refers)):
            if value is not None and value not in known[refers.kind]:
                yield _unknown(source, (*at, name), refers.kind, value, known)
        if isinstance(value, BaseModel):
            yield from reference_problems(value, source, (*at, name), known)


def _unknown(source: Source, at: Path, kind: str, value: str, known: Known) -> Diagnostic:
    where = "in `databases` of this system" if kind == "database" else "in targets/estate.yaml"
    return source.wrong(at, f"there is no {kind} {value!r}", did_you_mean(value, known[kind], f"declared {where}"))
