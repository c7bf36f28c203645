"""What the record says of a replica: the part of `record.json` that replication drills fill."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from drtests.model.part import Part
from drtests.model.verdict import Basis


class LagSample(Part):
    """One look at the replica."""

    at: float
    """Seconds from the start of the sampling."""
    seconds: float | None
    """Lag in seconds, at least; null when it could not be told."""
    within: float | None
    """Lag in seconds, at most, at any moment since the look before; null when that is not known."""
    bytes: int | None = None
    """What the replica lacked, in bytes, by what the servers say; null when they do not, or were not asked."""
    answered: bool = True
    """False when nobody answered."""


class Distribution(Part):
    """Percentiles by nearest rank: each is one of the samples."""

    p50: float
    """Half of the samples are not above this."""
    p95: float
    """95 % of the samples are not above this."""
    p99: float
    """99 % of the samples are not above this."""
    max: float
    """The worst sample."""


class Divergence(Part):
    """One thing that was compared on both sides, such as a table."""

    what: str
    """What was compared."""
    same: bool | None
    """Null when it could not be told."""
    detail: str = ""
    """What differs, or why it could not be told."""
    facts: dict[str, Any] = Field(default_factory=dict)
    """Counts and hashes of both sides, never the data."""


class ReplicationRecord(Part):
    """How far a replica lagged behind, and whether it is one."""

    replica: str
    """The replica's id in the system's file."""
    kind: str
    """Kind of replication, e.g. postgres-streaming."""
    how: Literal["markers", "positions", "snapshots", "estimates", "nothing"]
    """What lag was told by: markers that were written at the source; positions that both sides told; snapshots that
    both sides hold; the servers' own estimates; nothing, when nobody told."""
    basis: Basis | None
    """`measured` when the worst lag follows from facts on both sides, `estimated` when it is a server's own idea; null
    when nothing was told."""
    window_seconds: float
    """How long lag was to be sampled, in seconds; 0 when one look tells all."""
    interval_seconds: float
    """How often, in seconds."""
    looks: int
    """Samples that were taken."""
    unanswered: int
    """Of these, how many got no answer from one side."""
    markers: int | None = None
    """Markers that the source committed; null when none were written."""
    seen: int | None = None
    """The newest marker that was visible at the replica; null when none was."""
    lag: Distribution | None
    """Of the lag in seconds, at least; null when no sample told it. 0 is: below one sampling interval."""
    within_seconds: float | None
    """The worst lag is at most this, in seconds, at any moment from `waited_seconds` on; null when not known."""
    waited_seconds: float | None = None
    """How long it took until a look told how far behind the replica is at most, in seconds from the first look: until
    the first marker was seen. Null when none did. What it lacked before is told at least, never at most."""
    bytes: Distribution | None = None
    """Of what the replica lacked, in bytes."""
    identity: dict[str, Any] | None = None
    """What tells that the replica is one of this source; null when it could not be asked."""
    problems: tuple[str, ...] = ()
    """Why it is not, or not a sound one."""
    skew_seconds: float | None = None
    """How far the replica's clock is ahead of the source's, in seconds. It has no part in the lag."""
    skew_uncertainty_seconds: float | None = None
    """Give or take, in seconds."""
    compared: tuple[Divergence, ...] = ()
    """What was compared on both sides."""
    notes: tuple[str, ...] = ()
    """What else a reader has to know, such as why no markers were written."""
    samples: tuple[LagSample, ...] = ()
    """In order of time. Of very many only the worst of each stretch; the journal has them all."""
