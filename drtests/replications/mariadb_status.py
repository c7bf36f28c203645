"""What MariaDB tells of its replication: places in binary logs, GTIDs, and the replica's status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_FILTERS = (
    "Replicate_Do_DB",
    "Replicate_Ignore_DB",
    "Replicate_Do_Table",
    "Replicate_Ignore_Table",
    "Replicate_Wild_Do_Table",
    "Replicate_Wild_Ignore_Table",
    "Replicate_Do_Domain_Ids",
    "Replicate_Ignore_Domain_Ids",
    "Replicate_Ignore_Server_Ids",
    "Replicate_Rewrite_DB",
)


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the binary logs. Places in logs of another name cannot be compared."""

    base: str
    file: int
    offset: int

    def __le__(self, other: Position) -> bool:
        return self.base == other.base and (self.file, self.offset) <= (other.file, other.offset)

    def __str__(self) -> str:
        return f"{self.base}.{self.file:06}:{self.offset}"


def position(file: Any, offset: Any) -> Position | None:
    base, _, number = str(file or "").rpartition(".")
    return Position(base, int(number), int(offset)) if base and number.isdigit() else None


def ahead(replica: str, source: str) -> str:
    """Of the domains that both know those in which the replica has more; as GTIDs."""

    def positions(text: str) -> dict[str, int]:
        parts = [one.strip().split("-") for one in text.split(",") if one.count("-") == 2]
        return {domain: int(number) for domain, _, number in parts}

    here = positions(source)
    there = positions(replica)
    return ", ".join(
        f"domain {domain} at {number} instead of {here[domain]}"
        for domain, number in there.items()
        if domain in here and number > here[domain]
    )


def filters(status: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(status[name]) for name in _FILTERS if status.get(name)}


def told(status: Mapping[str, Any]) -> dict[str, Any]:
    """For the evidence."""
    names = (
        "Connection_name", "Master_Host", "Master_Port", "Master_Server_Id", "Slave_IO_Running", "Slave_SQL_Running",
        "Last_IO_Error", "Last_SQL_Error", "Using_Gtid", "Gtid_Slave_Pos", "Seconds_Behind_Master", "SQL_Delay",
        "Master_Log_File", "Read_Master_Log_Pos", "Relay_Master_Log_File", "Exec_Master_Log_Pos",
    )  # fmt: skip
    return {name.lower(): status.get(name) for name in names} | {"filters": filters(status)}


def escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "''")
