"""How the parts of an offsite drill come to its verdict: all of them are demanded, and the worst counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from drtests.core.plan import PART
from drtests.core.trace import Trace
from drtests.model.verdict import Verdict

KIT = f"{PART}kit"
HOLE = f"{PART}restore"
COPY = f"{PART}copy"
APART = f"{PART}separation"
LOCKED = f"{PART}immutability"
ENCRYPTED = f"{PART}encryption"
SCORE = f"{PART}3-2-1-1-0"
BUCKET = f"{PART}bucket"

TITLES: Mapping[str, str] = {
    KIT: "recovery kit, away from production",
    HOLE: "restore with nothing but the offsite copy and the kit",
    COPY: "fresh and complete copy",
    APART: "apart from production: site, provider, account, keys",
    LOCKED: "withstands an attacker who has the backup writer's keys",
    ENCRYPTED: "unreadable without the key",
    SCORE: "3-2-1-1-0",
    BUCKET: "the bucket is what it has to be",
}
PARTS = (KIT, HOLE, COPY, APART, LOCKED, ENCRYPTED, SCORE)
"""Demanded of every offsite drill. What lies in a declared bucket has the part BUCKET, too."""


def parts_clauses(trace: Trace) -> Iterator[tuple[Verdict, str]]:
    """What the parts say, and that none is missing. `started` says which were to be carried out."""
    judged = {check.kind: check for check in trace.checks if check.kind.startswith(PART)}
    yield from ((check.verdict, f"{check.title}: {check.reason}") for check in judged.values())
    expected = [*PARTS, *(str(kind) for kind in trace.started.get("parts", ()) if kind not in PARTS)]
    absent = [TITLES.get(kind, kind) for kind in expected if kind not in judged]
    if trace.ended == "done" and absent:
        yield Verdict.INCONCLUSIVE, f"{len(judged)} of {len(expected)} parts were carried out; missing: {absent[0]}"
