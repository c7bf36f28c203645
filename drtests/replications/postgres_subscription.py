"""What both sides of a logical replication tell of it: the replica's subscription, the source's slot and publications.

Everything is asked with the rights of `pg_monitor`. How a subscription
connects (`subconninfo`) is never read: it may hold a password.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from drtests.protocols.database import Live
from drtests.replications.postgres_common import PLACE

# Columns that only newer releases have are taken out of a row as JSON, so that older ones answer, too.
# Workers that copy a table at first, or apply a part of a large transaction, are none of the ones that are asked for.
_SUBSCRIPTIONS = """SELECT s.oid, s.subname, s.subenabled::text, s.subslotname, to_json(s.subpublications)::text,
w.pid, pg_wal_lsn_diff(w.received_lsn, '0/0'), pg_wal_lsn_diff(w.latest_end_lsn, '0/0'),
(SELECT json_agg(r.srrelid::regclass::text ORDER BY 1) FROM pg_subscription_rel AS r
 WHERE r.srsubid = s.oid AND r.srsubstate NOT IN ('s', 'r'))::text
FROM pg_subscription AS s LEFT JOIN LATERAL (SELECT x.pid, x.received_lsn, x.latest_end_lsn
 FROM pg_stat_subscription AS x
 WHERE x.subid = s.oid AND x.relid IS NULL AND (to_jsonb(x) ->> 'leader_pid') IS NULL LIMIT 1) AS w ON true
WHERE s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY s.subname"""

_ERRORS = "SELECT apply_error_count, sync_error_count FROM pg_stat_subscription_stats WHERE subid = {oid}"

_SLOT = f"""SELECT {PLACE}, s.slot_name, s.slot_type, s.database, current_database(), s.active::text, s.wal_status,
to_jsonb(s) ->> 'invalidation_reason', pg_wal_lsn_diff(s.confirmed_flush_lsn, '0/0'),
r.application_name, coalesce(host(r.client_addr), 'socket'), r.state, pg_wal_lsn_diff(r.write_lsn, '0/0')
FROM (SELECT {{name}} AS wanted) AS w LEFT JOIN pg_replication_slots AS s ON s.slot_name = w.wanted
LEFT JOIN pg_stat_replication AS r ON r.pid = s.active_pid"""

_PUBLICATIONS = """SELECT pubname, puballtables::text, pubinsert::text, pubupdate::text, pubdelete::text,
pubtruncate::text FROM pg_publication WHERE pubname IN ({names}) ORDER BY 1"""

# A partition is not needed by itself where one that it is a part of is published, too.
_PUBLISHED = """WITH p AS (SELECT pubname, format('%I.%I', schemaname, tablename) AS name,
 format('%I.%I', schemaname, tablename)::regclass AS relation, to_jsonb(t) AS told
 FROM pg_publication_tables AS t WHERE pubname IN ({names}))
SELECT p.pubname, p.name, p.told ->> 'rowfilter', p.told ->> 'attnames' FROM p
WHERE NOT EXISTS (SELECT 1 FROM pg_partition_ancestors(p.relation) AS a JOIN p AS o ON o.relation = a.relid
 WHERE o.relation <> p.relation) ORDER BY 2, 1"""

# Generated columns are not published; each server makes its own.
_TABLE = """SELECT format('%I.%I', n.nspname, c.relname),
(SELECT json_agg(format('%I.%I', ln.nspname, l.relname)) FROM pg_partition_tree(c.oid) AS t
 JOIN pg_class AS l ON l.oid = t.relid JOIN pg_namespace AS ln ON ln.oid = l.relnamespace
 WHERE t.isleaf AND l.oid <> c.oid)::text,
(SELECT json_agg(attname ORDER BY attnum) FROM pg_attribute
 WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = '')::text,
(c.relreplident IN ('f', 'i') OR (c.relreplident = 'd' AND EXISTS (SELECT 1 FROM pg_index
 WHERE indrelid = c.oid AND indisprimary)))::text
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = to_regclass({name})"""

_HELD = """SELECT format('%I.%I', n.nspname, c.relname) FROM pg_subscription_rel AS r
JOIN pg_class AS c ON c.oid = r.srrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE r.srsubid = {oid} ORDER BY 1"""

_OPERATIONS = ("insert", "update", "delete", "truncate")


def literal(text: str) -> str:
    """Text as SQL takes it, whatever is in it and however the server reads backslashes."""
    return f"convert_from(decode('{text.encode().hex()}', 'hex'), 'UTF8')"


@dataclass(frozen=True, slots=True)
class Subscription:
    """As the replica tells of it. Places are bytes of the source's log."""

    oid: int
    name: str
    enabled: bool
    slot: str | None
    publications: tuple[str, ...]
    worker: int | None
    """Process that applies changes; None: none runs."""
    received: int | None
    told: int | None
    """What was committed up to here has been applied, as the worker that runs now told the source."""
    copying: tuple[str, ...]
    """Tables whose first copy is not done."""


def subscriptions(replica: Live) -> Sequence[Subscription]:
    """All of the database that is asked."""
    return [
        Subscription(
            oid=oid,
            name=name,
            enabled=enabled == "true",
            slot=slot,
            publications=tuple(json.loads(publications)),
            worker=worker,
            received=_whole(received),
            told=_whole(told),
            copying=tuple(json.loads(copying or "[]")),
        )
        for oid, name, enabled, slot, publications, worker, received, told, copying in replica.query(_SUBSCRIPTIONS)
    ]


