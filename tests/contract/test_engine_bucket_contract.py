"""BucketEngine keeps the contract of engines, on a real bucket with versions; and what is particular to buckets."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from drtests.engines.bucket.engine import BucketEngine
from drtests.errors import (
    EngineError,
    EngineTimeout,
    ObjectDamaged,
    ObjectMissing,
    RecoveryPointMissing,
    StoreDenied,
    StoreError,
)
from drtests.hosts.local import LocalHost
from drtests.model.estate import Host as Declaration
from drtests.model.estate import Repository
from drtests.model.system import Snapshots
from drtests.protocols.engine import EngineContext, RecoveryPoint
from drtests.stores import fetching
from drtests.stores.bucket import S3Store
from drtests.testing.engine_contract import EngineContract, Held
from tests.support.buckets import Account, S3Server
from tests.support.ceph import Ceph
from tests.support.servers import wait_for
from tests.support.wire import Fault, Request, Wire, wire

_PATIENCE = 60.0
_STAGES: Sequence[Mapping[str, bytes | None]] = (
    {"a/one": b"one, first", "a/two": b"two", "gone": b"soon gone", "stays": b"stays"},
    {"a/one": b"one, overwritten", "gone": None, "late": b"late"},
    {"gone": b"there again", "a/two": None},
)
"""What is written and (None) deleted, each in a second of its own."""


def _engine(store: S3Store, host: LocalHost) -> BucketEngine:
    declared = Repository(id="uploads", engine="bucket", location=f"s3://{store.bucket}", store="vault")
    return BucketEngine(EngineContext(declared, declared.location, host, {}, store=store))


def _second(moment: datetime) -> datetime:
    """The full second by which it was done."""
    return datetime.fromtimestamp(math.ceil(moment.timestamp()), UTC)


@dataclass(frozen=True, slots=True)
class Lived:
    """A bucket to which all of the stages happened."""

    server: S3Server
    bucket: str
    held: Sequence[Held]

    def listing(self) -> list[tuple[str, str]]:
        told = self.server.client().list_object_versions(Bucket=self.bucket)
        both = [*told.get("Versions", ()), *told.get("DeleteMarkers", ())]
        return sorted((one["Key"], one["VersionId"]) for one in both)


def _live(server: S3Server) -> Lived:
    """Raises ValueError when a stage took longer than the rest of its second: that is two recovery points."""
    bucket, client = server.bucket(versioned=True), server.client()
    there: dict[str, bytes] = {}
    held: list[Held] = []
    seen: set[str] = set()
    for stage in _STAGES:
        begun = math.floor(time.time())
        wait_for(lambda begun=begun: time.time() >= begun + 1, "time stands still")  # type: ignore[misc]
        for key, data in stage.items():
            if data is None:
                client.delete_object(Bucket=bucket, Key=key)
                there.pop(key)
            else:
                client.put_object(Bucket=bucket, Key=key, Body=data)
                there[key] = data
        told = client.list_object_versions(Bucket=bucket)
        new = [one for one in (*told["Versions"], *told.get("DeleteMarkers", ())) if one["VersionId"] not in seen]
        seen |= {one["VersionId"] for one in new}
        [moment] = {_second(one["LastModified"]) for one in new}
        held.append(Held(RecoveryPoint("", moment, bucket, ("/",)), dict(there)))
    return Lived(server, bucket, held)


@pytest.fixture(scope="module")
def lived(ceph: Ceph) -> Lived:
    for _ in range(5):
        try:
            return _live(ceph.server)
        except ValueError:
            continue
    raise RuntimeError("the machine is too busy to write a few objects within a second")


@pytest.fixture
def host() -> LocalHost:
    return LocalHost(Declaration(id="local"))


@pytest.fixture
def engine(lived: Lived, host: LocalHost) -> BucketEngine:
    return _engine(lived.server.store(lived.bucket), host)


class TestBucketEngine(EngineContract):
    """On Ceph."""

    @pytest.fixture
    def held(self, lived: Lived) -> Sequence[Held]:
        """Not in order of time, though a bucket's always are."""
        return [lived.held[2], lived.held[0], lived.held[1]]

    @pytest.fixture
    def workplace(self, tmp_path: Path) -> str:
        (tmp_path / "out").mkdir()
        return str(tmp_path / "out")

    @pytest.fixture
    def fingerprint(self, lived: Lived) -> Callable[[], object]:
        return lived.listing

    @pytest.fixture
    def secret(self, lived: Lived) -> str:
        return lived.server.owner.secret_key

    def test_is_an_engine_and_tells_its_version(self, engine: BucketEngine) -> None:  # type: ignore[override]
        """It has no password."""
        assert BucketEngine.PASSWORD_VARIABLE == ""
        assert engine.version().startswith("bucket boto3 ")

    def test_filters(self, engine: BucketEngine, held: Sequence[Held]) -> None:  # type: ignore[override]
        """By paths; of one host, the bucket; and nothing has tags."""
        [bucket] = {one.point.host for one in held}
        assert len(engine.recovery_points(Snapshots(host=bucket))) == 3
        assert len(engine.recovery_points(Snapshots(paths=("/late",)))) == 1
        assert [len(engine.recovery_points(Snapshots(paths=(path,)))) for path in ("/a", "/gone")] == [3, 3]
        nothing = (Snapshots(host="x"), Snapshots(tags=("x",)), Snapshots(paths=("/x",)), Snapshots(paths=("/a", "/x")))
        assert [list(engine.recovery_points(one)) for one in nothing] == [[]] * 4

    def test_failures_have_names(self, lived: Lived, host: LocalHost, secret: str) -> None:  # type: ignore[override]
        """Those of its store."""
        wrong = Account("x", lived.server.owner.access_key, "wrong")
        for kind, store in {
            ObjectMissing: lived.server.store("no-such-bucket"),
            StoreDenied: lived.server.store(lived.bucket, wrong),
        }.items():
            with pytest.raises(StoreError) as caught:
                _engine(store, host).recovery_points(Snapshots())
            assert type(caught.value) is kind
            assert secret not in f"{caught.value.diagnostics()} {caught.value!r}"


