"""The checks on databases against real servers: a replica plays the restored copy, its source the running one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from drtests.checks.marker import MarkerCheck
from drtests.checks.sql import SqlCheck
from drtests.hosts.local import LocalHost
from drtests.model.estate import Host as Declaration
from drtests.model.verdict import Verdict
from drtests.protocols.check import Check, Judgement, Objective, Resources
from drtests.protocols.database import Integrity, Live, Session
from drtests.testing.check_contract import SystemClock
from drtests.testing.database_contract import Served
from tests.support.living import LivingReach
from tests.support.mariadb import MariaPair
from tests.support.redis import RedisPair
from tests.support.servers import free_port

MET, MISSED, INCONCLUSIVE = Verdict.MET, Verdict.MISSED, Verdict.INCONCLUSIVE


@dataclass(frozen=True, slots=True)
class Asked:
    """A running server in the place of a restored one."""

    live: Live

    @property
    def session(self) -> Session:
        return self.live

    @property
    def environment(self) -> Mapping[str, str]:
        return {}

    def integrity(self, timeout: float) -> Integrity:
        return Integrity(1, "tables", ("nobody",))

    def died(self) -> str | None:
        return None

    def stop(self, timeout: float) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Twins:
    """A kind of database: how the same is asked in its language, and what to do to have it differ."""

    restored: Served
    live: Served
    count: str
    text: str
    marker: str
    none: str
    drift: Callable[[], object]
    """Makes the running one hold one thing more."""


@pytest.fixture
def mariadb_twins(mariadb_pair: MariaPair) -> Iterator[Twins]:
    source, replica = mariadb_pair.source, mariadb_pair.replica
    at = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
    source.sql(
        "CREATE DATABASE twins; USE twins; CREATE TABLE twins.pupil (id INT PRIMARY KEY, name TEXT, at DATETIME);"
        f"INSERT INTO twins.pupil SELECT seq, 'it''s\\ta name', '{at}' FROM seq_1_to_100"
    )
    mariadb_pair.settle()
    replica.sql("STOP SLAVE")
    yield Twins(
        replica.served(),
        source.served(),
        "SELECT COUNT(*) FROM twins.pupil",
        "SELECT name FROM twins.pupil WHERE id = 1",
        "SELECT MAX(at) FROM twins.pupil",
        "SELECT id FROM twins.pupil WHERE id < 0",
        lambda: source.sql("INSERT INTO twins.pupil VALUES (101, 'x', NULL); UPDATE twins.pupil SET name = 'y'"),
    )
    replica.sql("START SLAVE")
    source.sql("DROP DATABASE twins")
    mariadb_pair.settle()


@pytest.fixture
def redis_twins(redis_pair: RedisPair) -> Iterator[Twins]:
    source, replica = redis_pair.source, redis_pair.replica
    source.cli("RPUSH", "twins", *map(str, range(100)))
    source.cli("SET", "twins-name", "it's\ta name")
    source.cli("SET", "twins-at", str(int(datetime.now(UTC).timestamp())))
    redis_pair.settle()
    replica.cli("REPLICAOF", "NO", "ONE")

    def drift() -> None:
        source.cli("RPUSH", "twins", "100")
        source.cli("SET", "twins-name", "y")

    yield Twins(
        replica.served(), source.served(), "LLEN twins", "GET twins-name", "GET twins-at", "GET twins-none", drift
    )
    redis_pair.follow()
    source.cli("DEL", "twins", "twins-name", "twins-at")
    redis_pair.settle()


@pytest.fixture(params=["mariadb", "redis"])
def twins(request: pytest.FixtureRequest) -> Twins:
    found: Twins = request.getfixturevalue(f"{request.param}_twins")
    return found


def judged(check: type[Check], options: Mapping[str, Any], twins: Twins, root: Path) -> Judgement:
    host = LocalHost(Declaration(id="local"))
    reach = LivingReach(
        {
            "restored": (twins.restored.declared, twins.restored.password),
            "live": (twins.live.declared, twins.live.password),
        }
    )
    databases = {"records": Asked(reach.live("restored"))}
    resources = Resources(
        host, str(root), SystemClock(), str(root), databases=databases, live={"records": "live"}, reach=reach
    )
    made = check(check.Spec.model_validate(dict(options)))
    return made.judge(made.observe(resources), Objective(datetime.now(UTC), timedelta(hours=1)))


def test_a_restored_database_against_the_running_one(twins: Twins, tmp_path: Path) -> None:
    def sql(query: str, **expected: Any) -> Verdict:
        return judged(SqlCheck, {"database": "records", "query": query, **expected}, twins, tmp_path).verdict

    def marker(query: str) -> Judgement:
        options = {"sql": {"database": "records", "query": query}, "zone": "UTC"}
        return judged(MarkerCheck, options, twins, tmp_path)

    equal: dict[str, Any] = {"compare": {"tolerance": 0}}
    assert sql(twins.count, value=100, min=100, max=100) is MET
    assert sql(twins.count, min=101) is MISSED
    assert sql(twins.text, value="it's\ta name") is MET
    assert sql(twins.text, value="it's a name") is MISSED
    assert sql(twins.count, **equal) is MET
    assert sql(twins.text, **equal) is MET
    assert sql(twins.none, **equal) is INCONCLUSIVE
    fresh = marker(twins.marker)
    assert fresh.verdict is MET
    assert fresh.data_loss_seconds is not None
    assert fresh.data_loss_seconds < 3600
    assert marker(twins.none).verdict is MISSED
    twins.drift()
    assert sql(twins.count, **equal) is MISSED
    assert sql(twins.count, compare={"tolerance": 1}) is MET
    assert sql(twins.count, compare={"tolerance": "2%"}) is MET
    assert sql(twins.text, **equal) is MISSED


def test_a_running_database_that_does_not_answer(twins: Twins, tmp_path: Path) -> None:
    gone = twins.live.declared.model_copy(update={"port": free_port()})
    wrong = Served(twins.live.declared, f"not {twins.live.password}")
    options = {"database": "records", "query": twins.count, "min": 1, "compare": {"tolerance": 0}}
    for live in (Served(gone, twins.live.password), wrong):
        changed = Twins(twins.restored, live, twins.count, twins.text, twins.marker, twins.none, twins.drift)
        judgement = judged(SqlCheck, options, changed, tmp_path)
        assert judgement.verdict is INCONCLUSIVE
        assert judgement.mend
        assert str(twins.live.password) not in str(judgement)
