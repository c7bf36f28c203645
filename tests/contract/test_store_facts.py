"""What buckets tell of themselves: on Ceph, on rclone that answers 200 to what it does not know, and on a simulator."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, ClassVar

import pytest

from drtests.core.stores import Finding, judge_facts
from drtests.errors import ObjectMissing, StoreDenied, StoreUnreachable
from drtests.model.connections import Demands
from drtests.model.verdict import Verdict
from drtests.protocols.store import BucketFacts, DeletionRule
from tests.support.buckets import S3Server
from tests.support.ceph import READER, WRITER, Ceph, policy
from tests.support.wire import Fault, Wire, error, wire

_ALL = Demands(lock="governance", encryption=True, replication=True, locations=("default", "us-east-1"))


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drtests.stores.client.PAUSE", 0.01)


def _judged(server: S3Server, bucket: str, **declared: Any) -> dict[str, Finding]:
    store = server.store(bucket, **declared)
    return {one.title: one for one in judge_facts(store.facts(), store.declared)}


def test_of_a_locked_bucket_on_ceph(ceph: Ceph) -> None:
    bucket, client = ceph.server.bucket(locked=True), ceph.server.client()
    facts = ceph.server.store(bucket).facts()
    assert (facts.versioning, facts.lock, facts.lock_mode, facts.lock_seconds) == ("enabled", True, "none", 0)
    retention = {"Mode": "COMPLIANCE", "Days": 30}
    client.put_object_lock_configuration(
        Bucket=bucket,
        ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": retention}},
    )
    facts = ceph.server.store(bucket).facts()
    assert (facts.lock, facts.lock_mode, facts.lock_seconds) == (True, "compliance", 30 * 86400)
    assert facts.public is False
    assert facts.deletions == ()
    # Ceph answers with an empty configuration: that is no answer.
    assert (facts.encryption, facts.replication) == (None, None)
    assert {"encryption", "replication"} <= set(facts.unknown)
    judged = _judged(ceph.server, bucket, demands=_ALL)
    assert judged["object lock"].verdict is Verdict.MET
    assert judged["encryption"].verdict is judged["replication"].verdict is Verdict.INCONCLUSIVE


def test_of_a_bucket_without_anything_on_ceph(ceph: Ceph) -> None:
    judged = _judged(ceph.server, ceph.server.bucket(), demands=_ALL)
    assert judged["versioning"].verdict is judged["object lock"].verdict is Verdict.MISSED
    assert judged["public access"].verdict is judged["deletion by rules"].verdict is Verdict.MET


def test_suspended_versioning_on_ceph(ceph: Ceph) -> None:
    bucket = ceph.server.bucket(versioned=True)
    ceph.server.client().put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    judged = _judged(ceph.server, bucket)
    assert judged["versioning"].verdict is Verdict.MISSED
    assert "suspended" in judged["versioning"].reason


class TestProbes:
    """How many there are, and whether the bucket itself removes them."""

    _RULE: ClassVar[dict[str, Any]] = {
        "ID": "probes",
        "Status": "Enabled",
        "Filter": {"Prefix": "drtests-probe/"},
        "Expiration": {"Days": 1},
    }

    def _facts(self, server: S3Server, versioned: bool, rule: dict[str, Any]) -> BucketFacts:
        bucket, client = server.bucket(versioned=versioned), server.client()
        for _ in range(2):
            client.put_object(Bucket=bucket, Key="drtests-probe/one", Body=b"x")
        client.put_object(Bucket=bucket, Key="data/one", Body=b"x")
        if rule:
            client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})
        return server.store(bucket).facts()

    @pytest.mark.parametrize(
        ("versioned", "more", "count", "days"),
        [
            (False, {}, 1, 1),
            # A delete marker hides a version; it removes none.
            (True, {}, 2, None),
            (True, {"NoncurrentVersionExpiration": {"NoncurrentDays": 2}}, 2, 3),
            (False, {"Filter": {"Prefix": "data/"}}, 1, None),
            (False, {"Status": "Disabled"}, 1, None),
        ],
    )
    def test_on_ceph(self, ceph: Ceph, versioned: bool, more: dict[str, Any], count: int, days: float | None) -> None:
        facts = self._facts(ceph.server, versioned, {**self._RULE, **more})
        assert (facts.probes, facts.probe_days) == (count, days)

    def test_on_a_server_without_versions(self, rclone: S3Server) -> None:
        facts = self._facts(rclone, False, {})
        assert facts.probe_days is None
        assert facts.probes == 1


def test_who_owns_it_on_ceph(ceph: Ceph) -> None:
    one, other = ceph.server.bucket(), f"b-{uuid.uuid4().hex}"
    ceph.server.client(WRITER).create_bucket(Bucket=other)
    owners = [ceph.server.store(one).facts().owner, ceph.server.store(other, WRITER).facts().owner]
    assert owners[1] == WRITER.name
    assert owners[0] not in (None, WRITER.name)


class TestPublic:
    """That nobody may read is proved by trying, and by what is granted."""

    @pytest.mark.parametrize("acl", ["public-read", "public-read-write", "authenticated-read"])
    def test_by_acl_on_ceph(self, ceph: Ceph, acl: str) -> None:
        bucket = ceph.server.bucket()
        ceph.server.client().put_bucket_acl(Bucket=bucket, ACL=acl)
        found = _judged(ceph.server, bucket)["public access"]
        assert (found.verdict, found.severity) == (Verdict.MISSED, "critical")

    def test_one_object_by_acl_on_ceph(self, ceph: Ceph) -> None:
        """Neither the bucket's ACL nor a policy tells of it: it is seen by trying."""
        bucket = ceph.server.bucket()
        ceph.server.client().put_object(Bucket=bucket, Key="data/x", Body=b"x", ACL="public-read")
        found = _judged(ceph.server, bucket)["public access"]
        assert found.verdict is Verdict.MISSED
        assert "without credentials" in found.reason

    @pytest.mark.parametrize("action", ["s3:GetObject", "s3:ListBucket", "s3:PutObject"])
    def test_by_policy_on_ceph(self, ceph: Ceph, action: str) -> None:
        """The right to write is seen by nobody who only reads: the policy tells."""
        bucket = ceph.server.bucket()
        statement = {
            "Effect": "Allow",
            "Principal": {"AWS": ["*"]},
            "Action": action,
            "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
        }
        text = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        ceph.server.client().put_bucket_policy(Bucket=bucket, Policy=text)
        assert _judged(ceph.server, bucket)["public access"].verdict is Verdict.MISSED

    def test_a_policy_for_named_accounts_is_not_public_on_ceph(self, ceph: Ceph) -> None:
        """Ceph itself says of any policy that it is public."""
        bucket, client = ceph.server.bucket(), ceph.server.client()
        client.put_object(Bucket=bucket, Key="data/x", Body=b"x")
        client.put_bucket_policy(Bucket=bucket, Policy=policy(bucket, ("s3:PutObject",)))
        assert ceph.server.store(bucket, READER).facts().public is False

    def test_without_the_right_to_ask_it_is_not_known_on_ceph(self, ceph: Ceph) -> None:
        bucket, client = ceph.server.bucket(), ceph.server.client()
        reader = [{"Effect": "Allow", "Principal": {"AWS": [f"arn:aws:iam:::user/{READER.name}"]},
                   "Action": ["s3:ListBucket", "s3:GetObject"],
                   "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]}]  # fmt: skip
        client.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": reader}))
        store = ceph.server.store(bucket, READER)
        facts = store.facts()
        assert facts.public is None
        assert "AccessDenied" in facts.unknown["public"]
        judged = judge_facts(facts, store.declared)
        assert {one.verdict for one in judged} == {Verdict.INCONCLUSIVE}
        assert all(one.mend for one in judged)

    def test_a_server_that_asks_nobody_who_he_is(self, between: Wire) -> None:
        """By a proxy that answers whoever comes without credentials."""
        bucket = between.server.bucket()
        page = "<ListBucketResult><Name>x</Name></ListBucketResult>"
        between.rule = lambda request, _: None if "authorization" in request.headers else Fault(200, page)
        assert between.server.store(bucket).facts().public is True
        between.rule = lambda request, _: None if "authorization" in request.headers else Fault(200, "<html>Hi</html>")
        facts = between.server.store(bucket).facts()
        assert facts.public is None, "a bare 200 was believed"


@pytest.fixture
def between(ceph: Ceph) -> Iterator[Wire]:
    with wire(ceph.server) as found:
        yield found


class TestDeletions:
    def test_rules_on_ceph(self, ceph: Ceph) -> None:
        bucket, client = ceph.server.bucket(versioned=True), ceph.server.client()
        rules: list[dict[str, Any]] = [
            {"ID": "a-old", "Status": "Enabled", "Filter": {"Prefix": "data/"}, "Expiration": {"Days": 90}},
            {"ID": "b-replaced", "Status": "Enabled", "Filter": {"Prefix": ""},
             "NoncurrentVersionExpiration": {"NoncurrentDays": 7}},
            {"ID": "c-off", "Status": "Disabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}},
            {"ID": "d-probes", "Status": "Enabled", "Filter": {"Prefix": "drtests-probe/"}, "Expiration": {"Days": 1}},
            {"ID": "e-uploads", "Status": "Enabled", "Filter": {"Prefix": ""},
             "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}},
        ]  # fmt: skip
        client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})
        assert ceph.server.store(bucket).facts().deletions == (
            DeletionRule("a-old", "data/", current_days=90),
            DeletionRule("b-replaced", noncurrent_days=7),
        )
        found = _judged(ceph.server, bucket)["deletion by rules"]
        assert (found.verdict, found.severity) == (Verdict.MISSED, "high")
        assert "b-replaced" in found.reason
        assert "a-old" not in found.reason
        shorter = _judged(ceph.server, bucket, demands=Demands(keep=timedelta(days=7)))["deletion by rules"]
        assert shorter.verdict is Verdict.MET
        elsewhere = _judged(ceph.server, bucket, prefix="other/", demands=Demands(keep=timedelta(days=7)))
        assert "a-old" not in elsewhere["deletion by rules"].reason

    def test_of_a_date_and_of_some_objects_on_a_simulator(self, moto: S3Server) -> None:
        bucket, client = moto.bucket(), moto.client()
        rules: list[dict[str, Any]] = [
            {"ID": "tagged", "Status": "Enabled", "Expiration": {"Days": 400},
             "Filter": {"And": {"Prefix": "data/", "Tags": [{"Key": "a", "Value": "b"}]}}},
            {"ID": "doomsday", "Status": "Enabled", "Filter": {"Prefix": ""},
             "Expiration": {"Date": "2031-01-01T00:00:00Z"}},
        ]  # fmt: skip
        client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})
        found = {one.id: one for one in moto.store(bucket).facts().deletions or ()}
        assert found["tagged"].narrowed
        assert found["doomsday"].current_days == 0


