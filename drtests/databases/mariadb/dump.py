"""mariadb-dump: a dump as mariadb-dump or mysqldump writes it, loaded into an empty server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from pydantic import BaseModel, Field, field_validator

from drtests.databases.mariadb.failures import NO_DATABASE, failure, number_and_text
from drtests.databases.mariadb.follower import Follower, gtids
from drtests.databases.mariadb.scratch import (
    SERVER_PACKAGE,
    USUAL_USER,
    ScratchMariaDb,
    Starting,
    check_settings,
    release,
    settings_argv,
)
from drtests.databases.serving import Deadline, hand_over, last_words, program, server_user, told_as_missing
from drtests.errors import DatabaseDamaged, DatabaseError, DatabaseRefused
from drtests.model.base import Declaration, Flag, Text
from drtests.protocols.database import ScratchPlace
from drtests.protocols.host import Host
from drtests.restored import RelativePath, inside

UNPACKERS: Mapping[str, str] = {".gz": "gzip", ".zst": "zstd", ".xz": "xz", ".bz2": "bzip2"}
"""By the end of the file's name."""

_HEAD = 65536
_TAIL = 2000
_GTID = re.compile(r"^(?:-- )?SET GLOBAL gtid_slave_pos='([^'\n]*)';", re.MULTILINE)
_COMPLETED = re.compile(r"^-- Dump completed(?: on (.*))?$", re.MULTILINE)
_NOT_SQL = {1054, 1062, 1064, 1065, 1136, 1146, 1231, 1366, 1406}
"""Errors that a whole dump does not give: what stands there is not what was dumped."""

# $1: file, $2: what unpacks it, or cat.
_UNPACK = 'if [ "$2" = cat ]; then cat -- "$1"; else "$2" -dc -- "$1"; fi'
_END_OF = f'{{ {_UNPACK} || echo "$2 failed" >&2; }} | tail -c {_TAIL}'
# A dump may tell the server to follow production. What mysqldump writes for that stands on lines of its own.
_FOLLOW = r"/^(CHANGE MASTER|CHANGE REPLICATION|(STOP|START) (ALL )?(SLAVES?|REPLICAS?)|SET GLOBAL gtid_slave_pos)\b/d"
_BEGIN_OF = f"{{ {_UNPACK}; }} 2>/dev/null | head -c {_HEAD}"
_LOAD = f'{{ {_UNPACK}; }} | {{ shift 2; LC_ALL=C sed -E "{_FOLLOW}" | "$@"; }}'


class MariadbDumpSpec(Declaration):
    """A dump as mariadb-dump or mysqldump writes it, plain or packed (.gz, .zst, .xz, .bz2)."""

    path: RelativePath
    """The dump, in the restored tree."""
    database: str | None = Field(default=None, pattern=r"^[^`/\\]+$", max_length=64)
    """Database it is loaded into, for a dump that names none; queries then start there, too."""
    end_mark: Flag = True
    """Whether it has to end with `-- Dump completed`. Without that line (--skip-comments, --compact) a dump that was
    cut off between two statements cannot be told from a whole one."""
    port: int | None = Field(default=None, ge=1, le=65535)
    """Port of 127.0.0.1 on which it listens, too, for recovery steps that cannot use a socket."""
    settings: dict[str, Text] = Field(default_factory=dict)
    """Settings of the server, as in my.cnf: such as lower_case_table_names."""

    @field_validator("settings")
    @classmethod
    def _apart(cls, value: dict[str, str]) -> dict[str, str]:
        check_settings(value)
        return value


