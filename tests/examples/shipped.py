"""A replica of our own: a folder that something (Syncthing, lsyncd, a cron job) ships to another place."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import ClassVar

from pydantic import BaseModel

from drtests.errors import HostError, UsageError
from drtests.model.base import Declaration, HostId
from drtests.protocols.host import Host
from drtests.protocols.reach import Reach
from drtests.protocols.replication import Behind, Compared, Identity, Skew

MARKER = ".drtests-marker"


class Folder(Declaration):
    """Where one side lies."""

    host: HostId | None = None
    path: str


class ShippedSpec(Declaration):
    """A folder, and where it is shipped to."""

    source: Folder
    replica: Folder


class Shipped:
    """The marker is a file in the folder: it travels as all others do."""

    Spec: ClassVar[type[BaseModel]] = ShippedSpec
    marks: ClassVar[bool] = True
    steady: ClassVar[bool] = False

    def __init__(self, spec: ShippedSpec, reach: Reach) -> None:
        self._spec = spec
        self._source = reach.host(spec.source.host)
        self._replica = reach.host(spec.replica.host)
        # Of this drill alone: where the tool deletes nothing, markers of earlier ones stay for good.
        self._marker = f"{MARKER}-{secrets.token_hex(8)}"
        self._marking = False
        self._seen: int | None = None

    def identify(self) -> Identity:
        there = {
            "source": self._source.exists(self._spec.source.path),
            "replica": self._replica.exists(self._spec.replica.path),
        }
        problems = [f"there is no folder at the {side}" for side, is_there in there.items() if not is_there]
        if self._source.id == self._replica.id and self._spec.source.path == self._spec.replica.path:
            problems.append("source and replica are one folder")
        return Identity(there, tuple(problems))

    def skew(self) -> Skew | None:
        return None  # no time is compared: a marker is a number

    def begin(self) -> None:
        self._marking = True  # a file needs no place made for it

    def mark(self, number: int) -> None:
        if not self._marking:
            raise UsageError("markers are written after `begin` only")
        self._source.write(f"{self._spec.source.path}/{self._marker}", f"{number}\n".encode())

    def newest(self) -> int | None:
        folder = self._spec.replica.path
        if not self._replica.exists(folder):
            raise HostError(f"there is no folder {folder}", mend="see whether it is mounted")
        if not self._replica.exists(f"{folder}/{self._marker}"):
            return None
        text = self._replica.read(f"{folder}/{self._marker}", 20).decode()
        if text.endswith("\n"):  # else it is half written, over what had arrived
            self._seen = int(text)
        return self._seen

    def behind(self) -> Behind:
        self.newest()
        return Behind(None, None)  # nobody tells: only markers do

    def compare(self) -> Sequence[Compared]:
        here = _files(self._source, self._spec.source.path)
        there = _files(self._replica, self._spec.replica.path)
        facts = {"files": len(here), "differ": sum(there.get(path) != digest for path, digest in here.items())}
        return [Compared("files", here == there, f"{facts['differ']} of {facts['files']} differ", facts)]

    def end(self) -> None:
        self._source.remove_tree(f"{self._spec.source.path}/{self._marker}")


def _files(host: Host, path: str) -> dict[str, str]:
    """SHA-256 by path."""
    names = [fact.path for fact in host.scan(path) if fact.kind == "file" and not fact.path.startswith(MARKER)]
    return dict(host.digests(path, names))
