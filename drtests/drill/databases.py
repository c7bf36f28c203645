"""Databases of the restored copy: loaded and started before the recovery steps, gone after the checks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from drtests import registry
from drtests.core import events as e
from drtests.declarations.adapters import spec_of
from drtests.drill.log import DrillLog
from drtests.drill.staging import Slot
from drtests.errors import DatabaseDamaged, DatabaseError, DrtestsError
from drtests.model.system import Database
from drtests.model.verdict import Verdict
from drtests.protocols.database import Recipe, Scratch, ScratchPlace
from drtests.protocols.host import Host

_STOP_TIMEOUT = 30.0
"""Seconds a scratch server has to end by itself before it is killed."""


@dataclass(slots=True)
class Databases:
    """What was started and has to be stopped, last started first."""

    running: dict[str, Scratch] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """How recovery steps reach them: each under its own name, the first under the usual names, too."""
        found: dict[str, str] = {}
        for name, scratch in self.running.items():
            prefix = "DRTESTS_" + re.sub(r"\W", "_", name).upper()
            for variable, value in scratch.environment.items():
                found.setdefault(variable, value)
                found[f"{prefix}_{variable}"] = value
        return found

    def died(self) -> Iterator[DrtestsError]:
        """Those that were up and are no longer, though nobody stopped them."""
        for name, scratch in self.running.items():
            why = scratch.died()
            if why is not None:
                yield DatabaseError(f"database {name!r} ended while it was being checked: {why}")

    def stop(self) -> Iterator[tuple[str, DrtestsError]]:
        """Stops all; yields those that could not be."""
        while self.running:
            name, scratch = self.running.popitem()
            try:
                scratch.stop(_STOP_TIMEOUT)
            except DrtestsError as error:
                yield name, error


def place_of(declared: Database, host: Host, slot: Slot, log: DrillLog, moment: datetime | None) -> ScratchPlace:
    """A folder for that database alone."""
    folder = f"{slot.databases}/{declared.id}"
    host.make_directory(folder)
    return ScratchPlace(
        host=host,
        root=slot.root,
        folder=folder,
        clock=log.clock,
        run_as=declared.run_as,
        moment=moment,
        timeout=declared.timeout.total_seconds(),
        tell=lambda name, value: log.fact(f"{declared.id} {name}", value),
    )


def bring_up(
    declared: Sequence[Database],
    host: Host,
    slot: Slot,
    log: DrillLog,
    moment: datetime | None,
    databases: Databases,
    except_for: str | None = None,
) -> None:
    """Starts them in order, without the one that is there already. Raises what keeps one from starting."""
    for one in declared:
        if one.id == except_for:
            continue
        adapter = registry.recipe(one.recipe)
        recipe: Recipe = adapter(spec_of(adapter, f"database {one.id}", one.options))
        with comes_up(one.id, one.recipe, log):
            databases.running[one.id] = recipe.bring_up(place_of(one, host, slot, log, moment))
        log.fact(f"{one.id} server", databases.running[one.id].session.version())


@contextmanager
def comes_up(database: str, how: str, log: DrillLog) -> Iterator[None]:
    """Journals damage that keeps a database from coming up, and raises it.

    It proves that this backup does not bring the system back: a check that missed, not a drill that could not be
    carried out. `how`: by which recipe.
    """
    began = log.clock.monotonic()
    try:
        yield
    except DatabaseDamaged as error:
        judged: dict[str, Any] = {
            "kind": "database",
            "title": f"database {database} comes up",
            "proves_data": True,
            "verdict": Verdict.MISSED,
            "reason": error.what,
            "mend": error.mend,
            "seconds": round(log.clock.monotonic() - began, 6),
            "observation": {"recipe": how},
            "data_loss_seconds": None,
        }
        log.write(e.CHECK_JUDGED, **judged)
        raise


def live_twins(declared: Sequence[Database]) -> Mapping[str, str]:
    """Of each database the running one that it is a backup of, where that is declared."""
    return {one.id: one.live for one in declared if one.live is not None}
