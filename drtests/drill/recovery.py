"""The drill that brings a system back: locate, provision, restore, start, verify, clean up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from drtests import registry
from drtests.core import events as e
from drtests.core.plan import PYTHON, DrillPlan
from drtests.declarations.checks import build_checks
from drtests.drill.choose import OF_POINT, Choice, choose, moment_basis
from drtests.drill.context import RunContext
from drtests.drill.costs import afford_restore
from drtests.drill.log import DrillLog
from drtests.drill.retry import ask
from drtests.drill.stage import Stage, provisioned
from drtests.errors import UsageError
from drtests.model.estate import Repository
from drtests.model.system import At, Before, Point, RandomWithin, System
from drtests.model.units import parse_duration, parse_instant, utc_text
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


def parse_point(text: str) -> Point:
    """`latest`, an id, `before:<time>`, `at:<time>` or `random:<duration>`, as given on the command line.

    Raises ValueError.
    """
    if text.startswith("at:"):
        return At(at=parse_instant(text.removeprefix("at:")))
    if text.startswith("before:"):
        return Before(before=parse_instant(text.removeprefix("before:")))
    if text.startswith("random:"):
        return RandomWithin(random_within=parse_duration(text.removeprefix("random:")))
    return text


def recover(plan: DrillPlan, context: RunContext, log: DrillLog, body: Body | None) -> None:
    """Carries out the phases. Raises what kept it from going on, after cleaning up."""
    system = context.project.systems[plan.system]
    asked = (body.point if body else None) or context.options.point
    wanted = parse_point(asked) if asked else system.restore.point
    checks = build_checks(system) if body is None or body.declared else ()
    now = context.clock.now()
    moment = _moment(wanted, now)
    log.write(
        e.DRILL_STARTED,
        kind=plan.kind,
        checks=len(checks) + (1 if body else 0),
        moment=utc_text(moment),
        moment_basis=moment_basis(wanted),
        manual=manual_times(system),
    )
    if isinstance(wanted, At) and not any(registry.recipe(one.recipe).point_in_time for one in system.databases):
        raise UsageError(
            "no database of this system can be recovered to a point in time",
            mend="ask for `before:TIME` instead; or declare a database with a recipe that keeps logs, e.g. "
            "postgres-basebackup with `wal`",
        )
    stage = Stage.of(plan, context, log)
    with log.phase("locate"):
        choice, moment = locate(stage, wanted, now, moment)
    restoring = Restoring(stage)
    with provisioned(stage, restoring.prepare):
        with log.phase("restore"):
            restoring.restore(choice)
        with log.phase("start"):
            stage.start(moment if isinstance(wanted, At) else None)
        with log.phase("verify"):
            recovered = Recovered(plan, stage.resources(), stage.objective(moment), choice, log)
            stage.verify(checks, recovered.resources, recovered.objective)
            if body:
                _run_body(body, recovered)
            stage.still_up()


def _moment(wanted: Point, now: datetime) -> datetime:
    """When the disaster struck."""
    if isinstance(wanted, Before):
        return wanted.before
    return wanted.at if isinstance(wanted, At) else now


def manual_times(system: System) -> list[dict[str, Any]]:
    """Declared manual times, as they go into the journal."""
    return [{"name": manual.name, "seconds": manual.duration.total_seconds()} for manual in system.manual]


def _engine(stage: Stage, cache: str | None) -> Engine:
    return stage.reach.engine_on(stage.repository or _declared(stage), stage.host, cache)


def _declared(stage: Stage) -> Repository:
    project = stage.context.project
    return project.repository(project.backup(stage.plan.system, stage.plan.backup).repository)


def locate(this: Stage, wanted: Point, now: datetime, moment: datetime) -> tuple[Choice, datetime]:
    """Finds the recovery point; says how old it is at the moment of disaster."""
    backup = this.context.project.backup(this.plan.system, this.plan.backup)
    found = _engine(this, None)
    this.log.fact("engine", found.version())
    ask(found.guard, this.context.clock)
    points = ask(lambda: found.recovery_points(backup.snapshots), this.context.clock)
    seed = this.context.options.seed or this.context.run
    choice = choose(points, wanted, now, seed)
    point = choice.point
    if moment_basis(wanted) == OF_POINT:
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
    if not isinstance(wanted, At):
        # The age of a recovery point that holds logs says nothing of how near to the moment they lead.
        this.log.fact("recovery_point_age", round((moment - point.time).total_seconds(), 3))
    return choice, moment


class Restoring:
    """Lets the engine restore into the drill's place. `prepare` is what needs no recovery point yet."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._engine: Engine | None = None

    def prepare(self) -> None:
        """Asks for the program's version, so that the restore phase is the restore and nothing else."""
        self._engine = _engine(self._stage, self._stage.place.cache)
        self._engine.version()

    def restore(self, choice: Choice) -> None:
        """Restores, and says how much that was."""
        found = self._engine or _engine(self._stage, self._stage.place.cache)
        stage, log, clock = self._stage, self._stage.log, self._stage.context.clock
        declared = stage.system.restore
        written = [clock.monotonic()]
        self._afford(found, choice)

        def progress(seen: Progress) -> None:
            told = asdict(seen)
            log.progress(told)
            if clock.monotonic() - written[0] >= _PROGRESS_EVERY:
                written[0] = clock.monotonic()
                log.write(e.PROGRESS, **told)

        result = found.restore(
            choice.point,
            stage.place.root,
            include=declared.include,
            verify=declared.verify,
            timeout=declared.timeout.total_seconds(),
            progress=progress,
        )
        log.measure("restore_seconds", round(result.seconds, 6), "s")
        if result.bytes is not None:
            log.measure("restored_bytes", result.bytes, "B")
        if result.files is not None:
            log.measure("restored_files", result.files, "count")
        if result.unproved:
            told = {"files": result.unproved, "why": result.why, "demanded": declared.verify}
            log.fact("not held against a hash", told)

    def _afford(self, engine: Engine, choice: Choice) -> None:
        project = self._stage.context.project
        repository = self._stage.repository or _declared(self._stage)
        for store in project.estate.stores:
            if store.id == repository.store:
                afford_restore(self._stage.reach, self._stage.log, store, engine, choice.point)


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