def errors(replica: Live, subscription: Subscription) -> tuple[int, int] | None:
    """How often applying and first copies have failed since somebody reset the count; None before PostgreSQL 15."""
    [[known]] = replica.query("SELECT to_regclass('pg_catalog.pg_stat_subscription_stats')::text")
    if known is None:
        return None
    rows = replica.query(_ERRORS.format(oid=subscription.oid))
    return (int(rows[0][0]), int(rows[0][1])) if rows else None


@dataclass(frozen=True, slots=True)
class Slot:
    """As the source tells of it."""

    type: str
    database: str
    here: bool
    """Whether it is of the database that was asked."""
    active: bool
    wal_status: str | None
    invalidated: str | None
    confirmed: int | None
    """What was committed up to here is safe at the replica."""
    user: str | None
    """Who uses it: name, address and state of the connection."""
    written: int | None
    """Up to where that connection said that it had received; None: it has said nothing yet."""


def slot(source: Live, name: str | None) -> tuple[int, Slot | None]:
    """Where the source's log ends, and its slot; None when it has none of that name."""
    [[place, found, kind, database, asked, active, wal_status, invalidated, confirmed, *walsender]] = source.query(
        _SLOT.format(name="NULL::text" if name is None else literal(name))
    )
    if found is None:
        return int(place), None
    application, address, state, written = walsender
    return int(place), Slot(
        type=kind,
        database=database or "none",
        here=database == asked,
        active=active == "true",
        wal_status=wal_status,
        invalidated=invalidated,
        confirmed=_whole(confirmed),
        user=None if application is None else f"{application} {address} {state}",
        written=_whole(written),
    )


@dataclass(frozen=True, slots=True)
class Publication:
    """One that the subscription names and the source has."""

    name: str
    all_tables: bool
    operations: tuple[str, ...]
    """Which of insert, update, delete and truncate it publishes."""

    @property
    def left_out(self) -> tuple[str, ...]:
        return tuple(one for one in _OPERATIONS if one not in self.operations)


def publications(source: Live, subscription: Subscription) -> Sequence[Publication]:
    """Those that are there."""
    return [
        Publication(
            name, all_tables == "true", tuple(o for o, on in zip(_OPERATIONS, does, strict=True) if on == "true")
        )
        for name, all_tables, *does in source.query(_PUBLICATIONS.format(names=_names(subscription)))
    ]


@dataclass(frozen=True, slots=True)
class Published:
    """A table in a publication."""

    publication: str
    table: str
    """With its schema, quoted where that is needed."""
    filtered: bool
    """Whether only some of its rows are published."""
    columns: tuple[str, ...] | None
    """Those that are published; None before PostgreSQL 15: all."""


def published(source: Live, subscription: Subscription) -> Sequence[Published]:
    """All tables of its publications."""
    rows = source.query(_PUBLISHED.format(names=_names(subscription)))
    return [
        Published(publication, table, rows_of is not None, None if columns is None else tuple(json.loads(columns)))
        for publication, table, rows_of, columns in rows
    ]


@dataclass(frozen=True, slots=True)
class Relation:
    """A table of the source."""

    name: str
    """With its schema, quoted where that is needed."""
    parts: tuple[str, ...]
    """Its partitions that hold rows."""
    columns: tuple[str, ...]
    identified: bool
    """Whether it says by what a row is known, so that deleting one can be published."""


def relation(live: Live, name: str) -> Relation | None:
    """By a name as it is declared; None when there is none."""
    rows = live.query(_TABLE.format(name=literal(name)))
    if not rows:
        return None
    [[whole, parts, columns, identified]] = rows
    return Relation(whole, tuple(json.loads(parts or "[]")), tuple(json.loads(columns or "[]")), identified == "true")


def held(replica: Live, subscription: Subscription) -> Sequence[str]:
    """Tables that the subscription knows of, with their schemas."""
    return [name for [name] in replica.query(_HELD.format(oid=subscription.oid))]


def applying(now: Subscription, failed: tuple[int, int] | None) -> list[str]:
    """What is wrong with its worker; `failed` as `errors` tells."""
    if not now.enabled:
        return ["the subscription is disabled"]
    if now.worker is None:
        times = f"; applying has failed {failed[0]} times" if failed and failed[0] else ""
        return [f"the subscription's apply worker does not run{times}: the replica's log tells why"]
    return []


def slot_of(now: Subscription, slot: Slot | None) -> list[str]:
    """What is wrong with its slot at the source."""
    if now.slot is None:
        return ["the subscription uses no replication slot: it follows nobody"]
    if slot is None:
        return [f"the source has no replication slot {now.slot!r}: the subscription follows another source, or nothing"]
    problems = []
    if slot.type != "logical" or not slot.here:
        problems.append(f"the slot {now.slot!r} at the source is {slot.type}, of database {slot.database}")
    if not slot.active:
        told = "is not in use: the subscription follows another source, or nothing"
        problems.append(f"the slot {now.slot!r} at the source {told}")
    elif slot.user is None:
        problems.append(f"the slot {now.slot!r} at the source is used by something that is no subscription")
    if slot.wal_status in ("unreserved", "lost") or slot.invalidated:
        why = slot.invalidated or slot.wal_status
        problems.append(f"the source drops log that the slot {now.slot!r} still needs ({why})")
    return problems


def filtered(shown: Sequence[Published], table: str) -> bool:
    """Whether no publication publishes all its rows."""
    return all(one.filtered for one in shown if one.table == table)


def _names(subscription: Subscription) -> str:
    return ", ".join(map(literal, subscription.publications)) or "NULL"


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)
