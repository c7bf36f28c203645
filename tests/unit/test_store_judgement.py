"""What is thought of a bucket, and of an attack on it; the attack itself on a store that misbehaves as it is told."""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drtests.core.stores import (
    TITLES,
    cost,
    evidence,
    judge_attack,
    judge_cost,
    judge_facts,
    over_budget,
    told_leftovers,
    verdict,
)
from drtests.errors import SafetyError
from drtests.model.connections import Demands, Prices, StoreCredentials
from drtests.model.connections import Store as Declared
from drtests.model.verdict import Verdict
from drtests.protocols.store import AttackReport, Attempt, BucketFacts, DeletionRule, StoreContext, Usage
from drtests.stores.attack import MOST_REQUESTS
from drtests.testing.memory_store import EVERYTHING, Fault, MemoryBucket, MemoryStore, Right

_KEYS = StoreCredentials(access_key="env:UNUSED", secret_key="env:UNUSED")
_SOUND = BucketFacts(
    versioning="enabled",
    lock=True,
    lock_mode="compliance",
    lock_seconds=30 * 86400.0,
    encryption="AES256",
    public=False,
    deletions=(),
    replication="to arn:aws:s3:::copy",
    replicated={"completed": 5},
    location="eu-west-1",
)
_DEMANDS = Demands(
    lock="governance",
    retention=timedelta(days=30),
    encryption=True,
    replication=True,
    locations=("eu-west-1",),
)


def _declared(bucket: str = "bucket", **more: Any) -> Declared:
    return Declared(id="vault", bucket=bucket, reader=_KEYS, writer=_KEYS, **more)


class TestFacts:
    def test_a_sound_bucket(self) -> None:
        found = judge_facts(_SOUND, _declared(demands=_DEMANDS))
        assert {one.verdict for one in found} == {Verdict.MET}
        assert len(found) == 7
        assert verdict(found) is Verdict.MET
        assert not [one for one in found if one.mend or one.severity]

    @pytest.mark.parametrize(
        ("changed", "title", "severity"),
        [
            ({"versioning": "off"}, "versioning", "high"),
            ({"versioning": "suspended"}, "versioning", "high"),
            ({"lock": False, "lock_mode": "none", "lock_seconds": 0.0}, "object lock", "high"),
            ({"lock_mode": "none", "lock_seconds": 0.0}, "object lock", "high"),
            ({"lock_seconds": 29 * 86400.0}, "object lock", "high"),
            ({"lock_mode": "something new"}, "object lock", "high"),
            ({"public": True}, "public access", "critical"),
            ({"deletions": (DeletionRule("x", noncurrent_days=1),)}, "deletion by rules", "high"),
            ({"deletions": (DeletionRule("x", current_days=0),)}, "deletion by rules", "high"),
            ({"deletions": (DeletionRule("x", current_days=400, noncurrent_days=1),)}, "deletion by rules", "high"),
            ({"encryption": "none"}, "encryption", "medium"),
            ({"replication": "none"}, "replication", "high"),
            ({"replication": "disabled, to x"}, "replication", "high"),
            ({"replicated": {"completed": 4, "failed": 1}}, "replication", "high"),
            ({"replicated": {"completed": 1, "pending": 4}}, "replication", "high"),
            ({"location": "us-east-1"}, "location", "medium"),
        ],
    )
    def test_each_demand_can_be_missed(self, changed: dict[str, Any], title: str, severity: str) -> None:
        found = judge_facts(replace(_SOUND, **changed), _declared(demands=_DEMANDS))
        missed = [one for one in found if one.verdict is Verdict.MISSED]
        assert [(one.title, one.severity) for one in missed] == [(title, severity)]
        assert missed[0].mend
        assert missed[0].reason

    @pytest.mark.parametrize(
        "name",
        ["versioning", "lock_mode", "lock_seconds", "public", "deletions", "encryption", "replication", "location"],
    )
    def test_what_is_not_told_is_not_known(self, name: str) -> None:
        changed: dict[str, Any] = {name: None}
        facts = replace(_SOUND, **changed, unknown={name: "AccessDenied (403)"})
        found = [one for one in judge_facts(facts, _declared(demands=_DEMANDS)) if one.verdict is not Verdict.MET]
        assert [one.verdict for one in found] == [Verdict.INCONCLUSIVE]
        assert "AccessDenied (403)" in found[0].reason
        assert found[0].mend

    def test_nothing_is_told(self) -> None:
        found = judge_facts(BucketFacts(), _declared(demands=_DEMANDS))
        assert {one.verdict for one in found} == {Verdict.INCONCLUSIVE}

    @pytest.mark.parametrize("seen", [{"none": 5}, {"completed": 4, "none": 1}, {}, None])
    def test_a_rule_to_replicate_is_no_copy(self, seen: dict[str, int] | None) -> None:
        found = judge_facts(replace(_SOUND, replicated=seen), _declared(demands=_DEMANDS))
        assert verdict(found) is Verdict.INCONCLUSIVE

    def test_only_what_is_demanded_is_judged(self) -> None:
        weak = replace(_SOUND, encryption="none", replication="none", lock_mode="none", location="mars")
        assert verdict(judge_facts(weak, _declared())) is Verdict.MET
        assert verdict(judge_facts(replace(weak, public=True), _declared())) is Verdict.MISSED

    def test_governance_is_less_than_compliance(self) -> None:
        facts = replace(_SOUND, lock_mode="governance")
        assert verdict(judge_facts(facts, _declared(demands=Demands(lock="compliance")))) is Verdict.MISSED
        assert verdict(judge_facts(facts, _declared(demands=Demands(lock="governance")))) is Verdict.MET

    def test_rules_that_delete_late(self) -> None:
        late = (DeletionRule("a", current_days=365), DeletionRule("b", noncurrent_days=30, prefix="x/", narrowed=True))
        found = judge_facts(replace(_SOUND, deletions=late), _declared())
        assert verdict(found) is Verdict.MET
        assert "'b'" in next(one.reason for one in found if one.title == "deletion by rules")


