"""A machine that is reached over SSH."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from drtests.errors import HostError, HostUnreachable
from drtests.hosts.children import KEEP
from drtests.hosts.failure import TIMEOUT, Failure
from drtests.hosts.lines import Lines, text
from drtests.hosts.ssh.forward import forwarded
from drtests.hosts.ssh.link import Asked, Link
from drtests.hosts.ssh.pool import Connection, connection
from drtests.hosts.told import as_told, timed_out
from drtests.protocols.host import CommandResult, FileFact, HostContext, LineSink, Service

_T = TypeVar("_T")

_SHORT = 60.0
"""Seconds for a small question."""
_LONG = 3600.0
"""Seconds in which a large one has to show progress: a file is hashed, a tree is removed."""
_ENDING = 30.0
"""Seconds that the host may need beyond a timeout to end what took too long."""
_BATCH = 256
_BATCHES = 32
"""Batches of files that are hashed, or wait to be."""


def open_ssh(context: HostContext) -> SshHost:
    """The adapter for hosts of type `ssh`. Connects when it is first needed."""
    return SshHost(context)


class SshHost:
    """Runs commands over one connection, which all hosts of this process with the same declaration share.

    When that is lost, what ran there is ended there, and is not begun again.
    Then a new connection is made, so that clean up can go on; but whoever held
    a lock is refused whatever makes something: the lock went with the connection.
    """

    def __init__(self, context: HostContext) -> None:
        self._id = context.declared.id
        self._mark = context.mark or f"host-{uuid.uuid4().hex}"
        self._context = context
        self._locks: list[Link] = []

    @property
    def id(self) -> str:
        return self._id

    def __repr__(self) -> str:
        return f"SshHost({self._id!r})"

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
        tails = {"stdout": bytearray(), "stderr": bytearray()}
        given = {"argv": list(argv), "timeout": timeout, "env": dict(env or {}), "mark": self._mark, "cwd": cwd}
        link = self._making()
        with self._told(argv, timeout), link.ask("run", **given, stdin=stdin is not None, lines=bool(sink)) as asked:
            if stdin is not None:
                asked.feed_all(stdin)
            for header, data in asked.parts(timeout + _ENDING):
                tail = tails[header["stream"]]
                tail += data
                if len(tail) > 2 * KEEP:
                    del tail[:-KEEP]
                if sink is not None:
                    sink(header["stream"], data)
            if sink is not None:
                for name in tails:
                    sink(name, b"")
            out, err = (text(tail[-KEEP:]) for tail in tails.values())
            return CommandResult(tuple(argv), asked.done["exit_code"], out, err, asked.done["seconds"])

    def start(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: str, log: str) -> Service:
        link = self._making()
        given = {"argv": list(argv), "env": dict(env or {}), "mark": self._mark, "cwd": cwd, "log": log}
        with self._told():
            told = link.answer("start", _SHORT, **given)
        return SshService(self, link, told["service"], told["pid"])

    def sweep(self) -> Sequence[str]:
        lines: Sequence[str] = self._asked_again("sweep", _SHORT, mark=self._mark)["lines"]
        return lines

    def local_path(self, path: str) -> Path | None:  # noqa: ARG002 - none can be opened here
        return None

    def exists(self, path: str) -> bool:
        return bool(self._asked_again("exists", _SHORT, path=path)["exists"])

    def read(self, path: str, limit: int) -> bytes:
        def whole(link: Link) -> bytes:
            with link.ask("read", path=path, limit=limit) as asked:
                return b"".join(data for _, data in asked.parts(_SHORT))

        return self._again(whole)

    def write(self, path: str, data: bytes, mode: int = 0o600) -> None:
        with self._told(), self._making().ask("write", path=path, mode=mode) as asked:
            asked.feed_all(data)
            asked.end(_LONG)

    def make_directory(self, path: str) -> None:
        with self._told():
            self._making().answer("make_directory", _SHORT, path=path)

    def remove_tree(self, path: str) -> None:
        self._asked_again("remove_tree", _LONG, path=path)

    def scan(self, path: str) -> Iterator[FileFact]:
        with self._told(), self._link().ask("scan", path=path) as asked:
            for header, _ in asked.parts(_LONG):
                for fact in header["facts"]:
                    yield FileFact(*fact)

    def digests(self, root: str, paths: Iterable[str]) -> Iterator[tuple[str, str]]:
        with self._told(), self._link().ask("digests", root=root) as asked:
            yield from self._hashed(asked, root, iter(paths))

    def free_bytes(self, path: str) -> int:
        return int(self._asked_again("free_bytes", _SHORT, path=path)["free"])

    def resolve(self, path: str) -> str:
        return str(self._asked_again("resolve", _SHORT, path=path)["path"])

    @contextmanager
    def lock(self, path: str, timeout: float) -> Iterator[None]:
        with self._told():
            link = self._link()
            asked = link.ask("lock", path=path, timeout=timeout)
            try:
                asked.part(timeout + _SHORT)
            except BaseException:
                asked.close()
                raise
        self._locks.append(link)
        try:
            yield
        finally:
            self._locks.remove(link)
            asked.close()

    def forward(self, address: str, port: int) -> AbstractContextManager[tuple[str, int]]:
        return forwarded(self._link, self._id, address, port)

    def _hashed(self, asked: Asked, root: str, paths: Iterator[str]) -> Iterator[tuple[str, str]]:
        """A bounded number of batches is under way; more is asked for as answers come."""
        waiting: dict[int, list[str]] = {}
        number = 0
        while True:
            while len(waiting) < _BATCHES and (batch := list(islice(paths, _BATCH))):
                waiting[number] = batch
                number += 1
                asked.feed("\0".join(batch).encode("utf-8", "surrogateescape"))
            if not waiting:
                asked.feed_end()
                asked.end(_LONG)
                return
            part = asked.part(_LONG)
            if part is None:
                raise HostError("not all files were hashed", where=f"host {self._id}")
            for path, (digest, problem) in zip(waiting.pop(part[0]["batch"]), part[0]["digests"], strict=True):
                if problem:
                    raise HostError(f"cannot read {root}/{path}: {problem}", where=f"host {self._id}")
                yield path, digest

    @property
    def _connection(self) -> Connection:
        return connection(self._context)

    def _link(self) -> Link:
        return self._connection.link()

    def _making(self) -> Link:
        """For what makes or changes something."""
        link = self._link()
        if any(link is not held for held in self._locks):
            raise HostUnreachable(
                "the connection to the host was lost, and with it the lock that was held there",
                where=f"host {self._id}",
                mend="see whether the host is up and what lies between, then run it again",
            )
        return link

    def _asked_again(self, operation: str, timeout: float, **arguments: Any) -> dict[str, Any]:
        return self._again(lambda link: link.answer(operation, timeout, **arguments))

    def _again(self, question: Callable[[Link], _T]) -> _T:
        """Asks, and once more when the connection is lost over it: for what can be done twice without harm."""
        with self._told():
            try:
                return question(self._link())
            except HostUnreachable:
                return question(self._link())

    @contextmanager
    def _told(self, argv: Sequence[str] = (), timeout: float = 0.0) -> Iterator[None]:
        try:
            yield
        except Failure as failure:
            if failure.kind == TIMEOUT:
                raise timed_out(argv, timeout, self._id) from None
            raise as_told(failure, self._id) from None


class SshService:
    """A process that the host's agent started, and ends when the connection is lost."""

    def __init__(self, host: SshHost, link: Link, number: int, pid: int) -> None:
        self._host = host
        self._link = link
        self._number = number
        self._pid = pid
        self._stopped = False

    def __repr__(self) -> str:
        return f"SshService(pid={self._pid})"

    @property
    def pid(self) -> int:
        return self._pid

    def exit_code(self) -> int | None:
        if self._link.lost and self._stopped:
            return -signal.SIGKILL
        code: int | None = self._asked("exit_code")["exit_code"]
        return code

    def output(self, limit: int = 4000) -> str:
        return str(self._asked("output", limit=limit)["output"])

    def stop(self, timeout: float) -> None:
        if not self._link.lost:
            self._asked("stop", timeout + _ENDING, timeout=timeout)
        else:
            # Whoever connects anew ends first what the connection before it left.
            self._host.exists("/")
        self._stopped = True

    def _asked(self, operation: str, patience: float = _SHORT, /, **arguments: Any) -> dict[str, Any]:
        try:
            return self._link.answer(operation, patience, service=self._number, **arguments)
        except Failure as failure:
            raise as_told(failure, self._host.id) from None
