"""Two buckets side by side, by two sorted listings: memory does not grow with them."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from drtests.protocols.replication import Compared
from drtests.protocols.store import ObjectFact, Store

Pair = tuple[ObjectFact | None, ObjectFact | None]
_KEPT = 20
"""Differences that are looked at again: what changed while it was listed is none."""
_SHOWN = 5
_PLAIN_MD5 = 32
"""Length of an ETag that is an MD5 of the object."""


def merged(source: Store, replica: Store) -> Iterator[Pair]:
    """Every key of either side once, by what follows the prefix; None for the side that lacks it."""
    here, there = source.objects(source.prefix), replica.objects(replica.prefix)
    left, right = next(here, None), next(there, None)
    while left is not None or right is not None:
        ours = None if left is None else left.key.removeprefix(source.prefix)
        theirs = None if right is None else right.key.removeprefix(replica.prefix)
        if theirs is None or (ours is not None and ours < theirs):
            yield left, None
            left = next(here, None)
        elif ours is None or theirs < ours:
            yield None, right
            right = next(there, None)
        else:
            yield left, right
            left, right = next(here, None), next(there, None)


def same_object(here: ObjectFact, there: ObjectFact, *, plain: bool) -> bool | None:
    """None: of one size, and the rest cannot be told. `plain`: neither bucket encrypts with keys of its own."""
    if here.size != there.size:
        return False
    if here.etag and here.etag == there.etag:
        return True
    # That of an object which came in parts depends on the parts.
    return False if plain and len(here.etag) == len(there.etag) == _PLAIN_MD5 else None


@dataclass(slots=True)
class Differing:
    """What the replica lacks, or has otherwise: counted, and the oldest of it kept."""

    source: Store
    replica: Store
    plain: bool
    count: int = 0
    bytes: int = 0
    _oldest: list[tuple[float, str, ObjectFact]] = field(default_factory=list)
    """A heap whose first is the youngest."""

    def add(self, fact: ObjectFact) -> None:
        self.count += 1
        self.bytes += fact.size
        heapq.heappush(self._oldest, (-fact.modified.timestamp(), fact.key, fact))
        if len(self._oldest) > _KEPT:
            heapq.heappop(self._oldest)

    def confirmed(self) -> Iterator[ObjectFact]:
        """Of those that are kept, oldest first, what differs still."""
        for _, _, fact in sorted(self._oldest, key=lambda one: (-one[0], one[1])):
            now = _look(self.source, fact.key)
            if now is None or (now.etag, now.modified) != (fact.etag, fact.modified):
                # It went meanwhile, or is another by now.
                continue
            there = _look(self.replica, self.replica.prefix + fact.key.removeprefix(self.source.prefix))
            if there is None or same_object(now, there, plain=self.plain) is False:
                yield fact

    @property
    def all_kept(self) -> bool:
        return self.count <= _KEPT


def _look(store: Store, key: str) -> ObjectFact | None:
    first = next(iter(store.objects(key)), None)
    return first if first is not None and first.key == key else None


def compare_buckets(source: Store, replica: Store, before: datetime, *, hashes: bool, plain: bool) -> Compared:
    """Objects of the source that have not changed since `before`, and what the replica has of them."""
    differing = Differing(source, replica, plain)
    settled = missing = by_size = only_there = 0
    for here, there in merged(source, replica):
        if here is None:
            only_there += 1
            continue
        if here.modified >= before:
            continue
        settled += 1
        if there is None:
            missing += 1
            differing.add(here)
            continue
        same = same_object(here, there, plain=plain and hashes)
        by_size += same is None
        if same is False:
            differing.add(here)
    found = list(differing.confirmed())
    facts = {
        "settled": settled,
        "missing": missing,
        "different": differing.count - missing,
        "only at the replica": only_there,
        "by size only": by_size,
        "confirmed": [fact.key for fact in found[:_SHOWN]],
    }
    what = f"the objects of bucket {source.bucket}"
    if not settled:
        return Compared(what, None, "no object is old enough to be compared", facts)
    if found or not differing.all_kept:
        shown = ", ".join(fact.key for fact in found[:_SHOWN])
        told = f"differ: {missing} are missing and {differing.count - missing} are others ({shown})"
        return Compared(what, False if found else None, told, facts)
    if hashes and by_size:
        return Compared(what, None, f"{by_size} of {settled} have hashes that cannot be compared", facts)
    return Compared(what, True, "", facts)
