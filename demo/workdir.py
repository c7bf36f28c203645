"""The folder the demo lives in: made, recognised, and wiped only when the demo made it."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import re
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

MARK = ".drtests-demo.json"
CHECKOUT = Path(__file__).resolve().parent.parent

_PORT = re.compile(r"(?:127\.0\.0\.1:|\bport: )(\d+)")
_STAGED = "/srv/drtests-staging"
"""The path and the user that the example declares for the host it recovers on; here they are others."""
_USER = "user: recovery"


class DemoError(Exception):
    """The demo cannot go on; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class WorkDir:
    """Where everything of one demo is."""

    root: Path

    @property
    def production(self) -> Path:
        return self.root / "production"

    @property
    def repositories(self) -> Path:
        return self.root / "repositories"

    @property
    def s3(self) -> Path:
        """The folder behind the S3 server; its buckets are the folders in it."""
        return self.root / "s3"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def reports(self) -> Path:
        return self.root / "reports"

    @property
    def servers(self) -> Path:
        """What servers keep that run as another user: not every user may enter the folder the demo is in."""
        where = f"{os.geteuid()}-{hashlib.sha256(str(self.root).encode()).hexdigest()[:8]}"
        return Path("/var/tmp") / f"drtests-demo-{where}"  # noqa: S108 - made below, and refused when not ours

    def s3_address(self) -> str:
        """`host:port` as the copied estate.yaml declares it."""
        found = re.search(r"s3:http://(127\.0\.0\.1:\d+)/", (self.root / "targets" / "estate.yaml").read_text())
        if found is None:
            raise DemoError(f"{self.root}/targets/estate.yaml declares no S3 repository; run `make demo` again")
        return found[1]


def create(root: Path) -> WorkDir:
    """An empty work directory with a copy of the declarations; wipes what an earlier demo left.

    Raises DemoError rather than wipe a folder that the demo did not make.
    """
    root = root.resolve()
    if root.exists() and not root.is_dir():
        raise DemoError(f"{root} is not a folder; choose another with --directory")
    if root.exists() and any(root.iterdir()):
        if not (root / MARK).is_file():
            raise DemoError(f"{root} holds something that the demo did not make; choose another with --directory")
        shutil.rmtree(root)
    work = WorkDir(root)
    for folder in (work.production, work.repositories, work.s3, work.logs, work.reports):
        folder.mkdir(parents=True, exist_ok=True)
    work.secrets.mkdir(mode=0o700)
    (root / MARK).write_text(json.dumps({"made by": "python -m demo", "wiped by": "the next demo"}) + "\n")
    shutil.copytree(CHECKOUT / "targets", root / "targets", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CHECKOUT / "conftest.py", root / "conftest.py")
    # A project of its own: the settings of the checkout around it are not for these tests.
    (root / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n")
    _use_free_ports(root / "targets")
    estate = root / "targets" / "estate.yaml"
    here = (
        estate.read_text().replace(_STAGED, str(work.servers / "dr-host")).replace(_USER, f"user: {getpass.getuser()}")
    )
    estate.write_text(here)
    return work


def make_servers_folder(path: Path) -> None:
    """An empty folder of our own in a place where everybody may write. Raises DemoError when it is somebody else's."""
    try:
        path.mkdir(mode=0o755)
    except FileExistsError:
        seen = path.lstat()
        if path.is_symlink() or not path.is_dir() or seen.st_uid != os.geteuid():
            raise DemoError(f"{path} is there already, and not of this user; remove it") from None
        shutil.rmtree(path)
        path.mkdir(mode=0o755)
    path.chmod(0o755)


def declared_port(work: WorkDir, name: str) -> int:
    """The port that the copied estate.yaml declares for the host or the database of that id."""
    estate = yaml.safe_load((work.root / "targets" / "estate.yaml").read_text())
    for declared in (*estate["hosts"], *estate["databases"]):
        if declared["id"] == name:
            return int(declared.get("ssh", declared)["port"])
    raise DemoError(f"{work.root}/targets/estate.yaml declares no {name}; run `make demo` again")


def existing(root: Path) -> WorkDir:
    """A work directory that is there already. Raises DemoError when it is not."""
    root = root.resolve()
    if not (root / MARK).is_file():
        raise DemoError(f"there is no demo in {root}; start with `make demo`")
    return WorkDir(root)


def _use_free_ports(targets: Path) -> None:
    """Puts a free port in the place of each declared one that is taken."""
    files = [path for path in sorted(targets.rglob("*")) if path.suffix in (".yaml", ".py")]
    declared = {port for file in files for port in _PORT.findall(file.read_text())}
    changes: dict[str, str] = {}
    for port in sorted(declared):
        if not _is_free(int(port)):
            changes[port] = str(_free_port(declared | set(changes.values())))
    for file in files:
        text = file.read_text()
        file.write_text(_replaced(text, changes))


def _replaced(text: str, changes: Mapping[str, str]) -> str:
    for old, new in changes.items():
        text = re.sub(rf"\b{old}\b", new, text)
    return text


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_port(taken: set[str]) -> int:
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if str(port) not in taken:
            return port


def write_secret(path: Path, value: str) -> None:
    """A file that only its owner can read, from the first byte on."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(value + "\n")
