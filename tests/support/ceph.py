"""A real object store on loopback: Ceph's gateway over one monitor and one storage daemon that keeps all in memory.

It enforces object lock, versioning and policies, for accounts with different rights.
"""

from __future__ import annotations

import json
import subprocess
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.buckets import Account, S3Server
from tests.support.needs import needs
from tests.support.servers import Process, free_port, unprivileged, wait_for, workplace

_INSTALL = "ceph-mon ceph-osd radosgw"
_PROGRAMS = ("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "ceph", "monmaptool")

OWNER = Account("owner", "AKOWNER0000000000000", "owner-secret-of-the-usual-length-40-char")
READER = Account("reader", "AKREADER000000000000", "reader-secret-of-the-usual-length-40-cha")
WRITER = Account("writer", "AKWRITER000000000000", "writer-secret-of-the-usual-length-40-cha")

_CONFIG = """
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon}]
public addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
ms mon client mode = crc
ms mon service mode = crc
ms mon cluster mode = crc
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd crush update on start = false
mon allow pool size one = true
mon osd full ratio = .99
mon osd nearfull ratio = .99
mon data avail crit = 1
mon data avail warn = 1
run dir = {folder}
admin socket = {folder}/$name.asok
log file = {folder}/$name.log
keyring = {folder}/keyring
[mon.a]
mon data = {folder}/mon
[osd.0]
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = 536870912
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{gateway}
rgw data = {folder}/rgw
rgw thread pool size = 32
rgw run sync thread = false
rgw enable gc threads = false
rgw lc debug interval = 0
"""


@dataclass(slots=True)
class Ceph:
    """A running cluster."""

    folder: Path
    user: str | None
    gateway: int
    processes: list[Process] = field(default_factory=list)

    @property
    def server(self) -> S3Server:
        return S3Server("ceph", f"http://127.0.0.1:{self.gateway}", OWNER)

    @property
    def config(self) -> str:
        return f"{self.folder}/ceph.conf"

    def run(self, program: str, *words: str) -> str:
        done = subprocess.run(
            [program, "-c", self.config, *words],
            capture_output=True, text=True, timeout=60, check=False, user=self.user, cwd=self.folder,
            extra_groups=[] if self.user else None,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{program} {' '.join(words)}: {done.stderr[-2000:]}")
        return done.stdout

    def serve(self, *argv: str) -> Process:
        process = Process([argv[0], "-c", self.config, "-f", *argv[1:]], self.user, self.folder / f"{argv[0]}.out")
        process.start()
        self.processes.append(process)
        return process

    def account(self, account: Account) -> None:
        keys = ["--access-key", account.access_key, "--secret", account.secret_key]
        self.run("radosgw-admin", "user", "create", "--uid", account.name, "--display-name", account.name, *keys)

    def up(self, monitor: int) -> None:
        fsid = str(uuid.uuid4())
        Path(self.config).write_text(
            _CONFIG.format(fsid=fsid, mon=monitor, folder=self.folder, gateway=self.gateway), encoding="utf-8"
        )
        for name in ("mon", "osd", "rgw"):
            (self.folder / name).mkdir()
            (self.folder / name).chmod(0o777)
        (self.folder / "keyring").touch()
        self.run(
            "monmaptool",
            "--create",
            "--fsid",
            fsid,
            "--addv",
            "a",
            f"[v2:127.0.0.1:{monitor}]",
            f"{self.folder}/monmap",
        )
        self.run("ceph-mon", "--mkfs", "-i", "a", "--monmap", f"{self.folder}/monmap")
        self.serve("ceph-mon", "-i", "a")
        disk = str(uuid.uuid4())
        self.run("ceph", "osd", "new", disk)
        self.run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", disk)
        self.serve("ceph-osd", "-i", "0")
        self.run("ceph", "osd", "crush", "add", "osd.0", "1.0", "root=default", "host=here")
        gateway = self.serve("radosgw", "-n", "client.rgw")
        wait_for(lambda: self._answers(gateway), "radosgw does not come up", 90)
        for account in (OWNER, READER, WRITER):
            self.account(account)

    def _answers(self, gateway: Process) -> bool:
        if not gateway.running:
            raise RuntimeError(gateway.output())
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.gateway}/", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def down(self) -> None:
        for process in reversed(self.processes):
            process.stop()


APPEND_ONLY = ("s3:PutObject", "s3:GetObject", "s3:ListBucket")
"""What a backup writer needs."""
HARMFUL = (
    "s3:DeleteObject",
    "s3:DeleteObjectVersion",
    "s3:BypassGovernanceRetention",
    "s3:PutObjectRetention",
    "s3:PutObjectLegalHold",
    "s3:PutBucketVersioning",
)


def policy(bucket: str, writer: Sequence[str], denied: Sequence[str] = ()) -> str:
    """A bucket policy: all reading for the reader; for the writer what it may do, and what it may not."""
    statements = [
        _statement("Allow", bucket, READER, ("s3:Get*", "s3:List*")),
        _statement("Allow", bucket, WRITER, writer),
    ]
    if denied:
        statements.append(_statement("Deny", bucket, WRITER, denied))
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def _statement(effect: str, bucket: str, account: Account, actions: Sequence[str]) -> Mapping[str, Any]:
    return {
        "Effect": effect,
        "Principal": {"AWS": [f"arn:aws:iam:::user/{account.name}"]},
        "Action": list(actions),
        "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
    }


@pytest.fixture(scope="session")
def ceph() -> Iterator[Ceph]:
    """One cluster; tests make buckets of their own."""
    for program in _PROGRAMS:
        needs(program, f"/usr/sbin/{program}", install=_INSTALL)
    user = unprivileged("ceph")
    with workplace(user) as folder:
        cluster = Ceph(folder, user, free_port())
        try:
            cluster.up(free_port())
            yield cluster
        finally:
            cluster.down()