class MariadbDumpRecipe:
    """Makes an empty data directory, starts it, and loads the dump, up to its first error."""

    Spec: ClassVar[type[BaseModel]] = MariadbDumpSpec
    type: ClassVar[str] = "mariadb"
    point_in_time: ClassVar[bool] = False

    def __init__(self, spec: MariadbDumpSpec, follower: Follower | None = None) -> None:
        self._spec = spec
        self._follower = follower

    def programs(self, host: Host) -> str:
        """The server that it is loaded into. Raises DatabaseMissing, HostError."""
        return release(host)

    def position(self, place: ScratchPlace) -> str:
        """GTIDs up to which the dump holds what its server wrote. Raises DatabaseError when it does not tell."""
        source = inside(place.host, place.root, self._spec.path)
        for look in (_BEGIN_OF, _END_OF):
            told = place.host.run(["sh", "-c", look, "sh", source, self._unpacker()], timeout=place.timeout)
            found = _GTID.search(told.stdout)
            if found is not None:
                return gtids(found[1], self._spec.path)
        raise DatabaseError(
            f"{self._spec.path} does not tell up to where in the binary log it holds everything",
            where=self._spec.path,
            mend="let the job dump with --single-transaction --master-data=2 --gtid --all-databases",
        )

    def bring_up(self, place: ScratchPlace) -> ScratchMariaDb:
        deadline = Deadline(place.clock, place.timeout, "the dump's server")
        host, path = place.host, self._spec.path
        source = inside(host, place.root, path)
        if not host.exists(source):
            raise DatabaseDamaged(
                f"{path} is not in the restored copy", where=path, mend="correct `path`, or what is backed up"
            )
        with told_as_missing(host, SERVER_PACKAGE):
            self._whole(place, source, deadline)
            starting = Starting(place, server_user(place, USUAL_USER), deadline, self._spec.settings, self._follower)
            self._install(starting)
            made = starting.start(self._spec.port, self._spec.database, fresh=True)
            try:
                began = place.clock.monotonic()
                self._load(made, place, source, deadline)
                place.tell("load_seconds", round(place.clock.monotonic() - began, 3))
                return self._opened(made, starting, deadline)
            except BaseException:
                made.stop(10)
                raise

    def _unpacker(self) -> str:
        return next((tool for ending, tool in UNPACKERS.items() if self._spec.path.endswith(ending)), "cat")

    def _whole(self, place: ScratchPlace, source: str, deadline: Deadline) -> None:
        """Looks for the line that a dump ends with, before anything is loaded."""
        path, tool = self._spec.path, self._unpacker()
        if tool != "cat":
            program(place.host, tool, tool)
        told = place.host.run(["sh", "-c", _END_OF, "sh", source, tool], timeout=deadline.left())
        if told.exit_code or f"{tool} failed" in told.stderr:
            raise DatabaseDamaged(
                f"{path} cannot be read to its end: {last_words(told.stderr)}",
                where=path,
                mend="look at the backup job: the dump was cut off, or packed wrongly",
            )
        if not told.stdout.strip():
            raise DatabaseDamaged(f"{path} is empty", where=path, mend="look at the job that writes the dump")
        mark = _COMPLETED.search(told.stdout)
        if mark is None and self._spec.end_mark:
            raise DatabaseDamaged(
                f"{path} does not end with `-- Dump completed`: it was cut off while it was written",
                where=path,
                mend="look at the job that writes the dump; one that writes no comments needs `end_mark: false`",
            )
        place.tell("dump_completed", (mark[1] or "yes").strip() if mark else None)

    def _install(self, starting: Starting) -> None:
        place, deadline = starting.place, starting.deadline
        installer = program(place.host, SERVER_PACKAGE, "mariadb-install-db", "mysql_install_db")
        hand_over(place, starting.user, deadline)
        words = ["--no-defaults", f"--datadir={starting.data}", "--auth-root-authentication-method=normal"]
        words += ["--skip-test-db", *settings_argv(self._spec.settings)]
        made = place.host.run(starting.user.argv([installer, *words]), timeout=deadline.left(), cwd=place.folder)
        if made.exit_code:
            raise DatabaseError(
                f"no empty database could be made: {last_words(made.stdout + made.stderr)}",
                where=f"host {place.host.id}",
                mend="see its words; `settings` may hold one that this release does not know",
            )

    def _load(self, made: ScratchMariaDb, place: ScratchPlace, source: str, deadline: Deadline) -> None:
        name = self._spec.database
        if name is not None:
            made.owner.execute(f"CREATE DATABASE IF NOT EXISTS `{name}`", deadline.left())
        client = made.client_argv(*([f"--database={name}"] if name is not None else []))
        words = ["sh", "-c", _LOAD, "sh", source, self._unpacker(), *client]
        loaded = place.host.run(words, timeout=deadline.left(), env=made.client_environment)
        if not loaded.exit_code:
            return
        path = self._spec.path
        number, text = number_and_text(loaded.stderr)
        if number == NO_DATABASE:
            raise DatabaseError(
                f"{path} names no database", where=path, mend="declare `database`: the name it is loaded into"
            )
        if number in _NOT_SQL:
            raise DatabaseDamaged(
                f"{path} cannot be loaded: {text} (error {number})",
                where=path,
                mend="look at the dump where its words point to, and at the job that writes it",
            )
        raise failure(loaded.stderr, loaded.exit_code, path, place.timeout)

    def _opened(self, made: ScratchMariaDb, starting: Starting, deadline: Deadline) -> ScratchMariaDb:
        """A dump of all databases brings accounts in the place of those that the drill made."""
        try:
            made.owner.execute("FLUSH PRIVILEGES", deadline.left())
            made.owner.query("SELECT 1", deadline.left())
            if self._follower is not None:
                made.leader(self._follower).query("SELECT 1", deadline.left())
        except DatabaseRefused:
            made.stop(deadline.left())
            return starting.start(self._spec.port, self._spec.database)
        return made
