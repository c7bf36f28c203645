"""What a drill is, before it runs: enough to report on it even when it never does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

RESTORE = "restore"
RECOVERY_POINTS = "recovery_points"
INTEGRITY = "integrity"
PYTHON = "python"
REPLICATION = "replication"
FAILOVER = "failover"
OFFSITE = "offsite"

PART = "offsite."
"""Kinds of the parts of an offsite drill begin so; they are journaled as checks, beside those of the system."""

RECOVERING = (RESTORE, PYTHON, FAILOVER, OFFSITE)
"""Kinds that bring a system back, and so have a recovery time."""

TEST_TYPES: Mapping[str, str] = {
    RESTORE: "system_restore",
    PYTHON: "system_restore",
    RECOVERY_POINTS: "component_restore",
    INTEGRITY: "component_restore",
    REPLICATION: "replication",
    FAILOVER: "replica_promotion",
    OFFSITE: "system_restore",
}
CONTROLS: Mapping[str, tuple[str, ...]] = {
    RESTORE: ("BC.02", "BC.03"),
    PYTHON: ("BC.02", "BC.03"),
    RECOVERY_POINTS: ("BC.03",),
    INTEGRITY: ("BC.03",),
    REPLICATION: ("BC.04",),
    FAILOVER: ("BC.02", "BC.04"),
    OFFSITE: ("BC.03",),
}


@dataclass(frozen=True, slots=True)
class Limit:
    """An objective in seconds and what binds it."""

    seconds: float
    bound_by: str


@dataclass(frozen=True, slots=True)
class DrillPlan:
    """One drill that is to run. `backup` is the system's backup it looks at.

    `subject` is what else it looks at: the replica, the failover or the repository.
    """

    id: str
    node: str
    system: str
    system_name: str
    kind: str
    backup: str
    criticality: str
    owner: str
    processes: tuple[str, ...]
    declaration: str
    rto: Limit | None
    rpo: Limit | None
    subject: str = ""

    def data(self) -> dict[str, Any]:
        """As it goes into the journal."""
        return asdict(self)

    @staticmethod
    def of(data: Mapping[str, Any]) -> DrillPlan:
        """Back from the journal. Raises KeyError and TypeError on what is no plan."""
        values = dict(data)
        values["processes"] = tuple(values["processes"])
        for name in ("rto", "rpo"):
            values[name] = Limit(**values[name]) if values[name] else None
        return DrillPlan(**values)
