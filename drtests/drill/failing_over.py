"""`::failover[name]`: a throwaway replica is built, catches up, is promoted, and stands in for the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from drtests import registry
from drtests.core import events as e
from drtests.core.plan import DrillPlan
from drtests.declarations.adapters import ids_in, spec_of
from drtests.declarations.checks import build_checks
from drtests.drill.choose import NOW
from drtests.drill.context import RunContext
from drtests.drill.databases import comes_up, place_of
from drtests.drill.log import DrillLog
from drtests.drill.recovery import Body, Restoring, locate, manual_times
from drtests.drill.stage import Stage, provisioned
from drtests.errors import DrtestsError, HostError
from drtests.model.system import Database, Failover, System
from drtests.model.units import utc_text
from drtests.protocols.database import Rehearsal, Scratch

_STOP_TIMEOUT = 30.0
"""Seconds a throwaway replica has to end by itself before it is killed."""


def fail_over(plan: DrillPlan, context: RunContext, log: DrillLog, body: Body | None) -> None:
    """Carries out the phases. Raises what kept it from going on, after cleaning up."""
    system = context.project.systems[plan.system]
    declared = next(one for one in system.failovers if one.id == plan.subject)
    database = next(one for one in system.databases if one.id == declared.stands_for)
    checks = build_checks(system)
    now = context.clock.now()
    log.write(
        e.DRILL_STARTED,
        kind=plan.kind,
        checks=len(checks),
        moment=utc_text(now),
        moment_basis=NOW,
        manual=manual_times(system),
    )
    stage = Stage.of(plan, context, log)
    adapter = registry.rehearsal(declared.kind)
    rehearsal: Rehearsal = adapter(spec_of(adapter, f"failover {declared.id}", declared.options), stage.reach.live)
    more = needs_files(system, database)
    with log.phase("locate"):
        # What the replica has to reach: where the source was when the disaster struck.
        position = rehearsal.position()
        choice = locate(stage, "latest", now, now)[0] if more or rehearsal.from_backup else None
    restoring = Restoring(stage)
    with provisioned(stage, restoring.prepare if choice else None), _unfinished(rehearsal, log) as done:
        with log.phase("restore"):
            if choice is not None:
                restoring.restore(choice)
            _build(rehearsal, declared, database, stage)
        with log.phase("start"):
            rehearsal.catch_up(position, declared.timeout.total_seconds())
            if not more:
                # Measured: all up to the moment is there. Files that come out of a backup are as old as that is.
                log.fact("recovery_point_age", 0.0)
            done.append(rehearsal.promote())
            stage.databases.running[database.id] = done[0]
            log.fact(f"{database.id} server", done[0].session.version())
            stage.start(None, except_for=database.id)
        with log.phase("verify"):
            stage.verify(checks, stage.resources(), stage.objective(now))
            stage.still_up()


def needs_files(system: System, database: Database) -> bool:
    """Whether anything but that database has to come out of the backup: other databases, steps, what checks look at."""
    others = [one for one in system.databases if one.id != database.id]
    return bool(others or system.start) or any(
        not ids_in(registry.check(one.kind).Spec.model_validate(one.options), "database") for one in system.checks
    )


def _build(rehearsal: Rehearsal, declared: Failover, database: Database, stage: Stage) -> None:
    place = place_of(database, stage.host, stage.place, stage.log, None)
    began = stage.context.clock.monotonic()
    with comes_up(database.id, declared.kind, stage.log):
        rehearsal.build(replace(place, timeout=declared.timeout.total_seconds()))
    stage.log.measure("build_seconds", round(stage.context.clock.monotonic() - began, 6), "s")


@contextmanager
def _unfinished(rehearsal: Rehearsal, log: DrillLog) -> Iterator[list[Scratch]]:
    """Ends the replica, unless it was promoted (and is in the list): then it goes with the other databases."""
    promoted: list[Scratch] = []
    try:
        yield promoted
    finally:
        if not promoted:
            try:
                rehearsal.abandon(_STOP_TIMEOUT)
            except DrtestsError as error:
                log.problem(
                    HostError(
                        f"the throwaway replica could not be stopped: {error.what}",
                        mend="see what holds it, then run `drtests gc`",
                    )
                )
