"""A base backup out of the restored tree, made fit to start: in the drill's own folder, no link leads out of it."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from drtests.databases.postgres.programs import Binaries, find
from drtests.databases.postgres.scratch import Starting
from drtests.databases.serving import Deadline, last_words
from drtests.errors import DatabaseDamaged, DatabaseError, DatabaseMissing
from drtests.protocols.database import ScratchPlace
from drtests.protocols.host import CommandResult
from drtests.restored import inside

OLDEST = 12
"""Major release: older ones are told how to recover in another way."""

_LARGEST = 65536
_LOCATION = re.compile(r"^START WAL LOCATION: ([0-9A-F]+)/([0-9A-F]+)", re.MULTILINE)
_STARTED = re.compile(r"^START TIME: (.+)$", re.MULTILINE)
_MAP_LINE = re.compile(r"^(\d+) (.+)$", re.MULTILINE)
_CONTROL = re.compile(r"^([^:]+):\s+(.*?)\s*$", re.MULTILINE)
_NO_PROGRAM = re.compile(r"(\S+): Cannot exec")
_NEEDED = {
    "max_connections setting": "max_connections",
    "max_worker_processes setting": "max_worker_processes",
    "max_wal_senders setting": "max_wal_senders",
    "max_prepared_xacts setting": "max_prepared_transactions",
    "max_locks_per_xact setting": "max_locks_per_transaction",
    "track_commit_timestamp setting": "track_commit_timestamp",
}
"""What a server needs to have as high as the one that wrote the log; and how pg_controldata calls it."""

# $1: a folder. Prints the label of the backup in it, if it is one.
_LABEL = """if [ -f "$1/PG_VERSION" ]; then
    echo directory
    cat -- "$1/backup_label" 2>/dev/null
    exit 0
fi
for tar in "$1"/base.tar "$1"/base.tar.*; do
    [ -f "$tar" ] || continue
    echo "$tar"
    tar --extract --to-stdout --occurrence=1 --force-local --file="$tar" backup_label 2>/dev/null
    exit 0
