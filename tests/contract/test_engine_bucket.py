"""Buckets restored from real servers: small objects by helper processes, and one by one what these do not bring."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from drtests.engines.bucket.engine import BucketEngine
from drtests.errors import BudgetExceeded, EngineError, ObjectDamaged
from drtests.hosts.local import LocalHost
from drtests.model.connections import Prices
from drtests.model.estate import Host, Repository
from drtests.model.system import Snapshots
from drtests.protocols.engine import EngineContext, RestoreResult
from drtests.protocols.store import Usage
from drtests.stores import fetching
from tests.support.buckets import S3Server
from tests.support.ceph import Ceph
from tests.support.wire import Fault, Request, error, wire

_OBJECTS = 300


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Helpers from the first object on."""
    monkeypatch.setattr("drtests.stores.client.PAUSE", 0.01)
    monkeypatch.setattr(fetching, "_MANY", 0)


def _engine(server: S3Server, bucket: str, usage: Usage | None = None, **declared: Any) -> BucketEngine:
    repository = Repository(id="uploads", engine="bucket", location=f"s3://{bucket}", store="vault")
    host = LocalHost(Host(id="local", type="local"), "test")
    store = server.store(bucket, usage=usage, **declared)
    return BucketEngine(EngineContext(repository, repository.location, host, {}, None, store))


def _restore(engine: BucketEngine, to: Path, **more: Any) -> RestoreResult:
    return engine.restore(engine.recovery_points(Snapshots())[-1], str(to), timeout=60, **more)


def _restored(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}


def _data(count: int = _OBJECTS) -> dict[str, bytes]:
    # Sizes from nothing on, and names that have to be quoted.
    return {f"folder {number % 7}/é+{number}&=%.txt": bytes([number % 256]) * number for number in range(count)}


@pytest.fixture(scope="module")
def many(rclone: S3Server, rclone_data: Path) -> tuple[str, Mapping[str, bytes]]:
    """A bucket on rclone's server."""
    bucket, data = rclone.bucket(), _data()
    for key, held in data.items():
        file = rclone_data / bucket / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(held)
    return bucket, data


def test_many_small_objects_on_rclone(rclone: S3Server, many: tuple[str, Mapping[str, bytes]], tmp_path: Path) -> None:
    bucket, data = many
    usage = Usage()
    with wire(rclone) as between:
        result = _restore(_engine(between.server, bucket, usage), tmp_path, verify=True)
    assert (result.files, result.bytes) == (len(data), sum(map(len, data.values())))
    assert _restored(tmp_path) == data
    modified = {one["Key"]: one["LastModified"] for one in rclone.client().list_objects_v2(Bucket=bucket)["Contents"]}
    assert all(abs((tmp_path / key).stat().st_mtime - at.timestamp()) < 1 for key, at in modified.items())
    # Asked for once, and counted as they were.
    objects = [one for one in between.requests if one.key]
    assert len(objects) == usage.reads - _listings_as_reads(between.requests) == len(data)
    assert (usage.bytes_out, usage.reserved) == (result.bytes, 0)
    assert all(map(_by_helper, objects))


def _by_helper(request: Request) -> bool:
    return "drtests" not in request.headers.get("user-agent", "")


def _listings_as_reads(requests: list[Request]) -> int:
    """GETs of the bucket that are no listing, such as of its versioning."""
    return sum(not one.key and one.method == "GET" and "list-type" not in one.query for one in requests)


def test_versions_of_a_moment_on_ceph(ceph: Ceph, tmp_path: Path) -> None:
    bucket, client = ceph.server.bucket(versioned=True), ceph.server.client()
    for number in range(20):
        client.put_object(Bucket=bucket, Key=f"a/{number}", Body=b"old")
    moment = _engine(ceph.server, bucket).recovery_points(Snapshots())[-1]
    time.sleep(max(0.0, (moment.time - datetime.now(UTC)).total_seconds() + 1))
    for number in range(0, 20, 2):
        client.put_object(Bucket=bucket, Key=f"a/{number}", Body=b"new")
    client.delete_object(Bucket=bucket, Key="a/1")
    engine = _engine(ceph.server, bucket)
    engine.restore(moment, str(tmp_path / "then"), timeout=60)
    assert set(_restored(tmp_path / "then").values()) == {b"old"}
    assert len(_restored(tmp_path / "then")) == 20
    _restore(engine, tmp_path / "now")
    found = _restored(tmp_path / "now")
    assert (len(found), list(found.values()).count(b"new")) == (19, 10)


def test_what_helpers_do_not_bring_is_brought_one_by_one_on_rclone(
    rclone: S3Server, many: tuple[str, Mapping[str, bytes]], tmp_path: Path
) -> None:
    """Throttled, cut off, changed on its way: each once, and not where it would be damage."""
    bucket, data = many
    usage, seen, turn = Usage(), set[str](), threading.Lock()
    faults = (error("SlowDown", 503), Fault(cut=3), Fault(changed=lambda data: b"x" * len(data)))

    def once(request: Request, before: int) -> Fault | None:
        number = zlib.crc32(request.key.encode()) % 20
        with turn:
            if not request.key or request.key in seen or number >= len(faults) or not _by_helper(request):
                return None
            seen.add(request.key)
        return faults[number]

    with wire(rclone) as between:
        between.rule = once
        _restore(_engine(between.server, bucket, usage), tmp_path)
    assert seen
    assert _restored(tmp_path) == data
    assert usage.reads - _listings_as_reads(between.requests) == len([one for one in between.requests if one.key])
    assert usage.reserved == 0


