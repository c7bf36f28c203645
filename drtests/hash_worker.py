"""Hashes batches of small files; also a program of its own, so that many cores do not share one interpreter.

Reads a JSON line `[root, [path, ...]]` at a time and answers with a line that holds, for each
path, `[size, sha256, problem]`, or null for a file that is too large for a batch. Ends with its
input. Imports nothing of this package: it has to start fast.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys

SMALL = 256 * 1024
FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK

Hashed = tuple[int, str, str]


def hash_small(root: str, paths: list[str]) -> list[Hashed | None]:
    """Size, SHA-256 and problem of each; None for what does not fit in one read."""
    results: list[Hashed | None] = []
    buffer = bytearray(SMALL)
    view = memoryview(buffer)
    buffers = [buffer]
    for path in paths:
        try:
            descriptor = os.open(f"{root}/{path}", FLAGS)
            try:
                size = os.readv(descriptor, buffers)
            finally:
                os.close(descriptor)
        except OSError as error:
            results.append((0, "", error.strerror or type(error).__name__))
            continue
        # A regular file gives less than was asked for only at its end.
        results.append((size, hashlib.sha256(view[:size]).hexdigest(), "") if size < SMALL else None)
    return results


def main() -> None:
    """Serves until its input ends."""
    for line in sys.stdin:
        root, paths = json.loads(line)
        sys.stdout.write(json.dumps(hash_small(root, paths)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
