"""The offsite drill on a real restic repository in a real bucket: in order, then with much of it wrong."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.buckets import S3Server
from tests.support.ceph import APPEND_ONLY, HARMFUL, READER, WRITER, Ceph, policy
from tests.support.estate import ago
from tests.support.offsite import PREFIX, Offsite, make_offsite

pytestmark = pytest.mark.usefixtures("restic_needed")
DRILL = "app::offsite[vault]"


@dataclass(frozen=True, slots=True)
class Drilled:
    """What one drill left."""

    record: Mapping[str, Any]
    parts: Mapping[str, Mapping[str, Any]]
    pack: Path
    exit_code: int
    actions: Sequence[Mapping[str, Any]]

    def verdict(self, part: str) -> str:
        return str(self.parts[part]["verdict"])

    def reason(self, part: str) -> str:
        return str(self.parts[part]["reason"])


def drill(offsite: Offsite, env: Mapping[str, str] | None = None) -> Drilled:
    offsite.estate.write()
    done = offsite.estate.drtests("run", DRILL, env=env)
    pack = offsite.estate.packs()[-1]
    told = json.loads((pack / "record.json").read_text())
    [record] = told["drills"]
    parts = {check["kind"].removeprefix("offsite."): check for check in record["checks"] if "offsite." in check["kind"]}
    assert "Traceback" not in done.stderr
    return Drilled(record, parts, pack, done.returncode, told["actions"])


@pytest.fixture(scope="module")
def offsite(tmp_path_factory: pytest.TempPathFactory, rclone: S3Server) -> Offsite:
    return make_offsite(tmp_path_factory.mktemp("offsite"), rclone)


def test_in_order_but_for_a_server_that_knows_no_lock(offsite: Offsite) -> None:
    made = offsite.estate.drtests("kit")
    assert made.returncode == 0, made.stderr
    found = drill(offsite)
    for part in ("kit", "copy", "separation", "encryption"):
        assert found.verdict(part) == "MET", found.reason(part)
    assert "same content" in found.reason("copy")
    # rclone keeps no versions: whoever has the writer's keys destroys everything, and that is seen.
    assert found.verdict("immutability") == found.verdict("bucket") == found.verdict("3-2-1-1-0") == "MISSED"
    # The system's processes are of high criticality; that all its backups can be destroyed is worse than that.
    assert [action["severity"] for action in found.actions] == ["critical"]
    assert "overwrite an object (critical)" in found.reason("immutability")
    digits = {name: digit["met"] for name, digit in found.parts["3-2-1-1-0"]["observation"].items()}
    assert digits == {
        "3 copies, production among them": True,
        "2 kinds of media": True,
        "1 offsite": True,
        "1 immutable or offline": False,
        "0 errors": True,
    }
    assert found.record["verdict"] == "MISSED"
    assert found.exit_code == 1
    assert found.record["controls"] == ["BC.03"]
    # The restore was done by the kit's own program, with nothing left behind, and in time.
    alone = found.parts["restore"]["observation"]
    assert (alone["program"], alone["program_as_listed"], alone["keys"]) == ("kit", True, "kit")
    assert (alone["checks"], alone["passed"]) == (2, 2)
    assert found.verdict("restore") == "MET", found.reason("restore")
    isolation = alone["isolation"]
    assert (isolation["interfaces"], isolation["reached"], isolation["seen"]) == (["lo"], [], [])
    assert isolation["let through"] == [offsite.server.endpoint.removeprefix("http://").replace(":", " port ")]
    assert isolation["connections let through"] > 0
    assert {"repository 'nas'", "production data of system 'app'"} <= set(isolation["hidden"])
    assert any("/kit/restic" in command["argv"][0] for command in found.record["commands"])
    assert found.record["recovery_time"]["measured_seconds"] < found.record["rto"]["seconds"]
    assert found.record["problems"] == []
    assert offsite.estate.leftovers() == []
    cost = found.record["facts"]["cost of vault-bucket"]
    assert cost["measured"] > 0
    assert cost["reads"] > 0
    for secret in offsite.secrets:
        for file in [*found.pack.rglob("*"), *offsite.kit.rglob("*")]:
            assert not file.is_file() or secret.encode() not in file.read_bytes(), file


def test_stale_incomplete_under_one_account_and_a_kit_of_before(offsite: Offsite) -> None:
    """The primary got a newer backup that was never copied, and an older one is gone from the copy."""
    assert offsite.estate.drtests("kit").returncode == 0
    oldest, *_ = sorted(json.loads(offsite.restic("snapshots", "--json")), key=lambda one: str(one["time"]))
    offsite.restic("forget", oldest["id"])
    offsite.estate.backup(ago(seconds=30))
    offsite.estate.estate["stores"][0]["account"] = "School-Admin"
    offsite.estate.bia["processes"][0]["rpo"] = "2m"
    found = drill(offsite)
    assert found.verdict("copy") == "MISSED"
    copied = found.parts["copy"]["observation"]
    assert (copied["expected"], copied["missing_count"]) == (3, 2)
    assert "over an RPO" in found.reason("copy")
    assert found.verdict("separation") == "MISSED"
    assert "the same account as repository nas" in found.reason("separation")
    assert found.verdict("kit") == "MISSED"
    assert "stale" in found.reason("kit")
    score = found.parts["3-2-1-1-0"]["observation"]
    assert score["0 errors"]["met"] is False
    assert score["1 offsite"]["met"] is False
    offsite.estate.estate["stores"][0]["account"] = "backup-only"
    offsite.estate.bia["processes"][0]["rpo"] = "26h"


def test_at_home_with_the_same_password_unencrypted_and_without_a_kit(offsite: Offsite) -> None:
    """What a folder on the same disk, called offsite, comes to."""
    shutil.rmtree(offsite.kit, ignore_errors=True)
    root = offsite.root
    shutil.copytree(root / "repository", root / "second")
    for number in range(60):
        # Many, since four of all files are looked at.
        (root / "second" / "data" / "00" / f"students{number}.csv").write_bytes(b"name,group\n" * 500)
    kept = dict(offsite.vault)
    offsite.vault.update({"location": "second", "password": "file:password", "site": "school", "environment": {}})
    del offsite.vault["store"]
    found = drill(offsite)
    assert found.verdict("kit") == "MISSED"
    assert "there is no kit" in found.reason("kit")
    assert found.verdict("separation") == "MISSED"
    facets = found.parts["separation"]["observation"]
    shared = {name.partition(",")[0] for name, facet in facets.items() if facet["same"]}
    assert shared >= {"site", "password", "file system", "machine"}
    assert found.verdict("encryption") == "MISSED"
    assert "data/00/students" in found.reason("encryption")
    assert found.verdict("immutability") == "INCONCLUSIVE"
    assert "bucket" not in found.parts
    # It restores nevertheless; but by production's own tools and keys, which proves nothing.
    assert found.parts["restore"]["observation"]["passed"] == 2
    assert found.verdict("restore") == "INCONCLUSIVE"
    offsite.vault.clear()
    offsite.vault.update(kept)


def test_a_copy_that_cannot_be_had_leaves_every_part_told(offsite: Offsite) -> None:
    """The envelope at the notary holds an old password; all else is told nevertheless."""
    offsite.estate.write()
    assert offsite.estate.drtests("kit").returncode == 0
    escrow = (offsite.root / "escrow").read_text()
    (offsite.root / "escrow").write_text("the password of last year")
    found = drill(offsite)
    (offsite.root / "escrow").write_text(escrow)
    assert found.record["verdict"] == "MISSED"
    assert found.verdict("restore") == "INCONCLUSIVE"
    # With production's own reference it opens.
    assert found.record["problems"]
    assert found.verdict("encryption") == "MET"
    assert len(found.parts) == 8
    assert any("no key of the repository opens" in problem["what"] for problem in found.record["problems"])
    assert offsite.estate.leftovers() == []


def _change(kit: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    """By somebody who can write there, and who makes the sums fit."""
    (kit / name).write_bytes(change((kit / name).read_bytes()))
    told = json.loads((kit / "kit.json").read_text())
    for one in (*told["tools"], *told["files"]):
        if name in {one.get("file"), one.get("path")}:
            one["sha256"] = hashlib.sha256((kit / name).read_bytes()).hexdigest()
    (kit / "kit.json").write_text(json.dumps(told, indent=2, sort_keys=True))
    files = sorted(path for path in kit.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    sums = (f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(kit)}\n" for file in files)
    (kit / "SHA256SUMS").write_text("".join(sums))


def test_a_kit_that_somebody_changed_runs_nothing(offsite: Offsite) -> None:
    """Whoever writes to the kit's copy would else run what they like where drills are run, with the password."""
    estate, ran = offsite.estate, offsite.root / "ran"
    assert estate.drtests("kit").returncode == 0

    def told(change: Mapping[str, Any]) -> Callable[[bytes], bytes]:
        def changed(data: bytes) -> bytes:
            kit = json.loads(data)
            [entry] = [one for one in kit["repositories"] if one["declared"]["id"] == "vault"]
            entry["declared"] |= change.get("declared", {})
            entry |= {name: value for name, value in change.items() if name != "declared"}
            return json.dumps(kit).encode()

        return changed

    script = f"#!/bin/sh\nenv > {ran}\n".encode()
    (offsite.root / "evil").write_bytes(script)
    (offsite.root / "evil").chmod(0o755)
    for change, name in (
        (told({"password": f"command:touch {ran}"}), "kit.json"),
        (told({"declared": {"program": str(offsite.root / "evil")}}), "kit.json"),
        (lambda _: script, "tools/local/restic"),
    ):
        shutil.rmtree(offsite.kit)
        shutil.copytree(offsite.root / "recovery-kit", offsite.kit)
        _change(offsite.kit, name, change)
        found = drill(offsite)
        assert not ran.exists()
        assert found.verdict("restore") == "MISSED", found.reason("restore")
        assert "changed" in found.reason("restore")
        assert found.parts["restore"]["observation"]["checks"] == 2
        assert len(found.parts) == 8
        assert estate.leftovers() == []


