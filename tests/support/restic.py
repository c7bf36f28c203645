"""The restic releases on this machine, and a disk that is small, as fixtures."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_NEWER = "a newer restic"
"""Stands for the releases of scripts/fetch-restic when there are none."""
_SYSTEM = "the machine's restic"
SMALL_DISK_BYTES = 4 * 1024 * 1024


def restic_programs() -> list[str]:
    """The machine's own, and what scripts/fetch-restic brought."""
    own = shutil.which("restic")
    return ([own] if own else []) + [str(path) for path in sorted(_ROOT.glob(".tools/restic/*/restic"))]


@cache
def restic_version(program: str) -> str:
    """The number alone; the name of what is missing as it is."""
    if program in {_NEWER, _SYSTEM}:
        return program
    said = subprocess.run([program, "version"], capture_output=True, text=True, timeout=30, check=True).stdout
    found = re.match(r"restic (\S+)", said)
    return found[1] if found else program


def _parameters() -> list[str]:
    found = restic_programs()
    own = [] if shutil.which("restic") else [_SYSTEM]
    newer = [] if any("/.tools/" in program for program in found) else [_NEWER]
    return own + found + newer


def _lacking(what: str) -> NoReturn:
    """On the build server a test that could not run is a failure: skipped there, nobody would ever see it."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="session", params=_parameters(), ids=restic_version)
def restic_program(request: pytest.FixtureRequest) -> str:
    """Path of a restic; a test that asks for it runs once for every release."""
    program = str(request.param)
    if program == _SYSTEM:
        _lacking("restic is not installed: apt-get install restic")
    if program == _NEWER:
        _lacking("no newer release of restic is here: scripts/fetch-restic")
    return program


@pytest.fixture(scope="session")
def restic_needed() -> None:
    if shutil.which("restic") is None:
        _lacking("restic is not installed: apt-get install restic")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of four MiB; mounting one takes root, or sudo that asks for no password."""
    folder = tmp_path / "small-disk"
    folder.mkdir()
    options = f"size={SMALL_DISK_BYTES},uid={os.getuid()},gid={os.getgid()},mode=0700"
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    for prefix in ([], ["sudo", "-n"]):
        if _works([*prefix, *mount]):
            break
    else:
        _lacking("a small disk cannot be mounted: that takes root, or sudo without a password")
    try:
        yield folder
    finally:
        if not _works([*prefix, "umount", str(folder)]):
            # Somebody still has a file open there; it goes when they do.
            subprocess.run([*prefix, "umount", "--lazy", str(folder)], timeout=30, check=True)


def _works(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0
    except FileNotFoundError:
        return False
