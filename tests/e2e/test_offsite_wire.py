"""What whole drills send over the wire, and what they say when the store answers with trouble."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from tests.support.buckets import S3Server
from tests.support.estate import Estate
from tests.support.offsite import PREFIX, make_offsite
from tests.support.wire import Fault, Request, Wire, error, wire

pytestmark = pytest.mark.usefixtures("restic_needed")
_PROBES = "drtests-probe/"


@pytest.fixture
def between(rclone: S3Server) -> Iterator[Wire]:
    with wire(rclone) as found:
        yield found


def record_of(estate: Estate) -> Mapping[str, Any]:
    [record] = json.loads((estate.packs()[-1] / "record.json").read_text())["drills"]
    found: Mapping[str, Any] = record
    return found


def test_every_request_of_an_offsite_drill(between: Wire, tmp_path: Path) -> None:
    """By restic and by drtests: nothing but probes is ever written or deleted, and what is counted is what was sent."""
    offsite = make_offsite(tmp_path, between.server)
    client = offsite.server.client()
    for key in (f"{_PROBES}of-a-drill-before", "drtests-probe-of-others", "data/one"):
        client.put_object(Bucket=offsite.bucket, Key=key, Body=b"precious")
    assert offsite.estate.drtests("kit").returncode == 0
    between.requests.clear()
    done = offsite.estate.drtests("run", "app::offsite[vault]")
    assert "Traceback" not in done.stderr
    sent = list(between.requests)
    record = record_of(offsite.estate)

    written: set[str] = set()
    for one in sent:
        assert one.bucket in {offsite.bucket, ""}
        if one.method in {"GET", "HEAD"}:
            assert not one.key.startswith(_PROBES) or one.key in written
            continue
        assert one.method in {"PUT", "DELETE"}, "a delete of many, or a form"
        assert one.key.startswith(_PROBES), f"{one.method} {one.key}?{one.query}"
        if one.method == "PUT":
            assert not one.query
            written.add(one.key)
        assert one.key in written, "harmed before it was written"
    assert written
    assert f"{_PROBES}of-a-drill-before" not in written
    assert any(one.key.startswith(f"{PREFIX}/") for one in sent), "nothing of the repository was read through here"

    # Counted by method, as the provider bills: listings are asked for by GET, and cost as much as a write.
    by_drtests = [one for one in sent if "boto" in one.headers.get("user-agent", "").lower()]
    cost = record["facts"]["cost of vault-bucket"]
    assert cost["reads"] + cost["writes"] == len(by_drtests)
    changing = sum(one.method in {"PUT", "DELETE"} for one in by_drtests)
    assert cost["writes"] >= changing > 0
    assert record["measures"]["vault-bucket requests"]["value"] == len(by_drtests)
    left = client.list_objects_v2(Bucket=offsite.bucket, Prefix=_PROBES)["Contents"]
    assert [one["Key"] for one in left] == [f"{_PROBES}of-a-drill-before"]


@pytest.fixture
def uploads(between: Wire, tmp_path: Path) -> Estate:
    """A bucket as a system, which is restored from the bucket itself."""
    bucket, client = between.server.bucket(), between.server.client()
    for number in range(3):
        client.put_object(Bucket=bucket, Key=f"scans/{number}", Body=b"scan")
    estate = Estate(tmp_path / "project")
    for name, value in {"id": between.server.owner.access_key, "key": between.server.owner.secret_key}.items():
        (estate.root / name).write_text(value)
        (estate.root / name).chmod(0o600)
    reader = {"access_key": "file:id", "secret_key": "file:key"}
    estate.estate |= {
        "stores": [{"id": "b", "endpoint": between.server.endpoint, "bucket": bucket, "reader": reader}],
        "repositories": [{"id": "nas", "engine": "bucket", "location": f"s3://{bucket}", "store": "b"}],
    }
    estate.systems["app"] = {
        "name": "Uploads",
        "backups": [{"repository": "nas", "interval": "24h"}],
        "restore": {"staging": "scratch"},
        "checks": [{"files": {"path": "scans", "min_count": 3}}, {"command": {"run": ["true"], "proves_data": True}}],
    }
    estate.write()
    return estate


def test_that_restore_is_met_while_nothing_is_wrong(uploads: Estate) -> None:
    assert uploads.drtests("run", "app::restore").returncode == 0
    assert record_of(uploads)["verdict"] == "MET"


def test_a_plain_bucket_called_offsite_is_no_such_thing(uploads: Estate) -> None:
    """As the how-to says: whoever may read it reads the data, and drtests itself cannot be cut off."""
    uploads.estate["repositories"][0]["offsite"] = True
    uploads.estate["kit"] = {"copies": [{"path": "away"}]}
    uploads.write()
    done = uploads.drtests("run", "app::offsite[nas]")
    assert done.returncode == 1, done.stdout + done.stderr
    parts = {check["kind"]: check for check in record_of(uploads)["checks"]}
    assert parts["offsite.encryption"]["verdict"] == "MISSED"
    assert parts["offsite.restore"]["verdict"] == "INCONCLUSIVE"
    # Its attack and its facts count for the bucket that it is.
    assert "declares no credentials of the backup writer" in parts["offsite.immutability"]["reason"]
    assert parts["offsite.bucket"]["verdict"] == "MISSED"


_SLOW = error("SlowDown", 503, "Please reduce your request rate.")
_SKEWED = error("RequestTimeTooSkewed", 403, "too large", Date=formatdate(4102444800, usegmt=True))
_EXPIRED = error("ExpiredToken", 400, "The provided token has expired.")
_MOVED = error("PermanentRedirect", 301, "", **{"x-amz-bucket-region": "eu-west-1"})


@pytest.mark.parametrize(
    ("fault", "when", "reason", "mend"),
    [
        (_SLOW, "in the middle", "the store asks to slow down", "less is going on"),
        (_SKEWED, "at once", "behind the store's", "NTP"),
        (_EXPIRED, "at once", "the credentials have expired", "fresh"),
        (_EXPIRED, "in the middle", "the credentials have expired", "fresh"),
        (_MOVED, "at once", "the bucket is in region eu-west-1", "region: eu-west-1"),
    ],
    ids=["throttled", "clock skew", "expired", "expired meanwhile", "redirected"],
)
def test_trouble_is_inconclusive_and_says_what_it_is(
    between: Wire, uploads: Estate, fault: Fault, when: str, reason: str, mend: str
) -> None:
    """Never MISSED: the store may hold all of it. Never MET: nobody saw that."""

    def rule(request: Request, _: int) -> Fault | None:
        return fault if when == "at once" or request.key.startswith("scans/") else None

    between.rule = rule
    done = uploads.drtests("run", "app::restore")
    assert done.returncode == 2, done.stdout
    record = record_of(uploads)
    assert record["verdict"] == "INCONCLUSIVE"
    assert reason in record["reasons"][0], record["reasons"]
    assert any(mend in problem["mend"] for problem in record["problems"])
    assert uploads.leftovers() == []
