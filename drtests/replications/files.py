"""files: a folder that some job keeps a copy of, on this host or another."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, Field, model_validator

from drtests.errors import HostError, UsageError
from drtests.model.base import Declaration, HostId
from drtests.model.units import Duration
from drtests.protocols.host import FileFact, Host
from drtests.protocols.reach import Reach
from drtests.protocols.replication import Behind, Compared, Identity, Skew
from drtests.replications.clocks import skew_of
from drtests.replications.marking import is_stale, new_run

_SHOWN = 5
_SMALL = 64
_CLOCK = ("date", "+%s.%N")


class Folder(Declaration):
    """A folder on a host."""

    host: HostId | None = None
    """The machine that runs drtests when not given."""
    path: str = Field(pattern="^/")
    """Its whole path there."""


class FilesReplicationSpec(Declaration):
    """Options of `files`."""

    source: Folder
    replica: Folder
    marker: str = Field(default=".drtests-marker", pattern=r"^[A-Za-z0-9._-]+$")
    """Name of the file that is written at the source when markers are declared; what is there already is never
    overwritten, unless a drill left it that was killed more than a day ago."""
    compare: Literal["names", "checksum"] | None = None
    """What is compared: which files there are and how large, or also what is in them."""
    settled: Duration = timedelta(minutes=10)
    """Files that changed at the source since then may still be on their way: differences in them do not count."""

    @model_validator(mode="after")
    def _two(self) -> FilesReplicationSpec:
        if self.source == self.replica:
            raise ValueError("`source` and `replica` are the same; give two folders")
        return self


class FilesReplication:
    """Only a marker writes, and only at the source: one small file, removed again."""

    Spec: ClassVar[type[BaseModel]] = FilesReplicationSpec
    marks: ClassVar[bool] = True
    steady: ClassVar[bool] = False

    def __init__(self, spec: FilesReplicationSpec, reach: Reach) -> None:
        self._spec = spec
        self._source = reach.host(spec.source.host)
        self._replica = reach.host(spec.replica.host)
        self._marker = posixpath.join(spec.source.path, spec.marker)
        self._run = new_run()
        self._seen: int | None = None
        self._writing = False

    def identify(self) -> Identity:
        places = {"source": (self._source, self._spec.source), "replica": (self._replica, self._spec.replica)}
        facts: dict[str, Any] = {}
        problems = []
        for name, (host, folder) in places.items():
            real = host.resolve(folder.path)
            facts[name] = {"host": host.id, "path": real}
            if not host.exists(real):
                problems.append(f"there is no folder {folder.path} on host {host.id}: the {name} is not there")
        if facts["source"] == facts["replica"]:
            problems.append("source and replica are one and the same folder")
        return Identity(facts, tuple(problems))

    def skew(self) -> Skew | None:
        if self._source.id == self._replica.id:
            return None
        return skew_of(lambda: _clock(self._source), lambda: _clock(self._replica))

    def begin(self) -> None:
        if self._source.exists(self._marker):
            run, _ = _marked(self._source, self._marker)
            if not is_stale(run):
                raise HostError(
                    f"{self._marker} is there already",
                    where=f"host {self._source.id}",
                    mend="another drill uses it, or one that was killed left it: remove it, or give another `marker`",
                )
        self._writing = True
        # From now on another drill sees that it is taken.
        self.mark(0)

    def mark(self, number: int) -> None:
        if not self._writing:
            raise UsageError("markers are written after `begin` only")
        self._source.write(self._marker, f"{self._run} {number}\n".encode(), 0o644)

    def newest(self) -> int | None:
        folder = self._spec.replica.path
        at = posixpath.join(folder, self._spec.marker)
        if not self._replica.exists(at):
            if not self._replica.exists(folder):
                raise HostError(
                    f"there is no folder {folder}", where=f"host {self._replica.id}", mend="see whether it is mounted"
                )
            self._seen = None
            return None
        run, number = _marked(self._replica, at)
        if run:
            # What another drill wrote may stay for ever where the job deletes nothing; and 0 is no marker yet.
            self._seen = number or None if run == self._run else None
        # Else it is just being copied, over what had arrived.
        return self._seen

    def behind(self) -> Behind:
        """By the newest modification on both sides: an estimate, since copying may keep times or not."""
        if self._writing:
            return Behind(None, None)
        newest = [
            max((fact.mtime for fact in self._files(host, folder).values()), default=None)
            for host, folder in ((self._source, self._spec.source), (self._replica, self._spec.replica))
        ]
        if newest[0] is None or newest[1] is None:
            return Behind(None, None)
        return Behind(round(max(0.0, newest[0] - newest[1]), 6), None)

    def _files(self, host: Host, folder: Folder) -> Mapping[str, FileFact]:
        facts = host.scan(folder.path)
        return {fact.path: fact for fact in facts if fact.kind == "file" and fact.path != self._spec.marker}

    def compare(self) -> Sequence[Compared]:
        if self._spec.compare is None:
            return ()
        before = _clock(self._source) - self._spec.settled.total_seconds()
        here, there = self._files(self._source, self._spec.source), self._files(self._replica, self._spec.replica)
        settled = {path: fact for path, fact in here.items() if fact.mtime < before}
        missing = sorted(settled.keys() - there.keys())
        other = sorted(path for path in settled.keys() & there.keys() if settled[path].size != there[path].size)
        if self._spec.compare == "checksum":
            same_size = sorted(settled.keys() & there.keys() - set(other))
            ours = dict(self._source.digests(self._spec.source.path, same_size))
            theirs = dict(self._replica.digests(self._spec.replica.path, same_size))
            other += [path for path in same_size if ours.get(path) != theirs.get(path)]
        facts = {"settled": len(settled), "missing": len(missing), "different": len(other)}
        shown = ", ".join([*missing, *other][:_SHOWN])
        if not settled:
            return (Compared(self._spec.source.path, None, "no file there is old enough to be compared", facts),)
        detail = f"{len(missing)} files are missing and {len(other)} differ: {shown}" if missing or other else ""
        return (Compared(self._spec.source.path, not (missing or other), detail, facts),)

    def end(self) -> Sequence[str]:
        if not self._writing:
            return ()
        self._source.remove_tree(self._marker)
        self._writing = False
        name = posixpath.join(self._spec.replica.path, self._spec.marker)
        try:
            there = self._replica.exists(name)
        except HostError as error:
            return (f"perhaps {name} at the replica, which does not tell: {error.what}",)
        return (f"{name} at the replica, for good where the copy job deletes nothing",) if there else ()


def _marked(host: Host, path: str) -> tuple[str, int | None]:
    """Of which drill a marker is, and its number; empty when it is none, or only half of one."""
    text = host.read(path, _SMALL).decode(errors="replace")
    run, _, number = text.removesuffix("\n").partition(" ")
    # Without its end it may be a part of a longer number.
    return (run, int(number)) if number.isdecimal() and text.endswith("\n") else ("", None)


def _clock(host: Host) -> float:
    result = host.run(_CLOCK, timeout=30)
    try:
        return float(result.stdout.strip())
    except ValueError:
        raise HostError(f"host {host.id} does not tell its time: {result.stderr.strip()[-200:]}") from None