def test_damage_is_told_whoever_finds_it_on_rclone(
    rclone: S3Server, many: tuple[str, Mapping[str, bytes]], tmp_path: Path
) -> None:
    bucket, data = many
    damaged = sorted(data)[150]
    with wire(rclone) as between:
        between.rule = lambda one, _: (
            Fault(changed=lambda data: b"x" * len(data)) if one.key == damaged and one.method == "GET" else None
        )
        with pytest.raises(ObjectDamaged, match="MD5"):
            _restore(_engine(between.server, bucket), tmp_path)
    assert not (tmp_path / damaged).exists()


@pytest.mark.parametrize("limit", [1, 137, 299])
def test_the_budget_holds_to_the_request_on_rclone(
    rclone: S3Server, many: tuple[str, Mapping[str, bytes]], tmp_path: Path, limit: int
) -> None:
    bucket, _ = many
    usage = Usage()
    # Before the objects, its versioning is asked for twice.
    prices = Prices(per_1000_reads=1000, budget=limit + 2)
    with wire(rclone) as between:
        with pytest.raises(BudgetExceeded):
            _restore(_engine(between.server, bucket, usage, prices=prices), tmp_path)
        sent = [one for one in between.requests if one.key]
    assert len(sent) <= limit
    assert usage.reads <= limit + 2
    # None was left unused but what a batch is too large for.
    assert len(sent) == limit


def test_the_budget_holds_to_the_byte_on_rclone(
    rclone: S3Server, many: tuple[str, Mapping[str, bytes]], tmp_path: Path
) -> None:
    bucket, data = many
    half = sum(map(len, data.values())) // 2
    usage = Usage()
    with pytest.raises(BudgetExceeded):
        _restore(_engine(rclone, bucket, usage, prices=Prices(per_gib_out=1024**3, budget=half)), tmp_path)
    assert usage.bytes_out + usage.reserved <= half
    assert sum(map(len, _restored(tmp_path).values())) <= half


def test_helpers_show_no_secret_and_none_is_left_on_rclone(
    rclone: S3Server, many: tuple[str, Mapping[str, bytes]], tmp_path: Path
) -> None:
    told: list[bytes] = []

    def look(*_: Any) -> None:
        for process in _helpers():
            for name in ("cmdline", "environ"):
                told.append((Path("/proc") / process / name).read_bytes())

    _restore(_engine(rclone, many[0]), tmp_path, progress=look)
    assert told
    secret = rclone.owner.secret_key.encode()
    assert all(secret not in text and rclone.owner.access_key.encode() not in text for text in told)
    assert _helpers() == []


def _helpers() -> list[str]:
    """Children of this process that fetch."""
    argv = ["pgrep", "-P", str(os.getpid()), "-f", "fetch_worker"]
    return subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False).stdout.split()


def test_helpers_that_die_are_done_without_on_rclone(
    rclone: S3Server, many: tuple[str, Mapping[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("raise SystemExit(1)")
    monkeypatch.setattr("drtests.stores.fetch_worker.__file__", str(broken))
    _restore(_engine(rclone, many[0]), tmp_path / "to")
    assert _restored(tmp_path / "to") == many[1]


def test_a_file_where_a_folder_has_to_be_is_told_on_rclone(
    rclone: S3Server, many: tuple[str, Mapping[str, bytes]], tmp_path: Path
) -> None:
    (tmp_path / "folder 3").write_text("in the way")
    with pytest.raises(EngineError, match="cannot be written"):
        _restore(_engine(rclone, many[0]), tmp_path)


_PEAK = """
import resource, sys
from pathlib import Path
from tests.contract.test_engine_bucket import _engine, _restore
from tests.support.buckets import Account, S3Server
endpoint, bucket, to, *keys = sys.argv[1:]
assert _restore(_engine(S3Server("rclone", endpoint, Account("rclone", *keys)), bucket), Path(to)).files
print(max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))
"""


@pytest.fixture
def buckets(rclone: S3Server, rclone_data: Path) -> tuple[str, str]:
    """One of 600 objects, and one of five times as many."""
    made = rclone.bucket(), rclone.bucket()
    for bucket, count in zip(made, (600, 3000), strict=True):
        for number in range(count):
            (rclone_data / bucket / f"{number:06}").write_bytes(hashlib.sha256(bytes([number % 256])).digest())
    return made


def test_memory_does_not_grow_with_the_bucket_on_rclone(
    rclone: S3Server, buckets: tuple[str, str], tmp_path: Path
) -> None:
    """The largest of its processes, in KiB: what five times as many objects take more is what any run may."""
    peaks = []
    for bucket in buckets:
        keys = (rclone.owner.access_key, rclone.owner.secret_key)
        argv = [sys.executable, "-c", _PEAK, rclone.endpoint, bucket, str(tmp_path / bucket), *keys]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout))
    assert peaks[1] - peaks[0] < 12 * 1024


def test_the_time_that_is_allowed_ends_it_on_rclone(
    rclone: S3Server, many: tuple[str, Mapping[str, bytes]], tmp_path: Path
) -> None:
    began = time.monotonic()
    engine = _engine(rclone, many[0])
    point = engine.recovery_points(Snapshots())[-1]
    with pytest.raises(EngineError, match="did not end"):
        engine.restore(point, str(tmp_path), timeout=timedelta(milliseconds=1).total_seconds())
    assert time.monotonic() - began < 30
    assert _helpers() == []
