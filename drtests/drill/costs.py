"""What a drill asked of object stores, and what that cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from drtests.core import stores
from drtests.drill.log import DrillLog
from drtests.drill.reach import DrillReach
from drtests.errors import BudgetExceeded
from drtests.model.connections import Store
from drtests.model.project import Project
from drtests.protocols.capabilities import FetchesItself
from drtests.protocols.engine import Engine, RecoveryPoint
from drtests.protocols.store import Usage

_STATISTICS = 600.0
"""Seconds."""


def afford_restore(reach: DrillReach, log: DrillLog, store: Store, engine: Engine, point: RecoveryPoint) -> None:
    """Estimates what a restore will fetch, where a budget is declared, and sets it aside.

    Raises BudgetExceeded before anything is fetched, when that would exceed the budget.
    """
    if store.prices.budget is None:
        return
    usage = reach.usage.setdefault(store.id, Usage())
    size = _size(engine, point)
    why = stores.over_budget(store.prices, usage, bytes_out=size)
    told = {
        "estimated_bytes": size,
        "estimated": round(stores.cost(store.prices, Usage(bytes_out=size)), 6),
        "measured_before": round(stores.cost(store.prices, usage), 6),
        "budget": store.prices.budget,
        "currency": store.prices.currency,
        "refused": bool(why),
    }
    log.fact(f"estimated cost of restoring from {store.id}", told)
    if why:
        raise BudgetExceeded(
            f"nothing was restored: by estimate of the {size} bytes of the recovery point {why}",
            where=f"store {store.id!r}",
            mend="declare a larger `budget` under the store's `prices`, or drill a smaller recovery point",
        )
    if isinstance(engine, FetchesItself):
        # What others fetch through the store is counted as it comes.
        usage.estimated += size


def _size(engine: Engine, point: RecoveryPoint) -> int:
    if isinstance(engine, FetchesItself):
        return engine.fetched(point, _STATISTICS)
    return engine.statistics(point, _STATISTICS).bytes


def tell_cost(
    project: Project, reach: DrillReach, log: DrillLog, more: Callable[[Store], dict[str, Any]] = lambda _: {}
) -> None:
    """Requests and bytes, counted at the wire. `more` is told of a store besides."""
    for store in project.estate.stores:
        usage = reach.usage.get(store.id)
        if usage is None:
            continue
        told: dict[str, Any] = {
            "currency": store.prices.currency,
            "measured": round(stores.cost(store.prices, usage), 6),
            "reads": usage.reads,
            "writes": usage.writes,
            "bytes_out": usage.bytes_out,
        }
        log.measure(f"{store.id} requests", usage.reads + usage.writes, "count")
        log.measure(f"{store.id} bytes out", usage.bytes_out, "B")
        log.fact(f"cost of {store.id}", told | more(store))