done"""
_LEFT = ("standby.signal", "recovery.signal", "recovery.conf", "postmaster.pid", "postmaster.opts", "tablespace_map")
"""Of these none may tell the scratch server what to do."""


@dataclass(frozen=True, slots=True)
class BaseBackup:
    """One in the restored tree. `tar` is the archive of the data directory; None when it is a directory itself."""

    path: str
    """Below the restored tree."""
    folder: str
    tar: str | None
    label: str
    """Empty when there is none."""

    @property
    def position(self) -> int:
        """Where its log begins; the younger of two has the higher one."""
        found = _LOCATION.search(self.label)
        return (int(found[1], 16) << 32) + int(found[2], 16) if found else 0

    @property
    def started(self) -> str:
        """As the server wrote it."""
        found = _STARTED.search(self.label)
        return found[1].strip() if found else "unknown"


def backups(place: ScratchPlace, path: str, deadline: Deadline) -> list[BaseBackup]:
    """Those that `path` leads to, the youngest first; at least one. Raises DatabaseDamaged."""
    host, found = place.host, []
    for one in _folders(place, path, deadline):
        folder = inside(host, place.root, one)
        told = host.run(["sh", "-c", _LABEL, "sh", folder], timeout=deadline.left()).stdout
        form, _, label = told.partition("\n")
        if form:
            found.append(BaseBackup(one, folder, None if form == "directory" else form, label))
    if not found:
        raise DatabaseDamaged(
            f"there is no base backup at {path} in the restored copy: neither PG_VERSION nor base.tar",
            where=path,
            mend="correct `path`, or what is backed up",
        )
    return sorted(found, key=lambda backup: backup.position, reverse=True)


def _folders(place: ScratchPlace, path: str, deadline: Deadline) -> list[str]:
    head, name = posixpath.split(path)
    if "*" not in name:
        return [path] if place.host.exists(inside(place.host, place.root, path)) else []
    parent = inside(place.host, place.root, head or ".")
    pattern = re.sub(r"([\[\]?\\])", r"\\\1", name)
    argv = ["find", parent, "-mindepth", "1", "-maxdepth", "1", "-type", "d", "-name", pattern, "-printf", "%f\\0"]
    names = place.host.run(argv, timeout=deadline.left()).stdout.split("\0")
    return [posixpath.join(head, one) for one in names if one]


class DataDirectory:
    """What becomes the scratch server's data directory, step by step: see `take`."""

    def __init__(self, place: ScratchPlace, deadline: Deadline) -> None:
        self._place = place
        self._host = place.host
        self._deadline = deadline
        self.path = f"{place.folder}/data"

    def take(self, backup: BaseBackup, tablespaces: Mapping[str, str]) -> None:
        """Moves the backup here, or unpacks it.

        No link of it leads out of the drill's folder afterwards. `tablespaces`: where in the restored tree those
        lie, by their place in production.
        """
        for folder in (self.path, f"{self._place.folder}/tablespaces"):
            self._host.remove_tree(folder)
        if backup.tar is None:
            self._done(self._run("mv", "--", backup.folder, self.path), backup.path)
        else:
            self._unpack(backup.tar, self.path, backup.path)
            if self._host.exists(f"{backup.folder}/backup_manifest"):
                manifest = f"{backup.folder}/backup_manifest"
                self._done(self._run("mv", "--", manifest, f"{self.path}/backup_manifest"), backup.path)
        self._done(self._run("chmod", "0700", "--", self.path), backup.path)
        links = self._links()
        self._cut(links, backup)
        self._tablespaces(links, backup, tablespaces)
        log = next((tar for tar in self._tars(backup) if posixpath.basename(tar).startswith("pg_wal.tar")), None)
        if log is not None:
            self._unpack(log, f"{self.path}/pg_wal", backup.path)

    def major(self, where: str) -> int:
        """Major release that the data is of. Raises DatabaseDamaged."""
        text = self._host.read(f"{self.path}/PG_VERSION", 100).decode(errors="replace").strip()
        if not re.fullmatch(r"\d+(\.\d+)?", text):
            raise DatabaseDamaged(
                f"PG_VERSION of the base backup says {text!r}", where=where, mend="look at the backup job"
            )
        major = int(text.partition(".")[0])
        if major < OLDEST:
            raise DatabaseError(
                f"the base backup is of PostgreSQL {text}; physical backups are started from {OLDEST} on",
                where=where,
                mend="drill a dump of it instead, with the recipe postgres-dump",
            )
        return major

    def binaries(self, where: str, declared: str | None) -> Binaries:
        """Programs of the release that the data is of. Raises DatabaseMissing."""
        return find(self._host, "postgres", self.major(where), declared)

    def verify(self, binaries: Binaries, where: str) -> bool:
        """Compares every file with the backup's own manifest; False when there is none, or nothing to compare with.

        Raises DatabaseDamaged.
        """
        program = binaries.path("pg_verifybackup")
        if not (self._host.exists(f"{self.path}/backup_manifest") and self._host.exists(program)):
            return False
        # The log is read in recovery anyway.
        told = self._run(program, "--no-parse-wal", "--quiet", "--", self.path)
        if told.exit_code:
            raise DatabaseDamaged(
                f"the base backup is not what its manifest says: {last_words(told.stderr or told.stdout)}",
                where=where,
                mend="it was damaged between pg_basebackup and the restore: look at the backup job, and its medium",
            )
        return True

    def forget_production(self) -> None:
        """Removes what would tell a server to follow, or to recover, in its own way."""
        for name in _LEFT:
            self._host.remove_tree(f"{self.path}/{name}")

    def put_wal(self, source: str) -> str:
        """Moves the archived log to where the server's user finds it; returns that."""
        folder = f"{self._place.folder}/wal"
        self._done(self._run("mv", "--", inside(self._host, self._place.root, source), folder), source)
        return folder

    def _links(self) -> dict[str, str]:
        """All links, by their paths below the data directory."""
        told = self._run("find", self.path, "-type", "l", "-printf", "%P\\0%l\\0")
        self._done(told, self.path)
        words = told.stdout.split("\0")
        return dict(zip(words[:-1:2], words[1::2], strict=True))

    def _cut(self, links: Mapping[str, str], backup: BaseBackup) -> None:
        cut = sorted(link for link in links if not link.startswith("pg_tblspc/"))
        for link in cut:
            if "/" in link:
                raise DatabaseError(
                    f"{link} in the base backup is a link to {links[link]}, which is no part of it",
                    where=backup.path,
                    mend="back up what it points at in its place; only whole tablespaces may lie elsewhere",
                )
            self._host.remove_tree(f"{self.path}/{link}")
        if cut:
            self._place.tell("links_removed", cut)
        if "pg_wal" in links:
            beside = self._restored(links["pg_wal"])
            argv = ["mv", "--", beside] if beside else ["mkdir", "-m", "0700", "--"]
            self._done(self._run(*argv, f"{self.path}/pg_wal"), backup.path)

    def _tablespaces(self, links: Mapping[str, str], backup: BaseBackup, declared: Mapping[str, str]) -> None:
        """Puts each into the drill's folder, and lets its link lead there."""
        listed = f"{self.path}/tablespace_map"
        written = self._host.read(listed, _LARGEST).decode(errors="replace") if self._host.exists(listed) else ""
        wanted = {number: place.replace("\\\n", "\n") for number, place in _MAP_LINE.findall(written)}
        wanted = {link.removeprefix("pg_tblspc/"): to for link, to in links.items() if "pg_tblspc/" in link} | wanted
        tars = {posixpath.basename(tar).partition(".")[0]: tar for tar in self._tars(backup)}
        if wanted:
            self._host.make_directory(f"{self._place.folder}/tablespaces")
            self._place.tell("tablespaces", sorted(wanted.values()))
        for number, location in wanted.items():
            folder = f"{self._place.folder}/tablespaces/{number}"
            if number in tars:
                self._unpack(tars[number], folder, backup.path)
            else:
                found = self._of_tablespace(location, declared)
                if found is None:
                    raise DatabaseError(
                        f"the tablespace at {location} is not in the restored copy",
                        where=backup.path,
                        mend=f"back it up, too, and tell where it is: `tablespaces: {{{location}: path/in/the/copy}}`",
                    )
                self._done(self._run("mv", "--", found, folder), backup.path)
            self._done(self._run("ln", "-sfn", "--", folder, f"{self.path}/pg_tblspc/{number}"), backup.path)

    def _of_tablespace(self, location: str, declared: Mapping[str, str]) -> str | None:
        given = declared.get(location.rstrip("/"), declared.get(location))
        if given is None:
            return self._restored(location)
        found = inside(self._host, self._place.root, given)
        return found if self._host.exists(found) else None

    def _restored(self, location: str) -> str | None:
        """What lay at that place in production, in the restored tree: most engines keep whole paths."""
        if not location.startswith("/") or ".." in location.split("/"):
            return None
        found = inside(self._host, self._place.root, location.lstrip("/"))
        return found if self._host.exists(found) else None

    def _tars(self, backup: BaseBackup) -> list[str]:
        if backup.tar is None:
            return []
        argv = ["find", backup.folder, "-maxdepth", "1", "-type", "f", "-name", "*.tar*", "-print0"]
        return [tar for tar in self._run(*argv).stdout.split("\0") if tar]

    def _unpack(self, tar: str, folder: str, where: str) -> None:
        self._host.make_directory(folder)
        words = ("--extract", "--no-same-owner", "--force-local", f"--file={tar}", f"--directory={folder}")
        told = self._run("tar", *words)
        if told.exit_code:
            missing = _NO_PROGRAM.search(told.stderr)
            if missing:
                raise DatabaseMissing(
                    f"{missing[1]} is not installed, and unpacks {posixpath.basename(tar)}",
                    where=f"host {self._host.id}",
                    mend=f"install {missing[1]} there",
                )
            raise DatabaseDamaged(
                f"{posixpath.basename(tar)} cannot be unpacked: {last_words(told.stderr)}",
                where=where,
                mend="look at the backup job: the archive was cut off or damaged",
            )

    def _run(self, *argv: str) -> CommandResult:
        return self._host.run(argv, timeout=self._deadline.left())

    def _done(self, result: CommandResult, where: str) -> None:
        if result.exit_code:
            raise DatabaseError(
                f"{result.argv[0]} failed: {last_words(result.stderr)}", where=where, mend="see its words"
            )


