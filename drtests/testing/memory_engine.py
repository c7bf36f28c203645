"""An engine that holds its recovery points in memory: for trying the rest of drtests, and the smallest example."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from drtests.errors import (
    EngineTimeout,
    RecoveryPointMissing,
    RepositoryDamaged,
    RepositoryLocked,
    RepositoryMissing,
    WrongPassword,
)
from drtests.model.system import Snapshots
from drtests.protocols.engine import (
    EngineContext,
    IntegrityResult,
    Progress,
    ProgressSink,
    RecoveryPoint,
    RestoreResult,
    Statistics,
)


@dataclass(slots=True)
class MemoryRepository:
    """What one location holds. `contents` is per recovery point's id: path below the destination, and its bytes."""

    password: str = field(repr=False)
    points: list[RecoveryPoint] = field(default_factory=list)
    contents: dict[str, Mapping[str, bytes]] = field(default_factory=dict)
    locked_by: str = ""
    """Holder of an exclusive lock."""
    damaged: set[str] = field(default_factory=set)
    """Paths whose bytes do not match their hashes."""

    def add(self, point: RecoveryPoint, files: Mapping[str, bytes]) -> None:
        """A recovery point, in any order."""
        self.points.append(point)
        self.contents[point.id] = dict(files)


class MemoryEngine:
    """Reads a MemoryRepository; `repositories` is what there is, by location."""

    PASSWORD_VARIABLE: ClassVar[str] = "MEMORY_PASSWORD"  # noqa: S105 - the name of a variable
    repositories: ClassVar[dict[str, MemoryRepository]] = {}

    def __init__(self, context: EngineContext) -> None:
        self._context = context
        self._where = f"repository {context.repository.id!r} ({context.location})"

    def version(self) -> str:
        return "memory 1"

    def recovery_points(self, snapshots: Snapshots) -> Sequence[RecoveryPoint]:
        found = [
            point
            for point in self._open().points
            if snapshots.host in {None, "", point.host}
            and set(snapshots.tags) <= set(point.tags)
            and set(snapshots.paths) <= set(point.paths)
        ]
        return sorted(found, key=lambda point: (point.time, point.id))

    def guard(self) -> None:
        holder = self._open().locked_by
        if holder:
            raise RepositoryLocked(
                f"an exclusive lock is held by {holder}", where=self._where, mend="wait until the holder is done"
            )

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
        repository, started = self._open(), time.monotonic()
        files = {path: data for path, data in self._files(point).items() if _included(path, include)}
        total, done = sum(map(len, files.values())), 0
        for path, data in files.items():
            if time.monotonic() - started >= timeout:
                raise EngineTimeout(
                    f"the restore did not end within {timeout} seconds",
                    where=self._where,
                    mend="declare a longer timeout",
                )
            if path in repository.damaged:
                raise RepositoryDamaged(
                    f"{path} does not match its hash", where=self._where, mend="restore from another copy"
                )
            target = f"{destination}/{path}"
            self._context.host.make_directory(target.rpartition("/")[0])
            self._context.host.write(target, data)
            done += len(data)
            if progress is not None:
                progress(Progress(done, total, "measured"))
        return RestoreResult(time.monotonic() - started, total, len(files))

    def verify(self, part: int, parts: int, timeout: float) -> IntegrityResult:
        repository = self._open()
        paths = sorted({path for files in repository.contents.values() for path in files})
        mine = paths[part - 1 :: parts]
        problems = tuple(f"{path} does not match its hash" for path in mine if path in repository.damaged)
        return IntegrityResult(part, parts, 0.0, problems, len(mine), len(paths))

    def statistics(self, point: RecoveryPoint, timeout: float) -> Statistics:
        files = self._files(point)
        return Statistics(sum(map(len, files.values())), len(files))

    def _open(self) -> MemoryRepository:
        repository = self.repositories.get(self._context.location)
        if repository is None:
            raise RepositoryMissing(
                "there is no repository at the declared location", where=self._where, mend="see `location:`"
            )
        if self._context.environment.get(self.PASSWORD_VARIABLE) != repository.password:
            raise WrongPassword(
                "the repository does not open with this password", where=self._where, mend="see `password:`"
            )
        return repository

    def _files(self, point: RecoveryPoint) -> Mapping[str, bytes]:
        files = self._open().contents.get(point.id)
        if files is None:
            raise RecoveryPointMissing(
                f"there is no recovery point {point.id}", where=self._where, mend="see `drtests plan`"
            )
        return files


def _included(path: str, include: Sequence[str]) -> bool:
    wanted = [one.strip("/") for one in include]
    return not wanted or any(path == one or path.startswith(f"{one}/") for one in wanted)
