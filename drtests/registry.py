"""Finds adapters: by the name of an entry point, or by a dotted path `package.module:Class`.

Nothing is imported before it is asked for, and nothing twice.
"""

from __future__ import annotations

import importlib
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from drtests.errors import UsageError
from drtests.model.words import did_you_mean

_ENGINES = ("drtests.engines", "engine", "engines")
_HOSTS = ("drtests.hosts", "host type", "host types")
_CHECKS = ("drtests.checks", "kind of check", "kinds of check")
_DATABASES = ("drtests.databases", "type of database", "types of databases")
_RECIPES = ("drtests.recipes", "recipe", "recipes")
_REPLICATIONS = ("drtests.replications", "kind of replica", "kinds of replicas")
_REHEARSALS = ("drtests.rehearsals", "kind of failover", "kinds of failovers")
_STORES = ("drtests.stores", "type of store", "types of stores")


def engine(name: str) -> Any:
    """The Engine class of that name. Raises UsageError when there is none, or it cannot be imported."""
    return _adapter(_ENGINES, name)


def host(name: str) -> Any:
    """The host adapter of that type, called with a HostContext. Raises UsageError."""
    return _adapter(_HOSTS, name)


def check(kind: str) -> Any:
    """The Check class of that kind. Raises UsageError."""
    return _adapter(_CHECKS, kind)


def database(kind: str) -> Any:
    """The client for running databases of that type, called with a LiveContext. Raises UsageError."""
    return _adapter(_DATABASES, kind)


def recipe(name: str) -> Any:
    """The Recipe class of that name. Raises UsageError."""
    return _adapter(_RECIPES, name)


def replication(kind: str) -> Any:
    """The Replication class of that kind. Raises UsageError."""
    return _adapter(_REPLICATIONS, kind)


def rehearsal(kind: str) -> Any:
    """The Rehearsal class of that kind. Raises UsageError."""
    return _adapter(_REHEARSALS, kind)


def store(kind: str) -> Any:
    """The store adapter of that type, called with a StoreContext. Raises UsageError."""
    return _adapter(_STORES, kind)


def engine_names() -> tuple[str, ...]:
    """All installed engines, in order of their names."""
    return tuple(sorted(_installed(_ENGINES[0])))


def host_types() -> tuple[str, ...]:
    """All installed host adapters, in order of their names."""
    return tuple(sorted(_installed(_HOSTS[0])))


def check_kinds() -> tuple[str, ...]:
    """All installed kinds of check, in order of their names."""
    return tuple(sorted(_installed(_CHECKS[0])))


def database_types() -> tuple[str, ...]:
    """All installed clients for running databases, in order of their names."""
    return tuple(sorted(_installed(_DATABASES[0])))


def recipe_names() -> tuple[str, ...]:
    """All installed recipes, in order of their names."""
    return tuple(sorted(_installed(_RECIPES[0])))


def replication_kinds() -> tuple[str, ...]:
    """All installed kinds of replicas, in order of their names."""
    return tuple(sorted(_installed(_REPLICATIONS[0])))


def rehearsal_kinds() -> tuple[str, ...]:
    """All installed kinds of failovers, in order of their names."""
    return tuple(sorted(_installed(_REHEARSALS[0])))


def store_types() -> tuple[str, ...]:
    """All installed store adapters, in order of their names."""
    return tuple(sorted(_installed(_STORES[0])))


@cache
def _installed(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=group)}


@cache
def _adapter(kind: tuple[str, str, str], name: str) -> Any:
    group, one, several = kind
    known = _installed(group)
    if name in known:
        return _imported(known[name].value, f"{one} {name!r}")
    if ":" in name:
        return _imported(name, f"{one} {name!r}")
    mend = did_you_mean(name, known, f"installed {several}")
    raise UsageError(f"there is no {one} {name!r}", mend=mend)


def _imported(path: str, said: str) -> Any:
    """Whatever an adapter's module raises while it is imported is told as one problem of the declarations."""
    module, _, name = path.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        mend = "write it as package.module:Class, and install what it needs into the environment drtests runs in"
        raise UsageError(f"{said} cannot be imported from {path!r}: {why}", mend=mend) from error
    return found
