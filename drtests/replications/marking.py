"""What markers of one drill are known by, and which are left of drills that were killed."""

from __future__ import annotations

import re
import secrets
import time

OURS = "made by drtests"
"""Said beside whatever is made for markers, such as in a table's comment: nothing else is ever removed."""
STALE = 86400
"""Seconds after which markers are what a killed drill left."""
_RUN = re.compile(r"([0-9]{1,12})_[0-9a-f]{8}")


def new_run() -> str:
    """What the markers of one drill are known by: when it began, and something nobody else has."""
    return f"{int(time.time())}_{secrets.token_hex(4)}"


def is_stale(run: str) -> bool:
    """Whether a drill of that name began so long ago that it was killed; False for what is no such name."""
    match = _RUN.fullmatch(run)
    return match is not None and int(match[1]) < stale_before()


def stale_before() -> int:
    """Drills that began before then no longer run."""
    return int(time.time()) - STALE
