"""Offsite repositories that are no buckets: an append-only REST server, and SFTP. All by rclone, and real."""

from __future__ import annotations

import json
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.buckets import S3Server
from tests.support.offsite import PREFIX, Offsite, make_offsite
from tests.support.servers import Process, free_port, wait_for

pytestmark = pytest.mark.usefixtures("restic_needed")
_PROVED = ("kit", "copy", "separation", "encryption")


@pytest.fixture(scope="module")
def offsite(tmp_path_factory: pytest.TempPathFactory, rclone: S3Server) -> Offsite:
    """The copy is made once, as files of rclone's, and served in other ways by the tests."""
    made = make_offsite(tmp_path_factory.mktemp("kinds"), rclone)
    del made.vault["store"]
    made.vault.update({"site": "vault-town", "provider": "bunker", "account": "backup-only", "media": "object"})
    return made


@pytest.fixture(scope="module")
def files(offsite: Offsite, rclone_data: Path) -> Path:
    return rclone_data / offsite.bucket / PREFIX


def listening(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def served(log: Path, *argv: str) -> Iterator[int]:
    """By rclone, on a port of its own."""
    beside = Path(sys.executable).with_name("rclone")
    program = str(beside) if beside.is_file() else str(shutil.which("rclone"))
    port = free_port()
    process = Process(
        [program, "serve", argv[0], "--config", "/dev/null", "--addr", f"127.0.0.1:{port}", *argv[1:]], None, log
    )
    process.start()
    try:
        wait_for(lambda: listening(port), f"rclone does not come up: {process.output()}")
        yield port
    finally:
        process.stop()


def drill(offsite: Offsite) -> Mapping[str, Mapping[str, Any]]:
    """All parts, by their names."""
    offsite.estate.write()
    assert offsite.estate.drtests("kit").returncode == 0
    done = offsite.estate.drtests("run", "app::offsite[vault]")
    assert "Traceback" not in done.stderr
    [record] = json.loads((offsite.estate.packs()[-1] / "record.json").read_text())["drills"]
    assert offsite.estate.leftovers() == []
    return {part["kind"].removeprefix("offsite."): part for part in record["checks"] if "offsite." in part["kind"]}


def everything(files: Path) -> dict[str, bytes]:
    return {str(path.relative_to(files)): path.read_bytes() for path in files.rglob("*") if path.is_file()}


def proved(parts: Mapping[str, Mapping[str, Any]], samples: int) -> None:
    """What can be proved is, and what cannot is told as not known, with why."""
    assert set(parts) == {"kit", "restore", "copy", "separation", "immutability", "encryption", "3-2-1-1-0"}
    for part in _PROVED:
        assert parts[part]["verdict"] == "MET", parts[part]["reason"]
    assert "same content" in parts["copy"]["reason"]
    assert parts["encryption"]["observation"]["samples"] >= samples
    # All of the system came back; whether it was cut off meanwhile is told by that part.
    assert parts["restore"]["observation"]["passed"] == 2
    assert parts["restore"]["verdict"] != "MISSED"
    assert parts["immutability"]["verdict"] == "INCONCLUSIVE"
    assert parts["immutability"]["reason"].startswith("no attack was tried")
    assert parts["immutability"]["mend"]
    assert parts["3-2-1-1-0"]["verdict"] == "INCONCLUSIVE"
    met = {name: digit["met"] for name, digit in parts["3-2-1-1-0"]["observation"].items()}
    assert met["1 immutable or offline"] is None
    assert [name for name, digit in met.items() if digit is not True] == ["1 immutable or offline"]


def test_by_rest(offsite: Offsite, files: Path, tmp_path: Path) -> None:
    before = everything(files)
    with served(tmp_path / "log", "restic", "--append-only", str(files)) as port:
        offsite.vault.update({"location": f"rest:http://127.0.0.1:{port}/", "environment": {}})
        parts = drill(offsite)
    proved(parts, samples=3)
    assert "lies in the repository itself" in parts["immutability"]["reason"]
    assert everything(files) == before, "a drill wrote to the repository, or removed something"


def test_plaintext_behind_rest_is_seen(offsite: Offsite, files: Path, tmp_path: Path) -> None:
    """What is looked at are the stored bytes themselves."""
    index = files / "index" / ("0" * 64)
    index.write_bytes(b'{"packs": ["students.csv"]}\n' * 100)
    try:
        with served(tmp_path / "log", "restic", str(files)) as port:
            offsite.vault.update({"location": f"rest:http://127.0.0.1:{port}/", "environment": {}})
            told = offsite.estate
            told.write()
            assert told.drtests("run", "app::offsite[vault]").returncode == 1
            record = (told.packs()[-1] / "record.json").read_text()
        assert f"index/{'0' * 64} can be read without any key" in record
    finally:
        index.unlink()


def test_by_sftp(offsite: Offsite, files: Path, tmp_path: Path) -> None:
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True)
    before = everything(files)
    options = ["--key", str(tmp_path / "host"), "--authorized-keys", str(tmp_path / "user.pub")]
    with served(tmp_path / "log", "sftp", *options, str(files.parent)) as port:
        known = (tmp_path / "host.pub").read_text()
        (tmp_path / "known").write_text(f"[127.0.0.1]:{port} {known}")
        # restic and sftp run `ssh`: here one that knows where the key of the test is.
        ssh = ["ssh", "-F", "/dev/null", "-i", str(tmp_path / "user"), "-o", "IdentitiesOnly=yes",
               "-o", f"UserKnownHostsFile={tmp_path / 'known'}"]  # fmt: skip
        (tmp_path / "bin").mkdir()
        wrapper = tmp_path / "bin" / "ssh"
        wrapper.write_text(f'#!/bin/sh\nPATH=/usr/bin:/bin\nexec {shlex.join(ssh)} "$@"\n')
        wrapper.chmod(0o755)
        changed = {
            "location": f"sftp://backup@127.0.0.1:{port}//{PREFIX}",
            "environment": {"PATH": f"plain:{wrapper.parent}:/usr/bin:/bin"},
        }
        offsite.vault.update(changed)
        parts = drill(offsite)
    proved(parts, samples=3)
    assert "who may write by SFTP may delete" in parts["immutability"]["reason"]
    assert everything(files) == before
