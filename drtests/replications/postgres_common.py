"""What all kinds of PostgreSQL replicas share: what is declared, clocks, places in the log, the content of tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from drtests.errors import DatabaseError, DatabaseUnreachable
from drtests.model.base import Declaration, LiveId
from drtests.model.units import Duration
from drtests.protocols.database import Live
from drtests.protocols.replication import Compared, Skew
from drtests.replications.clocks import skew_of
from drtests.replications.comparing import Patience, compare

NAME = r"^[a-z_][a-z0-9_]*$"
TABLE = r"^[A-Za-z_][\w$]*(\.[A-Za-z_][\w$]*)?$"
NO_TABLE = "42P01"
LOCAL = "SET LOCAL synchronous_commit = local"
"""Before all that writes: a commit that waited for the replica would hide its lag, and hang when it is gone."""

_SETTINGS = {"TimeZone": "UTC", "DateStyle": "ISO", "IntervalStyle": "postgres", "bytea_output": "hex"}
# Servers may be set to write the same value in other words. The hash depends on it, so that it is done first.
_FORM = (
    "WITH form AS MATERIALIZED (SELECT 0 * length("
    + " || ".join(f"set_config('{name}', '{value}', true)" for name, value in _SETTINGS.items())
    + ") AS seed)"
)
_HASH = "hashtextextended({row}::text, form.seed)::numeric"


class Table(Declaration):
    """A table that is compared."""

    table: str = Field(pattern=TABLE)
    """Its name, with its schema where that is not on the search path."""
    method: Literal["count", "checksum"] = "count"
    """`count`: how many rows. `checksum`: a sum over hashes of all rows, whatever their order; reads all of it."""


class PostgresReplicaSpec(Declaration):
    """Options of all kinds of PostgreSQL replicas."""

    source: LiveId
    """Running database of type postgres: the primary."""
    replica: LiveId
    """The standby."""
    compare: tuple[Table, ...] = ()
    compare_timeout: Duration = timedelta(minutes=1)
    """For one table on one server."""

    @model_validator(mode="after")
    def _two(self) -> Self:
        if self.source == self.replica:
            raise ValueError("`source` and `replica` are the same; give two databases")
        return self


class PostgresReplica:
    """Two servers that are asked by psql: what does not depend on how one follows the other."""

    def __init__(self, spec: PostgresReplicaSpec, source: Live, replica: Live) -> None:
        self._timeout = spec.compare_timeout.total_seconds()
        self._source = source
        self._replica = replica

    def skew(self) -> Skew | None:
        return skew_of(lambda: _clock(self._source), lambda: _clock(self._replica))

    def place(self) -> int:
        """Bytes of log that the source has written."""
        [[here]] = self._source.query(f"SELECT {PLACE}")
        return int(here)

    def compared(
        self,
        declared: Table,
        reached: Callable[[Any], bool],
        patience: Patience,
        table: str | None = None,
        row: str = "t",
    ) -> Compared:
        """One table on both servers. `table` is its name for both where that is not the declared one, `row` what is
        hashed of each row `t`. What only this table is to blame for is told, and raised is the rest."""
        name = table or declared.table
        statement = f"SELECT count(*) FROM {name}"
        if declared.method == "checksum":
            statement = f"{_FORM} SELECT count(*) || ' rows, ' || coalesce(sum({_HASH}), 0) FROM {name} AS t, form"
            statement = statement.format(row=row)
        facts = {"method": declared.method}

        def value(live: Live) -> int | str | None:
            try:
                [[found]] = live.query(statement, self._timeout)
            except DatabaseError as error:
                if live is self._replica and NO_TABLE in error.what:
                    return None
                raise
            return found if isinstance(found, int) else str(found)

        try:
            return self._compare(declared, value, reached, patience, facts)
        except DatabaseUnreachable:
            raise
        except DatabaseError as error:
            return Compared(declared.table, None, error.what, facts)

    def _compare(
        self,
        declared: Table,
        value: Callable[[Live], int | str | None],
        reached: Callable[[Any], bool],
        patience: Patience,
        facts: Mapping[str, Any],
    ) -> Compared:
        return compare(
            declared.table,
            lambda: value(self._source),
            lambda: value(self._replica),
            self.place,
            reached,
            ordered=declared.method == "count",
            facts=facts,
            patience=patience,
        )


PLACE = """pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
 ELSE pg_current_wal_lsn() END, '0/0')"""
"""Bytes of log that a server has written, or replayed."""


def _clock(live: Live) -> float:
    [[seconds]] = live.query("SELECT extract(epoch FROM clock_timestamp())")
    return float(seconds)
