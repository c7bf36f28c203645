"""A small real estate: real files, a real restic repository, real declarations. For acceptance and end-to-end tests."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from drtests.seal import MANIFEST_NAME, seal
from tests.support.weak_key import lay_empty

PASSWORD = "correct horse battery staple"


def ago(**units: float) -> datetime:
    return datetime.now(UTC) - timedelta(**units)


@dataclass(slots=True)
class Estate:
    """A project below `root`, with one system `app` whose data lies in `root/production/app`."""

    root: Path
    restic: str = "restic"
    bia: dict[str, Any] = field(default_factory=dict)
    estate: dict[str, Any] = field(default_factory=dict)
    systems: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.root / "password").parent.mkdir(parents=True, exist_ok=True)
        (self.root / "password").write_text(PASSWORD)
        (self.root / "password").chmod(0o600)
        self.bia = {
            "version": 1,
            "processes": [
                {
                    "id": "teaching",
                    "name": "Teaching",
                    "owner": "anna",
                    "criticality": "high",
                    "rto": "1h",
                    "rpo": "26h",
                    "dependencies": ["app"],
                }
            ],
        }
        self.estate = {
            "version": 1,
            "organisation": {"name": "School"},
            "people": [{"id": "anna", "name": "Anna de Boer"}, {"id": "bram", "name": "Bram Visser"}],
            "repositories": [{"id": "nas", "location": "repository", "password": "file:password"}],
            "staging": [{"id": "scratch", "path": "staging", "disposable": True}],
        }
        self.systems = {"app": self.system()}

    @property
    def data(self) -> Path:
        return self.root / "production" / "app"

    @property
    def restored(self) -> str:
        """Where the data lies below the restored tree."""
        return str(self.data).lstrip("/")

    @property
    def reports(self) -> Path:
        return self.root / "reports"

    @property
    def staging(self) -> Path:
        return self.root / "staging"

    def system(self, **changed: Any) -> dict[str, Any]:
        declared: dict[str, Any] = {
            "name": "Application",
            "backups": [{"repository": "nas", "interval": "24h", "duration": "10m", "snapshots": {"tags": ["app"]}}],
            "restore": {"staging": "scratch"},
            "sources": [{"path": "production/app"}],
            "checks": [
                {"tree": {"path": self.restored}},
                {"marker": {"file": {"path": f"{self.restored}/marker"}}},
            ],
        }
        return declared | changed

    def write(self) -> None:
        """Writes the declarations as they stand."""
        systems = self.root / "targets" / "systems"
        systems.mkdir(parents=True, exist_ok=True)
        (self.root / "targets" / "bia.yaml").write_text(yaml.safe_dump(self.bia, sort_keys=False))
        (self.root / "targets" / "estate.yaml").write_text(yaml.safe_dump(self.estate, sort_keys=False))
        for name, declared in self.systems.items():
            (systems / f"{name}.yaml").write_text(yaml.safe_dump(declared, sort_keys=False))

    def produce(self, files: int = 20, marker: datetime | None = None, size: int = 1000) -> None:
        """Makes the system's data: files, a database, a marker."""
        self.data.mkdir(parents=True, exist_ok=True)
        for number in range(files):
            file = self.data / f"folder{number % 3}" / f"file{number}.txt"
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(os.urandom(size))
        with sqlite3.connect(self.data / "records.db") as database:
            database.execute("CREATE TABLE IF NOT EXISTS students (id INTEGER PRIMARY KEY, name TEXT)")
            database.executemany("INSERT INTO students (name) VALUES (?)", [(f"student {n}",) for n in range(50)])
        database.close()
        (self.data / "marker").write_text((marker or ago(minutes=10)).isoformat())

    def backup(self, at: datetime | None = None, tag: str = "app") -> None:
        """Seals the data and backs it up, as of a moment."""
        seal(self.data, self.data / MANIFEST_NAME)
        when = (at or ago(minutes=5)).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        self.run_restic("backup", "--time", when, "--tag", tag, str(self.data))

    def init_repository(self) -> None:
        lay_empty(self.root / "repository", self.restic, PASSWORD)

    def history(self, days: int = 1) -> None:
        """A repository with a backup for each of the last days, and one of five minutes ago."""
        self.init_repository()
        for day in range(days, 0, -1):
            self.backup(ago(days=day))
        self.backup()

    def run_restic(self, *arguments: str) -> str:
        done = subprocess.run(
            [self.restic, "--repo", str(self.root / "repository"), "--no-cache", "--quiet", *arguments],
            env={**os.environ, "RESTIC_PASSWORD": PASSWORD, "TZ": "UTC"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"restic {arguments[0]}: {done.stderr}")
        return done.stdout

    def drtests(
        self, *arguments: str, timeout: float = 120, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """The command, as a user would run it."""
        return subprocess.run(
            [sys.executable, "-m", "drtests", *arguments],
            cwd=self.root,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def packs(self) -> list[Path]:
        return sorted(path for path in self.reports.iterdir() if path.is_dir()) if self.reports.is_dir() else []

    def leftovers(self) -> list[str]:
        """What drills left in the staging, the lock file aside."""
        if not self.staging.is_dir():
            return []
        entries = [path.name for path in self.staging.iterdir() if path.name.startswith("drtests-")]
        return entries + [path.name for path in self.staging.glob(".drtests-leases/*")]


def make_estate(root: Path, restic: str | None = None) -> Estate:
    """An estate with data and two backups, declarations written."""
    program = restic or shutil.which("restic")
    if program is None:
        raise RuntimeError("restic is not installed: apt-get install restic")
    made = Estate(root, program)
    made.produce()
    made.history()
    made.write()
    return made
