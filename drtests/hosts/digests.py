"""SHA-256 of files that are asked for in batches, on all cores.

Also runs on hosts that are reached over SSH: nothing but the standard library of Python 3.7.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import Empty, Queue
from typing import Any

from drtests.hash_worker import hash_large, hash_small

_BATCH = 64
_MANY = 8
"""Batches after which helper processes are worth their start: threads share one interpreter."""
_END = 5.0


class Digester:
    """Hashes batches of files below one folder, several at a time.

    `helper` is the command of a helper process and what it reads before its
    first question (see `drtests.hash_worker`). `done` is called, from any
    thread, with the number of a batch and `[size, sha256, problem]` for each of its files.
    """

    def __init__(
        self, root: str, helper: tuple[list[str], bytes], done: Callable[[int, list[Any]], None], workers: int = 0
    ) -> None:
        self._root = root
        self._helper = helper
        self._done = done
        self._count = workers or os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(self._count)
        self._taken = 0
        self._idle: Queue[subprocess.Popen[bytes]] = Queue()
        self._helpers: list[subprocess.Popen[bytes]] = []
        self._running: set[Future[None]] = set()
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    def add(self, number: int, paths: list[str]) -> None:
        """Does not wait."""
        batch = _Batch(number, paths, self._done)
        for began in range(0, len(paths), _BATCH):
            self._submit(self._small, batch, began, paths[began : began + _BATCH])
        if not paths:
            self._done(number, [])

    def wait(self) -> None:
        """Until all that was added is hashed. Raises what hashing raised."""
        with self._changed:
            while self._running:
                self._changed.wait()
            if self._error is not None:
                raise self._error

    def close(self) -> None:
        """Hashes nothing more, and ends the helpers."""
        with self._changed:
            running = list(self._running)
        for future in running:
            future.cancel()
        self._pool.shutdown(wait=True)
        for helper in self._helpers:
            for pipe in (helper.stdin, helper.stdout):
                if pipe is not None:
                    with suppress(OSError):
                        pipe.close()
            try:
                helper.wait(_END)
            except subprocess.TimeoutExpired:
                helper.kill()
                helper.wait(_END)

    def _submit(self, work: Callable[..., None], *arguments: Any) -> None:
        with self._changed:
            future = self._pool.submit(work, *arguments)
            self._running.add(future)
        future.add_done_callback(self._notice)

    def _notice(self, future: Future[None]) -> None:
        with self._changed:
            self._running.discard(future)
            if not future.cancelled():
                self._error = self._error or future.exception()
            self._changed.notify_all()

    def _small(self, batch: _Batch, began: int, paths: list[str]) -> None:
        with self._changed:
            self._taken += 1
            many = self._taken > _MANY and self._count > 1
        results = self._ask(paths) if many else hash_small(self._root, paths)
        for place, result in enumerate(results, began):
            if result is None:
                self._submit(self._large, batch, place)
        batch.settle(began, results)

    def _large(self, batch: _Batch, place: int) -> None:
        batch.settle(place, [hash_large(self._root, batch.paths[place])])

    def _ask(self, paths: list[str]) -> list[Any]:
        """A helper; done here when it fails."""
        try:
            helper = self._take()
            if helper.stdin is None or helper.stdout is None:
                return hash_small(self._root, paths)
            helper.stdin.write(json.dumps([self._root, paths]).encode() + b"\n")
            helper.stdin.flush()
            results: list[Any] = json.loads(helper.stdout.readline())
        except (OSError, ValueError):
            return hash_small(self._root, paths)
        self._idle.put(helper)
        return results

    def _take(self) -> subprocess.Popen[bytes]:
        with suppress(Empty):
            return self._idle.get_nowait()
        command, begins = self._helper
        pipe = subprocess.PIPE
        helper = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, start_new_session=True)
        self._helpers.append(helper)
        if helper.stdin is not None and begins:
            helper.stdin.write(begins)
        return helper


class _Batch:
    """Tells its results when all of them are there."""

    def __init__(self, number: int, paths: list[str], done: Callable[[int, list[Any]], None]) -> None:
        self.paths = paths
        self._number = number
        self._done = done
        self._results: list[Any] = [None] * len(paths)
        self._open = len(paths)
        self._turn = threading.Lock()

    def settle(self, began: int, results: list[Any]) -> None:
        """None stands for a file that is told later."""
        with self._turn:
            for place, result in enumerate(results, began):
                if result is not None:
                    self._results[place] = result
                    self._open -= 1
            whole = not self._open
        if whole:
            self._done(self._number, self._results)


def python() -> list[str]:
    """How another of this Python is started: apart from what its user set up, with names that need not be UTF-8."""
    return [sys.executable or "python3", "-I", "-S", "-X", "utf8"]
