"""Facts of the machine, without which no number says anything."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path


def facts(directory: Path) -> dict[str, str]:
    """CPU, cores, memory, kernel, Python, restic, and the file system that holds `directory`."""
    usage = shutil.disk_usage(directory)
    cores = len(os.sched_getaffinity(0))
    return {
        "cpu": _line("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": str(cores),
        "memory": f"{int((_line('/proc/meminfo', 'MemTotal') or '0').split()[0]) / 1024**2:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "restic": _output(["restic", "version"]),
        "disk": f"{_file_system(directory)}, {usage.free / 1e9:.0f} GB free of {usage.total / 1e9:.0f} GB",
    }


def _line(path: str, key: str) -> str:
    for line in Path(path).read_text().splitlines():
        if line.startswith(key):
            return line.partition(":")[2].strip()
    return ""


def _output(argv: list[str]) -> str:
    return subprocess.run(argv, capture_output=True, text=True, timeout=10, check=True).stdout.strip()


def _file_system(directory: Path) -> str:
    mounts = [line.split()[:3] for line in Path("/proc/mounts").read_text().splitlines()]
    holding = [m for m in mounts if directory.resolve().is_relative_to(m[1])]
    device, _, kind = max(holding, key=lambda mount: len(mount[1]))
    return f"{kind} on {device}"
