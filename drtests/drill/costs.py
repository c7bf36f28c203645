"""What a drill asked of object stores, and what that cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from drtests.core import stores
from drtests.drill.log import DrillLog
from drtests.drill.reach import DrillReach
from drtests.model.connections import Store
from drtests.model.project import Project


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
