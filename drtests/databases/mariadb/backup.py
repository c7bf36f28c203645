"""mariadb-backup: a copy of the data directory as mariadb-backup writes it, prepared or not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from pydantic import BaseModel, Field, field_validator

from drtests.databases.mariadb.follower import Follower, gtids
from drtests.databases.mariadb.scratch import (
    SERVER_PACKAGE,
    USUAL_USER,
    ScratchMariaDb,
    Starting,
    check_settings,
    release,
)
from drtests.databases.serving import Deadline, hand_over, last_words, program, server_user, told_as_missing
from drtests.errors import DatabaseDamaged, DatabaseError, DatabaseMissing, SafetyError
from drtests.model.base import Declaration, Text
from drtests.protocols.database import ScratchPlace
from drtests.protocols.host import Host
from drtests.restored import RelativePath, inside

_BACKUP_PACKAGE = "mariadb-backup"
_CHECKPOINTS = ("mariadb_backup_checkpoints", "xtrabackup_checkpoints")
_INFO = ("mariadb_backup_info", "xtrabackup_info")
_OPTIONS = "backup-my.cnf"
_OF_SOURCE = ("mariadb_backup_slave_info", "xtrabackup_slave_info")
"""Written when a replica is backed up: where it was in its source's log."""
_OF_ITSELF = ("mariadb_backup_binlog_info", "xtrabackup_binlog_info")
_SET = re.compile(r"gtid_slave_pos\s*=\s*'([^']*)'")
_LARGEST = 65536
_LINE = re.compile(r"^\s*(\w+)\s*=\s*(.*?)\s*$", re.MULTILINE)
_TOLD = ("server_version", "start_time", "end_time", "binlog_pos")
_NEEDED = ("innodb_page_size", "innodb_data_file_path", "innodb_undo_tablespaces", "innodb_log_file_size")
"""Of what the backup says how its data is laid out, what the server cannot find out by itself."""
_OTHER_RELEASE = re.compile(r"unsupported redo log|log format|was created with|unknown option|upgrade", re.IGNORECASE)


class MariadbBackupSpec(Declaration):
    """A directory as mariadb-backup writes it. It is moved, not copied: checks of files find it no longer there."""

    path: RelativePath
    """The directory, in the restored tree."""
    incrementals: tuple[RelativePath, ...] = ()
    """Directories of incremental backups, in the order in which they were made; only on one that is not prepared."""
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
        return value


