"""files: whether files are there, enough of them, large and new enough, with the right content."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, Field, model_validator

from drtests.checks.places import RelativePath, matches
from drtests.errors import HostError
from drtests.model.base import Declaration, Flag
from drtests.model.units import Duration, Size, format_duration, format_size, utc_text
from drtests.model.verdict import Verdict, combine
from drtests.protocols.check import Judgement, Objective, Observation, Resources

CLOCK_TOLERANCE = 5.0
"""Seconds that clocks of two machines may differ."""


class FilesSpec(Declaration):
    """Options of `files`; at least one criterion."""

    path: RelativePath
    """A file, a directory (all files below it) or a pattern (`*`, `?`, `[...]`, `**`)."""
    exist: Flag | None = None
    """True: at least one file. False: none."""
    min_count: Annotated[int, Field(ge=1)] | None = None
    min_size: Size | None = None
    """Of all of them together."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """Of the one file that `path` stands for."""
    newest_within: Duration | None = None
    """The newest was changed at most so long before the disaster."""

    @model_validator(mode="after")
    def _criterion(self) -> FilesSpec:
        criteria = (self.exist, self.min_count, self.min_size, self.sha256, self.newest_within)
        if all(criterion is None for criterion in criteria):
            raise ValueError("give at least one of `exist`, `min_count`, `min_size`, `sha256`, `newest_within`")
        if self.exist is False and any(criterion is not None for criterion in criteria[1:]):
            raise ValueError("`exist: false` goes with no other criterion")
        return self


class FilesCheck:
    """Looks at the files that a path or pattern stands for."""

    Spec: ClassVar[type[BaseModel]] = FilesSpec

    def __init__(self, spec: FilesSpec) -> None:
        self._spec = spec

    @property
    def title(self) -> str:
        return f"files {self._spec.path}"

    @property
    def proves_data(self) -> bool:
        return self._spec.sha256 is not None

    def observe(self, resources: Resources) -> Observation:
        count = size = 0
        newest: float | None = None
        only = ""
        for match in matches(resources, self._spec.path):
            count += 1
            size += match.size
            newest = match.mtime if newest is None else max(newest, match.mtime)
            only = match.path
        seen: dict[str, Any] = {"count": count, "bytes": size, "newest": newest, "sha256": None}
        if newest is not None:
            seen["newest_at"] = utc_text(datetime.fromtimestamp(newest, UTC))
        if self._spec.sha256 is not None and count == 1:
            directory, _, name = only.rpartition("/")
            digests = dict(resources.host.digests(directory, [name]))
            if name not in digests:
                raise HostError(f"no hash of {self._spec.path} was returned", where=f"host {resources.host.id}")
            seen["sha256"] = digests[name]
        return seen

    def judge(self, observation: Observation, objective: Objective) -> Judgement:
        spec = self._spec
        count, size = int(observation["count"]), int(observation["bytes"])
        if spec.exist is False:
            if count:
                return Judgement(Verdict.MISSED, f"{count} files where none should be")
            return Judgement(Verdict.MET, "not there, as it should be")
        if not count:
            return Judgement(Verdict.MISSED, f"no file {spec.path} in the restored copy")
        judged: list[tuple[Verdict, str]] = [(Verdict.MET, f"{count} files, {format_size(size)}")]
        if spec.min_count is not None and count < spec.min_count:
            judged.append((Verdict.MISSED, f"{count} files, at least {spec.min_count} expected"))
        if spec.min_size is not None and size < spec.min_size:
            judged.append((Verdict.MISSED, f"{format_size(size)}, at least {format_size(spec.min_size)} expected"))
        if spec.sha256 is not None:
            judged.append(self._content(count, observation["sha256"]))
        if spec.newest_within is not None:
            judged.append(_age(float(observation["newest"]), spec.newest_within.total_seconds(), objective))
        verdict = combine(one for one, _ in judged)
        return Judgement(verdict, "; ".join(reason for one, reason in judged if one is verdict))

    def _content(self, count: int, found: str | None) -> tuple[Verdict, str]:
        if count != 1:
            return Verdict.MISSED, f"{count} files where the hash of one is expected"
        if found != self._spec.sha256:
            return Verdict.MISSED, "the content differs from what the hash says"
        return Verdict.MET, "the content is what the hash says"


def _age(newest: float, allowed: float, objective: Objective) -> tuple[Verdict, str]:
    age = objective.moment.timestamp() - newest
    if age < -CLOCK_TOLERANCE:
        later = format_duration(-age)
        return (
            Verdict.INCONCLUSIVE,
            f"the newest was changed {later} after the disaster: a wrong clock, or not restored",
        )
    if age > allowed:
        return (
            Verdict.MISSED,
            f"the newest was changed {format_duration(age)} before the disaster, {format_duration(allowed)} allowed",
        )
    return Verdict.MET, f"the newest was changed {format_duration(max(age, 0))} before the disaster"
