"""What an attack left in the bucket: expected where a retention keeps it, else a finding. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from drtests.core.stores import Finding
from drtests.errors import Diagnostic
from drtests.model.units import utc_text
from drtests.model.verdict import Verdict
from drtests.protocols.store import MOST_PROBES, BucketFacts, Leftover

TITLE = "probe objects that stay"


def locked(left: Sequence[Leftover], facts: BucketFacts, prefix: str) -> Finding | None:
    """Those that a retention keeps: until when, and how many there are by now. None when there are none."""
    until = [one.until for one in left if one.until is not None]
    if not until:
        return None
    told = f"{len(until)} of this drill are locked, the last until {utc_text(max(until))}; {_there(facts, prefix)}"
    if facts.probe_days is None:
        told += f"; nothing removes them then, so each drill adds {len(until)}: {_rule(prefix)}"
    else:
        told += f"; a rule of the bucket removes them after {facts.probe_days:g} days"
    return Finding(TITLE, Verdict.MET, told)


def unlocked(left: Sequence[Leftover], facts: BucketFacts, prefix: str) -> Diagnostic | None:
    """Those that nothing keeps, and that could not be removed; None when there are none, or the bucket removes them."""
    stay = [one for one in left if one.until is None]
    if not stay or facts.probe_days is not None:
        return None
    told = f"{len(stay)} probe objects of this drill could not be removed again, e.g. {stay[0].key}: {stay[0].why}"
    return Diagnostic(f"{told}; {_there(facts, prefix)}", "", f"remove them by hand, and {_rule(prefix)}")


def _there(facts: BucketFacts, prefix: str) -> str:
    if facts.probes is None:
        why = facts.unknown.get("probes", "the store did not tell")
        return f"how many there are below {prefix} by now is not known: {why}"
    more = "or more " if facts.probes >= MOST_PROBES else ""
    return f"{facts.probes} {more}are below {prefix} by now, of all drills"


def _rule(prefix: str) -> str:
    return f"let a lifecycle rule of the bucket delete what is below {prefix}, replaced versions too, after a day"
