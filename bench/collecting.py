"""Collecting declared systems against collecting trivial tests: whole processes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.project import write_project
from bench.result import Result, compared, paired, timed

_TARGET = 3.0
_LINEAR = 11.0
"""Ten times the systems may take ten times as long, and a tenth for noise."""
_TIMEOUT = 1200.0


def _collect(root: Path, what: str, expected: int, *options: str) -> float:
    argv = [sys.executable, "-m", "pytest", "--collect-only", "-q", "--import-mode=importlib", *options, what]
    out: list[str] = []

    def run() -> None:
        done = subprocess.run(argv, cwd=root, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
        if done.returncode:
            raise RuntimeError(f"collecting failed ({done.returncode}):\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        out.append(done.stdout)

    seconds = timed(run)
    found = sum("::" in line for line in out[0].splitlines())
    if found < expected:
        raise RuntimeError(f"{found} tests were collected, at least {expected} expected")
    return seconds


def _trivial(root: Path, files: int, tests_a_file: int) -> Path:
    folder = root / "trivial"
    folder.mkdir(parents=True)
    (root / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n")
    for number in range(files):
        body = "".join(f"def test_{n}():\n    pass\n\n\n" for n in range(tests_a_file))
        (folder / f"test_{number:05}.py").write_text(body)
    return root


def measure(directory: Path, scale: float, pairs: int) -> Iterator[Result]:
    """1,000 systems against 1,000 tests, in one file each and all in one; 10,000 against 1,000 systems."""
    count = max(int(1000 * scale), 10)
    root = directory / "collecting"
    declared = write_project(root / "declared", count)
    several = _trivial(root / "several", count, 1)
    single = _trivial(root / "single", 1, count)

    def ours() -> float:
        return _collect(declared, "targets", count)

    ours()
    for what, tests in (("one file each", several), ("all in one file", single)):

        def theirs(tests: Path = tests) -> float:
            # pytest by itself: what the plug-in costs is ours.
            return _collect(tests, "trivial", count, "-p", "no:drtests")

        theirs()
        yield compared(
            f"collecting {count} systems against {count} tests, {what}",
            list(paired(pairs, ours, theirs)),
            at_most=_TARGET,
        )
    many = write_project(root / "many", 10 * count)
    yield compared(
        f"collecting {10 * count} systems against {count}",
        list(paired(min(pairs, 3), lambda: _collect(many, "targets", 10 * count), ours)),
        at_most=_LINEAR,
    )
    shutil.rmtree(root)
