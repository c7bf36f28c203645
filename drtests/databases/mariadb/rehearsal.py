"""mariadb: a throwaway replica that follows production, is promoted, and goes; production is only read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, ClassVar

from pydantic import BaseModel, Field, field_validator, model_validator

from drtests.databases.mariadb.backup import MariadbBackupRecipe, MariadbBackupSpec
from drtests.databases.mariadb.client import DEFAULT_PORT, MariaDb
from drtests.databases.mariadb.copying import Copying, check_rights
from drtests.databases.mariadb.dump import MariadbDumpRecipe, MariadbDumpSpec
from drtests.databases.mariadb.follower import Follower, gtids, literal
from drtests.databases.mariadb.scratch import ScratchMariaDb, check_settings
from drtests.databases.rehearsing import Rehearsing, check_apart, check_reached
from drtests.errors import DatabaseError, DatabaseRefused
from drtests.model.base import Declaration, Flag, LiveId, Text
from drtests.protocols.database import Live, Scratch, ScratchPlace
from drtests.restored import RelativePath, inside

_OURS = ("gtid", "log_slave", "master", "read_only", "relay", "replicate", "report", "rpl", "skip_slave", "slave_skip")
_LEFT_OUT = re.compile(r"(entry|value:?) '.*?'(?= for)|(Query: ).*", re.DOTALL)
"""Of the server's errors what is data."""
_REFUSED = re.compile(r"Access denied|privilege|Host '.*' is not allowed|Host '.*' is blocked")
_OTHER = re.compile(r"missing the GTID|not in the master's binlog|has diverged|alternate history|no such GTID")
_LOG_GONE = 1236
_CONNECTING = ("Connecting", "Preparing")
_RIGHTS = "GRANT REPLICATION SLAVE ON *.* TO it, from the staging's host, too; docs/how-to/mariadb.md lists all"
_ABOUT = "SELECT @@log_bin, @@log_slave_updates, @@server_id"


class MariadbRehearsalSpec(Declaration):
    """A failover that costs production a dump, or nothing but the following when it begins with a backup."""

    source: LiveId
    """Running server that the throwaway replica follows. Its `user` needs REPLICATION SLAVE."""
    copy_from: LiveId | None = None
    """Running server that the copy is taken from, such as a replica of the source; the source when not given."""
    path: RelativePath | None = None
    """Backup in the restored tree to begin with, instead of a copy of what runs: a directory as mariadb-backup writes
    it, or a dump of all databases with its place in the binary log (--master-data --gtid)."""
    incrementals: tuple[RelativePath, ...] = ()
    """Directories of incremental backups; with `path` of a directory only."""
    end_mark: Flag = True
    """Whether a dump has to end with `-- Dump completed`."""
    database: str | None = Field(default=None, pattern=r"^[^`/\\]+$", max_length=64)
    """Database in which queries start."""
    port: int | None = Field(default=None, ge=1, le=65535)
    """Port of 127.0.0.1 on which it listens, too, for recovery steps that cannot use a socket."""
    settings: dict[str, Text] = Field(default_factory=dict)
    """Settings of the server, as in my.cnf: such as lower_case_table_names."""

    @field_validator("settings")
    @classmethod
    def _apart(cls, value: dict[str, str]) -> dict[str, str]:
        check_settings(value)
        for name in value:
            if name.replace("-", "_").startswith(_OURS):
                raise ValueError(
                    f"`{name}` is decided by drtests, so that the replica is a whole one and nobody's else"
                )
        return value

    @model_validator(mode="after")
    def _one_beginning(self) -> MariadbRehearsalSpec:
        if self.path is not None and self.copy_from is not None:
            raise ValueError("give `path` (begin with a backup) or `copy_from` (with what runs), not both")
        if self.path is None and self.incrementals:
            raise ValueError("`incrementals` go on a backup; give `path`, or leave `incrementals` out")
        return self


