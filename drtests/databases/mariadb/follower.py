"""What makes a scratch server one that may follow another: a number of its own, and an account that may order it to."""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass, field

from drtests.databases.rehearsing import APPLICATION
from drtests.errors import DatabaseError

_LOWEST, _HIGHEST = 2**31, 2**32 - 1
_GTIDS = re.compile(r"(?:\d+-\d+-\d+(?:,\d+-\d+-\d+)*)?")


@dataclass(frozen=True, slots=True)
class Follower:
    """Its account is made at every start, and is for the drill alone: no dump and no step can order it anything."""

    server_id: int
    password: str = field(repr=False)
    account: str = "drtests_follower"

    @classmethod
    def apart_from(cls, taken: Collection[int]) -> Follower:
        """With a number that none of these has: a source drops whoever follows it under the same one."""
        while True:
            number = secrets.randbelow(_HIGHEST - _LOWEST) + _LOWEST
            if number not in taken:
                return cls(number, secrets.token_urlsafe(24))

    def argv(self) -> list[str]:
        """Options of the server. It writes no binary log, so that nobody can follow it."""
        return [
            f"--server-id={self.server_id}", f"--report-host={APPLICATION}", "--relay-log=relay",
            # So that a source which never had what this begins with says so.
            "--gtid-strict-mode=ON",
        ]  # fmt: skip

    def orders(self) -> str:
        """Statements for the server's start, one a line."""
        name = f"'{self.account}'@'localhost'"
        return f"CREATE OR REPLACE USER {name} IDENTIFIED BY '{self.password}';\nGRANT ALL ON *.* TO {name};\n"


def gtids(told: str, where: str) -> str:
    """A list of GTIDs as the server writes it. Raises DatabaseError for what is none."""
    found = "".join(told.split())
    if not _GTIDS.fullmatch(found):
        raise DatabaseError(f"{told[:200]!r} is no list of GTIDs", where=where, mend="see what wrote it")
    return found


def literal(text: str) -> str:
    """A string in SQL."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
