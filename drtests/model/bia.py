"""`targets/bia.yaml`: the Business Impact Analysis.

Fields follow the outline of ISO 22301 clause 8.2.2 and the sector's own
BIA form; times are durations with a unit.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from drtests.model.base import Criticality, Declaration, Dependencies, Id
from drtests.model.units import Duration, Instant


class Impact(Declaration):
    """What an outage does once it has lasted `after`."""

    after: Duration
    type: Literal["financial", "legal", "educational", "reputational", "safety", "privacy"]
    level: int = Field(ge=0, le=5)
    """0 none to 5 unacceptable."""


class MinimumService(Declaration):
    """MBCO: the least service the process can live with while recovery runs."""

    service_level: str
    capacity: str = ""


class Workaround(Declaration):
    """How people go on by hand, and for how long they can."""

    description: str
    max_duration: Duration


class Process(Declaration):
    """A business process and how long it may be down, as its owner decided."""

    id: Id
    name: str
    owner: Id
    """Person in estate.yaml."""
    deputy: Id | None = None
    description: str = ""
    criticality: Criticality = "medium"
    peak_periods: tuple[str, ...] = ()
    impact: tuple[Impact, ...] = ()
    mtpd: Duration | None = None
    """Maximum tolerable period of disruption."""
    mbco: MinimumService | None = None
    rto: Duration
    """Recovery time objective: from declaration to the last passing check."""
    wrt: Duration | None = None
    """Work recovery time: catching up after the systems are back."""
    rpo: Duration
    """Recovery point objective: how much data, in time, may be lost."""
    workaround: Workaround | None = None
    dependencies: Dependencies = ()
    """Systems (or other processes) it needs."""
    suppliers: tuple[str, ...] = ()
    data_assets: tuple[str, ...] = ()
    approver: Id | None = None
    approved_at: Instant | None = None
    review_due: Instant | None = None
    version: str = ""


class Bia(Declaration):
    """The whole file."""

    version: Literal[1] = 1
    """Version of this file's format."""
    processes: tuple[Process, ...] = Field(min_length=1)
