"""Finds adapters: by the name of an entry point, or by dotted path `package.module:Class`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from drtests.errors import UsageError

ENGINES, HOSTS, CHECKS = "drtests.engines", "drtests.hosts", "drtests.checks"


@cache
def _known(group: str) -> Mapping[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=group)}


@cache
def load(group: str, name: str) -> Any:
    """The adapter class. Raises UsageError when there is none, with the names there are."""
    known = _known(group)
    if name in known:
        return known[name].load()
    module, separator, attribute = name.partition(":")
    kind = group.removeprefix("drtests.").removesuffix("s")
    if separator:
        try:
            return getattr(import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise UsageError(
                f"{kind} {name!r} cannot be loaded: {error}", mend="write package.module:Class, and install the package"
            ) from error
    close = difflib.get_close_matches(name, known, 1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise UsageError(f"there is no {kind} {name!r}{hint}", mend=f"known are: {', '.join(sorted(known))}")


def engine(name: str) -> Any:
    """A class that fulfils `drtests.protocols.engine.Engine`. Raises UsageError."""
    return load(ENGINES, name)


def host(name: str) -> Any:
    """A class that fulfils `drtests.protocols.host.Host`. Raises UsageError."""
    return load(HOSTS, name)


def check(kind: str) -> Any:
    """A class that fulfils `drtests.protocols.check.Check`. Raises UsageError."""
    return load(CHECKS, kind)


def check_kinds() -> list[str]:
    """Names of all checks that are installed."""
    return sorted(_known(CHECKS))
