"""Object stores on loopback: rclone's server, which is real but knows no versions, and moto, which is a simulator."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tests.support.buckets import Account, S3Server
from tests.support.servers import Process, free_port, wait_for


@pytest.fixture(scope="session")
def rclone_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each bucket of rclone's server."""
    return tmp_path_factory.mktemp("rclone-data")


@pytest.fixture(scope="session")
def rclone(rclone_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real server of real files. No versions, no lock; and it answers 200 to what it does not know."""
    beside = Path(sys.executable).with_name("rclone")
    program = str(beside) if beside.is_file() else shutil.which("rclone")
    if program is None:
        pytest.fail("rclone is not installed; the extra `test` brings it")
    folder = tmp_path_factory.mktemp("rclone")
    account = Account("rclone", "AKRCLONE000000000000", "rclone-secret-of-the-usual-length-40-cha")
    port = free_port()
    process = Process(
        # The keys belong to this test alone, and so may be seen in the list of processes.
        [program, "serve", "s3", "--config", "/dev/null", "--addr", f"127.0.0.1:{port}",
         "--auth-key", f"{account.access_key},{account.secret_key}", str(rclone_data)],
        None,
        folder / "log",
    )  # fmt: skip
    yield from _served(process, S3Server("rclone", f"http://127.0.0.1:{port}", account))


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A simulator. It accepts any credentials."""
    port = free_port()
    folder = tmp_path_factory.mktemp("moto")
    process = Process(
        [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], None, folder / "log"
    )
    account = Account("moto", "AKMOTO00000000000000", "moto-secret")
    yield from _served(process, S3Server("moto", f"http://127.0.0.1:{port}", account))


def _served(process: Process, server: S3Server) -> Iterator[S3Server]:
    def answers() -> bool:
        if not process.running:
            raise RuntimeError(process.output())
        try:
            server.client().list_buckets()
        except (BotoCoreError, ClientError):
            return False
        return True

    process.start()
    try:
        wait_for(answers, f"{server.name} does not come up: {process.output()}")
        yield server
    finally:
        process.stop()
