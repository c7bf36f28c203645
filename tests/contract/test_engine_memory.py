"""MemoryEngine keeps the contract of engines; its faults are as real as a memory's can be."""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from drtests.errors import EngineError, RepositoryDamaged, RepositoryLocked, RepositoryMissing, WrongPassword
from drtests.hosts.local import LocalHost
from drtests.model.estate import Host as HostDeclaration
from drtests.model.estate import Repository
from drtests.protocols.engine import Engine, EngineContext, RecoveryPoint
from drtests.testing.engine_contract import EngineContract, Held
from drtests.testing.memory_engine import MemoryEngine, MemoryRepository

SECRET = "memory-password"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LOCATION = "memory:contract"


@pytest.fixture
def secret() -> str:
    return SECRET


@pytest.fixture
def host() -> LocalHost:
    return LocalHost(HostDeclaration(id="local"), marker=f"memory-{os.getpid()}")


@pytest.fixture
def workplace(tmp_path: Path) -> str:
    return str(tmp_path)


@pytest.fixture
def held() -> Sequence[Held]:
    return [
        Held(
            RecoveryPoint(f"{number:064x}", NOON - timedelta(days=days), name, (path,), tags),
            {f"{path[1:]}/one": b"1" * 100, f"{path[1:]}/folder/two": bytes([number])},
        )
        for number, (days, name, path, tags) in enumerate(
            [(2, "alpha", "/srv/a", ("school", "daily")), (3, "beta", "/srv/b", ("daily",)), (1, "alpha", "/srv/a", ())]
        )
    ]


@pytest.fixture
def repository(held: Sequence[Held]) -> Iterator[MemoryRepository]:
    made = MemoryRepository(SECRET)
    for one in held:
        made.add(one.point, one.files)
    MemoryEngine.repositories[LOCATION] = made
    yield made
    del MemoryEngine.repositories[LOCATION]


@pytest.fixture
def context(repository: MemoryRepository, host: LocalHost) -> EngineContext:
    declared = Repository(id="memory", engine="memory", location=LOCATION, password="env:UNUSED")
    return EngineContext(declared, LOCATION, host, {MemoryEngine.PASSWORD_VARIABLE: SECRET})


@pytest.fixture
def engine(context: EngineContext) -> Engine:
    return MemoryEngine(context)


@pytest.fixture
def fingerprint(repository: MemoryRepository) -> Callable[[], object]:
    return lambda: copy.deepcopy(repository)


@pytest.fixture
def failing(context: EngineContext) -> Mapping[type[EngineError], Engine]:
    wrong = {MemoryEngine.PASSWORD_VARIABLE: "wrong"}
    return {
        WrongPassword: MemoryEngine(dataclasses.replace(context, environment=wrong)),
        RepositoryMissing: MemoryEngine(dataclasses.replace(context, location="memory:none")),
    }


class TestMemoryEngine(EngineContract):
    pass


def test_lock(engine: Engine, repository: MemoryRepository) -> None:
    repository.locked_by = "bram@nas"
    with pytest.raises(RepositoryLocked, match="bram@nas"):
        engine.guard()


def test_damage(engine: Engine, repository: MemoryRepository, held: Sequence[Held], workplace: str) -> None:
    repository.damaged.add("srv/a/one")
    with pytest.raises(RepositoryDamaged, match="srv/a/one"):
        engine.restore(held[0].point, workplace, timeout=10)
    assert [result.problems != () for result in (engine.verify(part, 2, 10) for part in (1, 2))].count(True) == 1


def test_the_contract_can_fail(held: Sequence[Held], context: EngineContext, host: LocalHost, workplace: str) -> None:
    """An engine that lists newest first, restores nothing or writes is found out."""

    class Newest(MemoryEngine):
        def recovery_points(self, *arguments: object) -> Sequence[RecoveryPoint]:
            return super().recovery_points(*arguments)[::-1]  # type: ignore[arg-type]

    class Idle(MemoryEngine):
        def _files(self, point: RecoveryPoint) -> Mapping[str, bytes]:
            return {}

    suite = EngineContract()
    with pytest.raises(AssertionError, match="instead of"):
        suite.test_lists_oldest_first(Newest(context), held)
    with pytest.raises(AssertionError, match="not what was backed up"):
        suite.test_restores_every_byte(Idle(context), held, host, workplace)
    with pytest.raises(AssertionError, match="written to"):
        suite.test_never_writes(MemoryEngine(context), held, workplace, iter([1, 2]).__next__)
