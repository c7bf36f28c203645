"""Hosts that wrap another one: for suites that look at what an adapter does to a host."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from drtests.errors import CommandNotFound
from drtests.protocols.host import CommandResult, FileFact, Host, LineSink, Service


@dataclass(slots=True)
class Seen:
    """What went through: arguments, environments and standard input of commands; files that were written."""

    argvs: list[tuple[str, ...]] = field(default_factory=list)
    environments: list[dict[str, str]] = field(default_factory=list)
    inputs: list[bytes] = field(default_factory=list)
    written: dict[str, bytes] = field(default_factory=dict)

    def words(self) -> Iterator[str]:
        """Every argument of every command."""
        for argv in self.argvs:
            yield from argv


class RecordingHost:
    """Delegates everything, and keeps what was asked in `seen`."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.seen = Seen()

    @property
    def id(self) -> str:
        return self._host.id

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        on_line: LineSink | None = None,
    ) -> CommandResult:
        self._keep(argv, env)
        self.seen.inputs.append(stdin or b"")
        return self._host.run(argv, timeout=timeout, stdin=stdin, env=env, cwd=cwd, on_line=on_line)

    def start(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: str, log: str) -> Service:
        self._keep(argv, env)
        return self._host.start(argv, env=env, cwd=cwd, log=log)

    def _keep(self, argv: Sequence[str], env: Mapping[str, str] | None) -> None:
        self.seen.argvs.append(tuple(argv))
        self.seen.environments.append(dict(env or {}))

    def write(self, path: str, data: bytes, mode: int = 0o600) -> None:
        self.seen.written[path] = data
        self._host.write(path, data, mode)

    def sweep(self) -> Sequence[str]:
        return self._host.sweep()

    def local_path(self, path: str) -> Path | None:
        return self._host.local_path(path)

    def exists(self, path: str) -> bool:
        return self._host.exists(path)

    def read(self, path: str, limit: int) -> bytes:
        return self._host.read(path, limit)

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


class BareHost(RecordingHost):
    """As if no program were installed."""

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        on_line: LineSink | None = None,
    ) -> CommandResult:
        raise self._missing(argv)

    def start(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: str, log: str) -> Service:
        raise self._missing(argv)

    def exists(self, path: str) -> bool:
        return "/bin/" not in path and super().exists(path)

    def _missing(self, argv: Sequence[str]) -> CommandNotFound:
        return CommandNotFound(f"{argv[0]} is not installed", where=f"host {self.id}", mend=f"install {argv[0]}")
