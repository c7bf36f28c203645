"""The drill that brings a system back: locate, provision, restore, start, verify, clean up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from drtests.core import events as e
from drtests.core.plan import PYTHON, DrillPlan
from drtests.declarations.checks import build_checks
from drtests.drill.choose import NOW, Choice, choose, moment_basis
from drtests.drill.context import RunContext, engine, folder_name
from drtests.drill.journaled_host import JournaledHost
from drtests.drill.log import DrillLog
from drtests.drill.retry import ask
from drtests.drill.safety import refuse_unsafe
from drtests.drill.staging import Slot, give_back, locked, slot, take
from drtests.drill.starting import Services, run_steps
from drtests.drill.verifying import verify
from drtests.errors import HostError
from drtests.model.system import Before, Point, RandomWithin
from drtests.model.units import format_duration, parse_duration, parse_instant, utc_text
from drtests.protocols.check import Judgement, Objective, Resources
from drtests.protocols.engine import Engine, Progress

_PROGRESS_EVERY = 10.0
"""Seconds between two progress lines in the journal."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """A system that is back: what a Python recovery test looks at."""

    plan: DrillPlan
    resources: Resources
    objective: Objective
    choice: Choice
    log: DrillLog


@dataclass(frozen=True, slots=True)
class Body:
    """A Python recovery test: run as one more check on what was recovered. `declared` runs the YAML's checks too."""

    title: str
    run: Callable[[Recovered], tuple[Judgement, bool]]
    """Also says whether the test looked at what was restored."""
    declared: bool = True
    point: str | None = None


@dataclass(slots=True)
class _Recovery:
    """What the phases hand to each other."""

    plan: DrillPlan
    context: RunContext
    log: DrillLog
    body: Body | None
    host: JournaledHost
    services: Services = field(default_factory=Services)


def parse_point(text: str) -> Point:
    """`latest`, an id, `before:<time>` or `random:<duration>`, as given on the command line. Raises ValueError."""
    if text.startswith("before:"):
        return Before(before=parse_instant(text.removeprefix("before:")))
    if text.startswith("random:"):
        return RandomWithin(random_within=parse_duration(text.removeprefix("random:")))
    return text


def recover(plan: DrillPlan, context: RunContext, log: DrillLog, body: Body | None) -> None:
    """Carries out the phases. Raises what kept it from going on, after cleaning up."""
    project, system = context.project, context.project.systems[plan.system]
    asked = (body.point if body else None) or context.options.point
    wanted = parse_point(asked) if asked else system.restore.point
    checks = build_checks(system) if body is None or body.declared else ()
    now = context.clock.now()
    moment = wanted.before if isinstance(wanted, Before) else now
    log.write(
        e.DRILL_STARTED,
        kind=plan.kind,
        checks=len(checks) + (1 if body else 0),
        moment=utc_text(moment),
        moment_basis=moment_basis(wanted),
        manual=[{"name": m.name, "seconds": m.duration.total_seconds()} for m in system.manual],
    )
    staging = project.staging(system.restore.staging)
    mark = context.mark(plan)
    this = _Recovery(plan, context, log, body, context.host(staging.host, mark, log))
    with log.phase("locate"):
        choice, moment = _locate(this, wanted, now, moment)
    with ExitStack() as stack:
        with log.phase("provision"):
            path = refuse_unsafe(project, staging, this.host)
            wait = stack.enter_context(locked(path, this.host, context.clock, context.options.lock_timeout))
            log.write(e.LOCK_WAITED, seconds=round(wait, 6))
            place = slot(path, folder_name(context.run, plan.id), this.host, wait)
            # Before anything is made, so that whatever happens from here on is cleaned up.
            stack.callback(_clean_up, this, path, place)
            take(path, place, mark, this.host)
            found = _engine(this, place.cache)
            found.version()
        with log.phase("restore"):
            _restore(this, found, place, choice)
        with log.phase("start"):
            run_steps(system.start, this.host, place, log, this.services)
        with log.phase("verify"):
            resources = Resources(this.host, place.root, context.clock, str(project.root))
            rpo = project.objectives[plan.system].rpo
            recovered = Recovered(plan, resources, Objective(moment, rpo.limit if rpo else None), choice, log)
            verify(checks, recovered.resources, recovered.objective, log)
            if body:
                _run_body(body, recovered)
            for error in this.services.died():
                log.problem(error)


