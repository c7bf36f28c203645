"""marker: how much data is lost, told by the newest marker in the restored copy itself."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, Field, model_validator

from drtests.checks.databases import Unusable, opened
from drtests.checks.files import CLOCK_TOLERANCE
from drtests.checks.places import RelativePath, matches, place
from drtests.checks.running import first, running
from drtests.errors import DatabaseDamaged, DrtestsError
from drtests.model.base import DatabaseId, Declaration
from drtests.model.units import Duration, format_duration, utc_text
from drtests.model.verdict import Verdict
from drtests.protocols.check import Judgement, Objective, Observation, Resources

_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_LARGEST = 4096
_LATEST = 32503680000.0
"""The year 3000: beyond it a number is not seconds (it may be milliseconds)."""


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name!r} is not a time zone; write e.g. UTC or Europe/Amsterdam") from None
    return name


class SqliteMarker(Declaration):
    """A row."""

    path: RelativePath
    query: str = Field(min_length=1)
    """Gives the newest marker: ISO 8601 text, or seconds since 1970."""
    timeout: Duration = timedelta(minutes=5)


class FileMarker(Declaration):
    """A file whose content is a time."""

    path: RelativePath


class FilesMarker(Declaration):
    """The newest modification time of files."""

    path: RelativePath
    """A file, a directory or a pattern, as in the `files` check."""


class SqlMarker(Declaration):
    """A row of a restored database that runs."""

    database: DatabaseId
    """Of the system's `databases`."""
    query: str = Field(min_length=1)
    """Gives the newest marker: ISO 8601 text, or seconds since 1970. Of Redis a command."""
    timeout: Duration = timedelta(minutes=5)


class MarkerSpec(Declaration):
    """Options of `marker`; one of `sql`, `sqlite`, `file` and `files`."""

    sql: SqlMarker | None = None
    sqlite: SqliteMarker | None = None
    file: FileMarker | None = None
    files: FilesMarker | None = None
    zone: Annotated[str, AfterValidator(_zone)] | None = None
    """IANA name of the zone of times that are written without one; such times are refused when not given."""

    @model_validator(mode="after")
    def _one(self) -> MarkerSpec:
        if sum(source is not None for source in (self.sql, self.sqlite, self.file, self.files)) != 1:
            raise ValueError("give exactly one of `sql`, `sqlite`, `file` and `files`")
        return self


class MarkerCheck:
    """Data loss: from the newest marker to the moment of the disaster, against the RPO.

    A marker that is not there is a miss: data that should have come back did not.
    Without an RPO the loss is measured and nothing is judged.
    """

    Spec: ClassVar[type[BaseModel]] = MarkerSpec

    def __init__(self, spec: MarkerSpec) -> None:
        self._spec = spec

    @property
    def title(self) -> str:
        if self._spec.sql is not None:
            return f"newest marker in database {self._spec.sql.database}"
        source = self._spec.sqlite or self._spec.file or self._spec.files
        return f"newest marker in {source.path if source else '?'}"

    @property
    def proves_data(self) -> bool:
        """Modification times say nothing of content."""
        return self._spec.files is None

    def observe(self, resources: Resources) -> Observation:
        seen: dict[str, Any] = {"newest": None, "newest_at": None, "absent": ""}
        try:
            newest = self._newest(resources)
        except Unusable as reason:
            return seen | {"absent": str(reason)}
        return seen | {"newest": newest, "newest_at": utc_text(datetime.fromtimestamp(newest, UTC))}

    def _newest(self, resources: Resources) -> float:
        if self._spec.sql is not None:
            return self._row(self._spec.sql, resources)
        if self._spec.sqlite is not None:
            source = self._spec.sqlite
            with opened(resources, source.path, source.timeout.total_seconds()) as database:
                value = first(database.rows(source.query, 1))
            if value is None:
                raise Unusable(f"{source.path} holds no marker")
            return self._time(value, source.path)
        if self._spec.file is not None:
            path = self._spec.file.path
            at = place(resources, path)
            if not resources.host.exists(at):
                raise Unusable(f"{path} is not in the restored copy")
            text = resources.host.read(at, _LARGEST).decode("utf-8", errors="replace").strip()
            if not text:
                raise Unusable(f"{path} is empty")
            return self._time(text, path)
        pattern = self._spec.files.path if self._spec.files else "."
        newest = max((match.mtime for match in matches(resources, pattern)), default=None)
        if newest is None:
            raise Unusable(f"no file {pattern} in the restored copy")
        return newest

    def _row(self, source: SqlMarker, resources: Resources) -> float:
        where = f"database {source.database}"
        session = running(resources, source.database).session
        try:
            value = first(session.query(source.query, source.timeout.total_seconds()))
        except DatabaseDamaged as error:
            raise Unusable(error.what) from None
        if value is None:
            raise Unusable(f"{where} holds no marker")
        return self._time(value, where)

    def _time(self, value: Any, where: str) -> float:
        """Seconds since 1970. The value itself is not repeated in an error: it is restored data."""
        text = str(value).strip()
        if isinstance(value, (int, float)) or _NUMBER.fullmatch(text):
            seconds = float(text)
            if not 0 < seconds < _LATEST:
                raise DrtestsError(
                    f"the marker in {where} is not in seconds since 1970",
                    where=where,
                    mend="let it hold seconds (not milliseconds), or ISO 8601 text",
                )
            return seconds
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise DrtestsError(
                f"the marker in {where} is not a time",
                where=where,
                mend="write 2026-03-01T04:00:00Z or seconds since 1970",
            ) from None
        if moment.tzinfo is None:
            if self._spec.zone is None:
                raise DrtestsError(
                    f"the marker in {where} is a time without a zone",
                    where=where,
                    mend="write it with Z or an offset, or declare its `zone`, e.g. `zone: UTC`",
                )
            moment = moment.replace(tzinfo=ZoneInfo(self._spec.zone))
        return moment.timestamp()

    def judge(self, observation: Observation, objective: Objective) -> Judgement:
        if observation["newest"] is None:
            return Judgement(Verdict.MISSED, str(observation["absent"]))
        loss = objective.moment.timestamp() - float(observation["newest"])
        if loss < -CLOCK_TOLERANCE:
            later = format_duration(-loss)
            reason = f"the newest marker is {later} after the disaster: a wrong clock, or not the restored copy"
            return Judgement(Verdict.INCONCLUSIVE, reason)
        loss = max(loss, 0.0)
        said = f"data loss {format_duration(loss)} (newest marker {observation['newest_at']})"
        if objective.rpo is None:
            return Judgement(Verdict.INCONCLUSIVE, f"{said}, and no RPO to hold it against", loss)
        allowed = objective.rpo.total_seconds()
        verdict = Verdict.MET if loss <= allowed else Verdict.MISSED
        return Judgement(verdict, f"{said}, RPO {format_duration(allowed)}", loss)
