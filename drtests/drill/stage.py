"""A place in a staging while a drill has it: locked, leased, and left clean whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from drtests.core import events as e
from drtests.core.plan import DrillPlan
from drtests.declarations.checks import NamedCheck
from drtests.drill.context import RunContext, folder_name
from drtests.drill.databases import Databases, bring_up, live_twins
from drtests.drill.log import DrillLog
from drtests.drill.reach import DrillReach
from drtests.drill.safety import refuse_unsafe
from drtests.drill.staging import Slot, give_back, locked, slot, take
from drtests.drill.starting import Services, run_steps
from drtests.drill.verifying import verify
from drtests.errors import DrtestsError, HostError
from drtests.model.estate import Repository, Staging
from drtests.model.system import System
from drtests.model.units import format_duration
from drtests.protocols.check import Objective, Resources
from drtests.protocols.host import Host

_GC = "see what holds it, then run `drtests gc`"


@dataclass(slots=True)
class Stage:
    """What the phases of a drill that recovers something hand to each other."""

    plan: DrillPlan
    context: RunContext
    log: DrillLog
    reach: DrillReach
    staging: Staging
    host: Host
    repository: Repository | None = None
    """To restore from, when it is another than that of the backup, or the same by another way."""
    path: str = ""
    place: Slot = field(default_factory=lambda: Slot("", "", "", "", "", 0.0))
    services: Services = field(default_factory=Services)
    databases: Databases = field(default_factory=Databases)
    beneath: Services = field(default_factory=Services)
    """What all of these need, and stopped after them."""

    @staticmethod
    def of(plan: DrillPlan, context: RunContext, log: DrillLog) -> Stage:
        """On the host of the staging that the system declares."""
        staging = context.project.staging(context.project.systems[plan.system].restore.staging)
        reach = DrillReach(context.project, log, context.mark(plan))
        return Stage(plan, context, log, reach, staging, reach.host(staging.host))

    @property
    def system(self) -> System:
        return self.context.project.systems[self.plan.system]

    def start(self, moment: datetime | None, except_for: str | None = None) -> None:
        """Databases first, then the recovery steps; `except_for` is a database that is up already."""
        bring_up(self.system.databases, self.host, self.place, self.log, moment, self.databases, except_for)
        environment = self.databases.environment()
        run_steps(self.system.start, self.host, self.place, self.log, self.services, environment)

    def resources(self) -> Resources:
        """What checks may look at."""
        return Resources(
            host=self.host,
            root=self.place.root,
            clock=self.context.clock,
            project_root=str(self.context.project.root),
            environment=self.databases.environment(),
            databases=dict(self.databases.running),
            live=live_twins(self.system.databases),
            reach=self.reach,
        )

    def objective(self, moment: datetime) -> Objective:
        rpo = self.context.project.objectives[self.plan.system].rpo
        return Objective(moment, rpo.limit if rpo else None)

    def verify(self, checks: Sequence[NamedCheck], resources: Resources, objective: Objective) -> None:
        verify(checks, resources, objective, self.log)

    def still_up(self) -> None:
        """What died while it was being checked is a problem."""
        for error in (*self.services.died(), *self.databases.died()):
            self.log.problem(error)


@contextmanager
def provisioned(stage: Stage, prepare: Callable[[], None] | None = None) -> Iterator[ExitStack]:
    """The phase `provision`, then whatever is done with the place, then `clean up`, whatever happened.

    `prepare` belongs to the phase. What is pushed on the stack is undone before the clean-up.
    """
    with ExitStack() as stack:
        with stage.log.phase("provision"):
            project, log, clock = stage.context.project, stage.log, stage.context.clock
            stage.path = refuse_unsafe(project, stage.staging, stage.host)
            timeout = stage.context.options.lock_timeout
            wait = stack.enter_context(locked(stage.path, stage.host, clock, timeout))
            log.write(e.LOCK_WAITED, seconds=round(wait, 6))
            stage.place = slot(stage.path, folder_name(stage.context.run, stage.plan.id), stage.host, wait)
            # Before anything is made, so that whatever happens from here on is cleaned up.
            stack.callback(_clean_up, stage)
            take(stage.path, stage.place, stage.context.mark(stage.plan), stage.host)
            if prepare is not None:
                prepare()
        try:
            yield stack
        except DrtestsError as error:
            # Before clean up, whose own problems may only follow from it.
            stage.log.problem(error)
            raise


def _clean_up(stage: Stage) -> None:
    """Stops what was started, looks for what is left, removes what was restored. Its own faults are problems."""
    log, host = stage.log, stage.host
    with log.phase("clean up"):
        try:
            for name, error in stage.services.stop():
                log.problem(HostError(f"service {name!r} could not be stopped: {error.what}", mend=_GC))
            for name, error in stage.databases.stop():
                log.problem(HostError(f"database {name!r} could not be stopped: {error.what}", mend=_GC))
            for name, error in stage.beneath.stop():
                log.problem(HostError(f"{name} could not be stopped: {error.what}", mend=_GC))
            for opened in stage.reach.opened():
                _sweep(opened, log)
            began = stage.context.clock.monotonic()
            give_back(stage.path, stage.place, host)
            took = format_duration(stage.context.clock.monotonic() - began)
            log.fact("clean_up", f"restored data removed from {stage.place.folder} in {took}")
        except DrtestsError as error:
            log.problem(
                HostError(f"not all that was restored could be removed: {error.what}", where=stage.path, mend=_GC)
            )
            raise


def _sweep(host: Host, log: DrillLog) -> None:
    """Ends what the drill left running on a host; that there was something, or that nobody knows, is a problem."""
    try:
        for line in host.sweep():
            log.problem(
                HostError(
                    f"a process was left running, and was ended: {line}",
                    where=f"host {host.id}",
                    mend="let recovery steps that stay up be `background: true`, so that they are stopped in order",
                )
            )
    except DrtestsError as error:
        what = f"it is not known whether something was left running: {error.what}"
        log.problem(HostError(what, where=f"host {host.id}", mend=_GC))
