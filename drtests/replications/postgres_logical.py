"""postgres-logical: a database that subscribes to what another publishes (PostgreSQL's logical replication)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, Field

from drtests.errors import DatabaseError, DatabaseRefused, DatabaseUnreachable, HostError, UsageError
from drtests.model.base import Flag, LiveId
from drtests.protocols.database import Live
from drtests.protocols.reach import Reach
from drtests.protocols.replication import Behind, Compared, Identity, Skew
from drtests.replications import postgres_subscription as asked
from drtests.replications.comparing import Patience
from drtests.replications.lag import Positions
from drtests.replications.marking import new_run, stale_before
from drtests.replications.postgres_common import (
    LOCAL,
    NO_TABLE,
    TABLE,
    PostgresReplica,
    PostgresReplicaSpec,
    Table,
)
from drtests.replications.postgres_subscription import Published, Slot, Subscription

_LOOKS = 4
_BETWEEN = 0.3
"""Seconds between looks at something that may be about to change, such as a worker that has just ended."""
_SHOWN = 5

_SERVER = """SELECT (SELECT system_identifier::text FROM pg_control_system()),
extract(epoch FROM pg_postmaster_start_time())::text,
current_database(), current_setting('server_version'), pg_is_in_recovery()::text,
(SELECT count(*) FROM pg_class WHERE relkind = 'S' AND relpersistence = 'p'),
(SELECT count(*) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.relkind = 'r'
 AND c.relpersistence = 'p' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'),
(SELECT count(*) FROM pg_db_role_setting WHERE setrole = 0
 AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
 AND 'default_transaction_read_only=on' = ANY (setconfig))"""


class PostgresLogicalSpec(PostgresReplicaSpec):
    """Options of `postgres-logical`."""

    source: LiveId
    """Running database of type postgres that publishes."""
    replica: LiveId
    """The one that subscribes to it."""
    subscription: str | None = Field(default=None, min_length=1, max_length=63)
    """Its name at the replica; not needed where just one of that database is enabled."""
    partial: Flag = False
    """That publications leave out operations (such as deletes) or rows of their tables on purpose is no problem."""
    marker_table: str | None = Field(default=None, pattern=TABLE)
    """Table that is there on both sides, and published, with columns `run text` and `number bigint` as primary key.
    Markers are written into it, when they are, and removed again."""


class PostgresLogical:
    """Asks both servers by psql. Only markers write, and only at the source: rows of their own in a declared table.

    A subscription does not tell whom it follows without telling a password, too.
    That it is this source is known from a slot of its name that is in use there,
    and from positions: what the source was told to have arrived, the replica has
    received, and that lies within the source's own log. Markers are the proof.
    """

    Spec: ClassVar[type[BaseModel]] = PostgresLogicalSpec
    marks: ClassVar[bool] = True
    steady: ClassVar[bool] = False

    def __init__(self, spec: PostgresLogicalSpec, reach: Reach) -> None:
        self._spec = spec
        self._reach = reach
        self._source = reach.live(spec.source)
        self._replica = reach.live(spec.replica)
        self._servers = PostgresReplica(spec, self._source, self._replica)
        self._run = new_run()
        self._writer: Live | None = None
        self._positions = Positions()
        self._slot: str | None = None
        self._failed: tuple[int, int] | None = None

    def identify(self) -> Identity:
        [[system, started, database, version, recovering, sequences, tables, _]] = self._source.query(_SERVER)
        [[twin, its_start, its_database, its_version, reads, _, _, default]] = self._replica.query(_SERVER)
        source = {"system": system, "version": version, "database": database, "standby": recovering == "true"}
        replica = {"system": twin, "version": its_version, "database": its_database}
        # Meant to accept them, other than a standby: no problem, but a reader should know.
        replica |= {"accepts writes": reads != "true", "read-only by default": bool(default)}
        problems = []
        if (twin, its_start) == (system, started):
            one = "database" if its_database == database else "server"
            problems.append(f"source and replica are on one and the same {one}: what ends the one ends the other")
        facts: dict[str, Any] = {"source": source, "replica": replica}
        chosen = self._choose(asked.subscriptions(self._replica))
        if isinstance(chosen, str):
            return Identity(facts, (*problems, chosen))
        facts["subscription"] = {"name": chosen.name, "enabled": chosen.enabled, "slot": chosen.slot}
        problems += self._running(chosen, facts)
        problems += self._publishing(chosen, facts, tables)
        facts["sequences that are not replicated"] = sequences
        return Identity(facts, tuple(problems))

    def _choose(self, found: Sequence[Subscription]) -> Subscription | str:
        """The subscription, or what is wrong."""
        wanted = self._spec.subscription
        names = ", ".join(one.name for one in found) or "none"
        if wanted is not None:
            there = [one for one in found if one.name == wanted]
            return there[0] if there else f"the replica's database has no subscription {wanted!r}; it has {names}"
        enabled = [one for one in found if one.enabled] or found
        if len(enabled) == 1:
            return enabled[0]
        if not enabled:
            return "the replica's database has no subscription: it follows nobody"
        return f"the replica's database has several subscriptions ({names}); declare `subscription`"

    def _subscription(self) -> Subscription | None:
        chosen = self._choose(asked.subscriptions(self._replica))
        return None if isinstance(chosen, str) else chosen

    def _look(self) -> tuple[int, Slot | None, Subscription | None]:
        """Where the source is, its slot, and then the replica: so what the source was told is never newer."""
        while True:
            here, slot = asked.slot(self._source, self._slot)
            now = self._subscription()
            if now is None or now.slot == self._slot:
                return here, slot, now
            self._slot = now.slot

    def _stray(self, here: int, slot: Slot | None, now: Subscription) -> list[str]:
        """What positions tell against it being this source's."""
        if now.received is None or slot is None:
            return []
        if now.received > here and now.received > self._servers.place():
            return ["the replica has received more than the source has written: it follows another source"]
        if slot.written is not None and slot.written > now.received:
            return [f"who uses the slot {now.slot!r} has received more than the replica: it follows another source"]
        return []

    def _running(self, chosen: Subscription, facts: dict[str, Any]) -> list[str]:
        """What is wrong with the worker and its slot. What may pass, as after a restart, is looked at again."""
        failed = again = asked.errors(self._replica, chosen)
        worker, problems = None, []
        for look in range(_LOOKS):
            if look:
                time.sleep(_BETWEEN)
            here, slot, found = self._look()
            now = found or chosen
            again = asked.errors(self._replica, chosen) if look else failed
            problems = [*asked.applying(now, again), *asked.slot_of(now, slot), *self._stray(here, slot, now)]
            # A worker that fails begins anew each time: only one that stays is sound.
            steady = not again or not sum(again) or now.worker == worker
            worker = now.worker
            lasts = not now.enabled or slot is None
            if lasts or (steady and not problems):
                break
        else:
            problems = problems or ["the subscription's apply worker ends and begins anew, again and again"]
        self._failed = again
        if failed and again and sum(again) > sum(failed):
            problems.append("applying changes fails again and again: the replica's log tells why")
        facts["worker"] = {"runs": worker is not None, "errors": None if again is None else sum(again)}
        facts["slot"] = None
        if slot is not None:
            facts["slot"] = {"database": slot.database, "active": slot.active, "wal_status": slot.wal_status}
            facts["slot"]["used by"] = slot.user
        return problems

    def _publishing(self, chosen: Subscription, facts: dict[str, Any], tables: int) -> list[str]:
        """What is wrong with what is published."""
        publications = asked.publications(self._source, chosen)
        shown = asked.published(self._source, chosen)
        published = {one.table for one in shown}
        held = set(asked.held(self._replica, chosen))
        facts["publications"] = {one.name: ", ".join(one.operations) for one in publications}
        facts["tables"] = {"published": len(published), "of": tables, "no longer published": sorted(held - published)}
        problems = []
        for name in sorted(set(chosen.publications) - {one.name for one in publications}):
            problems.append(f"the source has no publication {name!r}, which the subscription names")
        if chosen.copying:
            problems.append(f"not copied for the first time yet: {_list(chosen.copying)}")
        if published - held:
            missing = _list(sorted(published - held))
            problems.append(f"published, and not in the subscription until it is refreshed: {missing}")
        if not published:
            problems.append("nothing is published: its publications hold no table")
        if self._spec.partial:
            return problems
        for one in publications:
            if one.left_out:
                left = ", ".join(one.left_out)
                problems.append(
                    f"publication {one.name!r} leaves out {left}; declare `partial: true` when that is meant"
                )
        filtered = sorted(table for table in published if asked.filtered(shown, table))
        if filtered:
            problems.append(f"only some rows are published of {_list(filtered)}; declare `partial: true` when meant")
        return problems

    def skew(self) -> Skew | None:
        return self._servers.skew()

    def begin(self) -> None:
        table = self._markers_place()
        writer = self._reach.live(self._spec.source, writable=True)
        # What drills left that were killed.
        writer.execute(
            f"{LOCAL}; DELETE FROM {table} WHERE run ~ '^[0-9]+_[0-9a-f]{{8}}$'"
            f" AND split_part(run, '_', 1)::numeric < {stale_before()}"
        )
        self._writer = writer

    def _markers_place(self) -> str:
        """The marker table. Raises DatabaseRefused when markers could not come through it, or not go again."""
        name = self._spec.marker_table
        if name is None:
            raise self._no_markers("no `marker_table` is declared, and a replica of this kind shows no other")
        try:
            chosen = self._subscription()
            held = () if chosen is None else asked.held(self._replica, chosen)
        except (DatabaseUnreachable, HostError) as error:
            # The looks will tell who is silent.
            raise self._no_markers(f"whether the replica shows them cannot be asked: {error.what}") from error
        if chosen is None:
            raise self._no_markers("it is not known which subscription it is")
        table = asked.relation(self._source, name)
        if table is None:
            raise self._no_markers(f"the source has no table {name}: create it on both sides, and publish it")
        if not {"run", "number"} <= set(table.columns) or not table.identified:
            raise self._no_markers(f"{name} needs the columns run and number, as its primary key")
        entries = [one for one in asked.published(self._source, chosen) if one.table == table.name]
        if not entries or asked.filtered(entries, table.name):
            names = ", ".join(chosen.publications)
            raise self._no_markers(
                f"{name} is not in the publication ({names}): ALTER PUBLICATION ... ADD TABLE {name}"
            )
        through = {one.publication for one in entries}
        operations = {
            o for one in asked.publications(self._source, chosen) if one.name in through for o in one.operations
        }
        if not {"insert", "delete"} <= operations:
            raise self._no_markers(f"{name} is published without its inserts or deletes: set both with `publish`")
        if table.name not in held or table.name in chosen.copying:
            raise self._no_markers(
                f"the subscription does not know {name}: create it at the replica, and ALTER SUBSCRIPTION"
                f" {chosen.name} REFRESH PUBLICATION"
            )
        [[may]] = self._source.query(f"SELECT has_table_privilege({asked.literal(table.name)}, 'INSERT')::text")
        if may != "true":
            raise self._no_markers(f"the role may not write: GRANT INSERT, DELETE ON {name}")
        try:
            self.newest()
        except DatabaseError as error:
            raise self._no_markers(f"the replica does not show {name}: {error.what}") from error
        return table.name

    def _no_markers(self, what: str) -> DatabaseRefused:
        return DatabaseRefused(
            what,
            where=f"replica of {self._spec.source} at {self._spec.replica}",
            mend="docs/how-to/replication.md shows the SQL; until then lag is what the positions of both servers say",
        )

    def mark(self, number: int) -> None:
        if self._writer is None:
            raise UsageError("markers are written after `begin` only")
        self._writer.execute(
            f"{LOCAL}; INSERT INTO {self._spec.marker_table} (run, number) VALUES ('{self._run}', {number})"
        )

    def newest(self) -> int | None:
        wanted = f"SELECT max(number) FROM {self._spec.marker_table} WHERE run = '{self._run}'"
        try:
            [[found]] = self._replica.query("SELECT NULL" if self._spec.marker_table is None else wanted)
        except DatabaseError as error:
            if NO_TABLE in error.what:
                return None
            raise
        return None if found is None else int(found)

    def end(self) -> None:
        if self._writer is None:
            return
        self._writer.execute(f"{LOCAL}; DELETE FROM {self._spec.marker_table} WHERE run = '{self._run}'")
        self._writer = None

    def behind(self) -> Behind:
        here, slot, now = self._look()
        self._positions.source_is_at(here)
        done = self._applied(here, slot, now)
        if done is None:
            return Behind(None, None)
        seconds = self._positions.lag(done)
        return Behind(None if seconds is None else round(seconds, 6), max(0, here - done), "measured")

    def _applied(self, here: int, slot: Slot | None, now: Subscription | None) -> int | None:
        """Bytes of the source's log up to which the replica has applied what is published. None: not known.

        The source is told when it is safe, the replica knows as soon as it is there. Where
        nothing is published that is told just the same, so that other work is no lag.
        """
        # While a table is copied, changes to it are left out, and nothing tells how old it is.
        if now is None or slot is None or slot.confirmed is None or now.copying:
            return None
        if self._stray(here, slot, now):
            return None
        # What the replica says counts only while it is this source that it speaks of.
        return max(slot.confirmed, now.told or 0) if slot.active else slot.confirmed

    def compare(self) -> Sequence[Compared]:
        chosen = self._subscription()
        if chosen is None:
            detail = "it is not known which subscription it is"
            return [Compared(declared.table, None, detail) for declared in self._spec.compare]
        patience, shown = Patience(), asked.published(self._source, chosen)
        held = asked.held(self._replica, chosen)
        found = [self._compare(declared, chosen, shown, held, patience) for declared in self._spec.compare]
        failed = asked.errors(self._replica, chosen)
        more = sum(failed or ()) - sum(self._failed or failed or ())
        if failed is not None and more > 0:
            facts = {"apply errors": failed[0], "errors of first copies": failed[1]}
            found.append(Compared("applying changes", False, f"failed {more} times while it was looked at", facts))
        return found

    def _compare(
        self,
        declared: Table,
        chosen: Subscription,
        shown: Sequence[Published],
        held: Sequence[str],
        patience: Patience,
    ) -> Compared:
        table = asked.relation(self._source, declared.table)
        facts = {"method": declared.method}
        if table is None:
            return Compared(declared.table, None, "the source has no such table", facts)
        names = {one.table for one in shown}
        parts = (table.name,) if table.name in names else table.parts
        if not parts or not set(parts) <= names:
            return Compared(declared.table, False, "is not published, and so not replicated", facts)
        if not set(parts) <= set(held):
            return Compared(declared.table, False, "is published, and the subscription does not know it", facts)
        if any(asked.filtered(shown, part) for part in parts):
            return Compared(declared.table, None, "only some of its rows are published", facts)
        lists = [set(one.columns) for one in shown if one.table in parts and one.columns is not None]
        columns = [column for column in table.columns if all(column in some for some in lists)]
        row = "ROW(" + ", ".join("t." + _quoted(column) for column in columns) + ")"
        return self._servers.compared(declared, self._reached, patience, table.name, row)

    def _reached(self, place: int) -> bool:
        done = self._applied(*self._look())
        return done is not None and done >= place


def _list(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
