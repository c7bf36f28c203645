"""A bucket and its replica: on Ceph, which keeps versions; rclone, which does not; and a simulator for replication set
up in the store itself. The copying is a job of the tests' own: nobody replicates by himself here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
from pydantic import ValidationError

from drtests.errors import BudgetExceeded, StoreDenied, StoreUnreachable, UsageError
from drtests.model.connections import Prices
from drtests.protocols.database import Live
from drtests.protocols.engine import Engine
from drtests.protocols.host import Host
from drtests.protocols.store import BucketFacts, ObjectFact, Store, Usage
from drtests.replications import bucket as module
from drtests.replications.bucket import BucketReplication, BucketReplicationSpec
from drtests.replications.bucket_compared import merged
from drtests.testing import replication_contract as contract
from tests.support.buckets import Account, Copier, S3Server
from tests.support.ceph import APPEND_ONLY, HARMFUL, READER, WRITER, Ceph, policy
from tests.support.servers import free_port
from tests.support.wire import Fault, wire

_DATA = {"data/a": b"1", "data/b": b"22", "data/c": b"333"}
_DELETING = ("s3:DeleteObject", "s3:DeleteObjectVersion")
_SOON = {"settled": timedelta(0)}


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drtests.stores.client.PAUSE", 0.01)
    monkeypatch.setattr(module, "_PATIENCE", 0.5)
    monkeypatch.setattr(module, "_POLL", 0.05)


@dataclass
class Pair:
    """Two buckets of one server, and what is declared of them; fulfils `drtests.protocols.reach.Reach`."""

    server: S3Server
    source: str
    replica: str
    reader: Account
    writer: Account | None
    declared: dict[str, dict[str, Any]] = field(default_factory=dict)
    usage: dict[str, Usage] = field(default_factory=dict)
    endpoints: dict[str, S3Server] = field(default_factory=dict)

    def host(self, host_id: str | None) -> Host:
        raise NotImplementedError

    def live(self, database_id: str, *, writable: bool = False) -> Live:
        raise NotImplementedError

    def engine(self, repository_id: str) -> Engine:
        raise NotImplementedError

    def store(self, store_id: str, *, writer: bool = False) -> Store:
        account = self.writer if writer else self.reader
        if account is None:
            raise UsageError(f"store {store_id!r} declares no credentials of the backup writer")
        server = self.endpoints.get(store_id, self.server)
        bucket = {"source": self.source, "replica": self.replica}[store_id]
        usage = self.usage.setdefault(store_id, Usage())
        more = {"id": store_id, **self.declared.get(store_id, {})}
        return server.store(bucket, account, "writer" if writer else "reader", usage, **more)

    def seen(self, **options: Any) -> BucketReplication:
        spec = BucketReplicationSpec.model_validate({"source": "source", "replica": "replica", **_SOON, **options})
        return BucketReplication(spec, self)

    @property
    def copier(self) -> Copier:
        return Copier(self.server, self.source, self.replica, self.reader)

    def put(self, key: str, data: bytes) -> None:
        self.server.client().put_object(Bucket=self.source, Key=key, Body=data)

    def left(self, bucket: str) -> Sequence[str]:
        """Keys of all versions and delete markers below the probe prefix."""
        listed = self.server.client().list_object_versions(Bucket=bucket, Prefix="drtests-probe/")
        return [one["Key"] for one in (*listed.get("Versions", ()), *listed.get("DeleteMarkers", ()))]


def _on_ceph(ceph: Ceph, rights: Sequence[str] = (*APPEND_ONLY, *_DELETING), denied: Sequence[str] = ()) -> Pair:
    server, client = ceph.server, ceph.server.client()
    buckets = [server.bucket(versioned=True) for _ in range(2)]
    for bucket in buckets:
        client.put_bucket_policy(Bucket=bucket, Policy=policy(bucket, rights, denied))
    made = Pair(server, buckets[0], buckets[1], READER, WRITER)
    for key, data in _DATA.items():
        made.put(key, data)
    made.copier.once()
    return made


@pytest.fixture
def pair(ceph: Ceph) -> Pair:
    return _on_ceph(ceph)


@pytest.fixture
def plain(rclone: S3Server) -> Pair:
    made = Pair(rclone, rclone.bucket(), rclone.bucket(), rclone.owner, rclone.owner)
    for key, data in _DATA.items():
        made.put(key, data)
    made.copier.once()
    return made


class CopiedBuckets(contract.Pair):
    """A job of the test's own copies."""

    comparing: ClassVar[Mapping[str, Any]] = {"compare": "hashes"}

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.copier = pair.copier

    def build(self, **options: Any) -> BucketReplication:
        return self.pair.seen(**options)

    def one(self) -> BucketReplication:
        return replace(self.pair, replica=self.pair.source).seen()

    def settle(self) -> None:
        self.copier.once()

    def work(self) -> None:
        self.pair.put("data/work", b"1")

    def traces(self) -> Sequence[str]:
        client = self.pair.server.client()
        listed = [
            client.list_objects_v2(Bucket=bucket, Prefix="drtests-probe/").get("Contents", ())
            for bucket in (self.pair.source, self.pair.replica)
        ]
        return [one["Key"] for found in listed for one in found]

    def following(self) -> AbstractContextManager[object]:
        return self.copier.running()

    @contextmanager
    def paused(self) -> Iterator[None]:
        self.copier.pause()
        yield
        self.copier.go_on()

    @contextmanager
    def differing(self) -> Iterator[None]:
        self.pair.server.client().put_object(Bucket=self.pair.replica, Key="data/a", Body=b"2")
        yield


