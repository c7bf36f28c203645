"""Why a server ended while it started, as its log tells."""

from __future__ import annotations

import re

from drtests.databases.serving import last_words
from drtests.errors import DatabaseDamaged, DatabaseError, DatabaseMissing

_DAMAGE = re.compile(
    r"invalid (?:page|checkpoint|primary checkpoint)|could not (?:locate|read) a valid checkpoint|checksum|corrupt"
    r"|could not read (?:block|file)|invalid magic|is not a valid|incorrect checksum|unexpected data beyond EOF"
    r"|requested WAL segment|could not open file .* No such file|has wrong size|could not restore file"
    r"|WAL ends before (?:end of online backup|consistent recovery point)|invalid (?:data|redo) in",
    re.IGNORECASE,
)
_OTHER_RELEASE = re.compile(r"incompatible with (?:this version|server)|was initialized (?:by|with)", re.IGNORECASE)
_NO_PROGRAM = re.compile(r"^drtests: (\S+) is not installed", re.MULTILINE)
_NO_LIBRARY = re.compile(
    r'could not (?:access file|load library|open extension control file) "([^"]+)"|extension "([^"]+)" is not available'
)
_NEWER = re.compile(r"invalid command \\(?:un)?restrict|unsupported version \(|unrecognized configuration parameter")
_LAST_TRANSACTION = re.compile(r"last completed transaction was at log time (.+)")
_LINE = re.compile(r"^.*(?:FATAL|PANIC|ERROR): .*$", re.MULTILINE)
_ECHO = re.compile(r"FATAL: +(?:57P03: )?the database system is")
_TOO_SMALL = re.compile(r"insufficient parameter settings|because \"?(\w+)\"?.*is a lower setting")


class NotYetConsistent(DatabaseError):
    """The moment that was asked for lies before the end of the base backup."""


def not_yet_consistent(where: str) -> NotYetConsistent:
    return NotYetConsistent(
        "the base backup was made after the moment that was asked for, or had not ended by then",
        where=where,
        mend="a recovery to a moment needs a base backup that ended before it: keep older ones beside the newest, and "
        "let `path` name them all, e.g. srv/postgres/base-*",
    )


def cause(log: str) -> str:
    """What the server gives as its reason, on one line; its last words when it gives none."""
    found = [line for line in _LINE.findall(log) if not _ECHO.search(line)]
    return last_words("\n".join(found), 2) or last_words(log)


def lacking(said: str, where: str) -> DatabaseMissing | None:
    """When it is the host that lacks something, and nothing is wrong with the backup."""
    library = _NO_LIBRARY.search(said)
    if library:
        return DatabaseMissing(
            f"the extension {library[1] or library[2]} is not installed",
            where=where,
            mend="install it beside the server that the drill starts, in the release that the data needs",
        )
    if _NEWER.search(said):
        return DatabaseMissing(
            f"the installed PostgreSQL is older than the one that wrote it: {last_words(said, 2)}",
            where=where,
            mend="install the release that wrote it, or a newer one, there",
        )
    return None


def ended(log: str, told: str, where: str) -> DatabaseError:
    """The error that fits. `told` is what the drill knows: its exit code and last words."""
    said = f"the scratch server ends while it starts: {told}"
    if "requested recovery stop point is before consistent recovery point" in log:
        return not_yet_consistent(where)
    if "recovery ended before configured recovery target" in log:
        found = _LAST_TRANSACTION.search(log)
        until = f"its last transaction is of {found[1].strip()}" if found else "it holds no transaction at all"
        return DatabaseError(
            f"the write-ahead log ends before the moment that was asked for: {until}",
            where=where,
            mend="ask for an earlier moment, or see why the archive of the log does not reach so far",
        )
    if _OTHER_RELEASE.search(log):
        return DatabaseMissing(said, where=where, mend="install the release of PostgreSQL the data is of, there")
    missing = _NO_PROGRAM.search(log)
    if missing:
        return DatabaseMissing(
            f"{missing[1]} is not installed, and unpacks the archived log", where=where, mend=f"install {missing[1]}"
        )
    lacks = lacking(log, where)
    if lacks is not None:
        return lacks
    if _TOO_SMALL.search(log):
        return DatabaseError(
            said, where=where, mend="give the recipe what the log tells, in `settings`, e.g. {max_connections: 500}"
        )
    if _DAMAGE.search(log):
        return DatabaseDamaged(said, where=where, mend="this backup does not start; look at the backup job")
    return DatabaseError(said, where=where, mend="see its words; `settings` can change how it starts")
