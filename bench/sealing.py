"""Sealing and the tree check against nothing but hashing on all cores, with the data in the page cache."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench import data
from bench.result import Result, compared, paired, timed
from drtests.checks.tree import TreeCheck, TreeSpec
from drtests.clock import SystemClock
from drtests.core.manifest import MANIFEST_NAME
from drtests.hosts.local import LocalHost
from drtests.model.estate import Host as DeclaredHost
from drtests.protocols.check import Resources
from drtests.seal import seal

_TARGET = 0.8
_BATCH = 64
_CHUNK = 1024**2


def hash_batch(paths: Sequence[str]) -> int:
    """Hashes files one after another, with as little as can be between them; bytes read."""
    total = 0
    buffer = bytearray(_CHUNK)
    view = memoryview(buffer)
    for path in paths:
        digest = hashlib.sha256()
        descriptor = os.open(path, os.O_RDONLY)
        try:
            while size := os.readv(descriptor, [buffer]):
                digest.update(view[:size])
                total += size
                if size < _CHUNK:
                    break
        finally:
            os.close(descriptor)
        digest.hexdigest()
    return total


def hash_all(paths: Sequence[str], batch: int) -> int:
    """The yardstick: every core hashes, and nothing else is done."""
    batches = [paths[start : start + batch] for start in range(0, len(paths), batch)]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return sum(pool.map(hash_batch, batches))


def measure(directory: Path, scale: float, pairs: int) -> Iterator[Result]:
    """Both shapes of tree."""
    host = LocalHost(DeclaredHost(id="local"), "bench")
    for what, make, batch in (
        ("many small files", data.small_files, _BATCH),
        ("a few large files", data.large_files, 1),
    ):
        root = make(directory / "sealed" / what.replace(" ", "-"), scale)
        paths = sorted(str(path) for path in root.rglob("*") if path.is_file())
        manifest = root / MANIFEST_NAME
        data.warm(root)
        seal(root, manifest)
        check = TreeCheck(TreeSpec())
        resources = Resources(host, str(root), SystemClock(), str(directory))

        def hashing(paths: Sequence[str] = paths, batch: int = batch) -> float:
            return timed(lambda: hash_all(paths, batch))

        def sealing(root: Path = root, manifest: Path = manifest) -> float:
            return timed(lambda: seal(root, manifest))

        def checking(check: TreeCheck = check, resources: Resources = resources) -> float:
            seen: list[object] = []
            seconds = timed(lambda: seen.append(check.observe(resources)))
            if not isinstance(seen[0], dict) or seen[0]["files"] == 0:
                raise RuntimeError("the tree check saw no files")
            return seconds

        hashing()
        yield compared(f"seal against bare hashing, {what}", list(paired(pairs, sealing, hashing)), at_least=_TARGET)
        yield compared(f"tree check against hashing, {what}", list(paired(pairs, checking, hashing)), at_least=_TARGET)
        shutil.rmtree(root)
