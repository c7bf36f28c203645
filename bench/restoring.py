"""A drill's restore phase against the bare `restic restore`, pair by pair."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import data
from bench.project import sha256_of, write_project
from bench.result import Result, compared, paired, timed

_TIMEOUT = 1800.0
_TARGET = 1.05


@dataclass(frozen=True, slots=True)
class _Bench:
    """A project with one system whose recovery point holds the tree that is measured."""

    root: Path

    def drill(self) -> tuple[float, list[str]]:
        """Runs the drill; seconds of its restore phase, and the command that it restored with."""
        before = set(self._packs())
        argv = [sys.executable, "-m", "pytest", "-q", "targets/systems/system-00000.yaml::restore"]
        done = subprocess.run(
            argv, cwd=self.root, env=self.environment(), capture_output=True, text=True, timeout=_TIMEOUT, check=False
        )
        new = [pack for pack in self._packs() if pack not in before]
        if done.returncode or not new:
            raise RuntimeError(f"the drill failed ({done.returncode}):\n{done.stdout[-3000:]}{done.stderr[-1000:]}")
        drill = json.loads((new[0] / "record.json").read_text())["drills"][0]
        seconds = next(float(phase["seconds"]) for phase in drill["phases"] if phase["name"] == "restore")
        return seconds, _restore_command(drill)

    def bare(self, argv: list[str]) -> float:
        """The same command with places of its own; seconds until it has ended."""
        scratch = self.root / "bare"
        scratch.mkdir()
        staging = str(self.root / "staging") + os.sep
        # Below staging there are two folders: what is restored, and restic's cache.
        own = [f"{scratch}/{Path(word).name}" if word.startswith(staging) else word for word in argv]
        for word in own:
            if word.startswith(f"{scratch}/"):
                Path(word).mkdir(exist_ok=True)
        environment = self.environment() | {"RESTIC_CACHE_DIR": f"{scratch}/cache"}

        def restore() -> None:
            subprocess.run(own, env=environment, stdout=subprocess.DEVNULL, timeout=_TIMEOUT, check=True)

        try:
            return timed(restore)
        finally:
            shutil.rmtree(scratch)
            os.sync()

    def _packs(self) -> list[Path]:
        return [path.parent for path in (self.root / "reports").glob("*/record.json")]

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "RESTIC_REPOSITORY": str(self.root / "repository"),
            "RESTIC_PASSWORD_FILE": str(self.root / "password"),
        }


def _restore_command(drill: dict[str, Any]) -> list[str]:
    return next(command["argv"] for command in drill["commands"] if "restore" in command["argv"])


def _prepare(root: Path, tree: Path, one: Path) -> _Bench:
    write_project(root, 1, one.relative_to(root).as_posix(), sha256_of(one))
    password = root / "password"
    password.touch(mode=0o600)
    password.write_text("only for this bench\n")
    bench = _Bench(root)
    for argv in (["restic", "init"], ["restic", "backup", "--quiet", tree.relative_to(root).as_posix()]):
        environment = bench.environment() | {"RESTIC_CACHE_DIR": str(root / "cache")}
        subprocess.run(argv, cwd=root, env=environment, capture_output=True, timeout=_TIMEOUT, check=True)
    shutil.rmtree(tree)
    os.sync()
    return bench


def measure(directory: Path, scale: float, pairs: int) -> Iterator[Result]:
    """Both shapes of repository; each in a folder of its own that is removed afterwards."""
    for what, make in (("many small files", data.small_files), ("a few large files", data.large_files)):
        root = directory / what.replace(" ", "-")
        tree = make(root / "srv", scale)
        bench = _prepare(root, tree, next(path for path in sorted(tree.rglob("*")) if path.is_file()))
        _, argv = bench.drill()  # once for nothing: the command is learned, caches are as they will be

        def ours(bench: _Bench = bench) -> float:
            seconds = bench.drill()[0]
            os.sync()
            return seconds

        def theirs(bench: _Bench = bench, argv: list[str] = argv) -> float:
            return bench.bare(argv)

        yield compared(
            f"restore phase against bare restic restore, {what}", list(paired(pairs, ours, theirs)), at_most=_TARGET
        )
        shutil.rmtree(root)
