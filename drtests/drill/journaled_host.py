"""A host that journals every command run on it. A wrapper over the same protocol, so adapters stay simple."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from drtests.core import events as e
from drtests.drill.log import DrillLog
from drtests.errors import DrtestsError, HostUnreachable
from drtests.hosts.around import PassedOn
from drtests.protocols.host import CommandResult, Host, LineSink, Service

_TAIL = 2000
"""Characters of standard error kept of a command that failed."""


class JournaledHost(PassedOn):
    """Delegates to `host`; journals argv, exit code and duration of what runs, never environment or stdin."""

    def __init__(self, host: Host, log: DrillLog) -> None:
        super().__init__(host)
        self._log = log
        self._number = 0

    def around(self, wrap: Callable[[Host], Host]) -> JournaledHost:
        """The same host with a wrapper of its own, journaled in line with this one."""
        return _Around(wrap(self._host), self._log, self)

    def next_number(self) -> int:
        """Numbers of one host's commands are never given twice within a drill."""
        self._number += 1
        return self._number

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
        end = self._begin(argv)
        began = self._log.clock.monotonic()
        try:
            result = self._host.run(argv, timeout=timeout, stdin=stdin, env=env, cwd=cwd, on_line=on_line)
        except DrtestsError as error:
            end(None, self._log.clock.monotonic() - began, error.what)
            raise
        except BaseException:
            end(None, self._log.clock.monotonic() - began, "interrupted")
            raise
        end(result.exit_code, result.seconds, result.stderr[-_TAIL:] if result.exit_code else "")
        return result

    def start(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: str, log: str) -> Service:
        end = self._begin(argv)
        began = self._log.clock.monotonic()
        try:
            service = self._host.start(argv, env=env, cwd=cwd, log=log)
        except DrtestsError as error:
            end(None, self._log.clock.monotonic() - began, error.what)
            raise
        return _JournaledService(service, lambda code, tail: end(code, self._log.clock.monotonic() - began, tail))

    def _begin(self, argv: Sequence[str]) -> Callable[[int | None, float, str], None]:
        """Writes that a command begins, in this phase; returns what writes its end."""
        told: dict[str, Any] = {
            "number": f"{self.id} {self.next_number()}",
            "host": self.id,
            "phase": self._log.phase_name,
        }
        told |= {"argv": list(argv)}
        quiet = self._log.quiet
        if not quiet:
            self._log.write(e.COMMAND_STARTED, **told)

        def end(exit_code: int | None, seconds: float, output: str) -> None:
            if quiet and exit_code == 0:
                return
            self._log.write(e.COMMAND_FINISHED, **told, exit_code=exit_code, seconds=round(seconds, 6), output=output)

        return end


class _Around(JournaledHost):
    """Takes its numbers from the journaled host that it goes round."""

    def __init__(self, host: Host, log: DrillLog, first: JournaledHost) -> None:
        super().__init__(host, log)
        self._first = first

    def next_number(self) -> int:
        return self._first.next_number()


class _JournaledService:
    """Journals how a service ended, once."""

    def __init__(self, service: Service, ended: Callable[[int | None, str], None]) -> None:
        self._service = service
        self._ended = ended
        self._told = False

    @property
    def pid(self) -> int:
        return self._service.pid

    def exit_code(self) -> int | None:
        return self._service.exit_code()

    def output(self, limit: int = 4000) -> str:
        return self._service.output(limit)

    def stop(self, timeout: float) -> None:
        try:
            died = self._service.exit_code()
            output = self._service.output(_TAIL) if died else ""
        except HostUnreachable as error:
            # Lost with its host; stopping it makes sure of its end nevertheless.
            output = error.what
        self._service.stop(timeout)
        if not self._told:
            self._told = True
            self._ended(self._service.exit_code(), output)
