"""Replication drills from declaration to evidence, on a real primary and standby."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.estate import Estate, ago, make_estate
from tests.support.postgres import PASSWORD, PostgresPair
from tests.support.servers import wait_for

WINDOW = 3


class Drills:
    """An estate whose system has the pair's standby as its replica."""

    def __init__(self, root: Path, pair: PostgresPair) -> None:
        self.estate = Estate(root)
        self.pair = pair
        self.replica: dict[str, Any] = {
            "id": "standby",
            "kind": "postgres-streaming",
            "source": "primary",
            "replica": "standby",
            "markers": True,
            "window": f"{WINDOW}s",
            "interval": "1s",
            "rpo": "10s",
        }

    def run(
        self, user: str = "drtests", timeout: str = "5s", standby: dict[str, Any] | None = None, **changed: Any
    ) -> dict[str, Any]:
        """`standby` is declared of it alone, `changed` of the replica."""
        databases = []
        for server in (self.pair.primary, self.pair.standby):
            declared = {"id": server.name, "type": "postgres", "port": server.port, "user": user, "timeout": timeout}
            declared |= (standby or {}) if server is self.pair.standby else {}
            databases.append({"password": "env:DRTESTS_TEST_POSTGRES", **declared})
        self.estate.estate["databases"] = databases
        self.estate.systems["app"] = self.estate.system(replicas=[{**self.replica, **changed}])
        self.estate.write()
        done = self.estate.drtests("run", "-m", "replication", env={"DRTESTS_TEST_POSTGRES": PASSWORD})
        assert self.estate.packs(), done.stdout + done.stderr
        pack = self.estate.packs()[-1]
        assert all(PASSWORD not in file.read_text() for file in pack.rglob("*") if file.is_file())
        [drill] = json.loads((pack / "record.json").read_text())["drills"]
        assert drill["id"] == "app::replication[standby]"
        found: dict[str, Any] = drill
        return found


@pytest.fixture
def drills(tmp_path: Path, postgres_pair: PostgresPair) -> Iterator[Drills]:
    postgres_pair.settle()
    yield Drills(tmp_path, postgres_pair)
    postgres_pair.standby.sql("SELECT pg_wal_replay_resume() WHERE pg_is_wal_replay_paused()")
    postgres_pair.primary.sql("DROP TABLE IF EXISTS lessons")
    postgres_pair.settle()
    assert postgres_pair.primary.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'drtests'") == "0\n"


def test_an_idle_primary_has_no_lag(drills: Drills) -> None:
    drills.pair.primary.sql("CREATE TABLE lessons AS SELECT n FROM generate_series(1, 100) AS n")
    drill = drills.run(compare=[{"table": "lessons", "method": "checksum"}])
    assert drill["verdict"] == "MET", drill["reasons"]
    seen = drill["replication"]
    assert (seen["how"], seen["basis"]) == ("markers", "measured")
    assert seen["looks"] >= WINDOW
    assert seen["lag"]["max"] < 1
    assert seen["markers"] >= seen["seen"] >= 1
    assert [one["same"] for one in seen["compared"]] == [True]
    assert abs(seen["skew_seconds"]) <= seen["skew_uncertainty_seconds"] + 0.1
    assert drill["controls"] == ["BC.04"]
    # Questions that are asked over and over are no use to a reader.
    assert len(drill["commands"]) < 30


def test_a_replica_that_stands_still_is_a_miss(drills: Drills) -> None:
    """From before the drill until after it. How well a pause is measured is tried by the contract of replications."""
    drills.pair.standby.sql("SELECT pg_wal_replay_pause()")
    drill = drills.run(rpo="1s")
    assert drill["verdict"] == "MISSED"
    seen = drill["replication"]
    assert "replay is paused at the replica" in seen["problems"]
    assert any("lagged behind by up to" in reason for reason in drill["reasons"])
    # How much was lost before the first look nobody knows.
    assert seen["within_seconds"] is seen["waited_seconds"] is seen["seen"] is None