def _engine(this: _Recovery, cache: str | None) -> Engine:
    project = this.context.project
    repository = project.repository(project.backup(this.plan.system, this.plan.backup).repository)
    return engine(project, repository, this.host, this.log, cache)


def _locate(this: _Recovery, wanted: Point, now: datetime, moment: datetime) -> tuple[Choice, datetime]:
    """Finds the recovery point; says how old it is at the moment of disaster."""
    backup = this.context.project.backup(this.plan.system, this.plan.backup)
    found = _engine(this, None)
    this.log.fact("engine", found.version())
    ask(found.guard, this.context.clock)
    points = ask(lambda: found.recovery_points(backup.snapshots), this.context.clock)
    seed = this.context.options.seed or this.context.run
    choice = choose(points, wanted, now, seed)
    point = choice.point
    if moment_basis(wanted) not in (NOW, "declared"):
        moment = point.time
        this.log.fact("moment", utc_text(moment))
    this.log.write(
        e.POINT_LOCATED,
        id=point.id,
        time=utc_text(point.time),
        host=point.host,
        paths=list(point.paths),
        tags=list(point.tags),
        repository=backup.repository,
        chosen=choice.how,
    )
    this.log.fact("recovery_point_age", round((moment - point.time).total_seconds(), 3))
    return choice, moment


def _restore(this: _Recovery, found: Engine, place: Slot, choice: Choice) -> None:
    restore = this.context.project.systems[this.plan.system].restore
    written = [this.context.clock.monotonic()]

    def progress(seen: Progress) -> None:
        told: Mapping[str, Any] = {
            "done_bytes": seen.done_bytes,
            "total_bytes": seen.total_bytes,
            "basis": seen.basis,
        }
        this.log.progress(told)
        if this.context.clock.monotonic() - written[0] >= _PROGRESS_EVERY:
            written[0] = this.context.clock.monotonic()
            this.log.write(e.PROGRESS, **told)

    result = found.restore(
        choice.point,
        place.root,
        include=restore.include,
        verify=restore.verify,
        timeout=restore.timeout.total_seconds(),
        progress=progress,
    )
    this.log.measure("restore_seconds", round(result.seconds, 6), "s")
    if result.bytes is not None:
        this.log.measure("restored_bytes", result.bytes, "B")
    if result.files is not None:
        this.log.measure("restored_files", result.files, "count")


def _run_body(body: Body, recovered: Recovered) -> None:
    log, clock = recovered.log, recovered.resources.clock
    began = clock.monotonic()
    told, looked = body.run(recovered)
    log.write(
        e.CHECK_JUDGED,
        kind=PYTHON,
        title=body.title,
        proves_data=looked,
        verdict=told.verdict,
        reason=told.reason,
        mend=told.mend,
        seconds=round(clock.monotonic() - began, 6),
        observation={},
        data_loss_seconds=told.data_loss_seconds,
    )


def _clean_up(this: _Recovery, path: str, place: Slot) -> None:
    """Stops what was started, looks for what is left, removes what was restored. Its own faults are problems."""
    log = this.log
    with log.phase("clean up"):
        try:
            for name, error in this.services.stop():
                log.problem(HostError(f"service {name!r} could not be stopped: {error.what}", mend=_GC))
            for line in this.host.sweep():
                log.problem(
                    HostError(
                        f"a process was left running, and was ended: {line}",
                        where=f"host {this.host.id}",
                        mend="let recovery steps that stay up be `background: true`, so that they are stopped in order",
                    )
                )
            began = this.context.clock.monotonic()
            give_back(path, place, this.host)
            took = format_duration(this.context.clock.monotonic() - began)
            log.fact("clean_up", f"restored data removed from {place.folder} in {took}")
        except HostError as error:
            log.problem(HostError(f"not all that was restored could be removed: {error.what}", where=path, mend=_GC))
            raise


_GC = "see what holds it, then run `drtests gc`"