class TestBucket(contract.ReplicationContract):
    @pytest.fixture
    def pair(self, plain: Pair) -> CopiedBuckets:
        return CopiedBuckets(plain)


def test_markers_arrive_when_they_are_copied_on_ceph(pair: Pair) -> None:
    seen = pair.seen()
    assert seen.identify().problems == ()
    seen.begin()
    seen.mark(1)
    assert seen.newest() is None
    pair.copier.once()
    assert seen.newest() == 1
    seen.mark(2)
    seen.mark(3)
    assert seen.newest() == 1
    assert seen.behind().seconds is None
    with pair.copier.running():
        # The deletion is copied, too.
        assert seen.end() == ()
    assert seen.newest() is None
    assert pair.left(pair.source) == []
    assert seen.end() == ()


def test_what_the_replica_keeps_is_told_and_not_deleted_on_ceph(pair: Pair) -> None:
    seen = pair.seen()
    seen.begin()
    seen.mark(1)
    pair.copier.once()
    [told] = seen.end()
    assert "at the replica" in told
    assert pair.left(pair.source) == []
    assert len(pair.left(pair.replica)) == 1


def test_markers_where_no_versions_are_kept_on_rclone(plain: Pair) -> None:
    seen = plain.seen(compare="hashes")
    assert seen.identify().problems == ()
    seen.begin()
    seen.mark(1)
    seen.mark(2)
    plain.copier.once()
    assert seen.newest() == 2
    assert [one.same for one in seen.compare()] == [True]
    with plain.copier.running():
        assert seen.end() == ()
    keys = [one["Key"] for one in plain.server.client().list_objects_v2(Bucket=plain.source)["Contents"]]
    assert keys == sorted(_DATA)


def test_no_key_but_the_marker_is_ever_written_or_deleted_on_ceph(pair: Pair) -> None:
    """By everything that went over the wire, the other drill's probes included."""
    others = {*_DATA, "drtests-probe/of-another-drill"}
    pair.put("drtests-probe/of-another-drill", b"x")
    with wire(pair.server) as between:
        through = replace(pair, server=between.server)
        seen = through.seen(compare="hashes")
        seen.identify()
        seen.begin()
        for number in range(1, 4):
            seen.mark(number)
            seen.newest()
        assert [one.same for one in seen.compare()] == [True]
        pair.copier.once()
        assert len(seen.end()) == 1
        without = through.seen()
        without.behind()
        without.end()
    changed = between.sent("PUT", "DELETE", "POST")
    assert len([one for one in changed if one.method == "PUT"]) == 4
    # Four versions, the object, and its delete marker.
    assert len([one for one in changed if one.method == "DELETE"]) == 6
    keys = {one.key for one in changed}
    assert len(keys) == 1
    assert keys.isdisjoint(others)
    assert all(one.bucket == pair.source and one.key.startswith("drtests-probe/marker-") for one in changed)
    assert pair.left(pair.source) == ["drtests-probe/of-another-drill"]
    # Every request was counted, whoever sent it.
    counted = sum(usage.reads + usage.writes for usage in pair.usage.values())
    assert counted == len(between.requests)


@pytest.mark.parametrize("writer", ["none", "unknown", "no right to write"])
def test_a_source_that_refuses_markers_tells_by_its_listing_on_ceph(ceph: Ceph, writer: str) -> None:
    pair = _on_ceph(ceph, denied=("s3:PutObject",) if writer == "no right to write" else ())
    pair.writer = {"none": None, "unknown": Account("x", "AKNOBODY000000000000", "x" * 40)}.get(writer, WRITER)
    seen = pair.seen()
    seen.identify()
    with pytest.raises(StoreDenied):
        seen.begin()
    behind = seen.behind()
    assert (behind.seconds, behind.bytes, behind.basis) == (0, 0, "measured")
    pair.put("data/new", b"12345")
    behind = seen.behind()
    # Its time is told by the second.
    assert behind.seconds is not None
    assert behind.bytes in (0, 5)
    assert seen.end() == ()
    assert pair.left(pair.source) == []


