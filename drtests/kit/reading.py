"""Reads a kit back: is it whole, and what does it say."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from drtests.kit.contents import MANIFEST, SCHEMA, SCHEMA_VERSION, SUMS
from drtests.kit.places import Place

_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


@dataclass(frozen=True, slots=True)
class KitRead:
    """A kit as it was found. `manifest` is None when there is none, or it cannot be understood."""

    there: bool
    manifest: Mapping[str, Any] | None = None
    problems: tuple[str, ...] = ()
    """What is damaged or lost; empty when every file is as it was written."""

    def tool(self, name: str, host: str) -> Mapping[str, Any] | None:
        """What the kit says of a program; of that host by preference."""
        tools = [tool for tool in (self.manifest or {}).get("tools", ()) if tool["name"] == name and tool["sha256"]]
        return min(tools, key=lambda tool: tool["host"] != host, default=None)

    def repository(self, repository: str) -> Mapping[str, Any] | None:
        """What the kit says of a repository and its keys."""
        found = (self.manifest or {}).get("repositories", ())
        return next((one for one in found if one["declared"]["id"] == repository), None)


def read_kit(place: Place) -> KitRead:
    """Compares every file with the kit's own sums; files that they do not name are no part of it.

    Raises HostError, StoreError when the place cannot be read.
    """
    names = place.names()
    if not names:
        return KitRead(there=False)
    if SUMS not in names or MANIFEST not in names:
        absent = SUMS if SUMS not in names else MANIFEST
        return KitRead(True, None, (f"{absent} is missing",))
    try:
        sums = _sums(place.read(SUMS))
    except ValueError:
        return KitRead(True, None, (f"{SUMS} cannot be read",))
    there = set(names)
    problems = [f"{name} is missing" for name in sorted(sums) if name not in there]
    found = dict(place.digests([name for name in sorted(sums) if name in there]))
    problems += [f"{name} was changed" for name in sorted(found) if found[name] != sums[name]]
    manifest = _manifest(place.read(MANIFEST))
    if manifest is None:
        problems.append(f"{MANIFEST} cannot be read")
    return KitRead(True, manifest, tuple(problems))


def _sums(data: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in data.decode("utf-8").splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(line)
        found[match[2]] = match[1]
    return found


def _manifest(data: bytes) -> Mapping[str, Any] | None:
    try:
        found = json.loads(data)
        if found["schema"] != SCHEMA or found["schema_version"] != SCHEMA_VERSION:
            return None
        fits = all(isinstance(found[name], kind) for name, kind in _KINDS.items())
        fits = fits and all(
            _fits(one, _REPOSITORY) and _fits(one["declared"], {"id": str}) for one in found["repositories"]
        )
        fits = fits and all(_fits(tool, _TOOL) for tool in found["tools"])
        return found if fits else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _fits(value: Any, kinds: Mapping[str, Any]) -> bool:
    return isinstance(value, dict) and all(name in value and isinstance(value[name], kinds[name]) for name in kinds)


_REPOSITORY = {"declared": dict, "kept": str, "holders": list, "password": (str, type(None)), "environment": dict}
_TOOL = {"name": str, "host": str, "path": str, "version": str, "sha256": str, "file": str}
_KINDS = {"made_at": str, "declarations": str, "repositories": list, "tools": list, "systems": dict, "waves": list}
