"""What a bucket held at a moment, told by its versions. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import groupby

from drtests.errors import EngineError
from drtests.protocols.store import ObjectFact

_LONGEST = 255
"""Bytes of a file's name on Linux."""
_BATCH = 64
_BATCH_BYTES = 1 << 20


def state_at(versions: Iterable[ObjectFact], moment: datetime) -> Iterator[ObjectFact]:
    """Of each key the version that was the latest then; keys that did not exist, or were deleted, are left out.

    `versions` come by key, newest first. Memory does not grow with their number.
    """
    for _, of_key in groupby(versions, key=lambda fact: fact.key):
        there = next((fact for fact in of_key if fact.modified <= moment), None)
        if there is not None and not there.deleted:
            yield there


def batches(facts: Iterable[ObjectFact]) -> Iterator[Sequence[ObjectFact]]:
    """In their order, so many together as are worth a message: few of large objects, more of small ones."""
    batch: list[ObjectFact] = []
    size = 0
    for fact in facts:
        batch.append(fact)
        size += fact.size
        if len(batch) >= _BATCH or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def moments(versions: Iterable[ObjectFact]) -> Sequence[datetime]:
    """Every second in which something was written or deleted, oldest first."""
    # By second: stores tell no better, and a bulk upload is one change.
    return sorted({_up(fact.modified) for fact in versions})


def _up(moment: datetime) -> datetime:
    """To the full second after it, so that the change is in what the bucket held then."""
    floor = moment.replace(microsecond=0)
    return floor if floor == moment else datetime.fromtimestamp(floor.timestamp() + 1, moment.tzinfo)


def wanted(key: str, prefix: str, include: Sequence[str]) -> bool:
    """Whether the key is below one of the paths that are to be restored; all are when none is given."""
    path = key.removeprefix(prefix)
    return not include or any(
        path == one or path.startswith(f"{one}/") for one in (text.strip("/") for text in include)
    )


def file_of(key: str, prefix: str) -> str:
    """The path below the destination that the object becomes; ends with `/` for a mark of an empty folder.

    Raises EngineError for keys that no file can have.
    """
    path = key.removeprefix(prefix)
    folder = path.endswith("/")
    parts = (path[:-1] if folder else path).split("/")
    for part in parts:
        if part in ("", ".", "..") or "\0" in part or len(part.encode()) > _LONGEST:
            raise EngineError(
                f"no file can be named as the object {key!r} is",
                where="bucket",
                mend="leave it out by `include`, or restore it by hand",
            )
    return path


def of_part(key: str, part: int, parts: int) -> bool:
    """Whether the key is in that part (from 1) when all keys are dealt out evenly, the same in every run."""
    # FNV-1a: any even spread does, and it must never change between releases or machines.
    number = 0xCBF29CE484222325
    for byte in key.encode(errors="surrogateescape"):
        number = (number ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return number % parts == part - 1
