"""SHA-256 of many files on all cores.

A task per file loses three quarters of the speed on small files, so they go in
batches; a file that does not fit in one read becomes a task of its own, so that
large ones are never queued behind each other in a batch. Threads share one
interpreter, which small files keep busy: when there are many, the batches go to
helper processes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from queue import Empty, SimpleQueue
from typing import NamedTuple

from drtests import hash_worker
from drtests.hash_worker import hash_large, hash_small

_BATCH = 64
_WINDOW = 1024
"""Batches that may wait for a large file before them; bounds the memory."""

_MANY = 8
"""Batches after which helper processes are worth their start."""

_END = 5.0


class FileDigest(NamedTuple):
    """SHA-256 (hex) and length in bytes of what was read from `path`. `problem` says why there is none."""

    path: str
    size: int
    sha256: str
    problem: str = ""


_Results = list[tuple[int, str, str] | None]
"""None stands for a file that is too large for a batch."""


@dataclass(slots=True, eq=False)
class _Batch:
    paths: list[str]
    results: _Results
    open: int = 1
    """Tasks that are not done yet."""

    def settle(self, place: int, results: _Results) -> list[int]:
        """Takes the result of the batch (`place` is -1) or of one large file; returns the places of large files."""
        if place >= 0:
            self.results[place] = results[0]
            self.open -= 1
            return []
        self.results = results
        large = [number for number, result in enumerate(results) if result is None]
        self.open = len(large)
        return large


class _Helpers:
    """At most one process for each thread that asks."""

    def __init__(self) -> None:
        self._idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        self._all: list[subprocess.Popen[bytes]] = []

    def hash(self, root: str, paths: list[str]) -> _Results:
        """As `hash_small`; done here when a helper fails."""
        try:
            helper = self._take()
            if helper.stdin is None or helper.stdout is None:
                return hash_small(root, paths)
            helper.stdin.write(json.dumps([root, paths]).encode() + b"\n")
            helper.stdin.flush()
            answer = json.loads(helper.stdout.readline())
        except (OSError, ValueError):
            return hash_small(root, paths)
        self._idle.put(helper)
        results: _Results = [None if one is None else (one[0], one[1], one[2]) for one in answer]
        return results

    def _take(self) -> subprocess.Popen[bytes]:
        with suppress(Empty):
            return self._idle.get_nowait()
        # A session of its own: an interrupt from the terminal is for drtests, which then closes the input.
        helper = subprocess.Popen(
            [sys.executable, "-I", "-S", hash_worker.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._all.append(helper)
        return helper

    def close(self) -> None:
        for helper in self._all:
            for pipe in (helper.stdin, helper.stdout):
                if pipe is not None:
                    with suppress(OSError):
                        pipe.close()
        for helper in self._all:
            try:
                helper.wait(_END)
            except subprocess.TimeoutExpired:
                helper.kill()
                helper.wait(_END)


def _large(root: str, path: str) -> _Results:
    return [hash_large(root, path)]


def digest_files(root: str, paths: Iterable[str], workers: int | None = None) -> Iterator[FileDigest]:
    """Hashes regular files below `root`, in the order of `paths`, which are taken as they are needed.

    `workers` is how many are read at the same time, as many as there are cores by default.
    Links are not followed. A file that cannot be read comes back with its `problem`.
    """
    count = workers or os.cpu_count() or 1
    source = iter(paths)
    window: deque[_Batch] = deque()
    waiting: deque[tuple[_Batch, int]] = deque()
    running: dict[Future[_Results], tuple[_Batch, int]] = {}
    taken = 0
    helpers = _Helpers()
    pool = ThreadPoolExecutor(count, thread_name_prefix="sha256")
    try:
        while True:
            while len(running) < count * 8:
                if waiting:
                    batch, place = waiting.popleft()
                    running[pool.submit(_large, root, batch.paths[place])] = (batch, place)
                elif len(window) < _WINDOW and (names := list(islice(source, _BATCH))):
                    batch = _Batch(names, [])
                    window.append(batch)
                    taken += 1
                    task = helpers.hash if taken > _MANY and count > 1 and sys.executable else hash_small
                    running[pool.submit(task, root, names)] = (batch, -1)
                else:
                    break
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                batch, place = running.pop(future)
                waiting.extend((batch, large) for large in batch.settle(place, future.result()))
            while window and not window[0].open:
                first = window.popleft()
                for path, result in zip(first.paths, first.results, strict=True):
                    if result is not None:
                        yield FileDigest(path, *result)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        helpers.close()
