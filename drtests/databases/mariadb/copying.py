"""A copy of a running MariaDB: all its databases, dumped in one transaction, in a server of the drill's own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from drtests.databases.mariadb.client import MariaDb
from drtests.databases.mariadb.dump import MariadbDumpRecipe, MariadbDumpSpec
from drtests.databases.mariadb.failures import failure
from drtests.databases.mariadb.follower import Follower, gtids
from drtests.databases.mariadb.scratch import ScratchMariaDb
from drtests.databases.rehearsing import check_reached
from drtests.databases.serving import Deadline, program
from drtests.errors import CommandTimeout, DatabaseDamaged, DatabaseError, DatabaseRefused
from drtests.protocols.database import ScratchPlace

_FOLDER = "copy"
_FILE = "all.sql"
_GRANT = re.compile(r"GRANT (.+?) ON \*\.\* TO ")
_TABLES = (
    "SELECT table_name, engine FROM information_schema.tables WHERE table_schema = 'mysql'"
    " AND table_name LIKE 'gtid\\_slave\\_pos%'"
)
_NEWEST = (
    "SELECT domain_id, sub_id, CONCAT_WS('-', domain_id, server_id, seq_no) FROM mysql.`{0}` WHERE (domain_id, sub_id)"
    " IN (SELECT domain_id, MAX(sub_id) FROM mysql.`{0}` GROUP BY domain_id)"
)

COPYING = ("SELECT", "SHOW VIEW", "TRIGGER", "EVENT")
"""Rights on everything that a dump needs. Without SELECT and TRIGGER it would silently leave things out."""


def check_rights(session: MariaDb, wanted: tuple[str, ...]) -> None:
    """Raises DatabaseRefused when the account lacks some of these on `*.*`."""
    held: set[str] = set()
    for [grant] in session.query("SHOW GRANTS"):
        match = _GRANT.match(str(grant))
        held |= {right.strip() for right in match[1].split(",")} if match else set()
    lacks = [right for right in wanted if not held & {right, "ALL PRIVILEGES"}]
    if lacks:
        raise DatabaseRefused(
            f"the account lacks the right{'' if len(lacks) == 1 else 's'} {', '.join(lacks)} on *.*",
            where=f"database {session.id}",
            mend=f"GRANT {', '.join(lacks)} ON *.* TO it; docs/how-to/mariadb.md lists all",
        )


@dataclass(frozen=True, slots=True)
class Copying:
    """Dumps to a file first, so that the server's old row versions are kept only while it dumps, not while we load."""

    session: MariaDb
    """Who is copied."""
    standby: bool
    """Whether that is a replica of the source: then its own place in the source's log counts."""
    settings: Mapping[str, str]
    port: int | None

    def bring_up(self, place: ScratchPlace, follower: Follower) -> tuple[ScratchMariaDb, str]:
        """The server, and the GTIDs up to which it has everything.

        Raises DatabaseRefused, DatabaseUnreachable, DatabaseMissing, DatabaseError.
        """
        check_reached(self.session, place.host, by_socket=True)
        check_rights(self.session, COPYING)
        host, folder = place.host, f"{place.folder}/{_FOLDER}"
        host.make_directory(folder)
        began = place.clock.monotonic()
        self._dump(place, f"{folder}/{_FILE}")
        place.tell("began_with", f"a copy of {self.session.id}")
        place.tell("copy_seconds", round(place.clock.monotonic() - began, 3))
        spec = MariadbDumpSpec(path=_FILE, settings=dict(self.settings), port=self.port)
        recipe = MariadbDumpRecipe(spec, follower)
        left = Deadline(place.clock, place.timeout - (place.clock.monotonic() - began), "the copy").left()
        inner = replace(place, root=folder, timeout=left)
        position = None if self.standby else recipe.position(inner)
        try:
            made = recipe.bring_up(inner)
        except DatabaseDamaged as error:
            # Nothing is known to be wrong with a backup.
            raise DatabaseError(
                f"the copy of {self.session.id} cannot be loaded: {error.what}",
                where=f"database {self.session.id}",
                mend="see its words; the staging's MariaDB may be older than that one",
            ) from None
        host.remove_tree(folder)
        try:
            return made, self._followed(made.leader(follower)) if position is None else position
        except BaseException:
            made.stop(10)
            raise

    def _dump(self, place: ScratchPlace, file: str) -> None:
        where = f"database {self.session.id}"
        argv = [
            program(place.host, "mariadb-client", "mariadb-dump", "mysqldump"), "--no-defaults", *self.session.way(),
            "--single-transaction", "--all-databases", "--routines", "--events", "--triggers", "--hex-blob",
            "--max-allowed-packet=1G", "--default-character-set=utf8mb4", f"--result-file={file}",
            *(() if self.standby else ("--master-data=2", "--gtid")),
        ]  # fmt: skip
        try:
            told = place.host.run(argv, timeout=place.timeout, env={"MYSQL_PWD": self.session.password})
        except CommandTimeout:
            raise DatabaseError(
                f"the copy of {self.session.id} was not done in time",
                where=where,
                mend="declare a longer `timeout`, or begin with a backup: `path`",
            ) from None
        if told.exit_code:
            raise failure(told.stderr, told.exit_code, where, place.timeout)

    def _followed(self, leader: MariaDb) -> str:
        """A replica keeps its place in a table, written with the data itself: so it fits what was dumped with it."""
        where = f"database {self.session.id}"
        newest: dict[int, tuple[int, str]] = {}
        for name, engine in leader.query(_TABLES):
            rows = leader.query(_NEWEST.format(name))
            if rows and str(engine).lower() != "innodb":
                raise DatabaseError(
                    f"mysql.{name} is no table of InnoDB, so that its place in the source's log may not fit its data",
                    where=where,
                    mend=f"ALTER TABLE mysql.{name} ENGINE=InnoDB there, or copy the source itself",
                )
            for domain, number, gtid in rows:
                newest[domain] = max(newest.get(domain, (0, "")), (number, str(gtid)))
        if not newest:
            raise DatabaseError(
                "it has no place in the log of any source: it is no replica",
                where=where,
                mend="let `copy_from` name a replica of `source`, or leave it out",
            )
        return gtids(",".join(gtid for _, gtid in newest.values()), where)
