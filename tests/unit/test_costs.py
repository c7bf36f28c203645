"""What a restore is estimated to cost, before it is begun."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from drtests.drill.costs import afford_restore
from drtests.drill.log import DrillLog
from drtests.drill.reach import DrillReach
from drtests.errors import BudgetExceeded
from drtests.model.connections import Prices, Store, StoreCredentials
from drtests.protocols.engine import Engine, RecoveryPoint, Statistics
from drtests.protocols.store import Usage

_GIB = 1 << 30
_POINT = RecoveryPoint("p", datetime(2026, 3, 1, tzinfo=UTC), "h", ("/",))


class _Counted:
    """An engine that reads through a store, which counts."""

    def statistics(self, _: RecoveryPoint, __: float) -> Statistics:
        return Statistics(3 * _GIB, 1)


class _ByItself(_Counted):
    """An engine whose repository holds less than what is restored."""

    def fetched(self, _: RecoveryPoint, __: float) -> int:
        return 2 * _GIB


def _afford(engine: object, budget: float | None, used: Usage) -> tuple[dict[str, Any], bool]:
    """What is told, and whether the restore is refused."""
    keys = StoreCredentials(access_key="env:UNUSED", secret_key="env:UNUSED")
    store = Store(id="vault", bucket="vault", reader=keys, prices=Prices(per_gib_out=1.0, budget=budget))
    told: dict[str, Any] = {}
    reach = cast(DrillReach, SimpleNamespace(usage={"vault": used}))
    log = cast(DrillLog, SimpleNamespace(fact=told.__setitem__))
    try:
        afford_restore(reach, log, store, cast(Engine, engine), _POINT)
    except BudgetExceeded:
        return told, True
    return told, False


@pytest.mark.parametrize(
    ("engine", "budget", "refused"),
    [
        (_ByItself(), 3.0, False),
        (_ByItself(), 2.5, True),
        (_Counted(), 4.0, False),
        (_Counted(), 3.0, True),
    ],
)
def test_refuses_exactly_what_would_exceed(engine: object, budget: float, refused: bool) -> None:
    told, found = _afford(engine, budget, Usage(bytes_out=_GIB))
    assert found is refused
    [fact] = told.values()
    assert (fact["refused"], fact["measured_before"], fact["budget"]) == (refused, 1.0, budget)


def test_what_is_fetched_aside_binds_what_follows() -> None:
    used = Usage()
    assert not _afford(_ByItself(), 3.0, used)[1]
    assert used.estimated == 2 * _GIB
    assert _afford(_ByItself(), 3.0, used)[1]


def test_what_the_store_counts_is_not_counted_twice() -> None:
    used = Usage()
    _afford(_Counted(), 4.0, used)
    assert used.estimated == 0


def test_nothing_is_asked_without_a_budget() -> None:
    assert _afford(None, None, Usage()) == ({}, False)
