"""redis: a throwaway replica that follows production, is promoted, and goes; production is only read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from pydantic import BaseModel, Field, field_validator, model_validator

from drtests.databases.redis.client import DEFAULT_PORT, RedisCli
from drtests.databases.redis.scratch import SERVER_PACKAGE, USUAL_USER, ScratchRedis, Starting, check_settings
from drtests.databases.redis.words import quoted
from drtests.databases.rehearsing import Rehearsing, check_apart, check_reached
from drtests.databases.serving import Deadline, server_user, told_as_missing
from drtests.errors import DatabaseError, DatabaseMissing, DatabaseRefused, DatabaseUnreachable, SafetyError
from drtests.model.base import Declaration, LiveId, Text
from drtests.protocols.database import Live, Scratch, ScratchPlace

_OURS = ("append", "masterauth", "masteruser", "min-replicas", "min-slaves", "repl", "slave")
_REFUSED = re.compile(r"-?(?:NOAUTH|WRONGPASS|NOPERM)\b[^\r\n]*|Unable to AUTH to MASTER: [^\r\n]*")
_NEWER = re.compile(r"Can't handle RDB format version \d+|Unknown RDB [^\r\n]*|[^\r\n]*module [^\r\n]* not loaded")
_SETTINGS = {
    "replica-read-only": "yes",
    # So that no Sentinel promotes it in production, or tells others of it.
    "replica-priority": "0",
    "replica-announced": "no",
    "appendonly": "no",
    # What a full copy came in.
    "rdb-del-sync-files": "yes",
}
_RIGHTS = "give it +psync +replconf +ping; docs/how-to/redis.md lists all"


class RedisRehearsalSpec(Declaration):
    """A failover that costs production one full copy: a Redis that follows another one begins with all of its data,
    so that no backup shortens it."""

    source: LiveId
    """Running server whose place is taken. Its `user` needs PSYNC."""
    copy_from: LiveId | None = None
    """Running replica of the source that the throwaway one follows instead: the source then does not notice."""
    database: int = Field(default=0, ge=0, le=1023)
    """Number of the database in which queries start."""
    port: int | None = Field(default=None, ge=1, le=65535)
    """Port of 127.0.0.1 on which it listens, too, for recovery steps that cannot use a socket."""
    settings: dict[str, Text] = Field(default_factory=dict)
    """Settings of the server, as in redis.conf: such as loadmodule."""

    @field_validator("settings")
    @classmethod
    def _apart(cls, value: dict[str, str]) -> dict[str, str]:
        check_settings(value)
        for name in value:
            if name.startswith(_OURS):
                raise ValueError(f"`{name}` is decided by drtests, so that the replica is nobody's else")
        return value

    @model_validator(mode="after")
    def _two(self) -> RedisRehearsalSpec:
        if self.copy_from == self.source:
            raise ValueError("`copy_from` and `source` are the same; leave `copy_from` out")
        return self


@dataclass(frozen=True, slots=True)
class _Spot:
    """Where a server is in its history. Offsets of another history, or another life of the server, say nothing."""

    run: str
    history: str
    offset: int

    @classmethod
    def of(cls, session: RedisCli) -> _Spot:
        told = _info(session, "server") | _info(session, "replication")
        return cls(told["run_id"], told["master_replid"], int(told["master_repl_offset"]))

    @classmethod
    def read(cls, text: str) -> _Spot:
        run, history, offset = text.split(":")
        return cls(run, history, int(offset))

    def __str__(self) -> str:
        return f"{self.run}:{self.history}:{self.offset}"


class RedisRehearsal(Rehearsing[RedisCli, ScratchRedis]):
    """Fulfils `drtests.protocols.database.Rehearsal`."""

    Spec: ClassVar[type[BaseModel]] = RedisRehearsalSpec
    type: ClassVar[str] = "redis"

    def __init__(self, spec: RedisRehearsalSpec, open_live: Callable[[str], Live]) -> None:
        super().__init__(open_live, RedisCli, "Redis")
        self._spec = spec

    @property
    def from_backup(self) -> bool:
        return False

    def position(self) -> str:
        return str(_Spot.of(self._session(self._spec.source)))

    def build(self, place: ScratchPlace) -> None:
        self._place = place
        spec = self._spec
        source = self._session(spec.source)
        followed = self._session(spec.copy_from or spec.source)
        check_reached(followed, place.host, by_socket=False)
        for session in (source, followed):
            check_apart(session, spec.port, DEFAULT_PORT)
        self._check(source, followed)
        deadline = Deadline(place.clock, place.timeout, "the throwaway replica")
        began = place.clock.monotonic()
        with told_as_missing(place.host, SERVER_PACKAGE):
            starting = Starting(place, server_user(place, USUAL_USER), deadline, spec.settings)
            place.host.make_directory(starting.data)
            made = starting.start(spec.port, spec.database, _SETTINGS)
        self._made = made
        declared, leader = followed.declared, made.leader()
        # By standard input, as every command; and in no file, since Redis writes its settings down when told only.
        if followed.password is not None:
            leader.execute(_command("CONFIG", "SET", "masterauth", followed.password))
            if declared.user is not None:
                leader.execute(_command("CONFIG", "SET", "masteruser", declared.user))
        leader.execute(_command("REPLICAOF", declared.address, str(declared.port or DEFAULT_PORT)))
        for _ in self._looks(deadline.left()):
            if _info(made.session, "replication").get("master_link_status") == "up":
                place.tell("began_with", f"a copy of {followed.id}")
                place.tell("copy_seconds", round(place.clock.monotonic() - began, 3))
                return
            self._trouble(made, followed)
        raise DatabaseError(
            f"the copy of {followed.id} was not done in time",
            where=f"database {followed.id}",
            mend="see that it is reached from the staging's host, or declare a longer `timeout`",
        )

    def catch_up(self, position: str, timeout: float) -> None:
        made, place = self._running()
        then = _Spot.read(position)
        # What was written while the copy was made has to come, too: else a replica that receives nothing would do.
        now = _Spot.of(self._session(self._spec.source))
        if now.run != then.run:
            raise DatabaseError(
                "the source was started anew meanwhile: what it had before is not known to have come",
                where=f"database {self._spec.source}",
                mend="run the drill again, and see why that server ended",
            )
        followed = self._session(self._spec.copy_from or self._spec.source)
        told: Mapping[str, str] = {}
        for _ in self._looks(timeout):
            told = _info(made.session, "replication")
            here = (told.get("master_replid"), int(told.get("slave_repl_offset", "-1")))
            # A source that nobody followed begins a new history with its first replica.
            if told.get("master_link_status") == "up" and here[0] == now.history and here[1] >= now.offset:
                place.tell("position", position)
                place.tell("replayed_to", here[1])
                return
            self._trouble(made, followed)
        linked = told.get("master_link_status") == "up"
        raise DatabaseError(
            f"the throwaway replica was at {told.get('slave_repl_offset', 'nothing')} after {timeout:g} s, and not at "
            f"{now.offset}; its link to {followed.id} is {'up' if linked else 'down'}"
            + ("" if told.get("master_replid") == now.history else ", and it has another history than the source"),
            where=f"host {place.host.id}",
            mend="see that the source runs and is reached from the staging's host, or declare a longer `timeout`",
        )

    def promote(self) -> Scratch:
        made, place = self._running()
        leader = made.leader()
        # Nothing leads back to production from here on.
        for words in (("REPLICAOF", "NO", "ONE"), ("CONFIG", "SET", "masterauth", "", "masteruser", "")):
            leader.execute(_command(*words))
        role = _info(made.session, "replication").get("role")
        if role != "master":
            raise DatabaseError(
                f"the throwaway replica was not promoted: its role is {role}",
                where=f"host {place.host.id}",
                mend="see its log",
            )
        return made

    def _check(self, source: RedisCli, followed: RedisCli) -> None:
        """Raises what is known beforehand to keep it from following, or to make production rely on it."""
        where = f"database {followed.id}"
        told = _info(followed, "replication")
        if _info(followed, "persistence").get("loading") != "0":
            raise DatabaseUnreachable("it is loading its data, and lets nobody follow", where=where, mend="wait for it")
        if told["role"] == "master" and "min_slaves_good_slaves" in told:
            raise SafetyError(
                "it counts its replicas before it takes writes (min-replicas-to-write): it would count the throwaway "
                "one, too",
                where=where,
                mend="let `copy_from` name one of its replicas: whoever follows that is not counted",
            )
        if followed is source:
            return
        if told["role"] != "slave" or told["master_replid"] != _info(source, "replication")["master_replid"]:
            raise DatabaseError(
                f"it is no replica of {source.id}: its history is another",
                where=where,
                mend="let `copy_from` name a replica of `source`, or leave it out",
            )
        if told.get("master_link_status") != "up":
            raise DatabaseError(
                "its own link to the source is down, so that nobody can follow it",
                where=where,
                mend="mend that replica, or leave `copy_from` out",
            )

    def _trouble(self, made: ScratchRedis, followed: RedisCli) -> None:
        """Raises what the replica's log tells, when waiting cannot help. Lines of other kinds may hold data."""
        log, where = made.log(), f"database {followed.id}"
        refused = _REFUSED.search(log)
        if refused is not None:
            raise DatabaseRefused(
                f"it lets nobody follow it by that account: {refused[0].strip()}", where=where, mend=_RIGHTS
            )
        newer = _NEWER.search(log)
        if newer is not None:
            raise DatabaseMissing(
                f"its data cannot be read by the staging's Redis: {newer[0].strip()}",
                where=where,
                mend="install the release of Redis, with its modules, that runs there on the staging's host",
            )


def _info(session: RedisCli, section: str) -> dict[str, str]:
    [[text]] = session.query(f"INFO {section}")
    return dict(line.split(":", 1) for line in str(text).splitlines() if ":" in line)


def _command(*words: str) -> str:
    return quoted([word.encode() for word in words]).decode()
