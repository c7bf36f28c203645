"""A database of our own: a file of JSON lines, the last of which tells how many there are."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, ClassVar

from pydantic import BaseModel

from drtests.databases.sqlite import SqliteRecipe, SqliteRecipeSpec
from drtests.errors import DatabaseDamaged
from drtests.model.base import Declaration
from drtests.protocols.database import Scratch, ScratchPlace
from drtests.protocols.host import Host
from drtests.restored import RelativePath, inside

LARGEST = 1024**3


class JsonLinesSpec(Declaration):
    """A file of JSON lines, asked as the SQLite table `line (number, data)`."""

    path: RelativePath
    """The file, in the restored tree."""


class JsonLines:
    """Holds every line against JSON and their number against the last one, then lets SQLite answer."""

    Spec: ClassVar[type[BaseModel]] = JsonLinesSpec
    type: ClassVar[str] = "sqlite"  # the language that queries are written in
    point_in_time: ClassVar[bool] = False  # there are no logs to stop at a moment

    def __init__(self, spec: JsonLinesSpec) -> None:
        self._path = spec.path
        self._sqlite = SqliteRecipe(SqliteRecipeSpec(path="lines.sql"))

    def programs(self, host: Host) -> str:
        return self._sqlite.programs(host)

    def bring_up(self, place: ScratchPlace) -> Scratch:
        source = inside(place.host, place.root, self._path)
        if not place.host.exists(source):
            raise self._damaged("is not in the restored copy")
        lines = self._parsed(place.host.read(source, LARGEST))
        place.tell("lines", len(lines))
        place.host.write(f"{place.folder}/lines.sql", _dump(lines).encode())
        return self._sqlite.bring_up(dataclasses.replace(place, root=place.folder))

    def _parsed(self, data: bytes) -> list[Any]:
        try:
            *lines, end = [json.loads(line) for line in data.splitlines()]
            count = end["lines"]
        except (ValueError, TypeError, KeyError):
            raise self._damaged("has a line that is no JSON, or no last line that counts them") from None
        if count != len(lines):
            raise self._damaged(f"holds {len(lines)} lines, and says that there are {count}")
        return lines

    def _damaged(self, what: str) -> DatabaseDamaged:
        return DatabaseDamaged(f"{self._path} {what}", where=self._path, mend="look at the job that writes it")


def _dump(lines: list[Any]) -> str:
    texts = [json.dumps(line).replace("'", "''") for line in lines]
    rows = ",\n".join(f"({number}, '{text}')" for number, text in enumerate(texts, 1))
    table = "CREATE TABLE line (number INTEGER PRIMARY KEY, data TEXT);\n"
    return f"BEGIN;\n{table}INSERT INTO line VALUES\n{rows};\nCOMMIT;\n"
