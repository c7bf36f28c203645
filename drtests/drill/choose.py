"""Which recovery point a drill restores, and which moment counts as the disaster."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from drtests.errors import RecoveryPointMissing
from drtests.model.system import At, Before, Point, RandomWithin
from drtests.model.units import format_duration, utc_text
from drtests.protocols.engine import RecoveryPoint

NOW, DECLARED, IN_TIME, OF_POINT = "now", "declared", "point in time", "recovery point"


@dataclass(frozen=True, slots=True)
class Choice:
    """The point and, in words, how it was chosen."""

    point: RecoveryPoint
    how: str


def moment_basis(wanted: Point) -> str:
    """`now` when the latest is wanted, `declared` for a given moment, `point in time` when logs are to lead there,
    else the moment of the point itself."""
    if wanted == "latest":
        return NOW
    if isinstance(wanted, At):
        return IN_TIME
    return DECLARED if isinstance(wanted, Before) else OF_POINT


def choose(points: Sequence[RecoveryPoint], wanted: Point, now: datetime, seed: str) -> Choice:
    """Picks from points that are oldest first. Raises RecoveryPointMissing when none fits."""
    if not points:
        raise RecoveryPointMissing(
            "no recovery point matches what is declared",
            mend="compare `snapshots` (host, tags, paths) with what the backup program lists",
        )
    if wanted == "latest":
        return Choice(points[-1], "the latest")
    if isinstance(wanted, Before):
        return _before(points, wanted)
    if isinstance(wanted, At):
        return _at(points, wanted)
    if isinstance(wanted, RandomWithin):
        return _random(points, wanted, now, seed)
    return _by_id(points, wanted)


def _before(points: Sequence[RecoveryPoint], wanted: Before) -> Choice:
    early = [point for point in points if point.time <= wanted.before]
    if not early:
        raise RecoveryPointMissing(
            f"no recovery point is as old as {utc_text(wanted.before)}",
            mend=f"the oldest is of {utc_text(points[0].time)}: ask for a later moment, or keep them longer",
        )
    return Choice(early[-1], f"the newest before {utc_text(wanted.before)}")


def _at(points: Sequence[RecoveryPoint], wanted: At) -> Choice:
    late = [point for point in points if point.time >= wanted.at]
    moment = utc_text(wanted.at)
    if late:
        return Choice(late[0], f"the first since {moment}, to recover to that moment")
    return Choice(points[-1], f"the latest, to recover to {moment} if its logs reach so far")


def _random(points: Sequence[RecoveryPoint], wanted: RandomWithin, now: datetime, seed: str) -> Choice:
    window = [point for point in points if now - wanted.random_within <= point.time <= now]
    length = format_duration(wanted.random_within.total_seconds())
    if not window:
        raise RecoveryPointMissing(
            f"no recovery point of the last {length}",
            mend=f"the newest is of {utc_text(points[-1].time)}: see why no backup ran since",
        )
    picked = random.Random(seed).randrange(len(window))  # noqa: S311 - a sample, not a secret
    return Choice(window[picked], f"at random, number {picked + 1} of {len(window)} of the last {length}, seed {seed}")


def _by_id(points: Sequence[RecoveryPoint], wanted: str) -> Choice:
    if not re.fullmatch(r"[0-9a-f]{4,64}", wanted):
        raise RecoveryPointMissing(
            f"{wanted!r} is no recovery point's id", mend="see `drtests plan` for those there are"
        )
    fitting = [point for point in points if point.id.startswith(wanted)]
    if len(fitting) != 1:
        found = "no recovery point" if not fitting else f"{len(fitting)} recovery points"
        raise RecoveryPointMissing(f"{found} with id {wanted}", mend="see `drtests plan` for those there are")
    return Choice(fitting[0], "by id")
