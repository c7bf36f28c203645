"""Where a kit lies: a folder of a host, or a bucket. Written so that an interrupted write is seen as damage."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Protocol

from drtests.errors import ObjectMissing, SafetyError
from drtests.kit.contents import MANIFEST, SUMS
from drtests.protocols.host import Host
from drtests.protocols.store import Store

LARGEST = 512 * 1024 * 1024
"""Bytes of a file of a kit, at most."""


class Place(Protocol):
    """Files by their names, which are relative and have `/`. Raises HostError, StoreError."""

    @property
    def where(self) -> str:
        """In words."""

    def names(self) -> Sequence[str]:
        """All files that are there, in order; none where there is no such place."""

    def read(self, name: str) -> bytes: ...

    def digests(self, names: Sequence[str]) -> Iterator[tuple[str, str]]:
        """(name, SHA-256 in hex) of files that are there."""


class Folder:
    """A folder of a host."""

    def __init__(self, host: Host, path: str) -> None:
        self._host = host
        self._path = path

    @property
    def where(self) -> str:
        return f"{self._path} on host {self._host.id}"

    def names(self) -> Sequence[str]:
        if not self._host.exists(self._path):
            return ()
        return sorted(fact.path for fact in self._host.scan(self._path) if fact.kind != "directory")

    def read(self, name: str) -> bytes:
        return self._host.read(f"{self._path}/{name}", LARGEST)

    def digests(self, names: Sequence[str]) -> Iterator[tuple[str, str]]:
        return self._host.digests(self._path, names)

    def write(self, files: Mapping[str, bytes]) -> None:
        """Takes the place of the kit that is there. Raises SafetyError where there is something else."""
        there = self.names()
        _only_a_kit(there, "folder", self.where)
        self._host.make_directory(self._path)
        # Without its sums it counts as damaged, until all of it is there.
        self._host.remove_tree(f"{self._path}/{SUMS}")
        for name in there:
            if name not in files:
                self._host.remove_tree(f"{self._path}/{name}")
        for name, data in _in_order(files):
            self._host.make_directory(str(PurePosixPath(self._path, name).parent))
            self._host.write(f"{self._path}/{name}", data, _mode(name))


class Bucket:
    """Objects of a bucket, below a key. `reader` and `writer` open it with those credentials."""

    def __init__(self, key: str, reader: Callable[[], Store], writer: Callable[[], Store] | None = None) -> None:
        self._key = key
        self._open_reader = reader
        self._open_writer = writer
        self._reader: Store | None = None
        self._fetched: dict[str, bytes] = {}
        """What was read already: each byte that leaves a store may cost money."""

    @property
    def _store(self) -> Store:
        if self._reader is None:
            self._reader = self._open_reader()
        return self._reader

    @property
    def where(self) -> str:
        return f"{self._key}/ in store {self._store.id}"

    def names(self) -> Sequence[str]:
        try:
            found = [fact.key for fact in self._store.objects(f"{self._key}/")]
        except ObjectMissing:
            return ()
        return sorted(key.removeprefix(f"{self._key}/") for key in found)

    def read(self, name: str) -> bytes:
        if name not in self._fetched:
            self._fetched[name] = self._store.read(f"{self._key}/{name}", limit=LARGEST)
        return self._fetched[name]

    def digests(self, names: Sequence[str]) -> Iterator[tuple[str, str]]:
        there = set(self.names())
        for name in names:
            if name in there:
                yield name, hashlib.sha256(self.read(name)).hexdigest()

    def write(self, files: Mapping[str, bytes]) -> None:
        """Over the kit that is there. What is no longer part of it stays: a bucket may refuse to delete.

        Raises SafetyError where there is something else, or nobody can tell.
        """
        if self._open_writer is None:
            raise SafetyError("this bucket is only read", where=self.where)
        _only_a_kit(self.names(), "key", self.where)
        store = self._open_writer()
        self._fetched.clear()
        for name, data in _in_order(files):
            store.write(f"{self._key}/{name}", data)


def _only_a_kit(there: Sequence[str], what: str, where: str) -> None:
    if there and MANIFEST not in there and SUMS not in there:
        raise SafetyError(
            f"the {what} holds something that is no recovery kit",
            where=where,
            mend=f"give the kit a {what} of its own in targets/estate.yaml, under `kit`",
        )


def _in_order(files: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """The sums come last."""
    yield from ((name, data) for name, data in files.items() if name != SUMS)
    yield SUMS, files[SUMS]


def _mode(name: str) -> int:
    return 0o755 if name.startswith("tools/") else 0o644
