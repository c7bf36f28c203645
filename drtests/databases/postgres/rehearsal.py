"""postgres: a throwaway standby that follows production, is promoted, and goes; production is only read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, Field, model_validator

from drtests.databases.postgres.basebackup import PhysicalSpec, Wal, check_apart, lay_out
from drtests.databases.postgres.client import DEFAULT_PORT, Postgres
from drtests.databases.postgres.datadir import Control, DataDirectory, backups, control
from drtests.databases.postgres.programs import SERVER_PACKAGE, find
from drtests.databases.postgres.scratch import USUAL_USER, ScratchPostgres, Starting
from drtests.databases.rehearsing import APPLICATION, Rehearsing, check_reached
from drtests.databases.serving import Deadline, hand_over, last_words, server_user, told_as_missing
from drtests.errors import (
    CommandTimeout,
    DatabaseError,
    DatabaseRefused,
    DatabaseUnreachable,
    SafetyError,
)
from drtests.model.base import Flag, LiveId
from drtests.protocols.database import Live, Scratch, ScratchPlace
from drtests.protocols.host import Host
from drtests.restored import RelativePath

_PROMOTION = 60
_RIGHTS = (
    "let that role LOGIN with REPLICATION, and let pg_hba.conf there have a line for it, such as "
    "`host replication drtests ADDRESS/32 scram-sha-256`; see docs/how-to/postgres.md"
)
_REFUSED = re.compile(
    r"password authentication failed|no pg_hba\.conf entry|must be superuser or replication role"
    r"|permission denied to start WAL sender|role \S+ does not exist|exceeds max_wal_senders"
)
_GONE = re.compile(r"requested WAL segment \S+ has already been removed")
_OTHER = re.compile(r"database system identifier differs|highest timeline \d+ of the primary is behind")
_POSITION = (
    "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END,"
    " (SELECT system_identifier FROM pg_control_system())::text"
)


class PostgresRehearsalSpec(PhysicalSpec):
    """A failover that costs production nothing but the copying: no slot, no setting and no table of it is changed."""

    source: LiveId
    """Running server that the throwaway standby follows. Its `user` needs REPLICATION."""
    copy_from: LiveId | None = None
    """Running server that the copy is taken from, such as a standby of the source; the source when not given."""
    path: RelativePath | None = None
    """Base backup in the restored tree to begin with, instead of a copy of what runs."""
    wal: RelativePath | None = None
    """Folder with the archived log, in the restored tree; with `path` only."""
    checkpoint: Literal["fast", "spread"] = "fast"
    """fast: the copy begins at once, and the server copied from writes what is dirty at once, too. spread: it takes
    its time, and so does the drill."""
    max_rate: str | None = Field(default=None, pattern=r"^[0-9]+[kM]?$")
    """Most that is copied per second, in KiB, or as 50M."""
    temporary_slot: Flag = False
    """Lets production keep the log for as long as the drill is connected; it forgets the slot by itself afterwards.
    Without it a busy server may drop log that the throwaway standby still needs."""

    @model_validator(mode="after")
    def _one_beginning(self) -> PostgresRehearsalSpec:
        if self.path is None:
            for name in ("wal", "tablespaces"):
                if getattr(self, name):
                    raise ValueError(f"`{name}` says where a backup has it; give `path`, or leave `{name}` out")
        elif self.copy_from is not None:
            raise ValueError("give `path` (begin with a backup) or `copy_from` (with what runs), not both")
        else:
            check_apart(self.path, self.wal)
        return self


class PostgresRehearsal(Rehearsing[Postgres, ScratchPostgres]):
    """Fulfils `drtests.protocols.database.Rehearsal`."""

    Spec: ClassVar[type[BaseModel]] = PostgresRehearsalSpec
    type: ClassVar[str] = "postgres"

    def __init__(self, spec: PostgresRehearsalSpec, open_live: Callable[[str], Live]) -> None:
        super().__init__(open_live, Postgres, "PostgreSQL")
        self._spec = spec
        self._needed: Mapping[str, str] = {}

    @property
    def from_backup(self) -> bool:
        return self._spec.path is not None

    def position(self) -> str:
        [[position, _]] = self._session(self._spec.source).query(_POSITION)
        return str(position)

    def build(self, place: ScratchPlace) -> None:
        self._place = place
        source = self._session(self._spec.source)
        words = _reached(source, place.host)
        self._guard(source)
        deadline = Deadline(place.clock, place.timeout, "the throwaway standby")
        with told_as_missing(place.host, SERVER_PACKAGE):
            starting, seen, wal = self._restored(place, deadline) if self.from_backup else self._copied(place, deadline)
            [[_, system]] = source.query(_POSITION)
            if seen.system != system:
                raise DatabaseError(
                    f"what it begins with is of another server: system identifier {seen.system}, and {system} of the "
                    "source",
                    where=f"database {source.id}",
                    mend="correct `source`, and `copy_from` or `path`",
                )
            place.tell("system_identifier", seen.system)
            place.host.write(f"{starting.data}/standby.signal", b"")
            self._needed = seen.settings()
            follow = {
                "primary_conninfo": _conninfo(words),
                "wal_receiver_create_temp_slot": "on" if self._spec.temporary_slot else "off",
                "hot_standby": "on",
                **({} if wal is None or wal.folder is None else wal.settings()),
            }
            # The password is for the walreceiver alone, and is in no file.
            secret = {"PGPASSWORD": _password(source), "PGPASSFILE": "/nonexistent"}
            environment = secret | ({} if wal is None else wal.environment())
            made = starting.start(self._spec.database, self._spec.port, dict(self._needed) | follow, environment)
        self._made = made
        made.wait(read_only=True)

    def catch_up(self, position: str, timeout: float) -> None:
        made, place = self._running()
        # What was written while the copy was made has to come, too: else a standby that receives nothing would do.
        later = self.position()
        asked = made.open("template1", writable=False)
        question = (
            f"SELECT pg_last_wal_replay_lsn() >= greatest('{_lsn(position)}'::pg_lsn, '{_lsn(later)}'::pg_lsn),"
            " pg_last_wal_replay_lsn(), (SELECT status FROM pg_stat_wal_receiver)"
        )
        replayed = status = None
        for _ in self._looks(timeout):
            [[reached, replayed, status]] = asked.query(question)
            if reached == "t" and status == "streaming":
                place.tell("position", position)
                place.tell("replayed_to", replayed)
                return
            self._trouble(made)
        raise DatabaseError(
            f"the throwaway standby was at {replayed or 'nothing'} after {timeout:g} s, and not at {later}; "
            f"it is {'streaming' if status == 'streaming' else 'not receiving'}",
            where=f"host {place.host.id}",
            mend=f"declare a longer `timeout`, or see its words: {last_words(made.log())}",
        )

    def promote(self) -> Scratch:
        made, place = self._running()
        owner = made.open("template1", writable=True)
        done = owner.script(f"SELECT pg_promote(true, {_PROMOTION});", _PROMOTION + 10.0, "--tuples-only").stdout
        if done.strip() != "t":
            raise DatabaseError(
                f"the throwaway standby was not promoted within {_PROMOTION} s",
                where=f"host {place.host.id}",
                mend=f"see its words: {last_words(made.log())}",
            )
        made.wait()
        # Nothing leads back to production from here on.
        made.configure(self._needed)
        asked = "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)"
        [[timeline]] = made.open("template1", writable=False).query(asked)
        place.tell("timeline", int(str(timeline), 16))
        return made

    def _guard(self, source: Postgres) -> None:
        """Raises SafetyError when production would wait for the throwaway standby before it commits."""
        asked = "SELECT current_setting('synchronous_standby_names'), pg_is_in_recovery()"
        [[names, standby]] = source.query(asked)
        if "*" in str(names) and standby == "f":
            raise SafetyError(
                f"the source takes any standby for a synchronous one (synchronous_standby_names = {names}): it would "
                "rely on the throwaway one",
                where=f"database {source.id}",
                mend="name the standbys there, or follow one of them: `source` may be a standby",
            )

    def _restored(self, place: ScratchPlace, deadline: Deadline) -> tuple[Starting, Control, Wal | None]:
        found = backups(place, str(self._spec.path), deadline)
        data = DataDirectory(place, deadline)
        wal = Wal.take(place, data, self._spec.wal)
        starting, seen = lay_out(place, data, found[0], self._spec, deadline)
        place.tell("began_with", found[0].path)
        return starting, seen, wal

    def _copied(self, place: ScratchPlace, deadline: Deadline) -> tuple[Starting, Control, Wal | None]:
        spec, host = self._spec, place.host
        copied = self._session(spec.copy_from or spec.source)
        words = _reached(copied, host)
        [[release]] = copied.query("SELECT current_setting('server_version_num')")
        binaries = find(host, "postgres", int(str(release)) // 10000, spec.binaries)
        starting = Starting(place, server_user(place, USUAL_USER), deadline, binaries, spec.settings, spec.user)
        hand_over(place, starting.user, deadline)
        argv = [
            binaries.path("pg_basebackup"), *(f"--{name}={value}" for name, value in words.items() if name != "user"),
            f"--username={words['user']}", "--no-password", f"--pgdata={starting.data}", "--wal-method=stream",
            f"--checkpoint={spec.checkpoint}", *(() if spec.temporary_slot else ("--no-slot",)),
            *((f"--max-rate={spec.max_rate}",) if spec.max_rate else ()), *self._mapped(copied, place),
        ]  # fmt: skip
        secret = {"PGPASSWORD": _password(copied), "PGPASSFILE": "/nonexistent", "PGAPPNAME": APPLICATION}
        began = place.clock.monotonic()
        try:
            told = host.run(starting.user.argv(argv), timeout=deadline.left(), cwd=place.folder, env=secret)
        except CommandTimeout:
            raise DatabaseError(
                f"the copy of {copied.id} was not done in time",
                where=f"database {copied.id}",
                mend="declare a longer `timeout`, or begin with a backup: `path`",
            ) from None
        if told.exit_code:
            raise _not_copied(told.stderr, f"database {copied.id}")
        place.tell("began_with", f"a copy of {copied.id}")
        place.tell("copy_seconds", round(place.clock.monotonic() - began, 3))
        DataDirectory(place, deadline).forget_production()
        return starting, control(starting, f"database {copied.id}"), None

    def _mapped(self, copied: Postgres, place: ScratchPlace) -> list[str]:
        """Tablespaces would be written to the paths that they have in production."""
        asked = "SELECT oid::text, pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname !~ '^pg_'"
        found = []
        for number, location in copied.query(asked):
            old, new = (str(path).replace("=", "\\=") for path in (location, f"{place.folder}/tablespaces/{number}"))
            found.append(f"--tablespace-mapping={old}={new}")
        return found

    def _trouble(self, made: ScratchPostgres) -> None:
        """Raises what the standby's log tells, when waiting cannot help."""
        log, where = made.log(), f"database {self._spec.source}"
        if _REFUSED.search(log):
            raise DatabaseRefused(
                f"the source lets nobody follow it by that role: {last_words(log, 2)}", where=where, mend=_RIGHTS
            )
        if _GONE.search(log):
            raise DatabaseError(
                "the source has dropped log that the throwaway standby still needed",
                where=where,
                mend="let the drill have `temporary_slot: true`, or raise wal_keep_size there; with `path`, give `wal`",
            )
        if _OTHER.search(log):
            raise DatabaseError(
                f"the source is another server than the one that was copied: {last_words(log, 2)}",
                where=where,
                mend="correct `source`, and `copy_from` or `path`",
            )