def _restored(engine: BucketEngine, point: RecoveryPoint, to: Path, **more: Any) -> dict[str, str]:
    """What came back, by its SHA-256."""
    to.mkdir()
    engine.restore(point, str(to), timeout=_PATIENCE, **more)
    files = [path for path in to.rglob("*") if path.is_file()]
    return {str(path.relative_to(to)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _hashes(files: Mapping[str, bytes]) -> dict[str, str]:
    return {key: hashlib.sha256(data).hexdigest() for key, data in files.items()}


def test_as_it_was_at_each_moment(engine: BucketEngine, lived: Lived, tmp_path: Path) -> None:
    points = engine.recovery_points(Snapshots())
    for number, (point, held) in enumerate(zip(points, lived.held, strict=True)):
        found = _restored(engine, point, tmp_path / str(number), verify=True)
        assert found == _hashes(held.files)
        # What was written, and what was deleted, tells both sides of the moment apart.
        assert ("late" in found) is (number >= 1)
        assert ("a/two" in found) is (number < 2)
    assert (tmp_path / "1" / "a" / "one").stat().st_mtime <= points[1].time.timestamp()


def test_a_recovery_point_of_another_bucket(engine: BucketEngine, ceph: Ceph, host: LocalHost, tmp_path: Path) -> None:
    other = ceph.server.bucket(versioned=True)
    ceph.server.client().put_object(Bucket=other, Key="x", Body=b"x")
    [point] = _engine(ceph.server.store(other), host).recovery_points(Snapshots())
    with pytest.raises(RecoveryPointMissing):
        engine.restore(point, str(tmp_path), timeout=_PATIENCE)


def test_a_bucket_without_versions_on_rclone(rclone: S3Server, host: LocalHost, tmp_path: Path) -> None:
    bucket, client = rclone.bucket(), rclone.client()
    client.put_object(Bucket=bucket, Key="a/b", Body=b"now")
    engine = _engine(rclone.store(bucket), host)
    [point] = engine.recovery_points(Snapshots())
    assert _restored(engine, point, tmp_path / "now") == _hashes({"a/b": b"now"})
    wait_for(lambda: time.time() > point.time.timestamp() + 1, "time stands still")
    client.put_object(Bucket=bucket, Key="c", Body=b"later")
    with pytest.raises(RecoveryPointMissing, match="keeps no versions"):
        _restored(engine, point, tmp_path / "then")


def test_of_many_versions_the_right_one(ceph: Ceph, host: LocalHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drtests.stores.bucket.PAGE", 10)
    bucket, client = ceph.server.bucket(versioned=True), ceph.server.client()
    for number in range(60):
        client.put_object(Bucket=bucket, Key="busy", Body=b"x" * number)
    told = client.list_object_versions(Bucket=bucket)["Versions"]
    engine = _engine(ceph.server.store(bucket), host)
    points = engine.recovery_points(Snapshots())
    assert len(points) == len({_second(one["LastModified"]) for one in told})
    for point in points:
        newest = max((one for one in told if one["LastModified"] <= point.time), key=lambda one: one["LastModified"])
        assert engine.statistics(point, _PATIENCE).bytes == newest["Size"]


@pytest.fixture
def between(lived: Lived) -> Iterator[Wire]:
    with wire(lived.server) as found:
        yield found


def _of(key: str, fault: Fault) -> Callable[[Request, int], Fault | None]:
    return lambda request, _: fault if request.method == "GET" and request.key == key else None


def test_damage_is_seen(between: Wire, lived: Lived, host: LocalHost, tmp_path: Path) -> None:
    engine = _engine(between.server.store(lived.bucket), host)
    point = engine.recovery_points(Snapshots())[-1]
    assert engine.verify(1, 1, _PATIENCE).problems == ()
    between.rule = _of("stays", Fault(changed=lambda data: b"X" + data[1:]))
    with pytest.raises(ObjectDamaged, match="stays"):
        _restored(engine, point, tmp_path / "out")
    result = engine.verify(1, 1, _PATIENCE)
    assert ["stays" in one for one in result.problems] == [True]
    assert result.units_read == result.units == len(lived.held[-1].files)


def test_what_can_be_held_against_no_hash_is_counted(
    between: Wire, lived: Lived, host: LocalHost, tmp_path: Path
) -> None:
    engine = _engine(between.server.store(lived.bucket), host)
    point = engine.recovery_points(Snapshots())[-1]
    assert engine.verify(1, 1, _PATIENCE).unproved == 0
    between.rule = _of("late", Fault(headers={"x-amz-server-side-encryption": "aws:kms"}))
    checked = engine.verify(1, 1, _PATIENCE)
    restored = engine.restore(point, str(tmp_path), timeout=_PATIENCE)
    for result in (checked, restored):
        assert result.unproved == 1
        assert "key of its own" in result.why


@pytest.mark.parametrize("key", ["../outside", "a/../../outside", "a//b", "n" * 300, "a/./b", "/absolute"])
def test_keys_that_no_file_can_have_are_refused(ceph: Ceph, host: LocalHost, tmp_path: Path, key: str) -> None:
    bucket, client = ceph.server.bucket(versioned=True), ceph.server.client()
    client.put_object(Bucket=bucket, Key="good/x", Body=b"good")
    client.put_object(Bucket=bucket, Key=key, Body=b"bad")
    engine = _engine(ceph.server.store(bucket), host)
    point = engine.recovery_points(Snapshots())[-1]
    with pytest.raises(EngineError, match="no file can be named"):
        _restored(engine, point, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert _restored(engine, point, tmp_path / "some", include=["/good"]) == _hashes({"good/x": b"good"})


class TestTrickling:
    """A server that sends a byte now and then is never late by botocore's timeouts. It would take an hour."""

    @pytest.fixture
    def slow(self, rclone: S3Server) -> Iterator[Wire]:
        with wire(rclone) as found:
            yield found

    @pytest.fixture
    def trickled(self, slow: Wire, rclone: S3Server, host: LocalHost) -> BucketEngine:
        bucket = rclone.bucket()
        for number in range(3):
            rclone.client().put_object(Bucket=bucket, Key=f"x{number}", Body=os.urandom(40_000))
        return _engine(slow.server.store(bucket), host)

    def _late(self, slow: Wire, act: Callable[[], object]) -> None:
        began = time.monotonic()
        with pytest.raises(EngineTimeout):
            act()
        assert time.monotonic() - began < _PATIENCE, "it waited for the server"
        wait_for(lambda: slow.trickling == 0, "a download is still running")

    @pytest.mark.parametrize("helpers", [False, True])
    def test_the_objects_of_a_restore(
        self, slow: Wire, trickled: BucketEngine, tmp_path: Path, helpers: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(fetching, "_MANY", 0 if helpers else 10**9)
        [point] = trickled.recovery_points(Snapshots())
        slow.rule = lambda request, _: Fault(pause=0.1) if request.key.startswith("x") else None
        self._late(slow, lambda: trickled.restore(point, str(tmp_path), timeout=3.0))
        assert not [path for path in tmp_path.rglob("*") if path.stat().st_size == 40_000]

    def test_the_objects_that_are_read_back(self, slow: Wire, trickled: BucketEngine) -> None:
        slow.rule = lambda request, _: Fault(pause=0.1) if request.key.startswith("x") else None
        self._late(slow, lambda: trickled.verify(1, 1, 1.5))

    @pytest.mark.parametrize("asked", ["restore", "statistics"])
    def test_the_listing(self, slow: Wire, trickled: BucketEngine, tmp_path: Path, asked: str) -> None:
        [point] = trickled.recovery_points(Snapshots())
        slow.rule = lambda request, _: Fault(pause=0.5) if "list-type" in request.query else None
        if asked == "restore":
            self._late(slow, lambda: trickled.restore(point, str(tmp_path), timeout=1.5))
        else:
            self._late(slow, lambda: trickled.statistics(point, 1.5))