def test_a_server_that_answers_200_to_everything_is_not_believed_rclone(rclone: S3Server) -> None:
    bucket = rclone.bucket()
    facts = rclone.store(bucket).facts()
    told = {name for name in BucketFacts.__slots__ if getattr(facts, name) is not None} - {"unknown", "raw"}
    assert facts.public is None
    assert not told & {"encryption", "replicated"}
    judged = _judged(rclone, bucket, demands=_ALL)
    assert not [one for one in judged.values() if one.verdict is Verdict.MET and one.title != "deletion by rules"]


@pytest.mark.parametrize(
    "body", ["", "<Nonsense/>", "{}", "<ObjectLockConfiguration/>", "<ServerSideEncryptionConfiguration/>"]
)
def test_bare_200_for_every_question_is_no_answer(between: Wire, body: str) -> None:
    bucket = between.server.bucket()

    def rule(request: object, _: int) -> Fault | None:
        query = request.query  # type: ignore[attr-defined]
        return None if query.startswith("list-type") else Fault(200, body, {"Content-Type": "application/xml"})

    between.rule = rule
    facts = between.server.store(bucket).facts()
    named = {
        "versioning",
        "lock",
        "lock_mode",
        "lock_seconds",
        "encryption",
        "public",
        "deletions",
        "replication",
        "location",
    }
    assert {name for name in named if getattr(facts, name) is not None} == set()
    assert named <= set(facts.unknown)
    store = between.server.store(bucket, demands=_ALL)
    assert {one.verdict for one in judge_facts(facts, store.declared)} == {Verdict.INCONCLUSIVE}


