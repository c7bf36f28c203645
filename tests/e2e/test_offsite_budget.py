"""A budget binds what the backup program fetches by itself, too: before the restore, by estimate."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.buckets import S3Server
from tests.support.offsite import make_offsite

pytestmark = pytest.mark.usefixtures("restic_needed")


def test_a_restore_that_would_exceed_the_budget_is_not_begun(tmp_path: Path, rclone: S3Server) -> None:
    offsite = make_offsite(tmp_path, rclone)
    # A price at which the restore costs more than that, and all else next to nothing.
    offsite.estate.estate["stores"][0]["prices"] = {"per_gib_out": 10_000.0, "budget": 0.01}
    offsite.estate.write()
    offsite.estate.drtests("run", "app::offsite[vault]")
    told = json.loads((offsite.estate.packs()[-1] / "record.json").read_text())
    [record] = told["drills"]
    facts = record["facts"]["estimated cost of restoring from vault-bucket"]
    assert facts["refused"] is True
    assert facts["estimated"] > facts["budget"] > facts["measured_before"]
    assert "restored_bytes" not in record["measures"]
    assert any("nothing was restored: by estimate" in one["what"] for one in record["problems"])
    [alone] = [one for one in record["checks"] if one["kind"] == "offsite.restore"]
    assert alone["verdict"] == "INCONCLUSIVE"
