"""Clocks that differ: by how much and which way, and that lag does not depend on it. Clients are played here."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drtests.hosts.local import LocalHost
from drtests.model.estate import Host as Declaration
from drtests.protocols.database import Rows
from drtests.protocols.host import CommandResult
from drtests.protocols.replication import Replication
from drtests.replications.clocks import skew_of
from drtests.replications.files import FilesReplication, FilesReplicationSpec
from drtests.replications.mariadb import MariadbReplication, MariadbReplicationSpec
from drtests.replications.postgres_streaming import PostgresStreaming, PostgresStreamingSpec
from drtests.replications.redis import RedisReplication, RedisReplicationSpec
from drtests.testing.replication_contract import ReplicationContract
from tests.support.replicating import FilesPair
from tests.support.scratch import MemoryReach

_times = st.floats(0, 5)


@given(st.floats(-1e5, 1e5), st.lists(_times, min_size=9, max_size=9))
def test_the_true_difference_is_within_the_uncertainty(ahead: float, took: list[float]) -> None:
    moments = iter([sum(took[: n + 1]) for n in range(len(took))])
    skew = skew_of(lambda: next(moments), lambda: next(moments) + ahead)
    assert abs(skew.seconds - ahead) <= skew.uncertainty + 1e-5


class _Clocked:
    """A client that tells the time, and nothing else."""

    def __init__(self, tell: Callable[[float], Rows], ahead: float) -> None:
        self._tell = tell
        self._ahead = ahead

    def query(self, statement: str, timeout: float | None = None) -> Rows:
        return self._tell(time.time() + self._ahead)


def _redis(now: float) -> Sequence[Sequence[Any]]:
    return [[str(int(now))], [str(int(now % 1 * 1_000_000))]]


_KINDS: dict[str, tuple[Any, Any, Callable[[float], Rows]]] = {
    "postgres": (PostgresStreaming, PostgresStreamingSpec, lambda now: [[f"{now:.6f}"]]),
    "mariadb": (MariadbReplication, MariadbReplicationSpec, lambda now: [[f"t{now:.6f}"]]),
    "redis": (RedisReplication, RedisReplicationSpec, _redis),
}


@pytest.mark.parametrize("ahead", [7.25, -3600.5])
@pytest.mark.parametrize("kind", _KINDS)
def test_which_way_and_how_far_databases_differ(kind: str, ahead: float) -> None:
    adapter, spec, tell = _KINDS[kind]
    reach = MemoryReach({"source": _Clocked(tell, 100.0), "replica": _Clocked(tell, 100.0 + ahead)})
    skew = adapter(spec(source="source", replica="replica"), reach).skew()
    assert skew is not None
    assert skew.seconds == pytest.approx(ahead, abs=0.2)
    assert skew.uncertainty < 1


class _Shifted(LocalHost):
    """This machine, by another name, its clock set ahead."""

    ahead = 0.0

    def run(self, argv: Sequence[str], **options: Any) -> CommandResult:
        done = super().run(argv, **options)
        if argv[0] == "date":
            return dataclasses.replace(done, stdout=f"{float(done.stdout) + self.ahead:.6f}\n")
        return done


class _Hosts(MemoryReach):
    def __init__(self, ahead: float) -> None:
        super().__init__()
        self._ahead = ahead

    def host(self, host_id: str | None) -> LocalHost:
        found = _Shifted(Declaration(id=host_id or "local"))
        found.ahead = self._ahead if host_id else 0.0
        return found


class _ShiftedPair(FilesPair):
    """The replica lies on a host whose clock is an hour off."""

    ahead = 3600.0

    def build(self, **options: Any) -> Replication:
        replica = {"path": str(self.root / "replica"), "host": "far"}
        places = {"source": {"path": str(self.root / "source")}, "replica": replica}
        return FilesReplication(FilesReplicationSpec.model_validate({**places, **options}), _Hosts(self.ahead))


@pytest.mark.parametrize("ahead", [3600.0, -3600.0])
def test_which_way_and_how_far_hosts_differ(tmp_path: Path, ahead: float) -> None:
    pair = _ShiftedPair(tmp_path)
    pair.ahead = ahead
    skew = pair.build().skew()
    assert skew is not None
    assert skew.seconds == pytest.approx(ahead, abs=0.5)


def test_lag_does_not_depend_on_the_clock_of_the_replica(tmp_path: Path) -> None:
    ReplicationContract().test_a_pause_is_measured_for_what_it_is(_ShiftedPair(tmp_path))