def test_a_writer_that_may_not_delete_leaves_one_marker_and_no_more_on_ceph(ceph: Ceph) -> None:
    pair = _on_ceph(ceph, APPEND_ONLY, HARMFUL)
    seen = pair.seen()
    with pytest.raises(StoreDenied, match="pile up"):
        seen.begin()
    with pytest.raises(StoreDenied):
        seen.end()
    assert len(pair.left(pair.source)) == 1


def test_a_source_that_locks_is_given_no_marker_on_ceph(ceph: Ceph, pair: Pair) -> None:
    locked = ceph.server.bucket(locked=True)
    lock = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}}}
    client = ceph.server.client()
    client.put_object_lock_configuration(Bucket=locked, ObjectLockConfiguration=lock)
    client.put_bucket_policy(Bucket=locked, Policy=policy(locked, (*APPEND_ONLY, *_DELETING)))
    pair.source = locked
    seen = pair.seen()
    seen.identify()
    with pytest.raises(StoreDenied, match="locks all that is written for 1d"):
        seen.begin()
    assert seen.end() == ()
    assert pair.left(locked) == []
    # Where the store did not tell beforehand, one marker shows it.
    unaware = pair.seen()
    with pytest.raises(StoreDenied, match="this until"):
        unaware.begin()
    [told] = unaware.end()
    assert "locked until" in told
    assert len([key for key in pair.left(locked) if "marker" in key]) == 1


def test_a_lost_answer_leaves_nothing_on_ceph(pair: Pair) -> None:
    with wire(pair.server) as between:
        seen = replace(pair, server=between.server).seen()
        seen.begin()
        seen.mark(1)
        between.rule = lambda one, _: Fault(changed=_lost) if one.method == "PUT" else None
        with pytest.raises(StoreUnreachable):
            seen.mark(2)
        assert len(pair.left(pair.source)) == 2
        seen.end()
    assert pair.left(pair.source) == []


def _lost(data: bytes) -> bytes:
    """The server did what it was asked; the way to it breaks before anybody hears of it."""
    raise ConnectionError


@pytest.mark.parametrize("silent", ["source", "replica"])
def test_who_is_silent_is_unreachable(pair: Pair, silent: str) -> None:
    pair.endpoints[silent] = pair.server.at(f"http://127.0.0.1:{free_port()}")
    seen = pair.seen(compare="sizes")
    for ask in (seen.identify, seen.behind, seen.compare, *([seen.newest] if silent == "replica" else [seen.begin])):
        with pytest.raises(StoreUnreachable):
            ask()
    assert seen.end() == ()


def test_buckets_that_are_not_there_or_are_one(pair: Pair) -> None:
    pair.replica = "no-such-bucket-anywhere"
    assert any("the replica is not there" in problem for problem in pair.seen().identify().problems)
    pair.replica = pair.source
    assert any("one and the same" in problem for problem in pair.seen().identify().problems)
    with pytest.raises(ValidationError, match="the same"):
        BucketReplicationSpec(source="a", replica="a")


@pytest.mark.parametrize("method", ["sizes", "hashes"])
def test_what_differs_on_ceph(pair: Pair, method: str) -> None:
    client = pair.server.client()
    assert [one.same for one in pair.seen(compare=method).compare()] == [True]
    # What changed just now may be on its way.
    pair.put("data/new", b"x")
    assert [one.same for one in pair.seen(compare=method, settled="1h").compare()] == [None]
    assert [one.same for one in pair.seen(compare=method).compare()] == [False]
    pair.copier.once()
    client.put_object(Bucket=pair.replica, Key="data/b", Body=b"XX")
    client.put_object(Bucket=pair.replica, Key="data/zzz", Body=b"of the replica alone")
    [compared] = pair.seen(compare=method).compare()
    assert compared.same is (method == "sizes")
    assert compared.facts["only at the replica"] == 1
    client.delete_object(Bucket=pair.replica, Key="data/c")
    [compared] = pair.seen(compare=method).compare()
    assert compared.same is False
    assert "data/c" in compared.detail
    assert pair.seen().compare() == ()


def test_prefixes_are_set_against_each_other_on_ceph(pair: Pair) -> None:
    client = pair.server.client()
    for key, data in _DATA.items():
        client.put_object(Bucket=pair.replica, Key=key.replace("data/", "copy/of/"), Body=data)
    pair.declared = {"source": {"prefix": "data/"}, "replica": {"prefix": "copy/of/"}}
    [compared] = pair.seen(compare="hashes").compare()
    assert (compared.same, compared.facts["settled"]) == (True, 3)


