"""A bucket that is itself a system's data: from declarations to the record, on a real server that keeps versions."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from drtests.seal import MANIFEST_NAME, seal
from tests.support.ceph import Ceph
from tests.support.estate import Estate
from tests.support.servers import wait_for

_FIRST, _SECOND = b"as it was", b"as it became"


@pytest.fixture(scope="module")
def uploads(ceph: Ceph, tmp_path_factory: pytest.TempPathFactory) -> tuple[Estate, datetime]:
    """An estate of a bucket that was sealed, and changed after a moment."""
    root = tmp_path_factory.mktemp("bucket")
    bucket, client = ceph.server.bucket(versioned=True), ceph.server.client()
    scans = root / "scans"
    (scans / "2026").mkdir(parents=True)
    (scans / "2026" / "one.txt").write_bytes(_FIRST)
    for number in range(30):
        (scans / f"{number}.bin").write_bytes(bytes([number]) * number * 1000)
    (scans / "heartbeat").write_text(datetime.now(UTC).isoformat())
    seal(scans, scans / MANIFEST_NAME)
    for file in (path for path in scans.rglob("*") if path.is_file()):
        client.put_object(Bucket=bucket, Key=str(file.relative_to(root)), Body=file.read_bytes())
    moment = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=1)
    wait_for(lambda: time.time() > moment.timestamp() + 0.1, "time stands still")
    client.put_object(Bucket=bucket, Key="scans/2026/one.txt", Body=_SECOND)
    client.delete_object(Bucket=bucket, Key="scans/7.bin")
    client.put_object(Bucket=bucket, Key="scans/late.txt", Body=b"late")

    estate = Estate(root / "project")
    for name, value in {"key-id": ceph.server.owner.access_key, "secret-key": ceph.server.owner.secret_key}.items():
        (estate.root / name).write_text(value)
        (estate.root / name).chmod(0o600)
    reader = {"access_key": "file:key-id", "secret_key": "file:secret-key"}
    estate.estate["stores"] = [
        {"id": "vault", "endpoint": ceph.server.endpoint, "bucket": bucket, "reader": reader, "timeout": "20s"}
    ]
    estate.estate["repositories"] = [
        {"id": "uploads", "engine": "bucket", "location": f"s3://{bucket}", "store": "vault"}
    ]
    return estate, moment


def _drill(estate: Estate, point: Any, sha256: str) -> Mapping[str, Any]:
    estate.systems["app"] = {
        "name": "Uploads",
        "backups": [{"repository": "uploads", "interval": "1h", "duration": "1m"}],
        "restore": {"staging": "scratch", "point": point, "verify": True},
        "checks": [
            {"tree": {"path": "scans"}},
            {"files": {"path": "scans/2026/one.txt", "sha256": sha256}},
            {"marker": {"file": {"path": "scans/heartbeat"}}},
        ],
    }
    estate.write()
    done = estate.drtests("run", "app::restore")
    assert "Traceback" not in done.stderr
    [record] = json.loads((estate.packs()[-1] / "record.json").read_text())["drills"]
    told: Mapping[str, Any] = record
    return told


def test_a_bucket_comes_back_as_it_was_at_a_moment_on_ceph(uploads: tuple[Estate, datetime]) -> None:
    estate, moment = uploads
    record = _drill(estate, {"before": moment.isoformat()}, hashlib.sha256(_FIRST).hexdigest())
    assert record["verdict"] == "MET", record["reasons"]
    assert [check["verdict"] for check in record["checks"]] == ["MET"] * 3
    assert datetime.fromisoformat(record["recovery_point"]["time"]) <= moment
    assert record["measures"]["restored_files"]["value"] == 33
    assert "not held against a hash" not in record["facts"]
    assert estate.leftovers() == []


def test_what_changed_since_is_seen_on_ceph(uploads: tuple[Estate, datetime]) -> None:
    record = _drill(uploads[0], "latest", hashlib.sha256(_FIRST).hexdigest())
    assert record["verdict"] == "MISSED"
    assert [check["verdict"] for check in record["checks"]] == ["MISSED", "MISSED", "MET"]
