"""One declaration file: its bytes, what it says, and where in it something stands."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from yaml.nodes import Node

from drtests.declarations.yamltext import Path, compose, place
from drtests.errors import Diagnostic


@dataclass(slots=True)
class Source:
    """`name` is the path from the project's root. Places are looked up only when something is wrong."""

    name: str
    data: bytes = field(repr=False)
    value: Any = field(default=None, repr=False)
    _node: Node | None = field(default=None, repr=False)
    _composed: bool = False

    @property
    def digest(self) -> str:
        """SHA-256 in hex."""
        return hashlib.sha256(self.data).hexdigest()

    def at(self, path: Path, *, key: bool = False) -> str:
        """`file:line:column` of the value at `path` (or of its key), or of the nearest there is."""
        if not self._composed:
            self._node, self._composed = compose(self.data), True
        line, column = place(self._node, path, key)
        return f"{self.name}:{line}:{column}"

    def wrong(self, path: Path, what: str, mend: str, *, key: bool = False) -> Diagnostic:
        """A diagnostic at that place."""
        return Diagnostic(what, self.at(path, key=key), mend)
