"""Offsite drills: is the copy one, and is it apart from production? Every clause is turned red, one at a time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from drtests.core.offsite.apart import Facet, bucket_facets, declared_facets, endpoint_of, judge_apart
from drtests.core.offsite.copied import Copied, coverage, difference, judge_copied, sample
from drtests.declarations.load import load_texts
from drtests.model.estate import Repository
from drtests.model.project import Project
from drtests.model.verdict import Verdict
from drtests.protocols.engine import RecoveryPoint
from drtests.protocols.host import FileFact
from drtests.protocols.store import BucketFacts
from tests.support.journals import AT

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
MET, MISSED, INCONCLUSIVE = Verdict.MET, Verdict.MISSED, Verdict.INCONCLUSIVE


def point(age: timedelta, id_: str = "a", host: str = "server") -> RecoveryPoint:
    return RecoveryPoint(id_, NOW - age, host, ("/srv",))


# The copy.

GOOD_COPY = Copied(age_seconds=3600.0, newest=AT, primary="nas", expected=3, compared_by="content", compared_point=AT)
BY_NAMES = replace(GOOD_COPY, compared_by="names, sizes and times", entries=10, sampled=3)


@pytest.mark.parametrize(
    ("seen", "rpo", "wanted"),
    [
        (GOOD_COPY, 7200.0, MET),
        (BY_NAMES, 7200.0, MET),
        # Names, sizes and times say nothing of content.
        (replace(BY_NAMES, sampled=None), 7200.0, INCONCLUSIVE),
        (replace(BY_NAMES, sampled=0), 7200.0, INCONCLUSIVE),
        (Copied(age_seconds=3600.0, newest=AT), 7200.0, MET),
        (Copied(age_seconds=3600.0, newest=AT, others=("nas",)), 7200.0, INCONCLUSIVE),
        (Copied(age_seconds=7201.0, newest=AT, others=("nas",)), 7200.0, MISSED),
        (Copied(age_seconds=None, newest=None, primary="nas"), 7200.0, MISSED),
        (GOOD_COPY, 1800.0, MISSED),
        (GOOD_COPY, None, INCONCLUSIVE),
        (replace(GOOD_COPY, age_seconds=-3600.0), 7200.0, INCONCLUSIVE),
        (replace(GOOD_COPY, unread="no answer"), 7200.0, INCONCLUSIVE),
        (replace(GOOD_COPY, missing=(AT,), missing_count=1), 7200.0, MISSED),
        (replace(GOOD_COPY, expected=0), 7200.0, INCONCLUSIVE),
        (replace(GOOD_COPY, compared_point=None), 7200.0, INCONCLUSIVE),
        (replace(GOOD_COPY, compared_by=""), 7200.0, INCONCLUSIVE),
        (replace(BY_NAMES, differences=1, examples=("a is missing",)), 7200.0, MISSED),
        (replace(BY_NAMES, entries=0), 7200.0, INCONCLUSIVE),
        # Known to be too old outweighs a primary that cannot be read.
        (replace(GOOD_COPY, unread="no answer"), 1800.0, MISSED),
    ],
)
def test_copy(seen: Copied, rpo: float | None, wanted: Verdict) -> None:
    judged = judge_copied(seen, rpo)
    assert judged.verdict is wanted
    assert judged.reason


def test_without_a_primary_it_is_said_what_was_judged() -> None:
    alone = judge_copied(Copied(age_seconds=1.0, newest=AT), 60.0)
    assert "backed up nowhere else" in alone.reason
    beside = judge_copied(Copied(age_seconds=1.0, newest=AT, others=("nas",)), 60.0)
    assert "in nas is offsite, too, is not known" in beside.reason
    assert "copy_of" in beside.mend


def test_a_sample_is_drawn_again_by_its_seed_and_bounded() -> None:
    facts = [FileFact(f"/{n:02}", "file", 10, 1.0) for n in range(40)]
    facts += [
        FileFact("/empty", "file", 0, 1.0),
        FileFact("/d", "directory", 0, 1.0),
        FileFact("/big", "file", 99, 1.0),
    ]
    drawn = sample(facts, "seed", most=5, room=50)
    assert len(drawn) == 5
    assert drawn == sample(reversed(facts), "seed", most=5, room=50)
    assert drawn != sample(facts, "other", most=5, room=50)
    assert {fact.size for fact in drawn} == {10}
    assert len(sample(facts, "seed", most=5, room=25)) == 2
    assert sample([], "seed") == ()


def test_coverage_is_point_by_point() -> None:
    primary = [point(3 * DAY, "1"), point(2 * DAY, "2"), point(DAY, "3"), point(timedelta(minutes=5), "4")]
    offsite = [replace(one, id="x" + one.id) for one in (primary[0], primary[1])]
    found = coverage(primary, offsite, NOW, 10 * DAY, timedelta(hours=1))
    assert (found.expected, found.missing_count, found.pending) == (3, 1, 1)
    assert found.missing == ("2026-02-28T12:00:00.000Z",)
    assert found.newest_common == (primary[1], offsite[1])
    # Within its window all is there; the same moment of another host is not the same point.
    assert coverage(primary[:2], offsite, NOW, 10 * DAY, timedelta(0)).missing_count == 0
    elsewhere = [replace(one, host="other") for one in offsite]
    assert coverage(primary[:2], elsewhere, NOW, 10 * DAY, timedelta(0)).missing_count == 2
    assert coverage(primary, [], NOW, timedelta(hours=2), timedelta(hours=1)).expected == 0


@pytest.mark.parametrize(
    "other",
    [
        [],
        [FileFact("/a", "file", 2, 1.0), FileFact("/b", "file", 5, 1.0)],
        [FileFact("/a", "file", 3, 1.0)],
        [FileFact("/a", "link", 2, 1.0)],
        [FileFact("/a", "file", 2, 9.0)],
    ],
)
def test_any_difference_of_content_is_seen(other: list[FileFact]) -> None:
    one = [FileFact("/a", "file", 2, 1.0)]
    assert difference(one, other).count == 1
    assert difference(one, list(one)).count == 0


# Separation.

PEOPLE = "people: [{id: anna, name: Anna}]\n"
SITES = "sites: [{id: school, name: School}, {id: town, name: Town, kind: offsite}]\n"


def project(vault: str, nas: str = "", sites: str = SITES) -> Project:
    texts = {
        "targets/bia.yaml": "processes: [{id: p, name: P, owner: anna, rto: 1h, rpo: 1d, dependencies: [app]}]",
        "targets/estate.yaml": f"""