def _reached(session: Postgres, host: Host) -> dict[str, str]:
    """Where the scratch server finds that one. Raises DatabaseError when it cannot."""
    declared = session.declared
    if declared.user is None:
        raise DatabaseError(
            "it is not known as whom to replicate", where=f"database {session.id}", mend="declare its `user`"
        )
    check_reached(session, host, by_socket=True)
    return {
        "host": declared.socket or declared.address,
        "port": str(declared.port or DEFAULT_PORT),
        "user": declared.user,
    }


def _password(session: Postgres) -> str:
    return session.environment(1.0)["PGPASSWORD"]


def _conninfo(words: Mapping[str, str]) -> str:
    told = {**words, "application_name": APPLICATION, "connect_timeout": "10"}
    return " ".join(f"{name}={_escaped(value)}" for name, value in told.items())


def _escaped(value: Any) -> str:
    return "'" + str(value).replace("\\", "\\\\").replace("'", "\\'") + "'"


def _lsn(position: str) -> str:
    if not re.fullmatch(r"[0-9A-F]{1,8}/[0-9A-F]{1,8}", position):
        raise DatabaseError(f"{position!r} is no position in the write-ahead log", mend="see what `source` answers")
    return position


def _not_copied(stderr: str, where: str) -> DatabaseError:
    said = last_words(stderr)
    if "FATAL" in stderr or _REFUSED.search(stderr):
        return DatabaseRefused(f"the server does not let itself be copied: {said}", where=where, mend=_RIGHTS)
    if "connection to server" in stderr or "could not connect" in stderr:
        return DatabaseUnreachable(
            f"the server cannot be reached from the staging's host: {said}",
            where=where,
            mend="see that it runs, and that `address` and `port` lead to it from there",
        )
    return DatabaseError(f"the copy failed: {said}", where=where, mend="see its words")
