"""Hashes batches of small files; also a program of its own, so that many cores do not share one interpreter.

Reads a JSON line `[root, [path, ...]]` at a time and answers with a line that holds, for each
path, `[size, sha256, problem]`, or null for a file that is too large for a batch. Ends with its
input. Imports nothing of this package: it has to start fast, and it also runs on hosts that are
reached over SSH, with Python 3.7.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys

SMALL = 256 * 1024
FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_CHUNK = 1024 * 1024


def hash_small(root: str, paths: list[str]) -> list[tuple[int, str, str] | None]:
    """Size, SHA-256 and problem of each; None for what does not fit in one read."""
    results: list[tuple[int, str, str] | None] = []
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


def hash_large(root: str, path: str) -> tuple[int, str, str]:
    """Size, SHA-256 and problem of a file of any size."""
    digest = hashlib.sha256()
    total = 0
    buffer = bytearray(_CHUNK)
    view = memoryview(buffer)
    try:
        descriptor = os.open(f"{root}/{path}", FLAGS)
        try:
            before = os.fstat(descriptor)
            size = os.readv(descriptor, [buffer])
            while size:
                digest.update(view[:size])
                total += size
                size = os.readv(descriptor, [buffer])
            after = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        return 0, "", error.strerror or type(error).__name__
    if total != before.st_size or (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
        return 0, "", "changed while it was read"
    return total, digest.hexdigest(), ""


def main() -> None:
    """Serves until its input ends."""
    for line in sys.stdin:
        root, paths = json.loads(line)
        sys.stdout.write(json.dumps(hash_small(root, paths)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
