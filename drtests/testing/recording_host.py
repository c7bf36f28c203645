"""Hosts that wrap another one: for suites that look at what an adapter does to a host."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from drtests.errors import CommandNotFound
from drtests.hosts.around import PassedOn
from drtests.protocols.host import CommandResult, Host, LineSink, Service


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


class RecordingHost(PassedOn):
    """Delegates everything, and keeps what was asked in `seen`."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self.seen = Seen()

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