_PRICES = Prices(per_gib_out=0.09, per_1000_reads=0.0004, per_1000_writes=0.005, budget=10.0)


class TestCost:
    def test_by_hand(self) -> None:
        usage = Usage(reads=2_000_000, writes=100_000, bytes_out=50 << 30, bytes_in=10**12)
        assert cost(_PRICES, usage) == pytest.approx(0.8 + 0.5 + 4.5)

    def test_what_is_under_way_counts(self) -> None:
        assert cost(_PRICES, Usage(reserved=100 << 30)) == pytest.approx(9.0)
        assert over_budget(_PRICES, Usage(reserved=100 << 30), bytes_out=20 << 30)

    @given(
        st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**15), st.integers(0, 10**6),
        st.integers(0, 10**6), st.integers(0, 10**12),
    )  # fmt: skip
    def test_asking_is_refused_exactly_when_it_would_exceed(
        self, reads: int, writes: int, out: int, more_reads: int, more_writes: int, more_out: int
    ) -> None:
        usage = Usage(reads, writes, out)
        then = Usage(reads + more_reads, writes + more_writes, out + more_out)
        refused = over_budget(_PRICES, usage, more_reads, more_writes, more_out)
        assert bool(refused) == (cost(_PRICES, then) > 10.0)
        assert cost(_PRICES, then) >= cost(_PRICES, usage)

    def test_without_a_budget_nothing_is_refused(self) -> None:
        assert over_budget(Prices(per_gib_out=1), Usage(bytes_out=10**18), reads=10**9) == ""

    def test_is_judged(self) -> None:
        assert judge_cost(_PRICES, Usage(bytes_out=50 << 30)).verdict is Verdict.MET
        over = judge_cost(_PRICES, Usage(bytes_out=500 << 30))
        assert (over.verdict, over.severity) == (Verdict.MISSED, "low")
        assert over.mend
        assert judge_cost(Prices(), Usage(bytes_out=10**18)).verdict is Verdict.MET


def _attempt(action: Any = "overwrite", answer: Any = "refused", effect: Any = "none") -> Attempt:
    return Attempt(action, answer, "AccessDenied (403)", effect, "read back afterwards", "drtests-probe/x", "v")


_ALL_SKIPPED: dict[str, str] = {str(name): "does not apply" for name in TITLES}