class MariadbRehearsal(Rehearsing[MariaDb, ScratchMariaDb]):
    """Fulfils `drtests.protocols.database.Rehearsal`."""

    Spec: ClassVar[type[BaseModel]] = MariadbRehearsalSpec
    type: ClassVar[str] = "mariadb"

    def __init__(self, spec: MariadbRehearsalSpec, open_live: Callable[[str], Live]) -> None:
        super().__init__(open_live, MariaDb, "MariaDB")
        self._spec = spec
        self._leader: MariaDb | None = None
        self._source_id: Any = None

    @property
    def from_backup(self) -> bool:
        return self._spec.path is not None

    def position(self) -> str:
        source = self._session(self._spec.source)
        self._source_id = _check_log(source)
        [[told]] = source.query("SELECT @@gtid_binlog_pos")
        return gtids(str(told or ""), f"database {source.id}")

    def build(self, place: ScratchPlace) -> None:
        self._place = place
        source = self._session(self._spec.source)
        self._check_apart(source, place)
        self._source_id = _check_log(source)
        check_rights(source, ("REPLICATION SLAVE",))
        follower = Follower.apart_from(self._taken())
        place.tell("server_id", follower.server_id)
        self._made, position = self._begun(place, follower)
        self._made.begin_in(self._spec.database)
        self._leader = self._made.leader(follower)
        place.tell("began_at", position)
        declared = source.declared
        words = {
            "MASTER_HOST": literal(declared.address),
            "MASTER_PORT": str(declared.port or DEFAULT_PORT),
            "MASTER_USER": literal(declared.user or ""),
            # By standard input, as every statement.
            "MASTER_PASSWORD": literal(source.password),
            "MASTER_USE_GTID": "slave_pos",
            "MASTER_CONNECT_RETRY": "1",
            # So that production soon notices when it has gone.
            "MASTER_HEARTBEAT_PERIOD": "1",
        }
        for statement in (
            "RESET SLAVE ALL",
            f"SET GLOBAL gtid_slave_pos = {literal(position)}",
            "CHANGE MASTER TO " + ", ".join(f"{name} = {value}" for name, value in words.items()),
            "SET GLOBAL read_only = 1",
            "START SLAVE",
        ):
            self._leader.execute(statement)

    def catch_up(self, position: str, timeout: float) -> None:
        _, place = self._running()
        # What was written while the copy was made has to come, too: else a replica that receives nothing would do.
        later = self.position()
        status: Mapping[str, Any] = {}
        for _ in self._looks(timeout):
            status = self._status()
            # Both: a source whose log was emptied meanwhile begins to count anew.
            [missing] = self._leads().query(
                f"SELECT MASTER_GTID_WAIT({literal(position)}, 0), MASTER_GTID_WAIT({literal(later)}, 0)"
            )
            if not any(missing) and status.get("Slave_IO_Running") == status.get("Slave_SQL_Running") == "Yes":
                self._check_source(status)
                place.tell("position", position)
                place.tell("replayed_to", status.get("Gtid_Slave_Pos") or later)
                return
            self._trouble(status)
        said = _safe(status.get("Last_IO_Error"))
        raise DatabaseError(
            f"the throwaway replica was at {status.get('Gtid_IO_Pos') or 'nothing'} after {timeout:g} s, and not at "
            f"{later}; it is {'receiving' if status.get('Slave_IO_Running') == 'Yes' else 'not receiving'}"
            + (f": {said}" if said else ""),
            where=f"host {place.host.id}",
            mend="see that the source runs and is reached from the staging's host, or declare a longer `timeout`",
        )

    def promote(self) -> Scratch:
        made, place = self._running()
        leader = self._leads()
        # The password, which the server keeps in a file while it follows, goes with all else that leads to production.
        for statement in ("STOP SLAVE", "RESET SLAVE ALL", "SET GLOBAL read_only = 0"):
            leader.execute(statement)
        still = leader.records("SHOW ALL SLAVES STATUS")
        made.owner.execute(f"DROP USER {literal(leader.declared.user or '')}@'localhost'")
        self._leader = None
        if still:
            raise DatabaseError(
                "the throwaway replica still follows somebody", where=f"host {place.host.id}", mend="see its log"
            )
        return made

    def _leads(self) -> MariaDb:
        self._running()
        if self._leader is None:
            raise DatabaseError("the throwaway replica was promoted: it follows no more", mend="build it anew")
        return self._leader

    def _begun(self, place: ScratchPlace, follower: Follower) -> tuple[ScratchMariaDb, str]:
        """The server, and the GTIDs up to which it has everything."""
        spec = self._spec
        if spec.path is None:
            copied = self._session(spec.copy_from or spec.source)
            standby = spec.copy_from not in (None, spec.source)
            return Copying(copied, standby, spec.settings, spec.port).bring_up(place, follower)
        common: dict[str, Any] = {"path": spec.path, "port": spec.port, "settings": spec.settings}
        recipe: MariadbDumpRecipe | MariadbBackupRecipe
        if place.host.run(["test", "-f", inside(place.host, place.root, spec.path)], timeout=30).exit_code == 0:
            recipe = MariadbDumpRecipe(MariadbDumpSpec(**common, end_mark=spec.end_mark), follower)
        else:
            recipe = MariadbBackupRecipe(MariadbBackupSpec(**common, incrementals=spec.incrementals), follower)
        place.tell("began_with", spec.path)
        # Backups are moved where the server has them: what they tell is read before.
        position = recipe.position(place)
        return recipe.bring_up(place), position

    def _taken(self) -> set[int]:
        """Numbers of production's servers, as far as they are told."""
        names = {self._spec.source, self._spec.copy_from or self._spec.source}
        taken = {int(self._session(name).query("SELECT @@server_id")[0][0]) for name in names}
        # That takes a right to administer; without it one of two thousand million is not likely to be taken.
        with suppress(DatabaseRefused):
            taken |= {int(row["Server_id"]) for row in self._session(self._spec.source).records("SHOW SLAVE HOSTS")}
        return taken

    def _check_apart(self, source: MariaDb, place: ScratchPlace) -> None:
        """Raises DatabaseError when the source is not reached, SafetyError when it would be the replica itself."""
        declared = source.declared
        if declared.user is None:
            raise DatabaseError(
                "it is not known as whom to replicate", where=f"database {source.id}", mend="declare its `user`"
            )
        check_reached(source, place.host, by_socket=False)
        check_apart(source, self._spec.port, DEFAULT_PORT)

    def _status(self) -> Mapping[str, Any]:
        [status] = self._leads().records("SHOW SLAVE STATUS")
        return status

    def _check_source(self, status: Mapping[str, Any]) -> None:
        if status["Master_Server_Id"] != self._source_id:
            raise DatabaseError(
                f"another server answers the throwaway replica than was asked: server id {status['Master_Server_Id']}"
                f", and {self._source_id} of the source",
                where=f"database {self._spec.source}",
                mend="declare an `address` that leads to it from the staging's host, too",
            )

    def _trouble(self, status: Mapping[str, Any]) -> None:
        """Raises what the replica tells, when waiting cannot help."""
        where = f"database {self._spec.source}"
        number, said = int(status["Last_IO_Errno"] or 0), _safe(status["Last_IO_Error"])
        if number and _REFUSED.search(said):
            raise DatabaseRefused(
                f"the source lets nobody follow it by that account: {said} (error {number})", where=where, mend=_RIGHTS
            )
        if number and status["Slave_IO_Running"] not in ("Yes", *_CONNECTING):
            if _OTHER.search(said):
                raise DatabaseError(
                    f"what it begins with is of another server, or has what the source never had: {said}",
                    where=where,
                    mend="correct `source`, and `copy_from` or `path`",
                )
            if number == _LOG_GONE:
                raise DatabaseError(
                    f"the source has no log from where the throwaway replica would go on: {said}",
                    where=where,
                    mend="keep binary logs longer there (binlog_expire_logs_seconds), or begin with a younger backup",
                )
            raise DatabaseError(
                f"the throwaway replica receives nothing: {said} (error {number})", where=where, mend="see its words"
            )
        number, said = int(status["Last_SQL_Errno"] or 0), _safe(status["Last_SQL_Error"])
        if number:
            raise DatabaseError(
                f"the throwaway replica cannot carry out what the source wrote: {said} (error {number})",
                where=where,
                mend="what it begins with may be of another server, lack databases, or have been changed since; or "
                "tables of it are of an engine without transactions, which no dump of a running server fits",
            )


