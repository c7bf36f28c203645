"""What an attack leaves in a bucket: expected under a retention, a finding else, and never without its number."""

from __future__ import annotations

from datetime import UTC, datetime

from drtests.core.offsite.leftovers import locked, unlocked
from drtests.model.verdict import Verdict
from drtests.protocols.store import MOST_PROBES, BucketFacts, Leftover

UNTIL = datetime(2026, 4, 1, tzinfo=UTC)
KEPT = [Leftover("p/a", "1", "AccessDenied", UNTIL), Leftover("p/b", "1", "AccessDenied", UNTIL.replace(day=2))]
STAYS = [Leftover("p/c", "1", "AccessDenied (403)")]


def test_what_a_retention_keeps_is_expected_and_told() -> None:
    found = locked(KEPT + STAYS, BucketFacts(probes=12), "p/")
    assert found is not None
    assert found.verdict is Verdict.MET
    assert "2 of this drill are locked, the last until 2026-04-02T00:00:00.000Z" in found.reason
    assert "12 are below p/ by now" in found.reason
    # They do not pile up unsaid.
    assert "each drill adds 2" in found.reason
    assert "lifecycle rule" in found.reason
    assert locked(STAYS, BucketFacts(), "p/") is None


def test_where_the_bucket_removes_them_that_is_told() -> None:
    found = locked(KEPT, BucketFacts(probes=12, probe_days=2), "p/")
    assert found is not None
    assert "removes them after 2 days" in found.reason
    assert "each drill adds" not in found.reason
    assert unlocked(STAYS, BucketFacts(probe_days=1), "p/") is None


def test_what_nothing_keeps_is_a_problem() -> None:
    found = unlocked(KEPT + STAYS, BucketFacts(probes=3), "p/")
    assert found is not None
    assert found.what.startswith("1 probe objects of this drill could not be removed again, e.g. p/c: AccessDenied")
    assert "lifecycle rule" in found.mend
    assert unlocked(KEPT, BucketFacts(), "p/") is None
    assert unlocked([], BucketFacts(), "p/") is None


def test_how_many_there_are_is_said_or_why_not() -> None:
    many = locked(KEPT, BucketFacts(probes=MOST_PROBES), "p/")
    assert many is not None
    assert "1000 or more are below" in many.reason
    denied = locked(KEPT, BucketFacts(unknown={"probes": "AccessDenied"}), "p/")
    assert denied is not None
    assert "is not known: AccessDenied" in denied.reason
