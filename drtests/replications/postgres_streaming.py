"""postgres-streaming: a standby that replays the write-ahead log of a PostgreSQL primary."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, Field, model_validator

from drtests.errors import DatabaseError, DatabaseRefused, UsageError
from drtests.model.base import Declaration, LiveId
from drtests.model.units import Duration
from drtests.protocols.database import Live
from drtests.protocols.reach import Reach
from drtests.protocols.replication import Behind, Compared, Identity, Skew
from drtests.replications.comparing import compare
from drtests.replications.lag import Positions

_NAME = r"^[a-z_][a-z0-9_]*$"
_STALE = 86400
"""Seconds after which a marker table is what a killed drill left."""
_SKEW_LOOKS = 3
_NO_TABLE = "42P01"

_SOURCE = """SELECT (SELECT system_identifier::text FROM pg_control_system()), pg_is_in_recovery()::text,
(SELECT timeline_id FROM pg_control_checkpoint()), current_setting('server_version'),
(SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'),
(SELECT string_agg(application_name || ' ' || coalesce(host(client_addr), 'socket') || ' ' || state, ', ')
 FROM pg_stat_replication)"""
_REPLICA = """SELECT (SELECT system_identifier::text FROM pg_control_system()), pg_is_in_recovery()::text,
(SELECT received_tli FROM pg_stat_wal_receiver), current_setting('server_version'),
(SELECT status FROM pg_stat_wal_receiver), (SELECT sender_host || ':' || sender_port FROM pg_stat_wal_receiver),
(SELECT slot_name FROM pg_stat_wal_receiver),
CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused()::text END"""


class Table(Declaration):
    """A table that is compared."""

    table: str = Field(pattern=r"^[A-Za-z_][\w$]*(\.[A-Za-z_][\w$]*)?$")
    """Its name, with its schema where that is not on the search path."""
    method: Literal["count", "checksum"] = "count"
    """`count`: how many rows. `checksum`: a sum over hashes of all rows, whatever their order; reads all of it."""


class PostgresStreamingSpec(Declaration):
    """Options of `postgres-streaming`."""

    source: LiveId
    """Running database of type postgres: the primary."""
    replica: LiveId
    """The standby."""
    marker_schema: str = Field(default="drtests", pattern=_NAME, max_length=63)
    """Schema at the source in which markers are written, when they are; made, and removed again when it is empty."""
    slot: str | None = Field(default=None, pattern=_NAME)
    """Replication slot that the standby has to use."""
    compare: tuple[Table, ...] = ()
    compare_timeout: Duration = timedelta(minutes=1)
    """For one table on one server."""

    @model_validator(mode="after")
    def _two(self) -> PostgresStreamingSpec:
        if self.source == self.replica:
            raise ValueError("`source` and `replica` are the same; give two databases")
        return self


class PostgresStreaming:
    """Asks both servers by psql. Only markers write, and only at the source: one small table of their own."""

    Spec: ClassVar[type[BaseModel]] = PostgresStreamingSpec
    marks: ClassVar[bool] = True
    steady: ClassVar[bool] = False

    def __init__(self, spec: PostgresStreamingSpec, reach: Reach) -> None:
        self._spec = spec
        self._reach = reach
        self._source = reach.live(spec.source)
        self._replica = reach.live(spec.replica)
        self._table = f"{spec.marker_schema}.marker_{int(time.time())}_{secrets.token_hex(4)}"
        self._writer: Live | None = None
        self._positions = Positions()

    def identify(self) -> Identity:
        [[system, recovering, timeline, version, streaming, senders]] = self._source.query(_SOURCE)
        [[twin, follows, received, its_version, status, sender, slot, paused]] = self._replica.query(_REPLICA)
        source = {"system": system, "version": version, "timeline": timeline, "senders": senders or "none"}
        replica = {"system": twin, "version": its_version, "receiver": status or "not running", "sender": sender}
        replica |= {"slot": slot, "timeline": received, "replay paused": paused}
        problems = []
        if twin != system:
            problems.append("the replica is a copy of another source: its system identifier differs")
        if follows != "true":
            problems.append("the replica accepts writes: it is no standby")
            return Identity({"source": source, "replica": replica}, tuple(problems))
        if recovering == "true":
            problems.append("the source is a standby itself: declare the primary as `source`")
        if status != "streaming":
            problems.append(f"the replica receives nothing: its WAL receiver is {status or 'not running'}")
        elif not streaming and recovering != "true":
            problems.append(f"no standby streams from the source; this one receives from {sender}")
        if received is not None and received != timeline:
            problems.append(f"the replica follows timeline {received}, the source is on {timeline}")
        if paused == "true":
            problems.append("replay is paused at the replica")
        problems += self._slot_problems(slot)
        return Identity({"source": source, "replica": replica}, tuple(problems))

    def _slot_problems(self, used: str | None) -> list[str]:
        wanted = self._spec.slot
        if wanted is None:
            return []
        rows = self._source.query(f"SELECT active::text FROM pg_replication_slots WHERE slot_name = '{wanted}'")
        if not rows:
            return [f"the source has no replication slot {wanted!r}: it may drop log that the replica still needs"]
        if rows[0][0] != "true":
            return [f"the replication slot {wanted!r} is not in use: the source keeps log for nobody"]
        return [] if used == wanted else [f"the replica uses slot {used or 'none'}, not {wanted!r}"]

    def skew(self) -> Skew | None:
        looks = []
        for _ in range(_SKEW_LOOKS):
            first, there, second = _clock(self._source), _clock(self._replica), _clock(self._source)
            looks.append(Skew(round(there - (first + second) / 2, 6), round(abs(second - first) / 2, 6)))
        return min(looks, key=lambda look: look.uncertainty)

    def begin(self) -> None:
        schema = self._spec.marker_schema
        writer = self._reach.live(self._spec.source, writable=True)
        if not self._source.query(f"SELECT 1 FROM pg_namespace WHERE nspname = '{schema}'"):
            writer.execute(f"CREATE SCHEMA {schema}")
        self._writer = writer
        self._drop_stale(writer)
        writer.execute(f"CREATE TABLE {self._table} (number bigint PRIMARY KEY)")

    def _drop_stale(self, writer: Live) -> None:
        """What drills left that were killed."""
        before = int(time.time()) - _STALE
        for [name] in self._tables():
            written = str(name).split("_")[1]
            if written.isdigit() and int(written) < before:
                writer.execute(f"DROP TABLE IF EXISTS {self._spec.marker_schema}.{name}")

    def _tables(self) -> Sequence[Sequence[Any]]:
        schema = self._spec.marker_schema
        return self._source.query(
            f"SELECT tablename FROM pg_tables WHERE schemaname = '{schema}'"
            " AND tablename ~ '^marker_[0-9]+_[0-9a-f]{8}$'"
        )

    def mark(self, number: int) -> None:
        if self._writer is None:
            raise UsageError("markers are written after `begin` only")
        # A commit that waited for the replica would hide its lag, and hang when it is gone.
        self._writer.execute(f"SET LOCAL synchronous_commit = local; INSERT INTO {self._table} VALUES ({number})")

    def newest(self) -> int | None:
        try:
            [[found]] = self._replica.query(f"SELECT max(number) FROM {self._table}")
        except DatabaseError as error:
            # The table itself has not arrived yet.
            if _NO_TABLE in error.what:
                return None
            raise
        return None if found is None else int(found)

    def behind(self) -> Behind:
        here = self._place()
        self._positions.source_is_at(here)
        done = self._replayed()
        if done is None:
            return Behind(None, None)
        seconds = self._positions.lag(done)
        return Behind(None if seconds is None else round(seconds, 6), max(0, here - done), "measured")

    def compare(self) -> Sequence[Compared]:
        return [self._compare(declared) for declared in self._spec.compare]

    def _compare(self, declared: Table) -> Compared:
        return compare(
            declared.table,
            lambda: self._value(self._source, declared),
            lambda: self._value(self._replica, declared),
            self._place,
            lambda place: (self._replayed() or 0) >= place,
            ordered=declared.method == "count",
            facts={"method": declared.method},
        )

    def _value(self, live: Live, declared: Table) -> int | str | None:
        asked = "count(*)"
        if declared.method == "checksum":
            asked = "count(*) || ' rows, ' || coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)"
        try:
            statement = f"SELECT {asked} FROM {declared.table} AS t"
            [[found]] = live.query(statement, self._spec.compare_timeout.total_seconds())
        except DatabaseError as error:
            if live is self._replica and _NO_TABLE in error.what:
                return None
            raise
        return found if isinstance(found, int) else str(found)

    def end(self) -> None:
        if self._writer is None:
            return
        schema = self._spec.marker_schema
        self._writer.execute(f"DROP TABLE IF EXISTS {self._table}")
        # Only what nobody else uses: a drill beside this one may.
        try:
            self._writer.execute(f"DROP SCHEMA IF EXISTS {schema} RESTRICT")
        except DatabaseRefused:
            # It was there before, and belongs to somebody else.
            pass
        except DatabaseError as error:
            if "2BP01" not in error.what:
                raise
        self._writer = None

    def _place(self) -> int:
        """Bytes of log that the source has written."""
        [[here]] = self._source.query(
            "SELECT pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()"
            " ELSE pg_current_wal_lsn() END, '0/0')"
        )
        return int(here)

    def _replayed(self) -> int | None:
        [[done]] = self._replica.query("SELECT pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')")
        return None if done is None else int(done)


def _clock(live: Live) -> float:
    [[seconds]] = live.query("SELECT extract(epoch FROM clock_timestamp())")
    return float(seconds)