class MariadbBackupRecipe:
    """Lets mariadb-backup prepare what it wrote, and starts a server on it."""

    Spec: ClassVar[type[BaseModel]] = MariadbBackupSpec
    type: ClassVar[str] = "mariadb"
    point_in_time: ClassVar[bool] = False

    def __init__(self, spec: MariadbBackupSpec, follower: Follower | None = None) -> None:
        self._spec = spec
        self._follower = follower

    def programs(self, host: Host) -> str:
        """The server that is started on it. Raises DatabaseMissing, HostError."""
        program(host, _BACKUP_PACKAGE, "mariadb-backup", "mariabackup")
        return release(host)

    def position(self, place: ScratchPlace) -> str:
        """GTIDs up to which the backup holds what its server wrote. Raises DatabaseError when it does not tell."""
        last = [self._spec.path, *self._spec.incrementals][-1]
        folder = inside(place.host, place.root, last)
        of_source = _SET.search(self._first(place.host, folder, _OF_SOURCE) or "")
        if of_source is not None:
            return gtids(of_source[1], last)
        told = self._first(place.host, folder, _OF_ITSELF)
        if not told:
            raise DatabaseError(
                f"{last} does not tell up to where in the binary log it holds everything",
                where=last,
                mend="back up a server that writes a binary log, or a replica with --slave-info",
            )
        # File, offset, and GTIDs once there are any.
        return gtids([*told.rstrip("\n").split("\t", 2), ""][2], last)

    def bring_up(self, place: ScratchPlace) -> ScratchMariaDb:
        deadline = Deadline(place.clock, place.timeout, "the backup's server")
        host = place.host
        paths = [self._spec.path, *self._spec.incrementals]
        sources = [inside(host, place.root, path) for path in paths]
        for path, source in zip(paths, sources, strict=True):
            if not host.exists(source):
                raise DatabaseDamaged(
                    f"{path} is not in the restored copy", where=path, mend="correct it, or what is backed up"
                )
            self._leads_nowhere(host, path, source)
        checkpoints = self._lines(host, sources[0], _CHECKPOINTS)
        if "backup_type" not in checkpoints:
            raise DatabaseDamaged(
                f"{self._spec.path} is no backup of mariadb-backup: it holds no {_CHECKPOINTS[-1]}",
                where=self._spec.path,
                mend="declare the directory that --target-dir named; the backup may not have ended",
            )
        for name, value in self._lines(host, sources[-1], _INFO).items():
            if name in _TOLD:
                place.tell(name, value)
        with told_as_missing(host, SERVER_PACKAGE):
            starting = Starting(place, server_user(place, USUAL_USER), deadline, self._spec.settings, self._follower)
            folders = [starting.data, *(f"{place.folder}/incremental-{n}" for n in range(1, len(sources)))]
            for source, folder in zip(sources, folders, strict=True):
                self._move(host, source, folder, deadline)
            hand_over(place, starting.user, deadline)
            began = place.clock.monotonic()
            if checkpoints["backup_type"] in ("full-prepared", "log-applied"):
                place.tell("prepared", "before")
            else:
                self._prepare(starting, folders)
                place.tell("prepare_seconds", round(place.clock.monotonic() - began, 3))
            return starting.start(self._spec.port, self._spec.database, self._laid_out(host, starting.data))

    def _leads_nowhere(self, host: Host, path: str, source: str) -> None:
        """A server would write where links and .isl files point, and that may be where production's data lies."""
        for fact in host.scan(source):
            if fact.kind == "link" or fact.path.endswith(".isl"):
                raise SafetyError(
                    f"{path}/{fact.path} points at data elsewhere (DATA DIRECTORY), which a server would write to",
                    where=path,
                    mend="restore such tables from a dump, or move them into the data directory in production",
                )

    def _move(self, host: Host, source: str, folder: str, deadline: Deadline) -> None:
        moved = host.run(["mv", "--", source, folder], timeout=deadline.left())
        if moved.exit_code:
            raise DatabaseError(
                f"the backup cannot be moved: {last_words(moved.stderr)}", where=source, mend="see its words"
            )

    def _prepare(self, starting: Starting, folders: list[str]) -> None:
        place = starting.place
        tool = program(place.host, _BACKUP_PACKAGE, "mariadb-backup", "mariabackup")
        for number, folder in enumerate(folders):
            words = [tool, "--no-defaults", "--prepare", f"--target-dir={folders[0]}"]
            words += [f"--incremental-dir={folder}"] if number else []
            told = place.host.run(starting.user.argv(words), timeout=starting.deadline.left(), cwd=place.folder)
            if told.exit_code == 0 and "completed OK!" in told.stderr + told.stdout:
                continue
            path = [self._spec.path, *self._spec.incrementals][number]
            why = f"{path} cannot be prepared: {last_words(told.stderr or told.stdout)}"
            if _OTHER_RELEASE.search(last_words(told.stderr, 20)):
                raise DatabaseMissing(
                    why, where=path, mend="install the release of MariaDB that made the backup on this host"
                )
            raise DatabaseDamaged(why, where=path, mend="this backup cannot be used; look at the backup job")

    def _laid_out(self, host: Host, data: str) -> list[str]:
        told = self._lines(host, data, (_OPTIONS,))
        own = {name.replace("-", "_") for name in self._spec.settings}
        return [f"--{name.replace('_', '-')}={told[name]}" for name in _NEEDED if told.get(name) and name not in own]

    def _lines(self, host: Host, folder: str, names: tuple[str, ...]) -> Mapping[str, str]:
        """`name = value` of the first of these files that is there."""
        return dict(_LINE.findall(self._first(host, folder, names) or ""))

    def _first(self, host: Host, folder: str, names: tuple[str, ...]) -> str | None:
        """The first of these files that is there."""
        for name in names:
            if host.exists(f"{folder}/{name}"):
                return host.read(f"{folder}/{name}", _LARGEST).decode(errors="replace")
        return None
