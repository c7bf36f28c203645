"""Projects that are made up for one measurement."""

from __future__ import annotations

import hashlib
from pathlib import Path

_BIA = """\
version: 1
processes:
  - {{id: bench, name: Bench, owner: someone, rto: 1d, rpo: 30d, dependencies: [{systems}]}}
"""
_ESTATE = """\
version: 1
organisation: {name: Bench}
people: [{id: someone, name: Someone}]
repositories: [{id: repository, location: repository, password: "file:password"}]
staging: [{id: staging, path: staging, disposable: true}]
"""
_SYSTEM = """\
version: 1
name: {name}
backups: [{{id: nightly, repository: repository, interval: 1d}}]
restore: {{staging: staging, timeout: 1h}}
checks:
  - files: {{path: {path}, sha256: {sha256}}}
"""


def write_project(root: Path, systems: int, path: str = "srv/one", sha256: str = "0" * 64) -> Path:
    """A project with so many systems; each looks for one file with that hash."""
    folder = root / "targets" / "systems"
    folder.mkdir(parents=True)
    names = [f"system-{number:05}" for number in range(systems)]
    for name in names:
        (folder / f"{name}.yaml").write_text(_SYSTEM.format(name=name, path=path, sha256=sha256))
    (root / "targets" / "bia.yaml").write_text(_BIA.format(systems=", ".join(names)))
    (root / "targets" / "estate.yaml").write_text(_ESTATE)
    (root / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n")
    return root


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
