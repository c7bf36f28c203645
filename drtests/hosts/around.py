"""A host around another one, for what does something of its own with commands: all else is passed on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from drtests.protocols.host import FileFact, Host


class PassedOn:
    """All of `drtests.protocols.host.Host` but `run` and `start`, as the host beneath does it."""

    def __init__(self, host: Host) -> None:
        self._host = host

    @property
    def id(self) -> str:
        return self._host.id

    def sweep(self) -> Sequence[str]:
        return self._host.sweep()

    def local_path(self, path: str) -> Path | None:
        return self._host.local_path(path)

    def exists(self, path: str) -> bool:
        return self._host.exists(path)

    def read(self, path: str, limit: int) -> bytes:
        return self._host.read(path, limit)

    def write(self, path: str, data: bytes, mode: int = 0o600) -> None:
        self._host.write(path, data, mode)

    def make_directory(self, path: str) -> None:
        self._host.make_directory(path)

    def remove_tree(self, path: str) -> None:
        self._host.remove_tree(path)

    def scan(self, path: str) -> Iterator[FileFact]:
        return self._host.scan(path)

    def digests(self, root: str, paths: Iterable[str]) -> Iterator[tuple[str, str]]:
        return self._host.digests(root, paths)

    def free_bytes(self, path: str) -> int:
        return self._host.free_bytes(path)

    def resolve(self, path: str) -> str:
        return self._host.resolve(path)

    def lock(self, path: str, timeout: float) -> AbstractContextManager[None]:
        return self._host.lock(path, timeout)

    def forward(self, address: str, port: int) -> AbstractContextManager[tuple[str, int]]:
        return self._host.forward(address, port)
