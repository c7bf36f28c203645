"""Restored databases that run: how checks find them and ask them."""

from __future__ import annotations

from typing import Any

from drtests.errors import DatabaseError
from drtests.protocols.check import Resources
from drtests.protocols.database import Rows, Scratch


def running(resources: Resources, database: str) -> Scratch:
    """The restored database with that id. Raises DatabaseError when it does not run."""
    found = resources.databases.get(database)
    if found is None:
        raise DatabaseError(
            f"no restored database {database!r} runs",
            where=f"database {database}",
            mend="declare it in `databases` of the system; checks that run without a drill have none",
        )
    return found


def first(rows: Rows) -> Any:
    """First column of the first row; None when there is none."""
    return rows[0][0] if rows and rows[0] else None
