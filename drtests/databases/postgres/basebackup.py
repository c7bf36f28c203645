"""postgres-basebackup: a physical copy of the data directory, recovered by its log to its end, or to a moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import ClassVar, Literal

from pydantic import BaseModel, Field, field_validator, model_validator

from drtests.databases.postgres.datadir import BaseBackup, Control, DataDirectory, backups, control
from drtests.databases.postgres.programs import SERVER_PACKAGE, find
from drtests.databases.postgres.scratch import USUAL_USER, ScratchPostgres, Starting, check_settings
from drtests.databases.postgres.startup import NotYetConsistent, not_yet_consistent
from drtests.databases.postgres.walfiles import COMMAND, FETCH, End, position_text, whole
from drtests.databases.serving import Deadline, hand_over, server_user, told_as_missing
from drtests.errors import DatabaseDamaged
from drtests.model.base import Declaration, Flag, Text
from drtests.protocols.database import Scratch, ScratchPlace
from drtests.protocols.host import Host
from drtests.restored import RelativePath, inside

_LARGEST = 1 << 20
_SOUND = ("shut down", "shut down in recovery")


class PhysicalSpec(Declaration):
    """What all that begin with a physical backup need to know."""

    tablespaces: dict[str, RelativePath] = Field(default_factory=dict)
    """Where in the restored tree tablespaces are, by their places in production. Those that were restored under their
    whole paths, or are archives beside base.tar, are found by themselves."""
    verify: Flag = True
    """Whether pg_verifybackup compares the files with the backup's manifest first, where there is one."""
    snapshot: Flag = False
    """Whether a data directory without backup_label is a copy of one instant, such as a file system's snapshot."""
    user: Text = "postgres"
    """A superuser of the database."""
    database: str = Field(default="postgres", pattern=r"^[^/\\]+$", max_length=63)
    """Name of the database where queries start."""
    port: int | None = Field(default=None, ge=1, le=65535)
    """Port of 127.0.0.1 on which it listens, for recovery steps that cannot use a socket."""
    binaries: str | None = None
    """Folder of PostgreSQL's programs on that host; those of the data's own release are found when not given."""
    settings: dict[str, Text] = Field(default_factory=dict)
    """Settings of the server, as in postgresql.conf; those of the backup are not read."""

    @field_validator("settings")
    @classmethod
    def _own(cls, value: dict[str, str]) -> dict[str, str]:
        check_settings(value)
        return value


class PostgresBasebackupSpec(PhysicalSpec):
    """A base backup as pg_basebackup writes it (directory or tar), with or without archived log.

    It is moved, not copied: checks of files find it no longer there.
    """

    path: RelativePath
    """The data directory, or the folder that holds base.tar, in the restored tree. With `*` in its last part all of
    that name: the youngest that fits is taken."""
    wal: RelativePath | None = None
    """Folder with the archived log, in the restored tree; files may be packed (gz, zst, lz4, bz2, xz). Without it the
    log that is in the backup has to do."""
    timeline: Literal["latest", "current"] | int = "latest"
    """Which branch of the log is followed, where a server was promoted or recovered before."""

    @model_validator(mode="after")
    def _apart(self) -> PostgresBasebackupSpec:
        check_apart(self.path, self.wal)
        return self


def check_apart(path: str, wal: str | None) -> None:
    """Raises ValueError when the log lies in the backup, or the other way about."""
    if wal is not None and (f"{wal}/".startswith(f"{path}/") or f"{path}/".startswith(f"{wal}/")):
        raise ValueError("`wal` and `path` lie in each other; pg_wal in the backup is read anyway, leave `wal` out")


