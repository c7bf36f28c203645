"""Durations, sizes and instants, written as people write them.

A number without a unit is refused: `rto: 4` could be hours or minutes, and
the difference is the point of the whole exercise.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[smhdw])(?:\s*\d+(?:\.\d+)?[smhdw])*")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_BYTES = {
    "B": 1,
    **{f"{p}B": 1000**n for n, p in enumerate("kMGT", 1)},
    **{f"{p}iB": 1024**n for n, p in enumerate("KMGT", 1)},
}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)")
_LONGEST = timedelta(days=36525)
_LARGEST = 1024**6
_YEARS = range(1900, 2500)
"""Beyond these it is a slip of the pen, and sums of them could not be reckoned with."""


def parse_duration(value: object) -> timedelta:
    """`4h`, `15m`, `1d`, `1h30m`, `90s`, `2w`. Raises ValueError without a unit, or beyond 100 years."""
    if isinstance(value, timedelta):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value == 0:
        return timedelta(0)
    text = str(value).strip()
    if not _DURATION.fullmatch(text):
        hint = " (a number without a unit)" if re.fullmatch(r"\d+(\.\d+)?", text) else ""
        raise ValueError(f"{_said(value)} is not a duration{hint}; write e.g. 30s, 15m, 4h, 1d, 1h30m or 2w")
    seconds = sum(float(n) * _SECONDS[u] for n, u in _DURATION_PART.findall(text))
    if seconds > _LONGEST.total_seconds():
        raise ValueError(f"{_said(value)} is longer than 100 years; look at the number and its unit")
    return timedelta(seconds=seconds)


def _said(value: object) -> str:
    """As the person wrote it; of lists and mappings only what they are."""
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = str(value).lower() if isinstance(value, bool) else str(value).strip()
    return repr(text if len(text) <= 80 else text[:77] + "...")


def format_duration(seconds: float) -> str:
    """Seconds as people write them, two units at most: `1h30m`, `2d4h`, `0.8s`."""
    if seconds < 0:
        return "-" + format_duration(-seconds)
    if seconds < 60:
        return f"{seconds:.1f}".rstrip("0").rstrip(".") + "s"
    left = round(seconds)
    parts: list[str] = []
    for unit, size in (("w", 604800), ("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if unit == "w" and left % size:
            continue
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
        if len(parts) == 2:
            break
    return "".join(parts)


def parse_size(value: object) -> int:
    """`512MiB`, `1.5GB`, `20kB` in bytes. Raises ValueError without a unit, or beyond 1 EiB."""
    if isinstance(value, int) and not isinstance(value, bool) and value == 0:
        return 0
    match = _SIZE.fullmatch(str(value).strip())
    if not match or match[2] not in _BYTES:
        raise ValueError(f"{_said(value)} is not a size; write e.g. 500B, 20kB, 512MiB or 1.5GB")
    size = float(match[1]) * _BYTES[match[2]]
    if size > _LARGEST:
        raise ValueError(f"{_said(value)} is larger than 1 EiB; look at the number and its unit")
    return int(size)


def format_size(count: float) -> str:
    """Bytes as people write them: `1.2 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def parse_instant(value: object) -> datetime:
    """ISO 8601 with an explicit zone. Raises ValueError for a time of no zone, or before 1900 or after 2499."""
    if isinstance(value, datetime):
        moment = value
    else:
        try:
            moment = datetime.fromisoformat(str(value).strip())
        except ValueError:
            raise ValueError(f"{_said(value)} is not a time; write e.g. 2026-03-01T04:00:00+01:00") from None
    if moment.tzinfo is None:
        raise ValueError(f"{_said(value)} has no time zone; add Z or an offset such as +01:00")
    if moment.year not in _YEARS:
        raise ValueError(f"{_said(value)} is not a time of these centuries; look at the year")
    return moment


def utc_text(moment: datetime) -> str:
    """The one form in which times are written into evidence: UTC, milliseconds, `Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _duration_json(value: timedelta) -> str:
    return format_duration(value.total_seconds())


def _schema(pattern: str, description: str, example: str) -> dict[str, Any]:
    return {"type": "string", "pattern": pattern, "description": description, "examples": [example]}


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(_duration_json, return_type=str),
    WithJsonSchema(_schema(r"^\s*(\d+(\.\d+)?[smhdw]\s*)+$", "a duration with its unit", "4h")),
]
Size = Annotated[
    int,
    BeforeValidator(parse_size),
    WithJsonSchema(_schema(r"^\s*\d+(\.\d+)?\s*(B|[kMGT]B|[KMGT]iB)\s*$", "a size with its unit", "20MiB")),
]
Instant = Annotated[
    datetime,
    BeforeValidator(parse_instant),
    PlainSerializer(utc_text, return_type=str),
    WithJsonSchema(
        _schema(
            r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)$",
            "a time with its zone (ISO 8601)",
            "2026-03-01T04:00:00+01:00",
        )
    ),
]
