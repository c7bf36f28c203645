"""Host: a machine on which commands run and files lie."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from drtests.model.estate import Host as Declared

LineSink = Callable[[str, str], None]
"""Called with (`stdout` or `stderr`, line) as lines come."""


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command ended. `exit_code` is negative when a signal ended it; `seconds` is monotonic."""

    argv: tuple[str, ...]
    exit_code: int
    stdout: str
    stderr: str
    seconds: float


@dataclass(frozen=True, slots=True)
class FileFact:
    """One entry below a scanned path. `path` is relative to it, with `/`; mtime in seconds since the epoch."""

    path: str
    kind: str
    """`file`, `directory`, `link` or `other`."""
    size: int
    mtime: float
    target: str = ""
    """Of a link."""


class Service(Protocol):
    """A process that was started and left running."""

    @property
    def pid(self) -> int: ...

    def exit_code(self) -> int | None:
        """None while it runs."""

    def output(self, limit: int = 4000) -> str:
        """The last `limit` characters it printed."""

    def stop(self, timeout: float) -> None:
        """Ends its whole process group: asked first, then killed after `timeout` seconds."""


@dataclass(frozen=True, slots=True)
class HostContext:
    """All that a host adapter is given; an adapter is a callable `(HostContext) -> Host`.

    `mark` is carried in the environment of every process that is started, so
    that `sweep` finds it again. `hosts` are all that are declared, by id (a
    jump host is one of them). Relative paths and references to secrets are
    taken from `root`.
    """

    declared: Declared
    mark: str = ""
    root: Path = Path()
    hosts: Mapping[str, Declared] = field(default_factory=dict)


@runtime_checkable
class Host(Protocol):
    """What drtests needs of a machine. Paths are absolute paths on that machine.

    Every adapter passes `drtests.testing.host_contract`.
    """

    @property
    def id(self) -> str: ...

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
        """Runs to its end; kills its whole process group after `timeout` seconds.

        `env` is added to the host's own environment and is never written down
        (secrets travel here). At most the last MiB of each stream is kept.
        Raises CommandNotFound, CommandTimeout, HostUnreachable.
        """

    def start(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: str, log: str) -> Service:
        """Leaves it running, its output in the file `log`. Raises CommandNotFound."""

    def sweep(self) -> Sequence[str]:
        """Ends whatever this host object started and left; returns a line for each process found."""

    def local_path(self, path: str) -> Path | None:
        """The path, when this process can open it itself; else None."""

    def exists(self, path: str) -> bool: ...

    def read(self, path: str, limit: int) -> bytes:
        """The file's first `limit` bytes. Raises HostError when it cannot be read."""

    def write(self, path: str, data: bytes, mode: int = 0o600) -> None: ...

    def make_directory(self, path: str) -> None:
        """With parents; mode 0700 for what is new."""

    def remove_tree(self, path: str) -> None:
        """No error when it is gone already. Raises HostError when something stays."""

    def scan(self, path: str) -> Iterator[FileFact]:
        """Everything below, in no particular order; links are not followed. Raises HostError."""

    def digests(self, root: str, paths: Iterable[str]) -> Iterator[tuple[str, str]]:
        """(path, SHA-256 in hex) of files below `root`, in no particular order. Raises HostError."""

    def free_bytes(self, path: str) -> int:
        """Room left for this user on the file system that holds `path` (or its nearest parent)."""

    def resolve(self, path: str) -> str:
        """The path with all links followed, whether it exists or not."""

    def lock(self, path: str, timeout: float) -> AbstractContextManager[None]:
        """Holds an exclusive lock on the file `path`, which is made if need be and left behind.

        Released when left, and by the machine itself when whoever holds it dies
        or can no longer be reached. Raises HostBusy when somebody else holds it
        for `timeout` seconds (0: not waited for at all), HostError.
        """

    def forward(self, address: str, port: int) -> AbstractContextManager[tuple[str, int]]:
        """Address and port at which this process reaches `address`:`port` as that host reaches it.

        Raises HostError when the way is barred; a connection that the far end
        refuses is refused here too.
        """
