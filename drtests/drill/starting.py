"""Recovery steps: commands in the restored tree, and services that stay up until clean up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from drtests.drill.log import DrillLog
from drtests.drill.staging import Slot
from drtests.errors import DrtestsError, HostError
from drtests.model.system import Ready, Step
from drtests.probes import answers, listens
from drtests.protocols.host import Host, Service

_STOP_TIMEOUT = 10.0
"""Seconds a service has to end by itself before it is killed."""
_POLL = 0.1


@dataclass(slots=True)
class Services:
    """What was started and has to be stopped, last started first."""

    running: list[tuple[str, Service]] = field(default_factory=list)

    def died(self) -> Iterator[DrtestsError]:
        """Services that were up and are no longer, though nobody stopped them."""
        for name, service in self.running:
            code = service.exit_code()
            if code is not None:
                yield HostError(
                    f"service {name!r} ended with exit code {code} while it was being checked",
                    mend=f"see why it does not stay up; it printed: {_tail(service.output()) or 'nothing'}",
                )

    def stop(self) -> Iterator[tuple[str, DrtestsError]]:
        """Stops all; yields those that could not be."""
        while self.running:
            name, service = self.running.pop()
            try:
                service.stop(_STOP_TIMEOUT)
            except DrtestsError as error:
                yield name, error


def run_steps(
    steps: Sequence[Step],
    host: Host,
    slot: Slot,
    log: DrillLog,
    services: Services,
    given: Mapping[str, str],
) -> None:
    """Runs the steps in order, each with the variables `given` and its own.

    Raises HostError on the first that fails, with the end of its output.
    """
    for number, step in enumerate(steps, 1):
        environment = {"DRTESTS_ROOT": slot.root, **given, **step.environment}
        cwd = str(PurePosixPath(slot.root) / step.cwd)
        if not host.exists(cwd):
            raise _failed(step, f"its folder {step.cwd!r} is not in the restored copy")
        if step.background:
            service = host.start(step.run, env=environment, cwd=cwd, log=f"{slot.logs}/{number}.log")
            services.running.append((step.name, service))
            if step.ready:
                _wait(step, step.ready, service, host, log)
        else:
            result = host.run(step.run, timeout=step.timeout.total_seconds(), env=environment, cwd=cwd)
            if result.exit_code != 0:
                raise _failed(step, f"exit code {result.exit_code}: {_tail(result.stderr or result.stdout)}")


def _wait(step: Step, ready: Ready, service: Service, host: Host, log: DrillLog) -> None:
    clock = log.clock
    deadline = clock.monotonic() + ready.within.total_seconds()
    while True:
        code = service.exit_code()
        if code is not None:
            raise _failed(step, f"it ended with exit code {code} before it was ready: {_tail(service.output())}")
        if ready.http is not None and answers(ready.http, 2.0, host):
            return
        if ready.tcp is not None and listens(ready.tcp, 2.0, host):
            return
        if clock.monotonic() >= deadline:
            target = ready.http or ready.tcp
            raise _failed(step, f"{target} was not up in time; it printed: {_tail(service.output()) or 'nothing'}")
        clock.sleep(_POLL)


def _failed(step: Step, why: str) -> HostError:
    return HostError(
        f"recovery step {step.name!r} failed: {why}",
        where="phase start",
        mend="run the step by hand in a restored copy, and mend the step or the backup",
    )


def _tail(text: str) -> str:
    return " / ".join(line.strip() for line in text.strip().splitlines()[-3:])[-400:]
