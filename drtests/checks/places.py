"""Paths below the restored root, and nowhere else."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass

from drtests.protocols.check import Resources
from drtests.protocols.host import FileFact
from drtests.restored import RelativePath, inside

__all__ = ["Match", "RelativePath", "matches", "place", "printable"]


def place(resources: Resources, path: str) -> str:
    """The absolute path on the host. Raises SafetyError when links lead out of the restored tree."""
    return inside(resources.host, resources.root, path)


def printable(name: str) -> str:
    """The name in valid UTF-8; bytes that are none become `\\udcXX`."""
    return name.encode("utf-8", errors="backslashreplace").decode()


@dataclass(frozen=True, slots=True)
class Match:
    """A file that a path or pattern stands for; `path` is absolute."""

    path: str
    size: int
    mtime: float


def matches(resources: Resources, pattern: str) -> Iterator[Match]:
    """The regular files a path stands for: itself, all below it when it is a directory, or all that fit a pattern.

    In a pattern `*`, `?` and `[...]` stay within one part, `**` stands for any number of parts.
    Links are not followed.
    """
    parts = pattern.split("/")
    fixed = next((n for n, part in enumerate(parts) if re.search(r"[*?\[]", part)), len(parts))
    host = resources.host
    if fixed == len(parts):
        start = place(resources, pattern)
        if not host.exists(start):
            return
        local = _single(resources, start)
        if local is not None:
            yield local
            return
        wanted = None
    else:
        start = place(resources, "/".join(parts[:fixed]) or ".")
        if not host.exists(start):
            return
        wanted = _regex(parts[fixed:])
    for fact in host.scan(start):
        if fact.kind == "file" and (wanted is None or wanted.fullmatch(fact.path)):
            yield Match(f"{start}/{fact.path}", fact.size, fact.mtime)


def _single(resources: Resources, path: str) -> Match | None:
    """The entry itself, when it is a file. Its facts come from its directory: a host tells no other way."""
    directory, name = posixpath.split(path)
    if path == resources.host.resolve(resources.root):
        return None
    fact = _entry(resources, directory, name)
    return Match(path, fact.size, fact.mtime) if fact is not None and fact.kind == "file" else None


def _entry(resources: Resources, directory: str, name: str) -> FileFact | None:
    return next((fact for fact in resources.host.scan(directory) if fact.path == name), None)


def _regex(parts: list[str]) -> re.Pattern[str]:
    pieces: list[str] = []
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        if part == "**":
            pieces.append(".+" if last else "(?:[^/]+/)*")
        else:
            pieces.append(_part(part) + ("" if last else "/"))
    return re.compile("".join(pieces), re.DOTALL)


def _part(part: str) -> str:
    pieces: list[str] = []
    at = 0
    while at < len(part):
        character = part[at]
        end = part.find("]", at + 2) if character == "[" else -1
        if end > 0:
            inside = part[at + 1 : end].replace("\\", "\\\\").replace("[", "\\[")
            pieces.append(f"[^{inside[1:]}/]" if inside.startswith(("!", "^")) else f"(?!/)[{inside}]")
            at = end
        else:
            pieces.append({"*": "[^/]*", "?": "[^/]"}.get(character, re.escape(character)))
        at += 1
    return "".join(pieces)