organisation: {{name: School}}
{sites}{PEOPLE}
hosts: [{{id: server, site: school}}]
repositories:
  - {{id: nas, location: /srv/nas, password: "env:A", site: school, provider: own, account: admin{nas}}}
  - {{id: vault, location: "s3:https://s3.example/b", password: "env:B", offsite: true, copy_of: nas{vault}}}
staging: [{{id: s, path: /scratch, disposable: true}}]
""",
        "targets/systems/app.yaml": """
name: App
sources: [{path: /srv/app, host: server}]
backups: [{repository: nas, interval: 1d}, {id: off, repository: vault, interval: 1d}]
restore: {staging: s}
checks: [{command: {run: ["true"], proves_data: true}}]
""",
    }
    return load_texts(Path("/nowhere"), texts)


APART = ", site: town, provider: bunker, account: vault-only"


@pytest.mark.parametrize(
    ("vault", "nas", "sites", "wanted", "word"),
    [
        (APART, "", SITES, MET, "site"),
        (", site: school, provider: bunker, account: vault-only", "", SITES, MISSED, "site"),
        (", site: town, provider: Own, account: vault-only", "", SITES, MISSED, "provider"),
        (", site: town, provider: bunker, account: Admin", "", SITES, MISSED, "account"),
        (", site: town, provider: bunker", "", SITES, MET, "account"),
        (", site: town, provider: own", "", SITES, MISSED, "provider"),
        (", site: town, account: vault-only", "", SITES, INCONCLUSIVE, "provider"),
        (", provider: bunker, account: vault-only", "", SITES, INCONCLUSIVE, "site"),
        (
            ", site: b, provider: bunker, account: vault-only",
            "",
            "sites: [{id: school, name: S}, {id: b, name: B}]\n",
            MISSED,
            "site",
        ),
    ],
)
def test_declared_separation(vault: str, nas: str, sites: str, wanted: Verdict, word: str) -> None:
    found = project(vault, nas, sites)
    judged = judge_apart(list(declared_facets(found, "app", found.repository("vault"))))
    assert judged.verdict is wanted, judged.reason
    assert word in judged.reason


def test_one_shared_thing_is_enough_and_nothing_compared_proves_nothing() -> None:
    good = Facet("password", "repository nas", False, "two values", "measured")
    assert judge_apart([good]).verdict is MET
    assert judge_apart([good, replace(good, same=None)]).verdict is INCONCLUSIVE
    assert judge_apart([good, replace(good, same=None), replace(good, same=True)]).verdict is MISSED
    assert judge_apart([]).verdict is INCONCLUSIVE


@pytest.mark.parametrize(
    ("location", "endpoint"),
    [
        ("s3:https://S3.example:9000/bucket/x", "s3.example:9000"),
        ("s3:s3.amazonaws.com/bucket", "s3.amazonaws.com"),
        ("rest:https://user@backup.example:8000/", "backup.example:8000"),
        ("sftp:user@nas.example:/srv/restic", "nas.example"),
        ("sftp://user@nas.example:2222//srv/restic", "nas.example"),
        ("b2:bucket:path", None),
        ("/srv/restic", None),
    ],
)
def test_endpoints(location: str, endpoint: str | None) -> None:
    assert endpoint_of(Repository(id="r", location=location, password="env:A"), None) == endpoint


@pytest.mark.parametrize(
    ("theirs", "wanted"),
    [
        (BucketFacts(owner="two", location="north"), MET),
        (BucketFacts(owner="one", location="north"), MISSED),
        (BucketFacts(owner="two", location="south"), MISSED),
        # Who owns it need not be told; where it is has to be, of what is behind one address.
        (BucketFacts(owner=None, location="north"), MET),
        (BucketFacts(owner="two", location=None), INCONCLUSIVE),
    ],
)
def test_owner_and_location_as_the_service_tells_them(theirs: BucketFacts, wanted: Verdict) -> None:
    facets = list(bucket_facets(BucketFacts(owner="one", location="south"), theirs, "repository nas"))
    assert judge_apart(facets).verdict is wanted
    assert all(facet.basis == "measured" for facet in facets)
