"""The bucket adapter: a bucket that keeps versions is a repository of recovery points."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, TypeVar

from drtests.engines.bucket.state import batches, file_of, moments, of_part, state_at, wanted
from drtests.errors import (
    DiskFull,
    DrtestsError,
    EngineError,
    EngineTimeout,
    HostError,
    ObjectDamaged,
    RecoveryPointMissing,
    StoreError,
    StoreUnversioned,
)
from drtests.model.system import Snapshots
from drtests.model.units import format_duration, utc_text
from drtests.protocols.engine import (
    EngineContext,
    IntegrityResult,
    Progress,
    ProgressSink,
    RecoveryPoint,
    RestoreResult,
    Statistics,
)
from drtests.protocols.store import Fetcher, FetchesMany, ObjectFact, Store

_WORKERS = 16
_WAITING = 2 * _WORKERS
"""What may wait for a worker: bounds the memory, whatever the bucket holds."""
_Item = TypeVar("_Item")
_PROBLEMS = 20


class BucketEngine:
    """Restores a bucket as it was at a moment, each object checked against the hash that the store holds of it.

    A recovery point is a second in which something changed. Where the bucket
    keeps no versions there is one: its present state. Runs in the process of
    drtests, so it restores to local stagings only.
    """

    PASSWORD_VARIABLE: ClassVar[str] = ""

    def __init__(self, context: EngineContext) -> None:
        self._context = context
        self._where = f"repository {context.repository.id!r} ({context.location})"

    @property
    def _store(self) -> Store:
        if self._context.store is None:
            raise EngineError(
                "no store is declared for the bucket",
                where=self._where,
                mend="declare the bucket under `stores` in targets/estate.yaml, and name it as the repository's store",
            )
        return self._context.store

    def version(self) -> str:
        return f"bucket {self._store.version()}"

    def guard(self) -> None:
        """Nobody can lock a bucket."""

    def recovery_points(self, snapshots: Snapshots) -> Sequence[RecoveryPoint]:
        bucket = self._store.bucket
        if snapshots.tags or snapshots.host not in (None, bucket):
            return ()
        prefixes = [self._store.prefix + path.lstrip("/") for path in snapshots.paths] or [self._store.prefix]
        found = [self._moments(prefix) for prefix in prefixes]
        # All of the paths have to have something: what one lacks is no recovery point of the system.
        times = sorted(set().union(*found)) if all(found) else []
        return tuple(self._point(moment, snapshots.paths or ("/",)) for moment in times)

    def _moments(self, prefix: str) -> Sequence[datetime]:
        try:
            return moments(self._store.versions(prefix))
        except StoreUnversioned:
            newest = max((fact.modified for fact in self._store.objects(prefix)), default=None)
            return () if newest is None else moments([ObjectFact("", 0, newest, "")])

    def _point(self, moment: datetime, paths: Sequence[str]) -> RecoveryPoint:
        name = hashlib.sha256(f"{self._store.bucket}/{self._store.prefix}@{utc_text(moment)}".encode()).hexdigest()
        return RecoveryPoint(name, moment.astimezone(UTC), self._store.bucket, tuple(paths))

    def _known(self, point: RecoveryPoint) -> None:
        """Raises RecoveryPointMissing when it is none of this bucket's."""
        if point.id != self._point(point.time, point.paths).id:
            raise RecoveryPointMissing(
                f"recovery point {point.id[:8]} is none of this bucket", where=self._where, mend="list them anew"
            )

    def _state(self, moment: datetime) -> Iterator[ObjectFact]:
        prefix = self._store.prefix
        try:
            yield from state_at(self._store.versions(prefix), moment)
        except StoreUnversioned:
            for fact in self._store.objects(prefix):
                if fact.modified > moment:
                    raise RecoveryPointMissing(
                        f"{fact.key} changed since {utc_text(moment)}, and the bucket keeps no versions",
                        where=self._where,
                        mend="turn versioning on; until then only the present state can be restored",
                    ) from None
                yield fact

    def restore(
        self,
        point: RecoveryPoint,
        destination: str,
        *,
        include: Sequence[str] = (),
        verify: bool = False,
        timeout: float,
        progress: ProgressSink | None = None,
    ) -> RestoreResult:
        local = self._context.host.local_path(destination)
        if local is None:
            raise HostError(
                f"host {self._context.host.id} is not this machine, and a bucket is restored by the machine that runs "
                "drtests",
                mend="give the system a staging on a local host",
            )
        self._known(point)
        began = time.monotonic()
        prefix, paths = self._store.prefix, include or [path for path in point.paths if path != "/"]
        facts = (fact for fact in self._state(point.time) if wanted(fact.key, prefix, paths))
        done, doubts = _Done(progress), _Doubts()

        def bring(batch: Sequence[ObjectFact], fetcher: Fetcher | None) -> None:
            jobs = [(fact, local / file_of(fact.key, prefix)) for fact in batch]
            fetched = fetcher.fetch(jobs) if fetcher is not None else [None] * len(jobs)
            for (fact, target), known in zip(jobs, fetched, strict=True):
                digest = known or self._brought(fact, target, doubts.add)
                if verify and _digest(target) != digest:
                    raise ObjectDamaged(f"{fact.key} reads differently than it was written", where=str(target))
                done.add(fact.size)

        def folders_made() -> Iterator[ObjectFact]:
            for fact in facts:
                if fact.key.endswith("/"):
                    (local / file_of(fact.key, prefix)).mkdir(parents=True, exist_ok=True)
                else:
                    yield fact

        with _fetching(self._store) as fetcher:
            self._each(batches(folders_made()), lambda batch: bring(batch, fetcher), began + timeout, timeout)
        return RestoreResult(time.monotonic() - began, done.bytes, done.files, doubts.count, doubts.why)

    def _brought(self, fact: ObjectFact, target: Path, unproved: Callable[[str], None]) -> str:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            digest = self._store.download(fact, target, unproved)
            os.utime(target, (fact.modified.timestamp(), fact.modified.timestamp()))
        except OSError as error:
            if error.errno in (28, 122):
                raise DiskFull(
                    f"no room for {fact.key}", where=str(target), mend="give the staging more room"
                ) from None
            raise EngineError(
                f"{fact.key} cannot be written: {error.strerror}",
                where=str(target),
                mend="an object and a folder of the same name cannot both be files: leave one out by `include`",
            ) from None
        return digest

    def verify(self, part: int, parts: int, timeout: float) -> IntegrityResult:
        began = time.monotonic()
        problems: list[str] = []
        read = total = 0
        turn, doubts = threading.Lock(), _Doubts()

        def facts() -> Iterator[ObjectFact]:
            nonlocal total
            for fact in self._state(datetime.now(UTC)):
                total += 1
                if not fact.key.endswith("/") and of_part(fact.key, part, parts):
                    yield fact

        with tempfile.TemporaryDirectory(prefix="drtests-bucket-") as folder:

            def look(fact: ObjectFact) -> None:
                nonlocal read
                handle, name = tempfile.mkstemp(dir=folder)
                os.close(handle)
                try:
                    self._store.download(fact, Path(name), doubts.add)
                except ObjectDamaged as error:
                    with turn:
                        problems.append(error.what)
                finally:
                    Path(name).unlink(missing_ok=True)
                with turn:
                    read += 1

            self._each(facts(), look, began + timeout, timeout)
        seconds, found = time.monotonic() - began, tuple(sorted(problems)[:_PROBLEMS])
        return IntegrityResult(part, parts, seconds, found, read, total, doubts.count, doubts.why)

    def statistics(self, point: RecoveryPoint, timeout: float) -> Statistics:
        self._known(point)
        deadline = time.monotonic() + timeout
        size = files = 0
        with self._bounded(deadline, timeout):
            for fact in self._state(point.time):
                self._in_time(deadline, timeout)
                size, files = size + fact.size, files + (not fact.key.endswith("/"))
        return Statistics(size, files)

    def _each(self, items: Iterable[_Item], work: Callable[[_Item], None], deadline: float, timeout: float) -> None:
        """Does the work for all, several at a time. The first that fails ends it; nothing is left running."""
        waiting: deque[Future[None]] = deque()
        with self._bounded(deadline, timeout), ThreadPoolExecutor(_WORKERS) as pool:
            try:
                for item in items:
                    self._in_time(deadline, timeout)
                    waiting.append(pool.submit(work, item))
                    if len(waiting) >= _WAITING:
                        waiting.popleft().result()
                while waiting:
                    self._in_time(deadline, timeout)
                    waiting.popleft().result(max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                raise self._late(timeout) from None
            finally:
                for future in waiting:
                    future.cancel()

    @contextmanager
    def _bounded(self, deadline: float, timeout: float) -> Iterator[None]:
        """At the deadline whatever waits for the store is ended: a server that trickles would never be late."""
        late = threading.Event()

        def stop() -> None:
            late.set()
            self._store.abandon()

        timer = threading.Timer(max(0.0, deadline - time.monotonic()), stop)
        timer.daemon = True
        timer.start()
        try:
            yield
        except StoreError:
            if late.is_set():
                raise self._late(timeout) from None
            raise
        finally:
            timer.cancel()

    def _in_time(self, deadline: float, timeout: float) -> None:
        if time.monotonic() > deadline:
            raise self._late(timeout)

    def _late(self, timeout: float) -> DrtestsError:
        return EngineTimeout(
            f"reading the bucket did not end within {format_duration(timeout)}",
            where=self._where,
            mend="see whether the store answers; if it is only slow, declare a longer timeout",
        )


def _fetching(store: Store) -> AbstractContextManager[Fetcher | None]:
    return store.fetching() if isinstance(store, FetchesMany) else nullcontext()


class _Doubts:
    """Counts what could be held against no hash."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self.count = 0
        self.why = ""

    def add(self, why: str) -> None:
        with self._turn:
            self.count += 1
            self.why = self.why or why


class _Done:
    """Counts what was restored, and tells it on."""

    def __init__(self, sink: ProgressSink | None) -> None:
        self._sink = sink
        self._turn = threading.Lock()
        self.bytes = 0
        self.files = 0

    def add(self, size: int) -> None:
        with self._turn:
            self.bytes += size
            self.files += 1
            if self._sink is not None:
                self._sink(Progress(self.bytes, None, "measured"))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