class PostgresBasebackupRecipe:
    """Recovers by the log as PostgreSQL does after a disaster; the server ends up on a timeline of its own."""

    Spec: ClassVar[type[BaseModel]] = PostgresBasebackupSpec
    type: ClassVar[str] = "postgres"
    point_in_time: ClassVar[bool] = True

    def __init__(self, spec: PostgresBasebackupSpec) -> None:
        self._spec = spec

    def programs(self, host: Host) -> str:
        """The newest server there; which one the data needs is not known before it is there. Raises DatabaseMissing,
        HostError."""
        return f"PostgreSQL {find(host, 'postgres', declared=self._spec.binaries).major}"

    def bring_up(self, place: ScratchPlace) -> Scratch:
        with told_as_missing(place.host, SERVER_PACKAGE):
            return self._bring_up(place)

    def _bring_up(self, place: ScratchPlace) -> Scratch:
        spec, deadline = self._spec, Deadline(place.clock, place.timeout, "the base backup's server")
        found = backups(place, spec.path, deadline)
        data = DataDirectory(place, deadline)
        wal = Wal.take(place, data, spec.wal)
        for number, backup in enumerate(found, 1):
            try:
                made = self._recover(place, data, backup, wal, deadline)
            except NotYetConsistent:
                if number == len(found):
                    raise
                continue
            place.tell("base_backup", backup.path)
            place.tell("base_backup_started", backup.started)
            return made
        raise DatabaseDamaged("there is no base backup", where=spec.path)

    def _recover(
        self, place: ScratchPlace, data: DataDirectory, backup: BaseBackup, wal: Wal, deadline: Deadline
    ) -> ScratchPostgres:
        spec = self._spec
        starting, seen = lay_out(place, data, backup, spec, deadline)
        at_once = seen.checkpoint
        # Whole seconds: the backup may have begun up to one later.
        if place.moment is not None and at_once is not None and place.moment < at_once + timedelta(seconds=1):
            raise not_yet_consistent(backup.path)
        # Nobody is let in before the recovery has ended.
        recovery = {**seen.settings(), "hot_standby": "off"}
        if backup.label or wal.folder is not None or place.moment is not None:
            # Without this file the server would not look at the archive, nor stop at a moment.
            place.host.write(f"{data.path}/recovery.signal", b"")
            recovery |= wal.settings() | {"recovery_target_timeline": str(spec.timeline)}
        if place.moment is not None:
            recovery |= {"recovery_target_time": _instant(place.moment), "recovery_target_action": "promote"}
        began = place.clock.monotonic()
        made = starting.start(spec.database, spec.port, recovery, wal.environment())
        try:
            made.wait()
            place.tell("recovery_seconds", round(place.clock.monotonic() - began, 3))
            self._told(made, place, data, seen, wal, deadline)
        except BaseException:
            made.stop(10)
            raise
        return made

    def _told(
        self,
        made: ScratchPostgres,
        place: ScratchPlace,
        data: DataDirectory,
        seen: Control,
        wal: Wal,
        deadline: Deadline,
    ) -> None:
        """Says up to where it was recovered. Raises DatabaseDamaged when that is not the end of the log."""
        asked = (
            "SELECT pg_last_xact_replay_timestamp() AT TIME ZONE 'UTC', pg_last_wal_replay_lsn(),"
            " substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8), current_setting('data_checksums')"
        )
        [[last, position, timeline, checksums]] = made.open("template1", writable=False).query(asked)
        history = f"{data.path}/pg_wal/{timeline}.history"
        end = (
            End.of(place.host.read(history, _LARGEST).decode(errors="replace")) if place.host.exists(history) else None
        )
        place.tell("data_checksums", checksums)
        place.tell("last_transaction", f"{last} UTC" if last else "none was read from the log")
        place.tell("timeline", int(str(timeline), 16))
        place.tell("recovered_to", position_text(end.position) if end else position)
        if end is not None:
            place.tell("recovery_ended", end.why)
            if place.moment is None and wal.folder is not None:
                newest = self._spec.timeline == "latest"
                whole(end, wal.names(place, deadline), seen.segment, self._spec.wal or "", newest=newest)


def lay_out(
    place: ScratchPlace,
    data: DataDirectory,
    backup: BaseBackup,
    spec: PhysicalSpec,
    deadline: Deadline,
) -> tuple[Starting, Control]:
    """Takes the backup out of the restored tree. Raises DatabaseDamaged, DatabaseMissing, DatabaseError."""
    data.take(backup, spec.tablespaces)
    binaries = data.binaries(backup.path, spec.binaries)
    if spec.verify:
        began = place.clock.monotonic()
        verified = data.verify(binaries, backup.path)
        place.tell("verified_by_manifest", verified)
        place.tell("verify_seconds", round(place.clock.monotonic() - began, 3))
    data.forget_production()
    starting = Starting(place, server_user(place, USUAL_USER), deadline, binaries, spec.settings, spec.user)
    hand_over(place, starting.user, deadline)
    seen = control(starting, backup.path)
    if not (backup.label or spec.snapshot or seen.state in _SOUND):
        raise DatabaseDamaged(
            "it holds no backup_label, and is no copy of a server that was shut down: its files do not fit together",
            where=backup.path,
            mend="make the copy with pg_basebackup; if it is a snapshot of one instant, declare `snapshot: true`",
        )
    return starting, seen


class Wal:
    """The archived log, where the server's user finds it. `folder` is None where there is none."""

    def __init__(self, folder: str | None, script: str) -> None:
        self.folder = folder
        self._script = script

    @staticmethod
    def take(place: ScratchPlace, data: DataDirectory, source: str | None) -> Wal:
        """Moves it out of the restored tree. Raises DatabaseDamaged when it is not there."""
        script = f"{place.folder}/fetch-wal"
        if source is None:
            return Wal(None, script)
        if not place.host.exists(inside(place.host, place.root, source)):
            raise DatabaseDamaged(
                f"{source} is not in the restored copy", where=source, mend="correct `wal`, or what is backed up"
            )
        place.host.write(script, FETCH.encode(), 0o755)
        return Wal(data.put_wal(source), script)

    def settings(self) -> dict[str, str]:
        return {"restore_command": COMMAND if self.folder is not None else "false"}

    def environment(self) -> dict[str, str]:
        return {"DRTESTS_WAL": self.folder, "DRTESTS_FETCH": self._script} if self.folder is not None else {}

    def names(self, place: ScratchPlace, deadline: Deadline) -> list[str]:
        """Of its files."""
        argv = ["find", str(self.folder), "-maxdepth", "1", "-type", "f", "-printf", "%f\\n"]
        return place.host.run(argv, timeout=deadline.left()).stdout.splitlines()


def _instant(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}+00"
