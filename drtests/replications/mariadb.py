"""mariadb: a replica that follows the binary log of a MariaDB source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from pydantic import BaseModel, Field, model_validator

from drtests.errors import DatabaseError, DatabaseRefused, UsageError
from drtests.model.base import Declaration, Flag, LiveId
from drtests.model.units import Duration
from drtests.protocols.database import Live, Rows
from drtests.protocols.reach import Reach
from drtests.protocols.replication import Behind, Compared, Identity, Skew
from drtests.replications.clocks import skew_of
from drtests.replications.comparing import Patience, compare
from drtests.replications.lag import Positions
from drtests.replications.mariadb_status import Position, ahead, escaped, filters, position, told
from drtests.replications.marking import OURS, is_stale, new_run

_TABLE = "marker_"
"""How the tables of markers begin."""


class Table(Declaration):
    """One table that is compared."""

    table: str = Field(pattern=r"^[^.`]+\.[^`]+$")
    """database.table"""
    method: Literal["count", "checksum"] = "count"
    """`count`: COUNT(*). `checksum`: CHECKSUM TABLE, which reads all of it on both servers."""


class MariadbReplicationSpec(Declaration):
    """Options of `mariadb`."""

    source: LiveId
    """Running database of type mariadb."""
    replica: LiveId
    connection: str | None = None
    """Name of the replica's connection to this source, where it has several."""
    database: str = Field(default="drtests", pattern=r"^[A-Za-z0-9_]+$", max_length=64)
    """Name of the database for markers; made and removed again when it is not there."""
    partial: Flag = False
    """That the replica leaves something out on purpose (replication filters) is no problem."""
    compare: tuple[Table, ...] = ()
    compare_timeout: Duration = timedelta(minutes=10)
    """For reading one table on one server."""

    @model_validator(mode="after")
    def _two(self) -> MariadbReplicationSpec:
        if self.source == self.replica:
            raise ValueError("`source` and `replica` are the same; give two databases")
        return self


@runtime_checkable
class _Named(Protocol):
    """A database that tells rows by the names of their columns."""

    def records(self, statement: str, timeout: float | None = None) -> Sequence[Mapping[str, Any]]: ...