def test_hashes_of_parts_cannot_be_compared_on_ceph(pair: Pair) -> None:
    client = pair.server.client()
    begun = client.create_multipart_upload(Bucket=pair.source, Key="data/b")["UploadId"]
    part = client.upload_part(Bucket=pair.source, Key="data/b", UploadId=begun, PartNumber=1, Body=b"22")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    client.complete_multipart_upload(Bucket=pair.source, Key="data/b", UploadId=begun, MultipartUpload=parts)
    assert [one.same for one in pair.seen(compare="sizes").compare()] == [True]
    assert [one.same for one in pair.seen(compare="hashes").compare()] == [None]
    client.put_object(Bucket=pair.replica, Key="data/b", Body=b"22")
    assert pair.seen().behind().basis == "measured"


def _replicating(server: S3Server, source: str, to: str, status: str = "Enabled") -> None:
    rule = {
        "ID": "all", "Status": status, "Priority": 1, "Filter": {"Prefix": ""},
        "DeleteMarkerReplication": {"Status": "Enabled"}, "Destination": {"Bucket": f"arn:aws:s3:::{to}"},
    }  # fmt: skip
    server.client().put_bucket_replication(
        Bucket=source, ReplicationConfiguration={"Role": "arn:aws:iam::123456789012:role/x", "Rules": [rule]}
    )


@pytest.mark.parametrize(
    ("to", "status", "problem"),
    [("", "Enabled", ""), ("somewhere-else", "Enabled", "and not to"), ("", "Disabled", "disabled")],
)
def test_replication_that_is_set_up_on_a_simulator(moto: S3Server, to: str, status: str, problem: str) -> None:
    pair = Pair(moto, moto.bucket(versioned=True), moto.bucket(versioned=True), moto.owner, moto.owner)
    pair.put("data/a", b"1")
    _replicating(moto, pair.source, to or pair.replica, status)
    problems = pair.seen().identify().problems
    assert len(problems) == bool(problem)
    assert problem in "".join(problems)


def test_failed_replication_is_a_problem_on_a_simulator(moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    # Old enough at once.
    monkeypatch.setattr("drtests.stores.facts.REPLICATED_WITHIN", timedelta(0))
    pair = Pair(moto, moto.bucket(versioned=True), moto.bucket(versioned=True), moto.owner, moto.owner)
    pair.put("data/a", b"1")
    _replicating(moto, pair.source, pair.replica)
    with wire(moto) as between:
        between.rule = lambda one, _: Fault(headers={"x-amz-replication-status": "FAILED"}) if one.key else None
        identity = replace(pair, server=between.server).seen().identify()
    assert any("replication failed of 1 of the 1" in problem for problem in identity.problems)
    assert identity.facts["source"]["replicated"] == {"failed": 1}


def test_markers_and_their_removal_stay_within_the_budget_on_ceph(pair: Pair) -> None:
    pair.declared["source"] = {"prices": Prices(per_1000_writes=1000, budget=14)}
    seen = pair.seen()
    seen.begin()
    with pytest.raises(BudgetExceeded):
        _write_on(seen)
    assert len(pair.left(pair.source)) > 1
    # What was written can still be removed.
    seen.end()
    assert pair.left(pair.source) == []
    assert pair.usage["source"].writes <= 14


def _write_on(seen: BucketReplication) -> None:
    for number in range(1, 100):
        seen.mark(number)


class _Listed:
    """A side of very many objects, of which none is kept."""

    def __init__(self, count: int, lacks: int = 0) -> None:
        self.prefix = "p/"
        self._count, self._lacks = count, lacks

    def objects(self, prefix: str = "") -> Iterator[ObjectFact]:
        moment = datetime(2026, 1, 1, tzinfo=UTC)
        return (
            ObjectFact(f"p/{number:08}", 1, moment, "e")
            for number in range(self._count)
            if not self._lacks or number % self._lacks
        )


def test_merging_keeps_nothing() -> None:
    import tracemalloc

    sides: tuple[Any, Any] = (_Listed(20_000), _Listed(20_000, lacks=10))
    tracemalloc.start()
    try:
        missing = sum(there is None for _, there in merged(*sides))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert missing == 2000
    assert peak < 200_000


def test_facts_are_no_problem_where_a_job_copies() -> None:
    facts = BucketFacts(versioning="off", replication="none")
    assert module._replicating(facts, facts, "b") == []
    assert module._replicating(BucketFacts(versioning="off"), facts, "b") == []
    told = module._replicating(BucketFacts(versioning="enabled", replication="to arn:aws:s3:::b"), facts, "b")
    assert told == ["the replica keeps no versions, without which no store replicates"]
