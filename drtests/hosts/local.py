"""The machine that runs drtests."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from drtests.errors import HostBusy, HostError
from drtests.hashing import digest_files
from drtests.hosts import machine
from drtests.hosts.children import Left
from drtests.hosts.failure import TIMEOUT, Failure
from drtests.hosts.lines import Lines, text
from drtests.hosts.processes import MARK, sweep_marked
from drtests.hosts.told import as_told, timed_out
from drtests.model.estate import Host as Declaration
from drtests.protocols.host import CommandResult, FileFact, HostContext, LineSink, Service

__all__ = ["LocalHost", "open_local", "sweep_marked"]

_PIECE = 1024 * 1024


def open_local(context: HostContext) -> LocalHost:
    """The adapter for hosts of type `local`."""
    return LocalHost(context.declared, context.mark)


class LocalHost:
    """Runs commands as the user who runs drtests.

    `marker` is what `sweep` looks for; a host that is given none makes up its own.
    """

    def __init__(self, declaration: Declaration, marker: str = "") -> None:
        self._id = declaration.id
        self._marker = marker or f"host-{uuid.uuid4().hex}"

    @property
    def id(self) -> str:
        return self._id

    def __repr__(self) -> str:
        return f"LocalHost({self._id!r})"

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
        sink = None if on_line is None else Lines(on_line)
        try:
            ended = machine.run(argv, timeout, stdin, self._marked(env), cwd, sink)
        except Failure as failure:
            if failure.kind == TIMEOUT:
                raise timed_out(argv, timeout, self._id) from None
            raise as_told(failure, self._id) from failure.__cause__
        return CommandResult(tuple(argv), ended.exit_code, text(ended.stdout), text(ended.stderr), ended.seconds)

    def start(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: str, log: str) -> Service:
        with self._told():
            return LocalService(machine.start(argv, self._marked(env), cwd, log), self._id)

    def sweep(self) -> Sequence[str]:
        with self._told():
            return sweep_marked(self._marker)

    def local_path(self, path: str) -> Path | None:
        return Path(path)

    def exists(self, path: str) -> bool:
        return os.path.lexists(path)

    def read(self, path: str, limit: int) -> bytes:
        with self._told():
            return b"".join(machine.read(path, limit, _PIECE))

    def write(self, path: str, data: bytes, mode: int = 0o600) -> None:
        with self._told():
            machine.write(path, data, mode)

    def make_directory(self, path: str) -> None:
        with self._told():
            machine.make_directory(path)

    def remove_tree(self, path: str) -> None:
        with self._told():
            machine.remove_tree(path)

    def scan(self, path: str) -> Iterator[FileFact]:
        with self._told():
            for entry in machine.scan(path):
                yield FileFact(*entry)

    def digests(self, root: str, paths: Iterable[str]) -> Iterator[tuple[str, str]]:
        for found in digest_files(root, paths):
            if found.problem:
                raise HostError(f"cannot read {root}/{found.path}: {found.problem}", where=f"host {self._id}")
            yield found.path, found.sha256

    def free_bytes(self, path: str) -> int:
        with self._told():
            return machine.free_bytes(path)

    def resolve(self, path: str) -> str:
        return os.path.realpath(path)

    @contextmanager
    def lock(self, path: str, timeout: float) -> Iterator[None]:
        lock = FileLock(path)
        try:
            lock.acquire(timeout=timeout, poll_interval=0.1)
        except Timeout:
            raise HostBusy(
                f"somebody else holds {path} since more than {timeout:.0f} s", where=f"host {self._id}"
            ) from None
        except OSError as error:
            raise as_told(machine.failed("lock", path, error), self._id) from error
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def forward(self, address: str, port: int) -> Iterator[tuple[str, int]]:
        yield address, port

    def _marked(self, env: Mapping[str, str] | None) -> dict[str, str]:
        return {**(env or {}), MARK: self._marker}

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except Failure as failure:
            raise as_told(failure, self._id) from failure.__cause__


class LocalService:
    """A child that was left running."""

    def __init__(self, left: Left, host: str) -> None:
        self._left = left
        self._host = host

    def __repr__(self) -> str:
        return f"LocalService(pid={self.pid})"

    @property
    def pid(self) -> int:
        return self._left.pid

    def exit_code(self) -> int | None:
        return self._left.exit_code()

    def output(self, limit: int = 4000) -> str:
        try:
            return self._left.output(limit)
        except Failure as failure:
            raise as_told(failure, self._host) from failure.__cause__

    def stop(self, timeout: float) -> None:
        try:
            self._left.stop(timeout)
        except Failure as failure:
            raise as_told(failure, self._host) from failure.__cause__