def test_keys_and_tools_that_are_not_the_kits_prove_nothing(offsite: Offsite) -> None:
    kept = offsite.estate.estate["kit"]["keys"][0]
    environment = kept.pop("environment")
    offsite.estate.write()
    assert offsite.estate.drtests("kit").returncode == 0
    found = drill(offsite)
    assert found.verdict("restore") == "INCONCLUSIVE"
    assert "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY" in found.reason("restore")
    kept["environment"] = environment
    offsite.estate.write()
    assert offsite.estate.drtests("kit", "--without-tools").returncode == 0
    found = drill(offsite)
    assert found.parts["restore"]["observation"]["passed"] == 2
    assert found.verdict("restore") == "INCONCLUSIVE"
    assert "found on the host" in found.reason("restore")


def test_where_it_cannot_be_isolated_it_is_not_proved(offsite: Offsite, tmp_path: Path) -> None:
    """An `unshare` that is refused, as in many containers."""
    assert offsite.estate.drtests("kit").returncode == 0
    refused = tmp_path / "unshare"
    refused.write_text("#!/bin/sh\necho 'unshare: unshare failed: Operation not permitted' >&2\nexit 1\n")
    refused.chmod(0o755)
    found = drill(offsite, {"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert found.parts["restore"]["observation"]["passed"] == 2
    assert found.verdict("restore") == "INCONCLUSIVE"
    assert "was not isolated, so production may have helped" in found.reason("restore")
    assert "Operation not permitted" in found.reason("restore")


def test_a_check_that_asks_production_gets_no_answer(offsite: Offsite) -> None:
    """Recovery steps and checks are run where production is not."""
    system = offsite.estate.systems["app"]
    source = offsite.estate.data / "marker"
    assert offsite.estate.drtests("kit").returncode == 0
    with socket.create_server(("127.0.0.1", 0)) as production:
        asked = f"import socket; socket.create_connection(('127.0.0.1', {production.getsockname()[1]}), 5)"
        system["start"] = [
            {"name": "reads production", "run": ["sh", "-c", f"! test -e {source}"]},
            {"name": "asks production", "run": [sys.executable, "-c", asked]},
        ]
        offsite.estate.write()
        assert offsite.estate.drtests("kit").returncode == 0
        found = drill(offsite)
    del system["start"]
    assert source.exists()
    assert found.verdict("restore") == "INCONCLUSIVE"
    assert "'asks production' failed" in found.reason("restore")
    assert "refused" in found.reason("restore")


def test_the_kit_goes_to_a_bucket_too_and_is_read_back_from_there(offsite: Offsite) -> None:
    estate = offsite.estate.estate
    estate["kit"]["copies"] = [{"store": "vault-bucket", "key": "kit"}]
    offsite.estate.write()
    assert offsite.estate.drtests("kit", "--check").returncode == 1
    assert offsite.estate.drtests("kit").returncode == 0
    checked = offsite.estate.drtests("kit", "--check")
    assert checked.returncode == 0, checked.stdout
    folder = offsite.root / "recovery-kit"
    sums = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=folder, capture_output=True, text=True, check=False)
    assert sums.returncode == 0, sums.stdout
    assert (folder / "tools" / "local" / "restic").stat().st_mode & 0o111
    client = offsite.server.client()
    keys = {one["Key"] for one in client.list_objects_v2(Bucket=offsite.bucket, Prefix="kit/")["Contents"]}
    assert {"kit/SHA256SUMS", "kit/kit.json", "kit/recovery-kit.html", "kit/runbooks/app.md"} <= keys
    client.put_object(Bucket=offsite.bucket, Key="kit/plan.md", Body=b"all is well")
    checked = offsite.estate.drtests("kit", "--check", "--json")
    assert checked.returncode == 1
    assert "plan.md was changed" in checked.stdout
    # A kit never touches what is beside it.
    assert client.list_objects_v2(Bucket=offsite.bucket, Prefix=f"{PREFIX}/config")["KeyCount"] == 1


def test_on_a_server_that_locks_all_of_it_is_met(ceph: Ceph, tmp_path: Path) -> None:
    """Object lock in compliance mode, a writer who may only add, a reader who may only read."""
    server, client = ceph.server, ceph.server.client()
    bucket = server.bucket(locked=True)
    retention = {"Mode": "COMPLIANCE", "Days": 1}
    lock = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": retention}}
    client.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration=lock)
    client.put_bucket_policy(Bucket=bucket, Policy=policy(bucket, APPEND_ONLY, HARMFUL))
    offsite = make_offsite(tmp_path, server, bucket, READER, WRITER)
    offsite.estate.estate["stores"][0]["demands"] = {"lock": "compliance", "retention": "1d"}
    offsite.estate.write()
    assert offsite.estate.drtests("kit").returncode == 0
    found = drill(offsite)
    wrong = {name: part["reason"] for name, part in found.parts.items() if part["verdict"] != "MET"}
    assert wrong == {}
    assert found.exit_code == 0
    left = found.parts["immutability"]["observation"]["left_behind"]
    assert f"{len(left)} of this drill are locked, the last until" in found.reason("immutability")
    assert f"{len(left)} are below drtests-probe/ by now" in found.reason("immutability")