def _check_log(source: MariaDb) -> Any:
    """The source's number. Raises DatabaseError when not everything that happens there is in its binary log."""
    where = f"database {source.id}"
    version = source.version()
    if not version.startswith("MariaDB "):
        raise DatabaseError(f"it is {version}, whose GTIDs are others", where=where, mend="name a MariaDB")
    [[logs, passed_on, number]] = source.query(_ABOUT)
    if not logs:
        raise DatabaseError(
            "the source writes no binary log, so nothing can follow it",
            where=where,
            mend="switch it on there (log_bin), or let `source` be a server that has it",
        )
    if not passed_on and source.records("SHOW ALL SLAVES STATUS"):
        raise DatabaseError(
            "the source is itself a replica, and does not write down what it gets (log_slave_updates is off)",
            where=where,
            mend="let `source` be whom it follows, and `copy_from` be this one",
        )
    [told] = source.records("SHOW MASTER STATUS")
    some = [f"{name}={told[name]}" for name in ("Binlog_Do_DB", "Binlog_Ignore_DB") if told[name]]
    if some:
        raise DatabaseError(
            f"the source leaves something out of its binary log ({', '.join(some)}), which nobody can follow",
            where=where,
            mend="filter at the replicas instead, or restore that database from its backup",
        )
    return number


def _safe(said: Any) -> str:
    """What the server says, without the data in it, on one line."""
    return " ".join(_LEFT_OUT.sub(lambda match: match[1] or match[2], str(said or "")).split())[:500]
