"""Drills of a logical replica from declaration to evidence, between real servers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.estate import Estate
from tests.support.postgres import PASSWORD
from tests.support.postgres_logical import CONNINFO_PASSWORD, DATABASE, LogicalPair

WINDOW, INTERVAL = 3, 1
REPLICA = {
    "id": "reports",
    "kind": "postgres-logical",
    "source": "publisher",
    "replica": "subscriber",
    "markers": True,
    "marker_table": "drtests.marker",
    "window": f"{WINDOW}s",
    "interval": f"{INTERVAL}s",
    "rpo": "20s",
}
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def pair(logical_pair: LogicalPair) -> Iterator[LogicalPair]:
    logical_pair.clean()
    yield logical_pair
    assert logical_pair.source("SELECT count(*) FROM drtests.marker") == "0\n"
    logical_pair.clean()


@pytest.fixture
def run(tmp_path: Path, pair: LogicalPair) -> Run:
    estate = Estate(tmp_path)

    def ran(**changed: Any) -> dict[str, Any]:
        servers = {"publisher": pair.publisher, "subscriber": pair.subscriber}
        estate.estate["databases"] = [
            server.declared(id=name, database=DATABASE).model_dump(mode="json", include=_SAID)
            for name, server in servers.items()
        ]
        estate.systems["app"] = estate.system(replicas=[{**REPLICA, **changed}])
        estate.write()
        done = estate.drtests("run", "-m", "replication", env={"DRTESTS_TEST_POSTGRES": PASSWORD})
        assert estate.packs(), done.stdout + done.stderr
        pack = estate.packs()[-1]
        told = [file.read_text() for file in pack.rglob("*") if file.is_file()]
        assert all(secret not in text for secret in (PASSWORD, CONNINFO_PASSWORD) for text in told)
        [drill] = json.loads((pack / "record.json").read_text())["drills"]
        found: dict[str, Any] = drill
        return found

    return ran


_SAID = {"id", "type", "address", "port", "user", "password", "database"}


def test_an_idle_publisher_has_no_lag(run: Run, pair: LogicalPair) -> None:
    pair.source("INSERT INTO lessons SELECT n, md5(n::text) FROM generate_series(1, 100) AS n")
    drill = run(compare=[{"table": "lessons", "method": "checksum"}])
    assert drill["verdict"] == "MET", drill["reasons"]
    seen = drill["replication"]
    assert (seen["kind"], seen["how"], seen["basis"]) == ("postgres-logical", "markers", "measured")
    assert seen["lag"]["max"] < INTERVAL
    assert seen["markers"] >= seen["seen"] >= 1
    assert [one["same"] for one in seen["compared"]] == [True]
    assert seen["identity"]["subscription"] == {"name": "app", "enabled": True, "slot": "app"}
    assert seen["identity"]["replica"]["accepts writes"] is True


@pytest.mark.parametrize("markers", [True, False])
def test_apply_that_is_held_up_is_measured_for_what_it_is(run: Run, pair: LogicalPair, markers: bool) -> None:
    """It stands still from before the drill until after it: lag is as long as the drill looked."""
    load = threading.Event()

    def work() -> None:
        number = 0
        while not load.wait(0.1):
            number += 1
            pair.source(f"INSERT INTO lessons VALUES ({number})")

    worker = threading.Thread(target=work)
    with pair.held_up():
        pair.source("INSERT INTO lessons VALUES (0)")
        worker.start()
        try:
            drill = run(rpo="1s", markers=markers)
        finally:
            load.set()
            worker.join()
    seen = drill["replication"]
    if markers:
        assert drill["verdict"] == "MISSED", drill["reasons"]
        # Markers began with the looks: what is missing is as old as the looks are, give or take one interval.
        sampled = max(sample["at"] for sample in seen["samples"])
        assert seen["lag"]["max"] == pytest.approx(sampled, abs=INTERVAL + 0.1 * sampled)
    else:
        # Nobody knows what was lost before the first look: that is no lag of zero.
        assert drill["verdict"] == "INCONCLUSIVE", drill["reasons"]
        assert seen["lag"] is None
        assert seen["bytes"]["max"] > 0


def test_without_a_marker_table_positions_are_asked(run: Run) -> None:
    drill = run(marker_table=None)
    seen = drill["replication"]
    assert any("no `marker_table` is declared" in note for note in seen["notes"])
    assert (seen["how"], seen["basis"]) == ("positions", "measured")
    assert drill["verdict"] == "MET", drill["reasons"]


def test_a_subscriber_that_is_down_is_a_miss(run: Run, pair: LogicalPair) -> None:
    pair.subscriber.stop()
    try:
        drill = run()
    finally:
        pair.subscriber.start()
        pair.settle()
    assert drill["verdict"] == "MISSED", drill["reasons"]
    assert "the replica does not answer, and the source does" in drill["reasons"]