class TestReports:
    @pytest.mark.parametrize("action", TITLES)
    @pytest.mark.parametrize("answer", ["refused", "accepted", "unknown"])
    def test_only_the_effect_counts(self, action: str, answer: str) -> None:
        for effect, expected in (("done", Verdict.MISSED), ("unknown", Verdict.INCONCLUSIVE)):
            report = AttackReport((_attempt(action, answer, effect),), _ALL_SKIPPED)
            (found,) = judge_attack(report)
            assert found.verdict is expected
            assert found.mend
            assert (found.severity is not None) is (effect == "done")

    def test_held(self) -> None:
        for answer in ("refused", "accepted"):
            assert verdict(judge_attack(AttackReport((_attempt(answer=answer),), _ALL_SKIPPED))) is Verdict.MET

    def test_what_never_arrived_proves_nothing(self) -> None:
        report = AttackReport((_attempt(answer="unknown"),), _ALL_SKIPPED)
        assert verdict(judge_attack(report)) is Verdict.INCONCLUSIVE

    @pytest.mark.parametrize("missing", ["overwrite", "delete", "delete_version"])
    def test_what_was_not_tried_is_not_known(self, missing: str) -> None:
        skipped = {name: why for name, why in _ALL_SKIPPED.items() if name != missing}
        found = judge_attack(AttackReport((), skipped))
        assert verdict(found) is Verdict.INCONCLUSIVE
        assert missing in found[0].reason

    def test_an_empty_report_proves_nothing(self) -> None:
        assert verdict(judge_attack(AttackReport(()))) is Verdict.INCONCLUSIVE

    def test_what_failed_is_told_beside_what_was_seen(self) -> None:
        found = judge_attack(AttackReport((_attempt(effect="done"),), _ALL_SKIPPED, "no answer", "try again"))
        assert [one.verdict for one in found] == [Verdict.MISSED, Verdict.INCONCLUSIVE]

    def test_harm_comes_first(self) -> None:
        found = judge_attack(AttackReport((_attempt(),), _ALL_SKIPPED, harm="versioning is suspended"))
        assert (found[0].verdict, found[0].severity) == (Verdict.MISSED, "critical")


def _open(
    rights: Collection[Right] = ("read", "write"), faults: Collection[Fault] = (), **bucket: Any
) -> tuple[MemoryBucket, MemoryStore, MemoryStore]:
    name = f"b-{uuid.uuid4().hex}"
    declared = _declared(name, attack_versioning=bucket.pop("attack_versioning", False), **bucket.pop("declared", {}))
    there = MemoryBucket(
        rights={"reader": frozenset({"read"}), "writer": frozenset(rights)}, faults=set(faults), **bucket
    )
    there.put("data/precious", b"precious")
    MemoryStore.buckets[name] = there
    writer, reader = (MemoryStore(StoreContext(declared, role, {})) for role in ("writer", "reader"))
    return there, writer, reader


def _attack(
    rights: Collection[Right] = ("read", "write"), faults: Collection[Fault] = (), **bucket: Any
) -> AttackReport:
    there, writer, reader = _open(rights, faults, **bucket)
    report = writer.attack(reader)
    assert [one.data for one in there.versions["data/precious"]] == [b"precious"]
    assert all(key.startswith("drtests-probe/") for _, what, key in there.asked if key and what != "read")
    json.dumps(evidence(report))
    told_leftovers(report)
    return report


def _broken(report: AttackReport) -> set[str]:
    return {one.action for one in report.attempts if one.effect == "done"}


_LOCKED: dict[str, Any] = {"versioning": "enabled", "lock_mode": "compliance", "lock": timedelta(days=1)}
_GOVERNED: dict[str, Any] = {**_LOCKED, "lock_mode": "governance"}


