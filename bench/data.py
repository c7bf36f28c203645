"""Trees of files that do not compress, the same every time."""

from __future__ import annotations

import random
from pathlib import Path

SMALL_FILES = 20_000
SMALL_BYTES = 35_000
"""On average: 0.7 GB in all."""
LARGE_FILES = 4
LARGE_BYTES = 512 * 1024**2
_CHUNK = 16 * 1024**2


def small_files(root: Path, scale: float) -> Path:
    """20,000 files in 200 folders, times `scale`."""
    rng = random.Random(1)
    for number in range(max(int(SMALL_FILES * scale), 10)):
        folder = root / f"{number % 20:02}" / f"{number // 20 % 10:02}"
        if number < 200:
            folder.mkdir(parents=True)
        (folder / f"{number:05}.bin").write_bytes(rng.randbytes(rng.randrange(1000, 2 * SMALL_BYTES - 1000)))
    return root


def large_files(root: Path, scale: float) -> Path:
    """Four files, 2 GiB in all, times `scale`."""
    rng = random.Random(2)
    root.mkdir(parents=True)
    for number in range(LARGE_FILES):
        left = max(int(LARGE_BYTES * scale), 1024**2)
        with (root / f"{number}.bin").open("wb") as file:
            while left > 0:
                file.write(rng.randbytes(min(left, _CHUNK)))
                left -= _CHUNK
    return root


def warm(root: Path) -> None:
    """Reads everything once, so that it is in the page cache."""
    for path in root.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                while file.read(_CHUNK):
                    pass