class MariadbReplication:
    """Asks both servers by their own clients. Only markers write, and only at the source."""

    Spec: ClassVar[type[BaseModel]] = MariadbReplicationSpec
    marks: ClassVar[bool] = True
    steady: ClassVar[bool] = False

    def __init__(self, spec: MariadbReplicationSpec, reach: Reach) -> None:
        self._spec = spec
        self._reach = reach
        self._source = reach.live(spec.source)
        self._replica = reach.live(spec.replica)
        self._table = f"{_TABLE}{new_run()}"
        self._writer: Live | None = None
        self._positions = Positions()
        self._source_id: Any = None

    def identify(self) -> Identity:
        wanted = "SELECT @@server_id, @@hostname, @@port, @@read_only, @@log_bin"
        [[source_id, source_name, source_port, _, log_bin]] = self._source.query(wanted)
        [[replica_id, replica_name, replica_port, read_only, _]] = self._replica.query(wanted)
        facts: dict[str, Any] = {
            "source": {
                "version": self._source.version(),
                "server_id": source_id,
                "name": f"{source_name}:{source_port}",
            },
            "replica": {
                "version": self._replica.version(),
                "server_id": replica_id,
                "name": f"{replica_name}:{replica_port}",
                "read_only": bool(read_only),
            },
        }
        problems = []
        if (source_id, source_name, source_port) == (replica_id, replica_name, replica_port):
            problems.append(f"source and replica are one and the same server, {source_name}:{source_port}")
        if not read_only:
            problems.append("the replica accepts writes: read_only is off")
        if not log_bin:
            problems.append("the source writes no binary log, so nothing can follow it")
        self._source_id = source_id
        status = self._status()
        if status is None:
            problems.append("the replica follows nobody" + self._named())
        else:
            facts |= {"follows": told(status)}
            problems += self._follows(status, source_id)
        return Identity(facts, tuple(problems))

    def _follows(self, status: Mapping[str, Any], source_id: int) -> list[str]:
        problems = []
        where = f"{status['Master_Host']}:{status['Master_Port']}"
        if status["Master_Server_Id"] != source_id:
            followed = status["Master_Server_Id"] or "unknown, since it never got there"
            problems.append(f"the replica follows {where} (server id {followed}), and the source's id is {source_id}")
        elif (strange := self._not_of_the_source(status)) is not None:
            problems.append(strange)
        for thread, said in (("IO", status["Last_IO_Error"]), ("SQL", status["Last_SQL_Error"])):
            running = str(status[f"Slave_{thread}_Running"])
            if running != "Yes":
                problems.append(
                    f"the replica's {thread} thread does not run ({running})" + (f": {said}" if said else "")
                )
        left_out = filters(status)
        if left_out and not self._spec.partial:
            names = ", ".join(f"{name}={value}" for name, value in left_out.items())
            problems.append(f"the replica leaves something out ({names}); declare `partial: true` when that is meant")
        return problems

    def _not_of_the_source(self, status: Mapping[str, Any]) -> str | None:
        """Server ids are often 1 and 2; a place in the binary logs is the source's own."""
        file, offset = str(status["Master_Log_File"]), status["Read_Master_Log_Pos"]
        if not file:
            return "the replica has not yet got anything from its source"
        [[known]] = self._source.query(f"SELECT BINLOG_GTID_POS('{escaped(file)}', {int(offset)})")
        if known is None:
            return f"the replica is at {file}:{offset}, which is no place in the source's binary logs"
        [[there]] = self._replica.query("SELECT @@gtid_slave_pos")
        # Asked after the replica, so that a sound replica is never ahead.
        [[here]] = self._source.query("SELECT @@gtid_binlog_pos")
        more = ahead(str(there or ""), str(here or ""))
        return f"the replica has transactions that the source never had: {more}" if more else None

    def skew(self) -> Skew | None:
        return skew_of(lambda: _clock(self._source), lambda: _clock(self._replica))

    def begin(self) -> None:
        writer = self._reach.live(self._spec.source, writable=True)
        database, table = self._spec.database, self._table
        made = f"CREATE DATABASE IF NOT EXISTS {database} COMMENT '{OURS}'; "
        made += f"CREATE TABLE {database}.{table} (number INT PRIMARY KEY) ENGINE=InnoDB COMMENT '{OURS}'; "
        self._writer = writer
        try:
            writer.execute(_alone(made))
        except DatabaseRefused:
            # Then nothing was made.
            self._writer = None
            raise
        for name in self._stale():
            writer.execute(f"DROP TABLE IF EXISTS {database}.`{name}`")

    def _stale(self) -> Sequence[str]:
        """What drills left that were killed: of our form, old, and said to be ours. `database` may be anybody's."""
        rows = self._source.query(
            f"SELECT table_name FROM information_schema.tables WHERE table_schema = '{self._spec.database}'"
            f" AND table_type = 'BASE TABLE' AND table_comment = '{OURS}'"
        )
        names = [str(name) for [name] in rows]
        return [name for name in names if name.startswith(_TABLE) and is_stale(name.removeprefix(_TABLE))]

    def mark(self, number: int) -> None:
        if self._writer is None:
            raise UsageError("markers are written after `begin` only")
        self._writer.execute(f"INSERT INTO {self._spec.database}.{self._table} VALUES ({number})")

    def newest(self) -> int | None:
        database, table = self._spec.database, self._table
        rows = self._of_table(self._replica, f"SELECT MAX(number) FROM {database}.{table}", database, table)
        found = rows[0][0] if rows else None
        return None if found is None else int(found)

    def _of_table(
        self, live: Live, statement: str, database: str, table: str, timeout: float | None = None
    ) -> Rows | None:
        """Rows about a table; None when it is not there."""
        try:
            return live.query(statement, timeout)
        except DatabaseError as error:
            there = "SELECT 1 FROM information_schema.tables WHERE"
            there += f" table_schema = '{escaped(database)}' AND table_name = '{escaped(table)}'"
            if type(error) is DatabaseError and not live.query(there):
                return None
            raise

    def behind(self) -> Behind:
        here = self._source_position()
        if here is not None:
            self._positions.source_is_at(here)
        status = self._status()
        if status is None or status["Master_Server_Id"] != self._id_of_source():
            return Behind(None, None)
        done = position(status["Relay_Master_Log_File"], status["Exec_Master_Log_Pos"])
        if here is None or done is None or here.base != done.base:
            return Behind(None, None)
        seconds = self._positions.lag(done)
        if seconds is not None:
            return Behind(round(seconds, 6), self._bytes(done, here), "measured")
        got = position(status["Master_Log_File"], status["Read_Master_Log_Pos"])
        runs = status["Slave_IO_Running"] == status["Slave_SQL_Running"] == "Yes"
        own = status["Seconds_Behind_Master"]
        # The server reckons from what has arrived: while something has not, its number says nothing.
        known = runs and own is not None and got is not None and here <= got
        return Behind(float(own) if known and own is not None else None, self._bytes(done, here))

    def _bytes(self, done: Position, here: Position) -> int | None:
        """Of binary log that the replica has yet to carry out."""
        if here <= done:
            return 0
        if done.file == here.file:
            return here.offset - done.offset
        sizes = {position(row[0], 0): int(row[1]) for row in self._source.query("SHOW BINARY LOGS")}
        between = [Position(here.base, file, 0) for file in range(done.file, here.file)]
        if any(log not in sizes for log in between):
            return None
        return sum(sizes[log] for log in between) - done.offset + here.offset

    def compare(self) -> Sequence[Compared]:
        patience = Patience()
        return [self._compare(declared, patience) for declared in self._spec.compare]

    def _compare(self, declared: Table, patience: Patience) -> Compared:
        database, _, table = declared.table.partition(".")
        name = f"`{database}`.`{table}`"
        statement = f"CHECKSUM TABLE {name}" if declared.method == "checksum" else f"SELECT COUNT(*) FROM {name}"
        timeout = self._spec.compare_timeout.total_seconds()

        def value(live: Live) -> int | None:
            rows = self._of_table(live, statement, database, table, timeout)
            # A checksum stands beside the table's name, and is NULL when there is none.
            found = rows[0][-1] if rows else None
            return None if found is None else int(found)

        def source() -> int:
            found = value(self._source)
            if found is None:
                raise DatabaseError(
                    f"there is no table {declared.table} at the source", mend="correct `compare` of the replica"
                )
            return found

        return compare(
            declared.table,
            source,
            lambda: value(self._replica),
            self._source_position,
            self._reached,
            ordered=declared.method == "count",
            facts={"method": declared.method},
            patience=patience,
        )

    def end(self) -> None:
        if self._writer is None:
            return
        database = self._spec.database
        schema = "information_schema"
        self._writer.execute(
            _alone(
                f"DROP TABLE IF EXISTS {database}.{self._table}; "
                f"IF EXISTS (SELECT * FROM {schema}.schemata WHERE schema_name = '{database}'"
                f" AND schema_comment = '{OURS}')"
                f" AND NOT EXISTS (SELECT * FROM {schema}.tables WHERE table_schema = '{database}')"
                f" THEN DROP DATABASE {database}; END IF; "
            )
        )
        self._writer = None

    def _source_position(self) -> Position | None:
        rows = self._source.query("SHOW MASTER STATUS")
        return position(rows[0][0], rows[0][1]) if rows else None

    def _reached(self, wanted: Position | None) -> bool:
        status = self._status()
        if wanted is None or status is None:
            return False
        done = position(status["Relay_Master_Log_File"], status["Exec_Master_Log_Pos"])
        return done is not None and wanted <= done

    def _status(self) -> Mapping[str, Any] | None:
        """Of the declared connection, else the one to the source, else the first."""
        if not isinstance(self._replica, _Named):
            raise UsageError(
                f"database {self._spec.replica} does not tell the names of columns, which this kind of replica needs",
                mend="declare it in targets/estate.yaml as `type: mariadb`",
            )
        found = list(self._replica.records("SHOW ALL SLAVES STATUS"))
        if self._spec.connection is not None:
            found = [one for one in found if one["Connection_name"] == self._spec.connection]
        found.sort(key=lambda one: bool(one["Master_Server_Id"] != self._id_of_source()))
        return found[0] if found else None

    def _id_of_source(self) -> Any:
        if self._source_id is None:
            [[self._source_id]] = self._source.query("SELECT @@server_id")
        return self._source_id

    def _named(self) -> str:
        return "" if self._spec.connection is None else f" by the connection {self._spec.connection!r}"


def _alone(statements: str) -> str:
    """One compound statement that no other drill at this source comes between."""
    wait = (
        "IF GET_LOCK('drtests', 10) <> 1 THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'another drill hangs'; END IF;"
    )
    return f"BEGIN NOT ATOMIC {wait} {statements} DO RELEASE_LOCK('drtests'); END"


def _clock(live: Live) -> float:
    # A letter in front: as a number it would be asked for its type, which takes time.
    [[told]] = live.query("SELECT CONCAT('t', UNIX_TIMESTAMP(SYSDATE(6)))")
    return float(str(told)[1:])
