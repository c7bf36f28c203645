"""Nightly backups with the real restic, dated back so that there are weeks of them."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from demo.workdir import DemoError, WorkDir, write_secret
from drtests.core.manifest import MANIFEST_NAME
from drtests.seal import seal

BUCKETS = ("devliet-backup", "devliet-timetable")


def restic() -> str:
    """Path of the restic program. Raises DemoError when it is not installed."""
    found = shutil.which("restic")
    if found is None:
        raise DemoError("restic is not installed; `apt-get install restic` (scripts/system-deps does it for you)")
    return found


@dataclass(frozen=True, slots=True)
class BackupJob:
    """One folder below production, sealed and then backed up to one repository."""

    work: WorkDir
    repository: str
    location: str
    folder: str
    host: str
    keys: bool = False
    """Whether the repository needs the S3 keys."""

    def create(self) -> None:
        """Makes the repository, with a password of its own."""
        write_secret(self._password, secrets.token_urlsafe(24))
        self._restic("init")

    def back_up(self, moment: datetime) -> None:
        """Seals the folder and backs it up as if it were `moment`."""
        # The folder is given relative to where restic runs, so that restored paths are short.
        tree = self.work.production / self.folder
        seal(tree, tree / MANIFEST_NAME)
        when = moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
        self._restic("backup", "--quiet", "--host", self.host, "--tag", "nightly", "--time", when, self.folder)

    @property
    def _password(self) -> Path:
        return self.work.secrets / self.repository

    def _restic(self, *arguments: str) -> None:
        environment = {
            **os.environ,
            "TZ": "UTC",  # restic reads --time as local time
            "RESTIC_REPOSITORY": self.location,
            "RESTIC_PASSWORD_FILE": str(self._password),
            "RESTIC_CACHE_DIR": str(self.work.root / "cache"),
        }
        if self.keys:
            environment |= s3_environment(self.work)
        done = subprocess.run(
            [restic(), *arguments],
            cwd=self.work.production,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode:
            raise DemoError(f"restic {arguments[0]} to {self.repository} failed: {done.stderr.strip()[-500:]}")


def s3_environment(work: WorkDir) -> dict[str, str]:
    """What a client of the S3 server needs."""
    return {
        "AWS_ACCESS_KEY_ID": (work.secrets / "s3-key-id").read_text().strip(),
        "AWS_SECRET_ACCESS_KEY": (work.secrets / "s3-secret-key").read_text().strip(),
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def jobs(work: WorkDir) -> dict[str, BackupJob]:
    """The backup jobs, by system."""
    nas, s3 = work.repositories, f"s3:http://{work.s3_address()}"
    records, timetable = (f"{s3}/{bucket}" for bucket in BUCKETS)
    return {
        "file-share": BackupJob(work, "nas-files", str(nas / "nas-files"), "file-share", "fileserver"),
        "website": BackupJob(work, "nas-website", str(nas / "nas-website"), "website", "web"),
        "student-records": BackupJob(work, "offsite-records", records, "student-records", "records", keys=True),
        "timetable": BackupJob(work, "offsite-timetable", timetable, "timetable", "timetable", keys=True),
    }
