"""redis: a replica that follows a Redis source."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, Field, model_validator

from drtests.errors import DatabaseError, DatabaseRefused, UsageError
from drtests.model.base import Declaration, LiveId
from drtests.model.units import Duration
from drtests.protocols.database import Live
from drtests.protocols.reach import Reach
from drtests.protocols.replication import Behind, Compared, Identity, Skew
from drtests.replications.clocks import skew_of
from drtests.replications.comparing import Patience, compare
from drtests.replications.lag import Positions

_PREFIX = "drtests:marker:"
_TTL = 3600
"""Seconds after which Redis itself forgets a marker, whatever happens to the drill."""
_PAGE = 1000

_SCRIPT = """
local page = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
local out = {}
local function digest(key)
  local kind = redis.call('TYPE', key).ok
  local parts = {}
  if kind == 'none' then return ''
  elseif kind == 'string' then parts[1] = redis.call('GET', key)
  elseif kind == 'list' then parts = redis.call('LRANGE', key, 0, -1)
  elseif kind == 'zset' then parts = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  elseif kind == 'set' then
    parts = redis.call('SMEMBERS', key)
    table.sort(parts)
  elseif kind == 'hash' then
    local flat = redis.call('HGETALL', key)
    for i = 1, #flat, 2 do parts[#parts + 1] = #flat[i] .. ':' .. flat[i] .. flat[i + 1] end
    table.sort(parts)
  elseif kind == 'stream' then
    for _, entry in ipairs(redis.call('XRANGE', key, '-', '+')) do
      parts[#parts + 1] = entry[1]
      for _, field in ipairs(entry[2]) do parts[#parts + 1] = field end
    end
  else parts[1] = redis.call('DUMP', key) end
  for i, part in ipairs(parts) do parts[i] = #part .. ':' .. part end
  return redis.sha1hex(kind .. table.concat(parts))
end
for _, key in ipairs(page[2]) do
  if string.sub(key, 1, #ARGV[5]) ~= ARGV[5] then
    out[#out + 1] = redis.sha1hex(key)
    out[#out + 1] = ARGV[4] == 'count' and '' or digest(key)
  end
end
return {page[1], out}
"""
"""One page of keys: a hash of each name, and of its value. What has no order of its own is sorted, since two servers
keep it in different ones. Names and values stay where they are."""


class Keys(Declaration):
    """Keys that are compared."""

    keys: str = Field(default="*", min_length=1)
    """Pattern as SCAN takes it."""
    method: Literal["count", "checksum"] = "count"
    """`count`: how many keys there are. `checksum`: names and values, all of which is read on both servers."""


class RedisReplicationSpec(Declaration):
    """Options of `redis`."""

    source: LiveId
    """Running database of type redis."""
    replica: LiveId
    compare: tuple[Keys, ...] = ()
    compare_timeout: Duration = timedelta(minutes=1)
    """For one page of keys on one server."""

    @model_validator(mode="after")
    def _two(self) -> RedisReplicationSpec:
        if self.source == self.replica:
            raise ValueError("`source` and `replica` are the same; give two databases")
        return self


class RedisReplication:
    """Asks both servers by redis-cli. Only markers write, and only at the source: one key that expires by itself."""

    Spec: ClassVar[type[BaseModel]] = RedisReplicationSpec
    marks: ClassVar[bool] = True
    steady: ClassVar[bool] = False

    def __init__(self, spec: RedisReplicationSpec, reach: Reach) -> None:
        self._spec = spec
        self._reach = reach
        self._source = reach.live(spec.source)
        self._replica = reach.live(spec.replica)
        self._key = f"{_PREFIX}{secrets.token_hex(8)}"
        self._writer: Live | None = None
        self._history = ""
        self._positions = Positions()

    def identify(self) -> Identity:
        source, replica = _info(self._source), _info(self._replica)
        facts = {"source": _told(source, _SOURCE_FACTS), "replica": _told(replica, _REPLICA_FACTS)}
        problems = []
        if source["run_id"] == replica["run_id"]:
            problems.append("source and replica are one and the same server")
        if replica["role"] != "slave":
            problems.append("the replica follows nobody: its role is master")
            return Identity(facts, tuple(problems))
        where = f"{replica['master_host']}:{replica['master_port']}"
        if replica.get("master_replid") != source.get("master_replid"):
            problems.append(f"the replica follows {where}, whose history is another than the source's (replication id)")
        if replica.get("master_link_status") != "up":
            since = replica.get("master_link_down_since_seconds", "")
            problems.append(f"the replica's link to {where} is down" + (f" since {since} s" if _number(since) else ""))
        if replica.get("master_sync_in_progress") == "1":
            problems.append("the replica is being filled anew, and has not all data before that ends")
        if replica.get("slave_read_only") != "1":
            problems.append("the replica accepts writes: replica-read-only is off")
        return Identity(facts, tuple(problems))

    def skew(self) -> Skew | None:
        return skew_of(lambda: _clock(self._source), lambda: _clock(self._replica))

    def begin(self) -> None:
        writer = self._reach.live(self._spec.source, writable=True)
        self._writer = writer
        try:
            self.mark(0)
            # Nothing is visible at the replica before the first marker.
            writer.execute(f"DEL {self._key}")
        except DatabaseRefused:
            self._writer = None
            raise

    def mark(self, number: int) -> None:
        if self._writer is None:
            raise UsageError("markers are written after `begin` only")
        self._writer.execute(f"SET {self._key} {number} EX {_TTL}")

    def newest(self) -> int | None:
        [[found]] = self._replica.query(f"GET {self._key}")
        return None if found is None else int(found)

    def behind(self) -> Behind:
        source = _info(self._source, "replication")
        history, here = source.get("master_replid", ""), int(source.get("master_repl_offset", "0"))
        if history != self._history:
            self._positions.forget()
            self._history = history
        self._positions.source_is_at(here)
        replica = _info(self._replica, "replication")
        if replica["role"] != "slave" or replica.get("master_replid") != history:
            return Behind(None, None)
        if replica.get("master_sync_in_progress") == "1":
            return Behind(None, None)
        done = int(replica["slave_repl_offset"])
        seconds = self._positions.lag(done)
        lacks = max(0, here - done)
        if seconds is not None:
            return Behind(round(seconds, 6), lacks, "measured")
        # How long the link is down is no more than the replica's own idea.
        down = _number(replica.get("master_link_down_since_seconds", ""))
        return Behind(float(down) if down and replica.get("master_link_status") != "up" else None, lacks)

    def compare(self) -> Sequence[Compared]:
        patience = Patience()
        return [self._compare(declared, patience) for declared in self._spec.compare]

    def _compare(self, declared: Keys, patience: Patience) -> Compared:
        return compare(
            declared.keys,
            lambda: self._value(self._source, declared),
            lambda: self._value(self._replica, declared),
            self._place,
            self._reached,
            ordered=declared.method == "count",
            facts={"method": declared.method},
            patience=patience,
        )

    def _value(self, live: Live, declared: Keys) -> int | str:
        """How many keys, or one hash over all."""
        timeout = self._spec.compare_timeout.total_seconds()
        found: dict[str, str] = {}
        cursor = "0"
        while True:
            arguments = (cursor, declared.keys, str(_PAGE), declared.method, _PREFIX)
            words = " ".join(_word(word) for word in (_SCRIPT, "0", *arguments))
            [[cursor], page] = live.query(f"EVAL_RO {words}", timeout)
            # Redis may tell a key twice.
            found |= dict(zip(page[::2], page[1::2], strict=True))
            if cursor == "0":
                break
        if declared.method == "count":
            return len(found)
        # A key that went meanwhile has no hash.
        lines = sorted(f"{name} {digest}" for name, digest in found.items() if digest)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def end(self) -> None:
        if self._writer is None:
            return
        self._writer.execute(f"DEL {self._key}")
        self._writer = None

    def _place(self) -> tuple[str, int]:
        source = _info(self._source, "replication")
        return source.get("master_replid", ""), int(source.get("master_repl_offset", "0"))

    def _reached(self, place: tuple[str, int]) -> bool:
        replica = _info(self._replica, "replication")
        return replica.get("master_replid") == place[0] and int(replica.get("slave_repl_offset", "-1")) >= place[1]


_SOURCE_FACTS = ("redis_version", "run_id", "role", "master_replid", "master_repl_offset", "connected_slaves")
_REPLICA_FACTS = (
    "redis_version", "run_id", "role", "master_host", "master_port", "master_link_status", "master_replid",
    "slave_repl_offset", "slave_read_only", "master_last_io_seconds_ago", "master_link_down_since_seconds",
)  # fmt: skip


def _info(live: Live, *sections: str) -> Mapping[str, str]:
    """What INFO tells, by name."""
    found: dict[str, str] = {}
    for section in sections or ("server", "replication"):
        [[text]] = live.query(f"INFO {section}")
        found |= dict(line.split(":", 1) for line in str(text).splitlines() if ":" in line)
    if "role" not in found:
        raise DatabaseError(
            f"database {live.id} tells nothing of its replication", mend="allow its account the command INFO"
        )
    return found


def _told(info: Mapping[str, str], names: Sequence[str]) -> dict[str, Any]:
    return {name: info[name] for name in names if name in info}


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None


def _clock(live: Live) -> float:
    [[seconds], [micro]] = live.query("TIME")
    return int(seconds) + int(micro) / 1_000_000


def _word(text: str) -> str:
    """In quotes, as redis-cli takes it."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in text.encode("utf-8", errors="surrogateescape")) + '"'
