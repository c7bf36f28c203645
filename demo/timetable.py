"""The timetable: who teaches what, when and where, in PostgreSQL."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from demo.postgres import DATABASE, Cluster
from demo.production import SUBJECTS, rng_for
from drtests.model.units import utc_text

CLASSES = 40


class Timetable:
    """A PostgreSQL database, and a nightly dump of it: the dump is what is backed up."""

    def __init__(self, root: Path, primary: Cluster) -> None:
        self.dump = root / "dump" / "timetable.dump"
        self._primary = primary

    def create(self, _: datetime) -> None:
        self.dump.parent.mkdir(parents=True)
        rng = rng_for("timetable")
        rows = []
        for day in range(1, 6):
            for hour in range(1, 9):
                rooms = rng.sample(range(1, 80), CLASSES)
                rows += [
                    f"({day}, {hour}, '{1 + number // 8}{'abcdefgh'[number % 8]}', '{rng.choice(SUBJECTS)}', {room})"
                    for number, room in enumerate(rooms)
                ]
        self._primary.sql(
            DATABASE,
            "CREATE TABLE lessons "  # noqa: S608 - made here, from numbers and names
            "(day int, hour int, class text, subject text NOT NULL, room int NOT NULL,"
            " PRIMARY KEY (day, hour, class), UNIQUE (day, hour, room));"
            "CREATE TABLE heartbeat (at timestamptz PRIMARY KEY);"
            f"INSERT INTO lessons VALUES {','.join(rows)};",
        )

    def day(self, number: int, moment: datetime) -> None:
        """A lesson changes; the heartbeat tells when this day was."""
        subject = SUBJECTS[number % len(SUBJECTS)]
        self._primary.sql(
            DATABASE,
            f"UPDATE lessons SET subject = '{subject}' "  # noqa: S608 - one of our own names
            f"WHERE day = {1 + number % 5} AND class = '1a';"
            f"INSERT INTO heartbeat VALUES ('{utc_text(moment)}');",
        )

    def make_dump(self) -> None:
        """The nightly job."""
        self._primary.dump(self.dump)
