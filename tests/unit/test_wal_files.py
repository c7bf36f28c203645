"""Whether an archived log was read to its end, by the names of its files."""

from __future__ import annotations

import pytest

from drtests.databases.postgres.walfiles import End, whole
from drtests.errors import DatabaseDamaged

_SEGMENT = 16 * 1024**2
_END = End(1, 0x5000000, "no recovery target specified")


def _name(timeline: int, segment: int) -> str:
    return f"{timeline:08X}00000000{segment:08X}"


def test_a_log_that_was_read_to_its_end() -> None:
    names = [_name(1, 3), _name(1, 4) + ".zst", "00000002.history", _name(1, 4) + ".partial"]
    whole(_END, names, _SEGMENT, "wal")


def test_a_log_that_goes_on_behind_a_gap() -> None:
    with pytest.raises(DatabaseDamaged, match=f"breaks off at 0/5000000, though it goes on up to {_name(1, 6)}"):
        whole(_END, [_name(1, 4), _name(1, 6)], _SEGMENT, "wal")


def test_a_newer_timeline_whose_history_is_lost() -> None:
    names = [_name(1, 4), _name(2, 4) + ".gz"]
    with pytest.raises(DatabaseDamaged, match=r"along timeline 2 .*00000002\.history is missing"):
        whole(_END, names, _SEGMENT, "wal")
    # Asked for the present timeline, it is none of its business.
    whole(_END, names, _SEGMENT, "wal", newest=False)