def test_what_is_refused_is_not_known(between: Wire) -> None:
    bucket = between.server.bucket()
    between.rule = lambda request, _: None if request.query.startswith("list-type") else error("AccessDenied", 403)
    facts = between.server.store(bucket).facts()
    for name in ("versioning", "encryption", "deletions", "public"):
        assert getattr(facts, name) is None
    assert "AccessDenied" in facts.unknown["versioning"]


def test_nothing_at_all_can_be_had(ceph: Ceph, between: Wire) -> None:
    with pytest.raises(ObjectMissing):
        ceph.server.store("no-such-bucket").facts()
    with pytest.raises(StoreDenied):
        ceph.server.store(ceph.server.bucket(), READER).facts()
    between.rule = lambda _request, _before: error("InternalError", 500)
    with pytest.raises(StoreUnreachable):
        between.server.store("bucket").facts()


class TestSimulated:
    """By moto, for what no server here has."""

    def test_encryption_on_a_simulator(self, moto: S3Server) -> None:
        bucket, client = moto.bucket(), moto.client()
        client.delete_bucket_encryption(Bucket=bucket)
        before = moto.store(bucket).facts().encryption
        rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}
        client.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
        assert (before, moto.store(bucket).facts().encryption) == ("none", "aws:kms")

    def test_replication_on_a_simulator(self, moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
        bucket, other, client = moto.bucket(versioned=True), moto.bucket(versioned=True), moto.client()
        client.put_object(Bucket=bucket, Key="data/x", Body=b"x")
        assert moto.store(bucket).facts().replication == "none"
        rule: dict[str, Any] = {
            "ID": "copy", "Status": "Enabled", "Prefix": "", "Destination": {"Bucket": f"arn:aws:s3:::{other}"},
        }  # fmt: skip
        configuration: dict[str, Any] = {"Role": "arn:aws:iam::123456789012:role/copy", "Rules": [rule]}
        client.put_bucket_replication(Bucket=bucket, ReplicationConfiguration=configuration)
        facts = moto.store(bucket).facts()
        assert facts.replication == f"to arn:aws:s3:::{other}"
        assert facts.replicated is None
        assert "older than 15m" in facts.unknown["replicated"], "what is young may be on its way still"
        monkeypatch.setattr("drtests.stores.facts.REPLICATED_WITHIN", timedelta(0))
        facts = moto.store(bucket).facts()
        assert facts.replicated == {"none": 1}, "a simulator replicates nothing"
        judged = _judged(moto, bucket, demands=Demands(replication=True))["replication"]
        assert judged.verdict is Verdict.INCONCLUSIVE, "a rule is no copy"
        rule["Status"] = "Disabled"
        client.put_bucket_replication(Bucket=bucket, ReplicationConfiguration=configuration)
        judged = _judged(moto, bucket, demands=Demands(replication=True))["replication"]
        assert judged.verdict is Verdict.MISSED

    @pytest.mark.parametrize(
        ("status", "verdict"),
        [
            ("COMPLETED", Verdict.MET),
            ("FAILED", Verdict.MISSED),
            ("PENDING", Verdict.MISSED),
            ("", Verdict.INCONCLUSIVE),
        ],
    )
    def test_status_of_replicated_objects_on_a_simulator(
        self, moto: S3Server, status: str, verdict: Verdict, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of objects of which the last is not replicated as the others are."""
        count = 120 if status == "FAILED" else 5
        monkeypatch.setattr("drtests.stores.facts.REPLICATED_WITHIN", timedelta(0))
        bucket, other, client = moto.bucket(versioned=True), moto.bucket(versioned=True), moto.client()
        for number in range(count):
            client.put_object(Bucket=bucket, Key=f"data/{number:03}", Body=b"x")
        rule: dict[str, Any] = {
            "ID": "copy", "Status": "Enabled", "Prefix": "", "Destination": {"Bucket": f"arn:aws:s3:::{other}"},
        }  # fmt: skip
        configuration: dict[str, Any] = {"Role": "arn:aws:iam::123456789012:role/copy", "Rules": [rule]}
        client.put_bucket_replication(Bucket=bucket, ReplicationConfiguration=configuration)
        with wire(moto) as between:
            well = Fault(headers={"x-amz-replication-status": "COMPLETED"})
            ill = Fault(headers={"x-amz-replication-status": status} if status else {})
            between.rule = lambda request, _: (
                None if request.method != "HEAD" else ill if request.key == f"data/{count - 1:03}" else well
            )
            judged = _judged(between.server, bucket, demands=Demands(replication=True))["replication"]
        assert judged.verdict is verdict
        assert f"objects looked at, chosen among {count}, all older than" in judged.reason

    def test_public_access_block_overrules_grants_on_a_simulator(self, moto: S3Server) -> None:
        bucket, client = moto.bucket(), moto.client()
        client.put_bucket_acl(Bucket=bucket, ACL="public-read")
        refused = error("AccessDenied", 403)
        with wire(moto) as between:
            between.rule = lambda request, _: None if "authorization" in request.headers else refused
            assert between.server.store(bucket).facts().public is True
            block = dict.fromkeys(
                ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True
            )
            client.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=block)
            assert between.server.store(bucket).facts().public is False

    def test_a_region_without_a_name_is_the_first_on_a_simulator(self, moto: S3Server) -> None:
        facts = moto.store(moto.bucket()).facts()
        assert facts.location is None, "only AWS itself leaves its first region out"
        assert "location" in facts.unknown