@dataclass(frozen=True, slots=True)
class Control:
    """What the control file of a data directory says."""

    told: Mapping[str, str]

    @property
    def system(self) -> str:
        """The number that all copies of one cluster share."""
        return self.told.get("Database system identifier", "")

    @property
    def state(self) -> str:
        return self.told.get("Database cluster state", "")

    @property
    def segment(self) -> int:
        """Bytes of a file of the log."""
        return int(self.told.get("Bytes per WAL segment", "16777216"))

    @property
    def checkpoint(self) -> datetime | None:
        """Time of the latest checkpoint, to the second."""
        try:
            return datetime.strptime(self.told["Time of latest checkpoint"], "%a %b %d %H:%M:%S %Y").replace(tzinfo=UTC)
        except (KeyError, ValueError):
            return None

    def settings(self) -> dict[str, str]:
        """What the server needs at least, to read the log."""
        return {ours: self.told[theirs] for theirs, ours in _NEEDED.items() if theirs in self.told}


def control(starting: Starting, where: str) -> Control:
    """Raises DatabaseDamaged."""
    try:
        text = starting.run("pg_controldata", starting.data)
    except DatabaseMissing:
        raise
    except DatabaseError as error:
        raise DatabaseDamaged(error.what, where=where, mend="look at the backup job") from None
    return Control(dict(_CONTROL.findall(text)))
