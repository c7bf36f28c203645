"""Real repositories of every restic, and faults that strike at a known moment."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from drtests.engines.restic.engine import ResticEngine
from drtests.hosts.local import LocalHost
from drtests.model.estate import Host as HostDeclaration
from drtests.model.estate import Repository
from drtests.protocols.engine import EngineContext, RecoveryPoint
from drtests.testing.engine_contract import Held
from drtests.testing.host_contract import eventually
from tests.support.weak_key import weaken

PASSWORD = "correct-horse-battery-staple"
PATIENCE = 100.0
BIG = 5 * 1024 * 1024
"""More than a small disk holds."""


@dataclass(frozen=True, slots=True)
class Lab:
    """A repository and the restic that made it."""

    program: str
    root: Path
    host: LocalHost
    held: tuple[Held, ...] = ()

    @property
    def version(self) -> tuple[int, ...]:
        said = subprocess.run([self.program, "version"], capture_output=True, text=True, timeout=30, check=True).stdout
        return tuple(map(int, said.split()[1].split(".")))

    @property
    def repository(self) -> Path:
        return self.root / "repository"

    @property
    def big(self) -> Held:
        """The recovery point with the file that fills the largest pack."""
        return max(self.held, key=lambda held: sum(map(len, held.files.values())))

    def engine(
        self,
        location: str | None = None,
        password: str = PASSWORD,
        program: str | None = None,
        timeout: float = PATIENCE,
        environment: Mapping[str, str] | None = None,
    ) -> ResticEngine:
        location = location or str(self.repository)
        declared = Repository(
            id="nas",
            location=location,
            password="env:UNUSED",
            program=program or self.program,
            timeout=timedelta(seconds=timeout),
        )
        resolved = {**(environment or {}), ResticEngine.PASSWORD_VARIABLE: password}
        return ResticEngine(EngineContext(declared, location, self.host, resolved))

    def command(self, *arguments: str) -> list[str]:
        return [self.program, "--repo", str(self.repository), "--no-cache", *arguments]

    def environment(self, **changed: str) -> dict[str, str]:
        return {**os.environ, "RESTIC_PASSWORD": PASSWORD, "TZ": "UTC", **changed}

    def run(self, *arguments: str, **environment: str) -> str:
        done = subprocess.run(
            self.command(*arguments),
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def copy(self, root: Path) -> Lab:
        """One to break."""
        shutil.copytree(self.repository, root / "repository")
        return replace(self, root=root)

    def largest_pack(self) -> Path:
        return max((path for path in (self.repository / "data").rglob("*") if path.is_file()), key=_size)

    def fingerprint(self) -> list[tuple[object, ...]]:
        """Everything about the repository that writing or locking would change."""
        found = [(path, path.lstat()) for path in [self.repository, *self.repository.rglob("*")]]
        return sorted((str(path), fact.st_size, fact.st_mtime_ns, fact.st_ctime_ns) for path, fact in found)

    def write_tree(self, name: str, files: Mapping[str, bytes]) -> Path:
        folder = self.root / name
        for path, data in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        return folder

    def back_up(self, folder: Path, host: str, tags: tuple[str, ...], when: datetime | None) -> Held:
        """Backs a folder up as of a moment; without one, as of now, in nanoseconds and a zone of its own."""
        at = ["--time", when.strftime("%Y-%m-%d %H:%M:%S")] if when else []
        zone = "UTC" if when else "Asia/Kolkata"
        marks = [part for tag in tags for part in ("--tag", tag)]
        self.run("backup", "--quiet", "--host", host, *marks, *at, str(folder), TZ=zone)
        if when is None:
            newest = max(json.loads(self.run("snapshots", "--json")), key=lambda one: str(one["time"]))
            when = _exact(newest["time"])
            assert abs(datetime.now(UTC) - when) < timedelta(minutes=10)
        files = {str(path).lstrip("/"): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        return Held(RecoveryPoint("", when, host, (str(folder),), tags), files)


def hang(pack: Path) -> Path:
    """Puts a pipe where the pack was: whoever opens it to read waits, as for a storage that hangs."""
    pack.unlink()
    os.mkfifo(pack, 0o600)
    return pack


def release(pack: Path, until: Callable[[], bool]) -> None:
    """Lets those go who wait for a pack that hangs: they read nothing."""

    def let_go() -> bool:
        try:
            os.close(os.open(pack, os.O_WRONLY | os.O_NONBLOCK))
        except OSError as error:
            # Nobody waits at the moment.
            if error.errno != errno.ENXIO:
                raise
        return until()

    eventually(let_go, "the reader does not end", PATIENCE)


def powerless(path: Path, program: str) -> str:
    """The program, without root's privileges: rights count for it."""
    drop = "setpriv --inh-caps=-all --bounding-set=-all" if os.getuid() == 0 else ""
    return script(path, f'exec {drop} {program} "$@"')


def processes_with(text: str) -> dict[int, list[str]]:
    """Command lines of all processes that have the text in theirs."""
    found: dict[int, list[str]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            line = (entry / "cmdline").read_bytes()
        except OSError:
            # It ended while we looked.
            continue
        if text.encode() in line:
            found[int(entry.name)] = os.fsdecode(line).rstrip("\0").split("\0")
    return found


def damage(pack: Path) -> None:
    """Turns bits in the first kilobyte."""
    pack.chmod(stat.S_IRUSR | stat.S_IWUSR)
    data = bytearray(pack.read_bytes())
    data[100:1000] = bytes(byte ^ 0xFF for byte in data[100:1000])
    pack.write_bytes(data)


def shorten(pack: Path) -> None:
    """Cuts half of it off."""
    pack.chmod(stat.S_IRUSR | stat.S_IWUSR)
    os.truncate(pack, pack.stat().st_size // 2)


def script(path: Path, *lines: str) -> str:
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o700)
    return str(path)


def _size(path: Path) -> int:
    return path.stat().st_size


def _exact(text: str) -> datetime:
    found = re.fullmatch(r"([^.]+)\.(\d+)(.*)", text)
    assert found, text
    micros = int(found[2].ljust(9, "0")) // 1000
    return datetime.fromisoformat(found[1] + found[3]) + timedelta(microseconds=micros)


@pytest.fixture(scope="session")
def sound(restic_program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A repository to read only, one for every restic; backups in no order of time, packs to share out."""
    host = LocalHost(HostDeclaration(id="local"), marker=f"engines-{os.getpid()}-{time.monotonic_ns()}")
    lab = Lab(restic_program, tmp_path_factory.mktemp("sound"), host)
    lab.run("init")
    weaken(lab.repository, PASSWORD)
    small = lab.write_tree("small", {"one": b"1" * 3000, "folder/two": b"two", "folder/with space é": os.urandom(900)})
    big = lab.write_tree("big", {"big.bin": os.urandom(BIG), "empty": b""})
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    make: list[Callable[[], Held]] = [
        lambda: lab.back_up(small, "alpha", ("school", "daily"), midnight - timedelta(days=1)),
        lambda: lab.back_up(big, "beta", ("daily",), midnight - timedelta(days=3)),
        lambda: lab.back_up(small, "alpha", ("school",), None),
        lambda: lab.back_up(small, "alpha", (), midnight - timedelta(days=9, seconds=1)),
    ]
    held: list[Held] = []
    for number, one in enumerate(make):
        (small / "changing").write_bytes(os.urandom(500 + number))
        held.append(one())
    yield replace(lab, held=tuple(held))
    host.sweep()
