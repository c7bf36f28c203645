"""The school's production data: made once, then changed a little every day. The same bytes for the same day."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

from demo.workdir import CHECKOUT
from drtests.model.units import utc_text

TEAMS = ("administratie", "bovenbouw", "directie", "onderbouw", "techniek", "zorg")
SUBJECTS = ("aardrijkskunde", "biologie", "engels", "geschiedenis", "nederlands", "wiskunde")
FILES_A_TEAM = 450
STUDENTS = 480
FIRST_STUDENT = 1000

_WORDS = (
    "de",
    "les",
    "over",
    "het",
    "verslag",
    "van",
    "een",
    "toets",
    "met",
    "vragen",
    "voor",
    "leerlingen",
    "rooster",
)
_GIVEN = ("Amira", "Bram", "Chaima", "Daan", "Emre", "Fleur", "Guus", "Hanna", "Ilse", "Jayden", "Kaya", "Lars")
_FAMILY = ("Bakker", "Demir", "van Dijk", "Hoekstra", "Jansen", "Kaya", "de Lange", "Mulder", "Smit", "Visser")


def rng_for(*seed: object) -> random.Random:
    return random.Random("/".join(map(str, seed)))  # noqa: S311 - made-up data that must be the same every time


def _write(path: Path, data: bytes, moment: datetime) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (moment.timestamp(), moment.timestamp()))


def _prose(rng: random.Random, words: int) -> bytes:
    lines = (" ".join(rng.choices(_WORDS, k=12)) for _ in range(max(words // 12, 1)))
    return ("\n".join(lines) + "\n").encode()


class FileShare:
    """A few thousand files in the folders of teams."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def create(self, moment: datetime) -> None:
        for team in TEAMS:
            rng = rng_for("files", team)
            for number in range(FILES_A_TEAM):
                written = moment - timedelta(hours=rng.randrange(24, 24 * 300))
                self._file(team, rng, number, written)

    def day(self, number: int, moment: datetime) -> None:
        """Every team writes a little; the heartbeat tells when this day was."""
        for team in TEAMS:
            rng = rng_for("day", team, number)
            for place in rng.sample(range(FILES_A_TEAM), 3):
                self._file(team, rng, place, moment)
        _write(self.root / "heartbeat.txt", f"{utc_text(moment)}\n".encode(), moment)

    def _file(self, team: str, rng: random.Random, number: int, moment: datetime) -> None:
        folder = self.root / "teams" / team / SUBJECTS[number % len(SUBJECTS)]
        if number % 9 == 0:
            _write(folder / f"foto-{number:04}.jpg", rng.randbytes(rng.randrange(20_000, 90_000)), moment)
        else:
            _write(folder / f"document-{number:04}.txt", _prose(rng, rng.randrange(60, 1500)), moment)


class StudentRecords:
    """A live database, and a nightly dump of it beside the program: the dump is what is backed up."""

    def __init__(self, root: Path, live: Path) -> None:
        self.root = root
        self.live = live / "records.db"
        self.dump = root / "dump" / "records.db"

    def create(self, moment: datetime) -> None:
        self.dump.parent.mkdir(parents=True)
        self.live.parent.mkdir(parents=True)
        shutil.copyfile(CHECKOUT / "demo" / "records_app.py", self.root / "app.py")
        with closing(sqlite3.connect(self.live)) as database, database:
            database.executescript(
                "CREATE TABLE students (id INTEGER PRIMARY KEY, name TEXT NOT NULL, class TEXT NOT NULL);"
                "CREATE TABLE grades (student INTEGER NOT NULL REFERENCES students, subject TEXT NOT NULL,"
                " mark REAL NOT NULL CHECK (mark BETWEEN 1 AND 10), at TEXT NOT NULL);"
                "CREATE TABLE heartbeat (at TEXT NOT NULL);"
            )
            rng = rng_for("students")
            rows = [
                (FIRST_STUDENT + n, f"{rng.choice(_GIVEN)} {rng.choice(_FAMILY)}", f"{1 + n // 80}{'abc'[n % 3]}")
                for n in range(STUDENTS)
            ]
            database.executemany("INSERT INTO students VALUES (?, ?, ?)", rows)
            for back in range(60, 0, -1):
                self._marks(database, rng, moment - timedelta(days=back))

    def day(self, number: int, moment: datetime) -> None:
        """Marks are entered in the live database, and a heartbeat row."""
        with closing(sqlite3.connect(self.live)) as database, database:
            self._marks(database, rng_for("marks", number), moment)
            database.execute("INSERT INTO heartbeat VALUES (?)", (utc_text(moment),))

    def make_dump(self) -> None:
        """The nightly job: a consistent copy of the live database."""
        partial = self.dump.with_suffix(".partial")
        with closing(sqlite3.connect(self.live)) as source, closing(sqlite3.connect(partial)) as copy:
            source.backup(copy)
        partial.replace(self.dump)

    def newest_in_dump(self) -> str:
        """The newest heartbeat that the dump holds."""
        with closing(sqlite3.connect(self.dump)) as database:
            return str(database.execute("SELECT max(at) FROM heartbeat").fetchone()[0])

    def _marks(self, database: sqlite3.Connection, rng: random.Random, moment: datetime) -> None:
        # Whoever is looked up by the checks always has a mark.
        students = {FIRST_STUDENT + 42, *(FIRST_STUDENT + rng.randrange(STUDENTS) for _ in range(90))}
        rows = [(s, rng.choice(SUBJECTS), rng.randrange(30, 100) / 10, utc_text(moment)) for s in sorted(students)]
        database.executemany("INSERT INTO grades VALUES (?, ?, ?, ?)", rows)


class Website:
    """Static pages for parents."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def create(self, moment: datetime) -> None:
        rng = rng_for("website")
        for number in range(24):
            _write(self.root / "images" / f"{number:02}.jpg", rng.randbytes(30_000), moment)
        self.root.mkdir(exist_ok=True)
        shutil.copyfile(CHECKOUT / "demo" / "link_checker.py", self.root / "check_links.py")
        self._page("contact.html", "Contact", "<p>Vlietkade 1</p>", moment)

    def day(self, number: int, moment: datetime) -> None:
        """News of the day, the timetable, the list of news."""
        rng = rng_for("news", number)
        text = _prose(rng, 120).decode()
        image = f'<img alt="" src="../images/{number % 24:02}.jpg">'
        self._page(f"news/{number:03}.html", f"Nieuws {number}", f"<p>{text}</p>{image}", moment)
        lessons = "".join(f'<li class="lesson">{hour}e uur: {rng.choice(SUBJECTS)}</li>' for hour in range(1, 9))
        self._page("timetable.html", "Rooster", f"<ul>{lessons}</ul>", moment)
        news = sorted(path.name for path in (self.root / "news").iterdir())
        links = "".join(f'<li><a href="news/{name}">{name[:3]}</a></li>' for name in reversed(news))
        pages = '<a href="timetable.html">Rooster</a> <a href="contact.html">Contact</a>'
        self._page("index.html", "De Vliet", f"{pages}<ul>{links}</ul>", moment)
        _write(self.root / "published.txt", f"{utc_text(moment)}\n".encode(), moment)

    def _page(self, name: str, title: str, body: str, moment: datetime) -> None:
        head = f'<!doctype html><html lang="nl"><meta charset="utf-8"><title>{title}</title>'
        _write(self.root / name, f"{head}<h1>{title}</h1>{body}</html>\n".encode(), moment)