def test_a_replica_that_was_behind_says_so(drills: Drills) -> None:
    """It catches up while it is looked at: what is known from then on says nothing of before."""
    pair = drills.pair
    pair.standby.sql("SELECT pg_wal_replay_pause()")

    def resume() -> None:
        wait_for(lambda: pair.primary.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'drtests'") == "1\n", "?")
        time.sleep(2.5)
        pair.standby.sql("SELECT pg_wal_replay_resume()")

    worker = threading.Thread(target=resume)
    worker.start()
    drill = drills.run(rpo="60s")
    worker.join()
    seen = drill["replication"]
    assert seen["waited_seconds"] >= seen["lag"]["max"] > 1
    assert seen["samples"][-1]["at"] - seen["waited_seconds"] >= WINDOW - 1
    assert seen["samples"][-1]["seconds"] < seen["waited_seconds"]
    assert seen["within_seconds"] is not None


def test_a_source_that_refuses_markers_is_asked_for_its_position(drills: Drills) -> None:
    drill = drills.run(user="reader")
    seen = drill["replication"]
    assert any("refuses markers" in note for note in seen["notes"])
    assert (seen["how"], seen["basis"]) == ("positions", "measured")
    assert drill["verdict"] == "MET", drill["reasons"]


def test_a_replica_that_is_down_is_a_miss(drills: Drills) -> None:
    drills.pair.standby.stop()
    try:
        drill = drills.run()
    finally:
        drills.pair.standby.start()
    assert drill["verdict"] == "MISSED", drill["reasons"]
    assert "the replica does not answer, and the source does" in drill["reasons"]
    assert drill["replication"]["unanswered"] == drill["replication"]["looks"]


def test_a_wrong_password_of_ours_says_nothing_of_the_replica(drills: Drills) -> None:
    drill = drills.run(standby={"password": "file:password"}, window="2s")
    assert drill["verdict"] == "INCONCLUSIVE", drill["reasons"]
    assert any("were refused" in reason for reason in drill["reasons"])
    assert not any("does not answer" in reason for reason in drill["reasons"])


def test_a_source_that_is_down_is_not_known(drills: Drills) -> None:
    drills.pair.primary.stop()
    try:
        drill = drills.run(timeout="2s")
    finally:
        drills.pair.primary.start()
    assert drill["verdict"] == "INCONCLUSIVE", drill["reasons"]


def test_a_replica_that_stands_still_does_not_hold_the_drill_up(drills: Drills) -> None:
    process = drills.pair.standby.process
    assert process is not None
    with process.paused():
        drill = drills.run(timeout="1s")
    assert drill["verdict"] == "MISSED", drill["reasons"]


def test_a_copy_of_backups_that_stopped_is_a_miss(tmp_path: Path, restic_needed: None) -> None:
    estate = make_estate(tmp_path)
    shutil.copytree(tmp_path / "repository", tmp_path / "vault")
    repository = {"id": "vault", "location": "vault", "password": "file:password"}
    estate.estate["repositories"].append(repository)
    replica = {"id": "copy", "kind": "backup-copy", "source": "nas", "replica": "vault"}
    estate.systems["app"] = estate.system(replicas=[replica])
    estate.write()
    estate.run_restic("forget", "--tag", "app", "--keep-last", "1")
    estate.backup(ago(seconds=2))
    for rpo, verdict in (("26h", "MET"), ("1s", "MISSED")):
        estate.systems["app"]["replicas"][0]["rpo"] = rpo
        estate.write()
        estate.drtests("run", "-m", "replication")
        [drill] = json.loads((estate.packs()[-1] / "record.json").read_text())["drills"]
        assert drill["verdict"] == verdict, drill["reasons"]
        assert drill["replication"]["how"] == "snapshots"
        assert drill["replication"]["looks"] == 1


@pytest.mark.parametrize(
    ("gone", "verdict"), [("vault", "MISSED"), ("repository", "INCONCLUSIVE"), ("", "INCONCLUSIVE")]
)
def test_repositories_that_cannot_be_read(tmp_path: Path, restic_needed: None, gone: str, verdict: str) -> None:
    """A copy that is gone is a miss; that the primary is, or that nothing can be read from here, tells nothing."""
    estate = make_estate(tmp_path)
    shutil.copytree(tmp_path / "repository", tmp_path / "vault")
    estate.estate["repositories"].append({"id": "vault", "location": "vault", "password": "file:password"})
    replica = {"id": "copy", "kind": "backup-copy", "source": "nas", "replica": "vault"}
    estate.systems["app"] = estate.system(replicas=[replica])
    estate.write()
    if gone:
        (tmp_path / gone).rename(tmp_path / "elsewhere")
    else:
        (tmp_path / "password").write_text("another")
    estate.drtests("run", "-m", "replication")
    [drill] = json.loads((estate.packs()[-1] / "record.json").read_text())["drills"]
    assert drill["verdict"] == verdict, drill["reasons"]
    assert any("could not make sure" in note for note in drill["replication"]["notes"])
