"""backup-copy: a repository that recovery points are copied to from another, compared point by point."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from pydantic import BaseModel, model_validator

from drtests.errors import UsageError
from drtests.model.base import Declaration, RepositoryId
from drtests.model.system import Snapshots
from drtests.model.units import Duration, format_duration, utc_text
from drtests.protocols.capabilities import TellsPlace
from drtests.protocols.engine import Engine, RecoveryPoint
from drtests.protocols.reach import Reach
from drtests.protocols.replication import Behind, Compared, Identity, Skew

_SHOWN = 5


class BackupCopySpec(Declaration):
    """Options of `backup-copy`."""

    source: RepositoryId
    """The repository that backups are made to."""
    replica: RepositoryId
    """The one that they are copied to, such as by `restic copy`."""
    snapshots: Snapshots = Snapshots()
    """Which recovery points are this system's."""
    complete: Duration = timedelta(days=7)
    """How far back no recovery point may be missing from the copy; older ones may have been forgotten there."""

    @model_validator(mode="after")
    def _two(self) -> BackupCopySpec:
        if self.source == self.replica:
            raise ValueError("`source` and `replica` are the same; give two repositories")
        return self


class BackupCopy:
    """Points are the same when time, host and paths are: restic's own copying changes ids, and a mirror of all files
    of a repository keeps them. One look tells all."""

    Spec: ClassVar[type[BaseModel]] = BackupCopySpec
    marks: ClassVar[bool] = False
    steady: ClassVar[bool] = True

    def __init__(self, spec: BackupCopySpec, reach: Reach) -> None:
        self._spec = spec
        self._primary = reach.engine(spec.source)
        self._copy = reach.engine(spec.replica)
        self._seen: tuple[Sequence[RecoveryPoint], Sequence[RecoveryPoint]] | None = None

    def _points(self) -> tuple[Sequence[RecoveryPoint], Sequence[RecoveryPoint]]:
        """Of the primary and of the copy, oldest first. The copy is read last: what comes meanwhile is no lag."""
        if self._seen is None:
            chosen = self._spec.snapshots
            self._seen = self._primary.recovery_points(chosen), self._copy.recovery_points(chosen)
        return self._seen

    def identify(self) -> Identity:
        primary, copy = self._points()
        facts: dict[str, Any] = {
            "source": _told(self._spec.source, self._primary.version(), primary),
            "replica": _told(self._spec.replica, self._copy.version(), copy),
        }
        problems = []
        places = [_place(engine) for engine in (self._primary, self._copy)]
        if places[0] is not None and places[0] == places[1]:
            problems.append(f"both repositories are one: {places[0]}")
        elif primary and {point.id for point in primary} & {point.id for point in copy}:
            facts["copied by"] = "mirroring all files of the repository: ids are the same, in another place"
        if not primary:
            problems.append("the primary holds no recovery point of this system")
        elif not copy:
            problems.append("the copy holds no recovery point of this system")
        return Identity(facts, tuple(problems))

    def skew(self) -> Skew | None:
        return None

    def begin(self) -> None:
        raise UsageError("no markers are written to repositories")

    def mark(self, number: int) -> None:
        self.begin()

    def newest(self) -> int | None:
        """There are no markers; that the copy was asked tells whether it is the one that is silent."""
        self._copy.recovery_points(self._spec.snapshots)
        return None

    def behind(self) -> Behind:
        """Age of the oldest point that was made since the newest one that is in the copy, and is not in it."""
        primary, copy = self._points()
        there = {_key(point) for point in copy}
        common = [number for number, point in enumerate(primary) if _key(point) in there]
        waiting = primary[common[-1] + 1 :] if common else primary
        if not waiting:
            return Behind(0.0 if primary else None, None, "measured")
        return Behind(max(0.0, (datetime.now(UTC) - waiting[0].time).total_seconds()), None, "measured")

    def compare(self) -> Sequence[Compared]:
        primary, copy = self._points()
        since = datetime.now(UTC) - self._spec.complete
        there = {_key(point) for point in copy}
        newest = max((point.time for point in primary if _key(point) in there), default=None)
        recent = [point for point in primary if point.time >= since]
        # What is newer than all that was copied is lag, and told as such.
        missing = [p for p in recent if _key(p) not in there and (newest is None or p.time < newest)]
        what = f"recovery points of the last {format_duration(self._spec.complete.total_seconds())}"
        facts = {"primary": len(recent), "missing": [utc_text(point.time) for point in missing[:_SHOWN]]}
        if not recent:
            return (Compared(what, None, "the primary has none", facts),)
        if newest is None:
            return (Compared(what, False, f"are missing from the copy, all {len(recent)} of them", facts),)
        detail = f"{len(missing)} of {len(recent)} are missing from the copy" if missing else ""
        return (Compared(what, not missing, detail, facts),)

    def end(self) -> None:
        """Nothing was written."""


def _key(point: RecoveryPoint) -> tuple[Any, ...]:
    return point.time, point.host, point.paths


def _told(repository: str, version: str, points: Sequence[RecoveryPoint]) -> dict[str, Any]:
    newest = utc_text(points[-1].time) if points else None
    return {"repository": repository, "engine": version, "recovery points": len(points), "newest": newest}


def _place(engine: Engine) -> str | None:
    """None where the engine does not tell."""
    return engine.place() if isinstance(engine, TellsPlace) else None
