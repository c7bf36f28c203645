"""Every kind of replication keeps the contract; and the contract sees what does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from drtests.protocols.replication import Behind, Compared, Identity
from drtests.testing.memory_replication import MemoryReplication
from drtests.testing.replication_contract import Pair, ReplicationContract
from tests.support.mariadb import MariaPair
from tests.support.postgres import PostgresPair
from tests.support.postgres_logical import LogicalPair
from tests.support.redis import RedisPair
from tests.support.replicating import (
    FilesPair,
    LogicalContractPair,
    MariadbContractPair,
    MemoryPair,
    RedisContractPair,
    StreamingPair,
)


class TestMemory(ReplicationContract):
    @pytest.fixture
    def pair(self) -> Pair:
        return MemoryPair()


class TestFiles(ReplicationContract):
    @pytest.fixture
    def pair(self, tmp_path: Path) -> Pair:
        return FilesPair(tmp_path)


class TestPostgresStreaming(ReplicationContract):
    @pytest.fixture
    def pair(self, postgres_pair: PostgresPair) -> Iterator[Pair]:
        made = StreamingPair(postgres_pair)
        yield made
        made.remove()


class TestPostgresLogical(ReplicationContract):
    @pytest.fixture
    def pair(self, applying: LogicalPair) -> Pair:
        return LogicalContractPair(applying)


class TestMariadb(ReplicationContract):
    @pytest.fixture
    def pair(self, mariadb_pair: MariaPair) -> Iterator[Pair]:
        made = MariadbContractPair(mariadb_pair)
        yield made
        made.remove()


class TestRedis(ReplicationContract):
    @pytest.fixture
    def pair(self, redis_pair: RedisPair) -> Iterator[Pair]:
        made = RedisContractPair(redis_pair)
        yield made
        made.remove()


def _newest_of_anybody(self: MemoryReplication) -> int | None:
    found = self._open(self._spec.replica).values()
    return next((number for name, number in found.items() if name.startswith("marker ")), None)


_CONTRACT = ReplicationContract()


@pytest.mark.parametrize(
    ("method", "broken", "sees"),
    [
        ("identify", lambda self: Identity({"x": 1}), _CONTRACT.test_one_thing_is_no_replica_of_itself),
        ("identify", lambda self: Identity({"x": 1}), _CONTRACT.test_a_replica_of_another_source),
        ("identify", lambda self: Identity({"x": 1}, ("bad",)), _CONTRACT.test_a_sound_pair_is_one),
        ("newest", lambda self: 1, _CONTRACT.test_markers_arrive_in_order),
        ("newest", lambda self: None, _CONTRACT.test_markers_arrive_in_order),
        ("newest", _newest_of_anybody, _CONTRACT.test_two_drills_are_not_in_each_others_way),
        ("newest", lambda self: None, _CONTRACT.test_a_replica_that_is_gone),
        ("mark", lambda self, number: None, _CONTRACT.test_no_marker_before_its_place_is_made),
        ("end", lambda self: None, _CONTRACT.test_the_end_leaves_no_trace_and_may_come_twice),
        ("behind", lambda self: Behind(5, None, "measured"), _CONTRACT.test_an_idle_source_is_no_lag),
        (
            "behind", lambda self: Behind(0, 0, "measured"),
            _CONTRACT.test_a_replica_that_stands_still_does_not_look_like_one_that_has_all,
        ),
        ("behind", lambda self: Behind(0, 0, "measured"), _CONTRACT.test_a_replica_that_is_gone),
        ("compare", lambda self: [Compared("x", True)], _CONTRACT.test_what_is_the_same_is_the_same),
        ("compare", lambda self: [Compared("x", True)], _CONTRACT.test_what_differs_is_seen),
    ],
)  # fmt: skip
def test_the_contract_sees_what_is_broken(
    method: str, broken: Any, sees: Callable[[Pair], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drtests.testing.replication_contract.PATIENCE", 0.2)
    monkeypatch.setattr(MemoryReplication, method, broken)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        sees(MemoryPair())