class TestAttack:
    """On a store in memory."""

    @pytest.mark.parametrize(
        ("rights", "bucket", "broken"),
        [
            (("read", "write"), {"versioning": "enabled"}, set()),
            (EVERYTHING, {"versioning": "enabled"}, {"delete_version", "set_versioning"}),
            (("read", "write"), _LOCKED, set()),
            (EVERYTHING - {"versioning"}, _LOCKED, set()),
            (EVERYTHING - {"versioning"}, _GOVERNED, {"delete_version_bypassing", "shorten_retention_bypassing"}),
            (("read", "write"), {}, {"overwrite"}),
            (("read", "write", "delete"), {}, {"overwrite", "delete"}),
            (("read", "write"), {"versioning": "suspended"}, {"overwrite"}),
        ],
    )
    def test_what_each_account_can_do(self, rights: Any, bucket: dict[str, Any], broken: set[str]) -> None:
        report = _attack(rights, **bucket)
        assert _broken(report) == broken
        assert verdict(judge_attack(report)) is (Verdict.MISSED if broken else Verdict.MET)

    def test_a_403_after_which_it_is_gone_is_a_success_of_the_attack(self) -> None:
        report = _attack(faults=["refuses_and_obeys"], versioning="enabled")
        assert "delete_version" in _broken(report)
        assert next(one for one in report.attempts if one.action == "delete_version").answer == "refused"
        assert verdict(judge_attack(report)) is Verdict.MISSED

    def test_a_200_that_changed_nothing_is_none(self) -> None:
        report = _attack(EVERYTHING - {"versioning"}, ["accepts_and_ignores"], **_LOCKED)
        harmful = [one for one in report.attempts if one.action not in {"overwrite", "set_versioning"}]
        assert {(one.answer, one.effect) for one in harmful} == {("accepted", "none")}

    def test_a_lock_that_is_only_told_does_not_hold(self) -> None:
        report = _attack(EVERYTHING - {"versioning"}, ["ignores_locks"], **_LOCKED)
        assert {"delete_version", "shorten_retention"} <= _broken(report)
        severities = {one.severity for one in judge_attack(report) if one.verdict is Verdict.MISSED}
        assert "critical" in severities

    @pytest.mark.parametrize("fault", ["breaks_off", "hides_states", "hides_versioning", "loses_objects", "garbles"])
    def test_what_cannot_be_seen_is_not_known(self, fault: Fault) -> None:
        report = _attack(EVERYTHING, [fault], versioning="enabled")
        assert verdict(judge_attack(report)) is Verdict.INCONCLUSIVE

    def test_versions_that_are_told_and_not_kept(self) -> None:
        report = _attack(faults=["keeps_no_versions"], versioning="enabled")
        assert verdict(judge_attack(report)) is Verdict.INCONCLUSIVE
        assert "versioning is enabled" in report.failed

    def test_legal_hold(self) -> None:
        held = _attack(("read", "write"), versioning="enabled", held=True)
        assert "remove_legal_hold" not in _broken(held)
        assert any("legal hold" in one for one in told_leftovers(held))
        released = _attack(("read", "write", "hold"), versioning="enabled", held=True)
        found = {one.title: one for one in judge_attack(released)}
        assert found[TITLES["remove_legal_hold"]].severity == "medium"

    def test_versioning_is_suspended_only_where_declared_and_enabled_again(self) -> None:
        there, writer, reader = _open(EVERYTHING, versioning="enabled")
        report = writer.attack(reader)
        assert "suspend_versioning" in report.skipped
        assert ("writer", "set versioning Suspended", "") not in there.asked
        there, writer, reader = _open(EVERYTHING, versioning="enabled", attack_versioning=True)
        report = writer.attack(reader)
        assert "suspend_versioning" in _broken(report)
        assert there.versioning == "enabled"
        assert report.harm == ""

    def test_versioning_that_cannot_be_enabled_again_is_cried_out(self) -> None:
        there, writer, reader = _open(EVERYTHING, ["stays_suspended"], versioning="enabled", attack_versioning=True)
        report = writer.attack(reader)
        assert there.versioning == "suspended"
        assert report.harm
        found = judge_attack(report)[0]
        assert (found.severity, found.mend) == ("critical", "put it back by hand now")

    def test_without_the_right_to_suspend_nothing_is_suspended(self) -> None:
        there, writer, reader = _open(EVERYTHING - {"versioning"}, versioning="enabled", attack_versioning=True)
        writer.attack(reader)
        assert not [what for _, what, _ in there.asked if "Suspended" in what]

    @pytest.mark.parametrize("bucket", [{}, {"versioning": "enabled"}])
    def test_nothing_is_left_where_everything_may_be_deleted(self, bucket: dict[str, Any]) -> None:
        there, writer, reader = _open(EVERYTHING, **bucket)
        report = writer.attack(reader)
        assert report.left == ()
        assert list(there.versions) == ["data/precious"]

    def test_what_stays_is_told_with_until_when(self) -> None:
        there, writer, reader = _open(**_LOCKED)
        report = writer.attack(reader)
        left = {key for key in there.versions if key != "data/precious"}
        assert left
        assert left == {one.key for one in report.left}
        assert all(one.until is not None for one in report.left)

    @pytest.mark.parametrize("moment", range(25))
    def test_an_interruption_leaves_no_probe(self, moment: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """Ctrl-C at any request: what was written is removed, then it goes on its way."""
        there, writer, reader = _open(EVERYTHING, versioning="enabled", attack_versioning=True)
        ask = MemoryStore._ask
        count = iter(range(10**6))

        def interrupted(
            self: MemoryStore, right: Right, what: str, key: str = "", *, write: bool = False
        ) -> MemoryBucket:
            if next(count) == moment:
                raise KeyboardInterrupt
            return ask(self, right, what, key, write=write)

        monkeypatch.setattr(MemoryStore, "_ask", interrupted)
        try:
            writer.attack(reader)
        except KeyboardInterrupt:
            pass
        else:
            pytest.skip("it ended before")
        assert list(there.versions) == ["data/precious"]
        assert there.versioning == "enabled"

    def test_asks_for_less_than_is_set_aside(self) -> None:
        for bucket in ({}, {"versioning": "enabled"}, _LOCKED, _GOVERNED):
            for rights in (("read", "write"), EVERYTHING):
                there, writer, reader = _open(rights, **bucket, attack_versioning=True)
                writer.attack(reader)
                assert len(there.asked) < MOST_REQUESTS

    def test_never_without_the_writers_credentials(self) -> None:
        _, writer, reader = _open()
        with pytest.raises(SafetyError):
            reader.attack(reader)
        with pytest.raises(SafetyError):
            writer.attack(_open()[2])
