"""A bucket of many small objects, restored as a drill does it, against `rclone sync` from the same server."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.result import Result, compared, paired

OBJECTS = 100_000
OBJECT_BYTES = 4_000
"""On average: 0.4 GB in all."""
_FOLDERS = 100
_BUCKET = "bench-bucket"
_ACCESS = ("AKBENCH0000000000000", "bench-secret-of-the-usual-length-40-char")
_TARGET = 0.8
_MEMORY = 1.5
"""Ten times the objects may take half as much memory again, for what an interpreter keeps by chance."""
_TIMEOUT = 1800.0

_OURS = """
import json, resource, sys
from bench.bucket import restore
seconds, files = restore(*sys.argv[1:])
own, helpers = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
print(json.dumps({"seconds": seconds, "files": files, "own": own, "helpers": helpers}))
"""


def restore(endpoint: str, bucket: str, destination: str) -> tuple[float, int]:
    """As the phase `restore` of a drill does it; seconds and files. Run in a process of its own."""
    # Only here: who measures something else needs no boto3.
    from drtests.engines.bucket.engine import BucketEngine  # noqa: PLC0415
    from drtests.hosts.local import LocalHost  # noqa: PLC0415
    from drtests.model.connections import Store, StoreCredentials  # noqa: PLC0415
    from drtests.model.estate import Host, Repository  # noqa: PLC0415
    from drtests.model.system import Snapshots  # noqa: PLC0415
    from drtests.protocols.engine import EngineContext  # noqa: PLC0415
    from drtests.protocols.store import StoreContext  # noqa: PLC0415
    from drtests.stores.s3 import open_s3  # noqa: PLC0415

    keys = StoreCredentials(access_key="env:UNUSED", secret_key="env:UNUSED")  # noqa: S106 - a reference
    declared = Store(id="bench", endpoint=endpoint, bucket=bucket, reader=keys)
    store = open_s3(StoreContext(declared, "reader", {"access_key": _ACCESS[0], "secret_key": _ACCESS[1]}))
    repository = Repository(id="bench", engine="bucket", location=f"s3://{bucket}", store="bench")
    host = LocalHost(Host(id="local", type="local"), "bench")
    engine = BucketEngine(EngineContext(repository, repository.location, host, {}, None, store))
    newest = engine.recovery_points(Snapshots())[-1]
    result = engine.restore(newest, destination, timeout=_TIMEOUT)
    return result.seconds, result.files or 0


@dataclass(frozen=True, slots=True)
class _Bench:
    program: str
    endpoint: str
    root: Path

    def ours(self, bucket: str, count: int) -> tuple[float, int]:
        """Seconds, and the most memory that all its processes took together, in bytes, at most."""
        with self._destination() as destination:
            argv = [sys.executable, "-c", _OURS, self.endpoint, bucket, str(destination)]
            done = subprocess.run(argv, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
            if done.returncode:
                raise RuntimeError(f"the restore failed:\n{done.stderr[-3000:]}")
            told = json.loads(done.stdout)
            if told["files"] != count or _files(destination) != count:
                raise RuntimeError(f"{told['files']} of {count} objects were restored")
        helpers = (os.cpu_count() or 1) if told["helpers"] else 0
        return told["seconds"], 1024 * (told["own"] + helpers * told["helpers"])

    def theirs(self, bucket: str, count: int) -> float:
        """`rclone sync` as it is by default; seconds."""
        remote = {"TYPE": "s3", "PROVIDER": "Rclone", "ENDPOINT": self.endpoint}
        remote |= {"ACCESS_KEY_ID": _ACCESS[0], "SECRET_ACCESS_KEY": _ACCESS[1]}
        environment = {**os.environ, **{f"RCLONE_CONFIG_THERE_{name}": value for name, value in remote.items()}}
        with self._destination() as destination:
            argv = [self.program, "sync", "--config", "/dev/null", f"there:{bucket}", str(destination)]
            began = time.perf_counter()
            subprocess.run(argv, env=environment, capture_output=True, timeout=_TIMEOUT, check=True)
            seconds = time.perf_counter() - began
            if _files(destination) != count:
                raise RuntimeError(f"rclone brought {_files(destination)} of {count} objects")
        return seconds

    @contextmanager
    def _destination(self) -> Iterator[Path]:
        made = self.root / "restored"
        made.mkdir()
        try:
            yield made
        finally:
            shutil.rmtree(made)
            os.sync()


def _files(root: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(root))


def _fill(folder: Path, count: int) -> None:
    rng = random.Random(3)
    for number in range(_FOLDERS):
        (folder / f"{number:02}").mkdir(parents=True)
    for number in range(count):
        size = rng.randrange(100, 2 * OBJECT_BYTES - 100)
        (folder / f"{number % _FOLDERS:02}" / f"{number:06}.bin").write_bytes(rng.randbytes(size))


@contextmanager
def _served(root: Path) -> Iterator[_Bench]:
    beside = Path(sys.executable).with_name("rclone")
    program = str(beside) if beside.is_file() else shutil.which("rclone")
    if program is None:
        raise RuntimeError("rclone is not installed; the extra `test` brings it")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    argv = [program, "serve", "s3", "--config", "/dev/null", "--addr", f"127.0.0.1:{port}"]
    # The keys are of this bench alone.
    argv += ["--auth-key", ",".join(_ACCESS), str(root / "served")]
    with (root / "log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log)
    try:
        _wait(port)
        yield _Bench(program, f"http://127.0.0.1:{port}", root)
    finally:
        process.terminate()
        process.wait(30)


def _wait(port: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def measure(directory: Path, scale: float, pairs: int) -> Iterator[Result]:
    """Speed, and then memory: all of it against a tenth of it."""
    root = directory / "bucket"
    # As many as helpers are worth their start for.
    count = max(int(OBJECTS * scale), 5000)
    few = count // 10
    for name, number in ((_BUCKET, count), (f"{_BUCKET}-few", few)):
        _fill(root / "served" / name, number)
    with _served(root) as bench:
        peaks: list[int] = []

        def ours() -> float:
            seconds, peak = bench.ours(_BUCKET, count)
            peaks.append(peak)
            return seconds

        bench.ours(f"{_BUCKET}-few", few)
        bench.theirs(f"{_BUCKET}-few", few)
        yield compared(
            f"restore of a bucket of {count} small objects against rclone sync",
            list(paired(pairs, ours, lambda: bench.theirs(_BUCKET, count))),
            at_least=_TARGET,
        )
        small = [bench.ours(f"{_BUCKET}-few", few)[1] for _ in peaks]
        yield compared(
            f"memory of all processes for {count} objects against {few}",
            [(peak / 1024**2, one / 1024**2) for peak, one in zip(peaks, small, strict=True)],
            at_most=_MEMORY,
            unit="MiB",
        )
    shutil.rmtree(root)
