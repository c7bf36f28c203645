"""postgres-streaming: a standby that replays the write-ahead log of a PostgreSQL primary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import BaseModel, Field

from drtests.errors import DatabaseError, DatabaseRefused, UsageError
from drtests.protocols.database import Live
from drtests.protocols.reach import Reach
from drtests.protocols.replication import Behind, Compared, Identity, Skew
from drtests.replications.comparing import Patience
from drtests.replications.lag import Positions
from drtests.replications.marking import OURS, is_stale, new_run
from drtests.replications.postgres_common import LOCAL, NAME, NO_TABLE, PostgresReplica, PostgresReplicaSpec

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

_TABLE = "marker_"
"""How the tables of markers begin."""


class PostgresStreamingSpec(PostgresReplicaSpec):
    """Options of `postgres-streaming`."""

    marker_schema: str = Field(default="drtests", pattern=NAME, max_length=63)
    """Schema at the source in which markers are written, when they are; made, and removed again when it is empty."""
    slot: str | None = Field(default=None, pattern=NAME)
    """Replication slot that the standby has to use."""


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
        self._servers = PostgresReplica(spec, self._source, self._replica)
        self._table = f"{spec.marker_schema}.{_TABLE}{new_run()}"
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
        return self._servers.skew()

    def begin(self) -> None:
        schema = self._spec.marker_schema
        writer = self._reach.live(self._spec.source, writable=True)
        if not self._source.query(f"SELECT 1 FROM pg_namespace WHERE nspname = '{schema}'"):
            writer.execute(f"{LOCAL}; CREATE SCHEMA {schema}; COMMENT ON SCHEMA {schema} IS '{OURS}'")
        self._writer = writer
        for name in self._stale():
            writer.execute(f"{LOCAL}; DROP TABLE IF EXISTS {schema}.{name}")
        made = f"CREATE TABLE {self._table} (number bigint PRIMARY KEY)"
        writer.execute(f"{LOCAL}; {made}; COMMENT ON TABLE {self._table} IS '{OURS}'")

    def _stale(self) -> Sequence[str]:
        """What drills left that were killed: of our form, old, and said to be ours. The schema may be anybody's."""
        rows = self._source.query(
            f"SELECT relname FROM pg_class WHERE relkind = 'r' AND obj_description(oid, 'pg_class') = '{OURS}'"
            f" AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = '{self._spec.marker_schema}')"
        )
        names = [str(name) for [name] in rows]
        return [name for name in names if name.startswith(_TABLE) and is_stale(name.removeprefix(_TABLE))]

    def mark(self, number: int) -> None:
        if self._writer is None:
            raise UsageError("markers are written after `begin` only")
        self._writer.execute(f"{LOCAL}; INSERT INTO {self._table} VALUES ({number})")

    def newest(self) -> int | None:
        try:
            [[found]] = self._replica.query(f"SELECT max(number) FROM {self._table}")
        except DatabaseError as error:
            # The table itself has not arrived yet.
            if NO_TABLE in error.what:
                return None
            raise
        return None if found is None else int(found)

    def behind(self) -> Behind:
        here = self._servers.place()
        self._positions.source_is_at(here)
        done = self._replayed()
        if done is None:
            return Behind(None, None)
        seconds = self._positions.lag(done)
        return Behind(None if seconds is None else round(seconds, 6), max(0, here - done), "measured")

    def compare(self) -> Sequence[Compared]:
        patience = Patience()
        return [self._servers.compared(declared, self._reached, patience) for declared in self._spec.compare]

    def _reached(self, place: int) -> bool:
        return (self._replayed() or 0) >= place

    def end(self) -> None:
        if self._writer is None:
            return
        schema = self._spec.marker_schema
        self._writer.execute(f"{LOCAL}; DROP TABLE IF EXISTS {self._table}")
        ours = (
            f"SELECT 1 FROM pg_namespace WHERE nspname = '{schema}' AND obj_description(oid, 'pg_namespace') = '{OURS}'"
        )
        if self._source.query(ours):
            # Only what nobody else uses: a drill beside this one may, or end at the same moment.
            try:
                self._writer.execute(f"{LOCAL}; DROP SCHEMA IF EXISTS {schema} RESTRICT")
            except DatabaseRefused:
                # Somebody else made it his own.
                pass
            except DatabaseError as error:
                if "2BP01" not in error.what:
                    raise
        self._writer = None

    def _replayed(self) -> int | None:
        [[done]] = self._replica.query("SELECT pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')")
        return None if done is None else int(done)
