"""SHA-256 of many files on all cores.

A task per file loses three quarters of the speed on small files, so they go in
batches; a file that does not fit in one read becomes a task of its own, so that
large ones are never queued behind each other in a batch.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

_BATCH = 64
_SMALL = 256 * 1024
_CHUNK = 1024 * 1024
_WINDOW = 1024
"""Batches that may wait for a large file before them; bounds the memory."""


class FileDigest(NamedTuple):
    """SHA-256 (hex) and length in bytes of what was read from `path`. `problem` says why there is none."""

    path: str
    size: int
    sha256: str
    problem: str = ""


_Results = list[FileDigest | None]
"""None stands for a file that is too large for a batch."""

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


@dataclass(slots=True, eq=False)
class _Batch:
    paths: list[str]
    results: _Results
    open: int = 1
    """Tasks that are not done yet."""


def _small(root: str, paths: list[str]) -> _Results:
    results: _Results = []
    buffer = bytearray(_SMALL)
    view = memoryview(buffer)
    buffers = [buffer]
    for path in paths:
        try:
            descriptor = os.open(f"{root}/{path}", _FLAGS)
            try:
                size = os.readv(descriptor, buffers)
            finally:
                os.close(descriptor)
        except OSError as error:
            results.append(_unreadable(path, error))
            continue
        # A regular file gives less than was asked for only at its end.
        digest = hashlib.sha256(view[:size]).hexdigest() if size < _SMALL else ""
        results.append(FileDigest(path, size, digest) if digest else None)
    return results


def _large(root: str, path: str) -> _Results:
    digest = hashlib.sha256()
    total = 0
    buffer = bytearray(_CHUNK)
    view = memoryview(buffer)
    try:
        descriptor = os.open(f"{root}/{path}", _FLAGS)
        try:
            before = os.fstat(descriptor)
            while size := os.readv(descriptor, [buffer]):
                digest.update(view[:size])
                total += size
            after = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        return [_unreadable(path, error)]
    if total != before.st_size or (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
        return [FileDigest(path, 0, "", "changed while it was read")]
    return [FileDigest(path, total, digest.hexdigest())]


def _unreadable(path: str, error: OSError) -> FileDigest:
    return FileDigest(path, 0, "", error.strerror or type(error).__name__)


def digest_files(root: str, paths: Iterable[str], workers: int | None = None) -> Iterator[FileDigest]:
    """Hashes regular files below `root`, in the order of `paths`, which are taken as they are needed.

    `workers` is the number of threads, all cores by default. Links are not
    followed. A file that cannot be read comes back with its `problem`.
    """
    count = workers or os.cpu_count() or 1
    source = iter(paths)
    window: deque[_Batch] = deque()
    waiting: deque[tuple[_Batch, int]] = deque()
    running: dict[Future[_Results], tuple[_Batch, int]] = {}
    pool = ThreadPoolExecutor(count, thread_name_prefix="sha256")
    try:
        while True:
            while len(running) < count * 3:
                if waiting:
                    batch, place = waiting.popleft()
                    running[pool.submit(_large, root, batch.paths[place])] = (batch, place)
                elif len(window) < _WINDOW and (names := list(islice(source, _BATCH))):
                    batch = _Batch(names, [])
                    window.append(batch)
                    running[pool.submit(_small, root, names)] = (batch, -1)
                else:
                    break
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                batch, place = running.pop(future)
                if place < 0:
                    batch.results = future.result()
                    large = [place for place, result in enumerate(batch.results) if result is None]
                    waiting.extend((batch, place) for place in large)
                    batch.open = len(large)
                else:
                    batch.results[place] = future.result()[0]
                    batch.open -= 1
            while window and not window[0].open:
                for result in window.popleft().results:
                    if result is not None:
                        yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
