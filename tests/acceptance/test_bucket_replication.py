"""Replication drills of buckets, from declaration to evidence: real stores, and a job of the test's own that copies."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.buckets import Account, Copier, S3Server
from tests.support.ceph import APPEND_ONLY, READER, WRITER, Ceph, policy
from tests.support.estate import Estate
from tests.support.servers import free_port

_INTERVAL = 1
_RIGHTS = (*APPEND_ONLY, "s3:DeleteObject", "s3:DeleteObjectVersion")


class Drills:
    """An estate whose system is a bucket with a replica."""

    def __init__(self, root: Path, server: S3Server, reader: Account, writer: Account, *, versioned: bool) -> None:
        self.estate = Estate(root)
        self.server = server
        self.accounts = {"reader": reader, "writer": writer}
        self.copier = Copier(server, server.bucket(versioned=versioned), server.bucket(versioned=versioned), reader)
        self.stores = {
            name: {
                "id": name, "endpoint": server.endpoint, "bucket": bucket, "timeout": "5s",
                "prices": {"per_1000_writes": 5, "per_1000_reads": 1},
                **{role: _references(role, account) for role, account in self.accounts.items()},
            }
            for name, bucket in (("uploads", self.copier.source), ("copy", self.copier.replica))
        }  # fmt: skip
        self.replica: dict[str, Any] = {
            "id": "copy", "kind": "bucket", "source": "uploads", "replica": "copy", "markers": True,
            "window": "4s", "interval": f"{_INTERVAL}s", "rpo": "2s",
        }  # fmt: skip

    def begin(self) -> Drills:
        self.server.client().put_object(Bucket=self.copier.source, Key="data/one", Body=b"1")
        self.copier.once()
        return self

    def run(self, **changed: Any) -> dict[str, Any]:
        self.estate.estate["stores"] = list(self.stores.values())
        self.estate.systems["app"] = self.estate.system(replicas=[{**self.replica, **changed}])
        self.estate.write()
        keys: dict[str, str] = {}
        for role, account in self.accounts.items():
            keys |= {_variable(role, name): value for name, value in account.credentials.items()}
        done = self.estate.drtests("run", "-m", "replication", env=keys)
        assert self.estate.packs(), done.stdout + done.stderr
        pack = self.estate.packs()[-1]
        assert all(
            account.secret_key not in file.read_text()
            for account in self.accounts.values()
            for file in pack.rglob("*")
            if file.is_file()
        )
        [drill] = json.loads((pack / "record.json").read_text())["drills"]
        found: dict[str, Any] = drill
        return found

    def probes(self, bucket: str) -> list[str]:
        found = self.server.client().list_objects_v2(Bucket=bucket, Prefix="drtests-probe/").get("Contents", ())
        return [one["Key"] for one in found]


def _variable(role: str, name: str) -> str:
    return f"{role}_{name}".upper()


def _references(role: str, account: Account) -> dict[str, str]:
    return {name: f"env:{_variable(role, name)}" for name in account.credentials}


@pytest.fixture
def on_ceph(ceph: Ceph, tmp_path: Path) -> Drills:
    made = Drills(tmp_path, ceph.server, READER, WRITER, versioned=True)
    for bucket in (made.copier.source, made.copier.replica):
        ceph.server.client().put_bucket_policy(Bucket=bucket, Policy=policy(bucket, _RIGHTS))
    return made.begin()


@pytest.fixture
def on_rclone(rclone: S3Server, tmp_path: Path) -> Drills:
    return Drills(tmp_path, rclone, rclone.owner, rclone.owner, versioned=False).begin()


def test_an_idle_source_has_no_lag_on_ceph(on_ceph: Drills) -> None:
    with on_ceph.copier.running():
        drill = on_ceph.run(rpo="10s", compare="hashes", settled="0s")
    assert drill["verdict"] == "MET", drill["reasons"]
    seen = drill["replication"]
    assert (seen["how"], seen["basis"]) == ("markers", "measured")
    assert seen["markers"] >= seen["seen"] >= 1
    assert [one["same"] for one in seen["compared"]] == [True]
    assert seen["identity"]["source"]["versioning"] == "enabled"
    assert on_ceph.probes(on_ceph.copier.source) == []
    # What it asked, and what that costs.
    cost = drill["facts"]["cost of uploads"]
    assert cost["writes"] > seen["markers"]
    assert cost["measured"] == pytest.approx(cost["writes"] * 0.005 + cost["reads"] * 0.001)
    assert drill["measures"]["copy requests"]["value"] > seen["looks"]


def test_a_pause_is_measured_for_what_it_is(on_rclone: Drills) -> None:
    """Copying stands still for some seconds in the middle: that is the worst lag, give or take one interval."""
    copier, stood = on_rclone.copier, 0.0

    def stand_still() -> None:
        nonlocal stood
        _until(lambda: bool(on_rclone.probes(copier.replica)))
        copier.pause()
        began = time.monotonic()
        time.sleep(3)
        stood = time.monotonic() - began
        copier.go_on()

    worker = threading.Thread(target=stand_still)
    worker.start()
    with copier.running():
        drill = on_rclone.run(window="8s", rpo="1s")
    worker.join()
    seen = drill["replication"]
    assert stood > 0
    assert seen["lag"]["max"] == pytest.approx(stood, abs=_INTERVAL + 0.1 * stood)
    assert drill["verdict"] == "MISSED", drill["reasons"]
    assert seen["samples"][-1]["seconds"] < stood / 2


def _until(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not there() and time.monotonic() < deadline:
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("silent", "verdict", "markers"),
    [("copy", "MISSED", True), ("copy", "MISSED", False), ("uploads", "INCONCLUSIVE", True)],
)
def test_who_is_down(on_rclone: Drills, silent: str, verdict: str, markers: bool) -> None:
    on_rclone.stores[silent]["endpoint"] = f"http://127.0.0.1:{free_port()}"
    drill = on_rclone.run(window="2s", markers=markers)
    assert drill["verdict"] == verdict, drill["reasons"]
    if silent == "copy":
        assert "the replica does not answer, and the source does" in drill["reasons"]
        assert drill["replication"]["unanswered"] == drill["replication"]["looks"]
    assert on_rclone.probes(on_rclone.copier.source) == []


def test_a_reader_that_is_refused_proves_nothing_of_the_replica(on_rclone: Drills) -> None:
    on_rclone.stores["copy"]["reader"] = {"access_key": "env:READER_ACCESS_KEY", "secret_key": "file:password"}
    drill = on_rclone.run(window="2s")
    assert drill["verdict"] == "INCONCLUSIVE", drill["reasons"]
    assert any("refused" in reason for reason in drill["reasons"])


def test_a_source_that_refuses_markers_is_listed(on_ceph: Drills) -> None:
    on_ceph.accounts["writer"] = Account("x", "AKNOBODY000000000000", "x" * 40)
    drill = on_ceph.run(window="2s")
    seen = drill["replication"]
    assert any("refuses markers" in note for note in seen["notes"])
    assert (seen["how"], seen["basis"], seen["lag"]["max"]) == ("positions", "measured", 0)
    assert drill["verdict"] == "MET", drill["reasons"]


def test_a_budget_stops_it_on_rclone(on_rclone: Drills) -> None:
    on_rclone.stores["uploads"]["prices"] = {"per_1000_writes": 1000, "budget": 14}
    with on_rclone.copier.running():
        drill = on_rclone.run(window="60s", interval="1s")
    assert drill["verdict"] == "INCONCLUSIVE", drill["reasons"]
    assert any("budget" in reason for reason in drill["reasons"])
    assert drill["facts"]["cost of uploads"]["measured"] <= 14
    assert on_rclone.probes(on_rclone.copier.source) == []
