"""Small objects by helper processes: one interpreter asks for some hundred a second, however many cores there are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from drtests.errors import BudgetExceeded
from drtests.protocols.store import ObjectFact
from drtests.stores import fetch_worker
from drtests.stores.client import CONNECTIONS
from drtests.stores.meter import Meter

Job = tuple[ObjectFact, Path]
LARGEST = 1 << 20
"""Bytes: larger ones are worth resuming, and keep no interpreter busy."""
_PLAIN_MD5 = 32
"""Length of an ETag that is an MD5."""
_MANY = 256
"""Objects after which helpers are worth their start."""
_VAIN = 0.5
"""Share of a batch that did not come so: then helpers are asked no more, since each of these is asked for twice."""
_END = 5.0


class Fetcher:
    """Fulfils `Fetcher` of `drtests.protocols.store`. `told` tells what helpers need; None when there can be none."""

    def __init__(self, told: Callable[[], Mapping[str, Any] | None], meter: Meter) -> None:
        self._helpers = len(os.sched_getaffinity(0))
        self._told = told
        self._meter = meter
        self._turn = threading.Lock()
        self._idle: SimpleQueue[subprocess.Popen[bytes] | None] = SimpleQueue()
        self._all: list[subprocess.Popen[bytes]] = []
        self._asked = 0
        self._over = not sys.executable

    def fetch(self, jobs: Sequence[Job]) -> Sequence[str | None]:
        """See `Fetcher`."""
        small = [place for place, (fact, _) in enumerate(jobs) if _fits(fact)]
        with self._turn:
            self._asked += len(jobs)
            wanted = not self._over and self._asked > _MANY
        done: list[str | None] = [None] * len(jobs)
        if wanted and small:
            for place, digest in zip(small, self._by_helper([jobs[place] for place in small]), strict=True):
                done[place] = digest
        return done

    def _by_helper(self, jobs: Sequence[Job]) -> Sequence[str | None]:
        nothing: list[str | None] = [None] * len(jobs)
        try:
            batch = self._meter.batch("a batch of objects", len(jobs), sum(fact.size for fact, _ in jobs))
        except BudgetExceeded:
            # Of single ones some may be affordable; the first that is not is refused by its name.
            return nothing
        with batch:
            helper = self._take()
            if helper is None:
                batch.took(0, 0)
                return nothing
            try:
                requests, size, done = _asked(helper, [_job(*job) for job in jobs])
            except (OSError, ValueError):
                # What it had asked for by then nobody knows: all counts as asked for.
                self._stop()
                return nothing
            batch.took(requests, size)
        self._idle.put(helper)
        if done.count(None) > _VAIN * len(done):
            self._stop()
        return done

    def _take(self) -> subprocess.Popen[bytes] | None:
        """One that has nothing to do; waits when all are busy. None when there are to be none any more."""
        with self._turn:
            if self._over:
                return None
            if len(self._all) < self._helpers:
                return self._started()
        helper = self._idle.get()
        if helper is None:
            # For the next one that waits.
            self._idle.put(None)
        return helper

    def _started(self) -> subprocess.Popen[bytes] | None:
        told = self._told()
        if told is None:
            self._over = True
            return None
        # A session of its own: an interrupt from the terminal is for drtests, which then ends it.
        helper = subprocess.Popen(
            [sys.executable, "-I", fetch_worker.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._all.append(helper)
        with suppress(OSError):
            # That it is gone shows when it is asked.
            _say(helper, {**told, "threads": max(2, CONNECTIONS // self._helpers)})
        return helper

    def _stop(self) -> None:
        with self._turn:
            self._over = True
        self._idle.put(None)

    def close(self) -> None:
        """Ends all helpers, whatever they do."""
        self._stop()
        for helper in self._all:
            helper.kill()
        for helper in self._all:
            helper.wait(_END)
            for pipe in (helper.stdin, helper.stdout):
                if pipe is not None:
                    with suppress(OSError):
                        pipe.close()


def _fits(fact: ObjectFact) -> bool:
    return fact.size <= LARGEST and len(fact.etag) == _PLAIN_MD5 and not fact.deleted


def _job(fact: ObjectFact, path: Path) -> fetch_worker.Job:
    return fact.key, fact.version, fact.etag, str(path), fact.modified.timestamp()


def _say(helper: subprocess.Popen[bytes], what: Any) -> None:
    if helper.stdin is None:
        raise OSError("it has no input")
    helper.stdin.write(json.dumps(what).encode() + b"\n")
    helper.stdin.flush()


def _asked(helper: subprocess.Popen[bytes], jobs: Sequence[fetch_worker.Job]) -> tuple[int, int, list[str | None]]:
    """Raises OSError or ValueError when it fails."""
    _say(helper, jobs)
    requests, size, done = json.loads(helper.stdout.readline() if helper.stdout is not None else b"")
    return int(requests), int(size), list(done)
