"""The attack on a real server: Ceph enforces versions, object lock and policies, for accounts with different rights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from drtests.core.stores import evidence, judge_attack, told_leftovers, verdict
from drtests.errors import BudgetExceeded, SafetyError
from drtests.model.connections import Prices, ProbeLock
from drtests.model.verdict import Verdict
from drtests.protocols.store import Action, Attackable, AttackReport
from tests.support.buckets import S3Server
from tests.support.ceph import APPEND_ONLY, HARMFUL, READER, WRITER, Ceph, policy
from tests.support.wire import Fault, Request, Wire, error, wire

_MET, _MISSED = Verdict.MET, Verdict.MISSED
_DELETING = (*APPEND_ONLY, "s3:DeleteObject", "s3:DeleteObjectVersion")


def _bucket(
    server: S3Server, kind: str, writer: Sequence[str], denied: Sequence[str] = (), data: Mapping[str, bytes] = {}
) -> str:
    """`kind`: unversioned, versioned, or the mode of a default retention of one day."""
    client = server.client()
    locked = kind in {"governance", "compliance"}
    name = server.bucket(versioned=kind == "versioned", locked=locked)
    if locked:
        retention = {"Mode": kind.upper(), "Days": 1}
        lock = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": retention}}
        client.put_object_lock_configuration(Bucket=name, ObjectLockConfiguration=lock)
    for key, held in data.items():
        client.put_object(Bucket=name, Key=key, Body=held)
    client.put_bucket_policy(Bucket=name, Policy=policy(name, writer, denied))
    return name


def _attack(server: S3Server, bucket: str, **declared: Any) -> AttackReport:
    writer = server.store(bucket, WRITER, "writer", **declared)
    assert isinstance(writer, Attackable)
    return writer.attack(server.store(bucket, READER, **declared))


def _broken(report: AttackReport) -> dict[Action, str | None]:
    """What succeeded, and how bad that is judged to be."""
    found = zip(report.attempts, judge_attack(report), strict=True)
    return {one.action: finding.severity for one, finding in found if finding.verdict is _MISSED}


@pytest.mark.parametrize(
    ("kind", "rights", "denied", "broken"),
    [
        # Whoever may write may overwrite.
        ("unversioned", APPEND_ONLY, HARMFUL, {"overwrite": "critical"}),
        ("unversioned", _DELETING, (), {"overwrite": "critical", "delete": "critical"}),
        ("versioned", APPEND_ONLY, HARMFUL, {}),
        ("versioned", _DELETING, (), {"delete_version": "critical"}),
        ("versioned", ("s3:*",), (), {"delete_version": "critical", "set_versioning": "high"}),
        ("governance", APPEND_ONLY, HARMFUL, {}),
        # Ceph lets the owner of an object bypass governance, unless that is denied; and who wrote it owns it.
        ("governance", APPEND_ONLY, (), {"shorten_retention_bypassing": "high"}),
        (
            "governance",
            _DELETING,
            (),
            {"delete_version_bypassing": "critical", "shorten_retention_bypassing": "high"},
        ),
        ("compliance", APPEND_ONLY, HARMFUL, {}),
        ("compliance", ("s3:*",), (), {"set_versioning": "medium"}),
    ],
)
def test_what_an_attacker_can_do_on_ceph(
    ceph: Ceph, kind: str, rights: Sequence[str], denied: Sequence[str], broken: Mapping[Action, str]
) -> None:
    report = _attack(ceph.server, _bucket(ceph.server, kind, rights, denied))
    assert (report.failed, report.harm) == ("", "")
    assert _broken(report) == broken
    assert verdict(judge_attack(report)) is (_MISSED if broken else _MET)
    assert report.versioned is (kind != "unversioned")
    mode = kind if kind in {"governance", "compliance"} else None
    assert report.state is not None
    assert report.state.lock_mode == mode
    assert json.loads(json.dumps(evidence(report)))["attempts"]


def _by_the_writer(request: Request) -> bool:
    return f"Credential={WRITER.access_key}/" in request.headers["authorization"]


@pytest.mark.parametrize(
    "answer",
    [
        error("ExpiredToken", 403),
        error("InvalidAccessKeyId", 403),
        # Of an account that is shut while it is attacked with: then this is what it hears to everything.
        error("AccessDenied", 403),
    ],
    ids=["expired", "unknown", "denied"],
)
def test_credentials_that_end_under_way_prove_nothing_on_ceph(ceph: Ceph, answer: Fault) -> None:
    bucket = _bucket(ceph.server, "compliance", APPEND_ONLY, HARMFUL)
    with wire(ceph.server) as between:

        def rule(request: Request, _: int) -> Fault | None:
            # The first is the probe's own, and counted already.
            ended = sum(map(_by_the_writer, between.requests)) > 1
            return answer if ended and _by_the_writer(request) else None

        between.rule = rule
        report = _attack(between.server, bucket)
    assert {one.verdict for one in judge_attack(report)} == {Verdict.INCONCLUSIVE}
    assert verdict(judge_attack(report)) is Verdict.INCONCLUSIVE
    assert "not able to write any more" in report.failed


@pytest.mark.parametrize(
    "answer",
    [
        error("RequestTimeTooSkewed", 403),
        error("PermanentRedirect", 301),
        error("NotImplemented", 501),
        error("MalformedXML", 400),
        error("InvalidRequest", 400, "Missing required header for this request"),
        Fault(403, "<html><body>Forbidden by the proxy</body></html>", {"Content-Type": "text/html"}),
        Fault(403),
        Fault(400, "no XML at all"),
    ],
    ids=["skewed", "redirect", "501", "malformed", "invalid", "page", "empty", "text"],
)
def test_what_is_no_refusal_of_the_store_proves_nothing_on_ceph(ceph: Ceph, answer: Fault) -> None:
    """Though the writer still writes: whatever else it tries is answered so."""
    bucket = _bucket(ceph.server, "compliance", APPEND_ONLY, HARMFUL)
    with wire(ceph.server) as between:
        between.rule = lambda request, _: (
            answer if request.method in {"PUT", "DELETE"} and (request.method == "DELETE" or request.query) else None
        )
        report = _attack(between.server, bucket)
    assert not report.failed
    assert not _broken(report)
    answers = {one.action: one.answer for one in report.attempts}
    assert answers.pop("overwrite") == "accepted"
    assert set(answers.values()) == {"unknown"}
    assert verdict(judge_attack(report)) is Verdict.INCONCLUSIVE


def test_delete_marker_is_no_damage_on_ceph(ceph: Ceph) -> None:
    report = _attack(ceph.server, _bucket(ceph.server, "compliance", ("s3:*",)))
    deleted = next(one for one in report.attempts if one.action == "delete")
    assert (deleted.answer, deleted.effect) == ("accepted", "none")


def test_cleans_up_what_it_may_on_ceph(ceph: Ceph) -> None:
    bucket = _bucket(ceph.server, "versioned", _DELETING)
    report = _attack(ceph.server, bucket)
    assert report.left == ()
    listed = ceph.server.client().list_object_versions(Bucket=bucket)
    assert not listed.get("Versions")
    assert not listed.get("DeleteMarkers")


@pytest.mark.parametrize(("kind", "locked"), [("versioned", False), ("compliance", True)])
def test_tells_what_it_has_to_leave_on_ceph(ceph: Ceph, kind: str, locked: bool) -> None:
    bucket = _bucket(ceph.server, kind, APPEND_ONLY, HARMFUL)
    report = _attack(ceph.server, bucket)
    listed = ceph.server.client().list_object_versions(Bucket=bucket)
    there = {(one["Key"], one["VersionId"]) for one in listed["Versions"] + listed.get("DeleteMarkers", [])}
    assert there == {(one.key, one.version) for one in report.left}
    assert all((one.until is not None) is locked for one in report.left)
    assert all(("locked until" in one) is locked for one in told_leftovers(report))


def test_no_request_touches_what_the_attack_did_not_write(ceph: Ceph) -> None:
    """By what went over the wire: bypassing, shortening, versioning and cleaning up included."""
    data = {"data/one": b"1", "drtests-probe-of-others/x": b"2", "drtests-probe/of-a-drill-before": b"3"}
    with wire(ceph.server) as between:
        bucket = _bucket(ceph.server, "governance", ("s3:*",), data=data)
        report = _attack(between.server, bucket, attack_versioning=True)
    assert {one.key for one in report.attempts if one.action == "delete_version_bypassing"}
    _only_probes(between, bucket, set(data))
    client = ceph.server.client()
    assert {key: client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in data} == data
    versions = client.list_object_versions(Bucket=bucket)["Versions"]
    assert all(sum(one["Key"] == key for one in versions) == 1 for key in data)


def _only_probes(between: Wire, bucket: str, others: set[str]) -> None:
    assert between.sent("PUT", "DELETE"), "nothing was tried: nothing is proved"
    written: set[str] = set()
    for one in between.requests:
        assert one.bucket == bucket
        if one.method in {"GET", "HEAD"}:
            assert one.key not in others
        elif one.key:
            assert one.key.startswith("drtests-probe/")
            assert one.key not in others
            if one.method == "PUT" and not one.query:
                written.add(one.key)
            assert one.key in written, "harmed before it was written"
        else:
            # Of the bucket as a whole only versioning is set.
            assert (one.method, one.query) == ("PUT", "versioning")
    assert not between.sent("POST"), "a delete of many"


def test_versioning_is_suspended_only_where_declared_and_enabled_again_on_ceph(ceph: Ceph) -> None:
    bucket = _bucket(ceph.server, "versioned", ("s3:*",))
    with wire(ceph.server) as between:
        report = _attack(between.server, bucket)
        assert "suspend_versioning" in report.skipped
        set_before = [one for one in between.sent("PUT") if one.query == "versioning"]
        assert len(set_before) == 1
    declared = _attack(ceph.server, bucket, attack_versioning=True)
    assert _broken(declared)["suspend_versioning"] == "high"
    assert ceph.server.client().get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"


def test_object_lock_keeps_versioning_from_being_suspended_on_ceph(ceph: Ceph) -> None:
    bucket = _bucket(ceph.server, "compliance", ("s3:*",))
    report = _attack(ceph.server, bucket, attack_versioning=True)
    tried = next(one for one in report.attempts if one.action == "suspend_versioning")
    assert (tried.answer, tried.effect) == ("refused", "none")
    assert ceph.server.client().get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"


def test_locks_probes_as_the_backup_program_would_on_ceph(ceph: Ceph) -> None:
    bucket = ceph.server.bucket(locked=True)
    rights = (*APPEND_ONLY, "s3:PutObjectRetention")
    ceph.server.client().put_bucket_policy(Bucket=bucket, Policy=policy(bucket, rights))
    lock = ProbeLock(mode="compliance", retention=timedelta(hours=1))
    report = _attack(ceph.server, bucket, probe_lock=lock)
    assert report.state is not None
    assert report.state.lock_mode == "compliance"
    assert _broken(report) == {}
    assert {"delete_version", "shorten_retention"} <= {one.action for one in report.attempts}


def test_without_the_right_to_write_nothing_is_proved_on_ceph(ceph: Ceph) -> None:
    report = _attack(ceph.server, _bucket(ceph.server, "versioned", ("s3:GetObject",)))
    assert verdict(judge_attack(report)) is Verdict.INCONCLUSIVE
    assert "may not write a probe" in report.failed
    assert "drtests-probe/" in report.mend
    assert report.left == ()


def test_budget_stops_it_before_the_first_request(ceph: Ceph) -> None:
    bucket = _bucket(ceph.server, "versioned", APPEND_ONLY)
    with wire(ceph.server) as between, pytest.raises(BudgetExceeded):
        _attack(between.server, bucket, prices=Prices(per_1000_writes=1, budget=0.01))
    assert between.requests == []


def test_only_the_declared_writer_attacks_its_own_bucket(ceph: Ceph) -> None:
    server = ceph.server
    one, other = server.store("bucket-one", WRITER, "writer"), server.store("bucket-two", READER)
    with pytest.raises(SafetyError):
        one.attack(other)
    with pytest.raises(SafetyError):
        other.attack(other)
    with pytest.raises(SafetyError):
        other.set_versioning("Enabled")
    with pytest.raises(SafetyError):
        one.set_retention("data/x", "v", "governance", datetime.now(UTC), bypass=True)
    with pytest.raises(SafetyError):
        one.release_hold("data/x", "v")
