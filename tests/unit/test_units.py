"""Durations, sizes and instants, as people write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drtests.model.units import format_duration, format_size, parse_duration, parse_instant, parse_size, utc_text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30s", timedelta(seconds=30)),
        ("15m", timedelta(minutes=15)),
        ("4h", timedelta(hours=4)),
        ("1d", timedelta(days=1)),
        ("2w", timedelta(weeks=2)),
        ("1h30m", timedelta(minutes=90)),
        ("1h 30m", timedelta(minutes=90)),
        ("1.5h", timedelta(minutes=90)),
        (" 0s ", timedelta(0)),
        (0, timedelta(0)),
        (timedelta(hours=1), timedelta(hours=1)),
    ],
)
def test_durations(text: object, expected: timedelta) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize(
    "text", ["4", 4, 1.5, "", "h", "4 hours", "-4h", "4H", "4h-", True, None, "1e3s", "4h\n5", [4]]
)
def test_what_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["36525.1d", "99999999999w", "9" * 400 + "h"])
def test_durations_beyond_reckoning(text: str) -> None:
    with pytest.raises(ValueError, match="is longer than 100 years"):
        parse_duration(text)


@pytest.mark.parametrize(("value", "said"), [([None], "a list"), ({"a": None}, "a mapping"), (True, "'true'")])
def test_what_is_wrong_is_told_as_it_was_written(value: object, said: str) -> None:
    for parse in (parse_duration, parse_size, parse_instant):
        with pytest.raises(ValueError, match=f"^{said} is not a "):
            parse(value)


def test_a_missing_unit_is_named() -> None:
    with pytest.raises(ValueError, match=r"'4' is not a duration \(a number without a unit\)"):
        parse_duration(4)


@given(st.integers(0, 10**7))
def test_what_is_shown_can_be_read_again(seconds: int) -> None:
    """Two units at most are shown, so what is left out is less than the smaller of the two."""
    shown = format_duration(seconds)
    again = parse_duration(shown).total_seconds()
    smallest = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}[shown[-1]]
    assert again <= seconds < again + max(smallest, 1)
    assert format_duration(again) == shown
    assert format_duration(-seconds) == ("-" if seconds else "") + shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("500B", 500),
        ("20kB", 20_000),
        ("512MiB", 512 * 1024**2),
        ("1.5GB", 1_500_000_000),
        ("2 TiB", 2 * 1024**4),
        (0, 0),
    ],
)
def test_sizes(text: object, expected: int) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["500", 500, "", "1 XB", "1mb", "-1B", "1KB", None, True])
def test_what_is_no_size(text: object) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize("text", ["1048577TiB", "9" * 400 + "GB"])
def test_sizes_beyond_reckoning(text: str) -> None:
    with pytest.raises(ValueError, match="is larger than 1 EiB"):
        parse_size(text)


@given(st.integers(0, 1023), st.sampled_from(["B", "KiB", "MiB", "GiB", "TiB"]))
def test_sizes_can_be_read_again(count: int, unit: str) -> None:
    size = parse_size(f"{count}{unit}")
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize("text", ["2026-03-01T04:00:00+01:00", "2026-03-01 04:00:00+01:00", "2026-03-01T03:00:00Z"])
def test_instants(text: str) -> None:
    assert utc_text(parse_instant(text)) == "2026-03-01T03:00:00.000Z"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("2026-03-01T04:00:00", "no time zone"),
        ("2026-03-01", "no time zone"),
        ("yesterday", "not a time"),
        (4, "not a time"),
        ("0001-01-01T00:00:00+01:00", "not a time of these centuries"),
        ("9999-12-31T23:59:59-10:00", "not a time of these centuries"),
    ],
)
def test_what_is_no_instant(text: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_instant(text)


@given(
    st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1)),  # noqa: DTZ001 - the zone is added below
    st.integers(-14 * 60, 14 * 60),
)
def test_instants_can_be_read_again(naive: datetime, minutes: int) -> None:
    moment = naive.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    assert abs(parse_instant(utc_text(moment)) - moment.astimezone(UTC)) < timedelta(milliseconds=1)
