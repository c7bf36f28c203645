from __future__ import annotations
import os, shutil, subprocess
from collections.abc import Iterator
from pathlib import Path
import pytest

def restic_programs() -> list[str]:
    found = [p] if (p := shutil.which("restic")) else []
    return found + sorted(map(str, Path(".tools/restic").resolve().glob("*/restic")))

@pytest.fixture(params=restic_programs())
def restic_program(request: pytest.FixtureRequest) -> str:
    return str(request.param)

@pytest.fixture(scope="session")
def restic_needed() -> None:
    if not shutil.which("restic"):
        pytest.fail("no restic")

@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    d = tmp_path / "small"; d.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(d)], check=True)
    yield d
    subprocess.run(["umount", str(d)], check=True)
