"""What is done on a machine, by whoever runs there: commands, services, files.

Also runs on hosts that are reached over SSH: nothing but the standard library of Python 3.7. Raises Failure.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from drtests.hosts.children import Child, Left
from drtests.hosts.failure import MISSING, TIMEOUT, Failure

_KIND = 0o170000
"""The bits of a mode that tell what it is."""


class Ended(NamedTuple):
    """How a command ended, and the end of what it printed."""

    exit_code: int
    stdout: bytes
    stderr: bytes
    seconds: float


class Entry(NamedTuple):
    """As `drtests.protocols.host.FileFact`."""

    path: str
    kind: str
    size: int
    mtime: float
    target: str = ""


def run(
    argv: Sequence[str],
    timeout: float,
    stdin: bytes | None,
    env: Mapping[str, str],
    cwd: str | None,
    sink: Callable[[str, bytes], None] | None = None,
    wake: int = -1,
) -> Ended:
    """Runs to its end. Its whole group is ended after `timeout` seconds, or when `wake` becomes readable.

    `sink` is called with (`stdout` or `stderr`, what came) as it comes, and with nothing (b"") at the end.
    """
    started = time.monotonic()
    pipe = subprocess.PIPE
    feed = pipe if stdin is not None else subprocess.DEVNULL
    child = Child(spawn(argv, feed, pipe, pipe, env, cwd), stdin, sink, wake)
    try:
        if not child.pump(started + timeout):
            raise Failure(f"{argv[0]} was ended", kind=TIMEOUT)
        exit_code = child.reap()
    finally:
        child.close()
    out, err = child.output()
    return Ended(exit_code, out, err, time.monotonic() - started)


def start(argv: Sequence[str], env: Mapping[str, str], cwd: str, log: str) -> Left:
    """Leaves it running, its output in the file `log`."""
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise failed("write", log, error) from error
    try:
        process = spawn(argv, subprocess.DEVNULL, output, subprocess.STDOUT, env, cwd)
    finally:
        os.close(output)
    return Left(process, log)


def spawn(
    argv: Sequence[str], stdin: int, stdout: int, stderr: int, env: Mapping[str, str], cwd: str | None
) -> subprocess.Popen[bytes]:
    """In a session of its own, with `env` added to this process's environment."""
    if not argv:
        raise Failure("an empty command cannot be run")
    try:
        return subprocess.Popen(
            list(argv),
            bufsize=0,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=cwd,
            env={**os.environ, **env},
            start_new_session=True,
        )
    except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
        if cwd is not None and error.filename == cwd:
            raise failed("enter the directory", cwd, error) from error
        what = f"cannot run {argv[0]}: {error.strerror}"
        raise Failure(what, f"install {argv[0]}, or give its full path", MISSING) from None
    except (OSError, ValueError) as error:
        raise Failure(f"cannot run {argv[0]}: {error}") from None


def read(path: str, limit: int, piece: int) -> Iterator[bytes]:
    """The first `limit` bytes, in pieces."""
    try:
        with open(path, "rb", buffering=0) as file:
            while limit > 0:
                data = file.read(min(piece, limit))
                if not data:
                    return
                limit -= len(data)
                yield data
    except OSError as error:
        raise failed("read", path, error) from error


def write(path: str, data: bytes, mode: int) -> None:
    """Overwrites it."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(data)
    except OSError as error:
        raise failed("write", path, error) from error


def make_directory(path: str) -> None:
    """With parents; mode 0700 for what is new."""
    missing = []
    place = Path(path)
    while not place.exists():
        missing.append(place)
        place = place.parent
    try:
        for directory in reversed(missing):
            directory.mkdir(mode=0o700, exist_ok=True)
        if not place.is_dir():
            raise NotADirectoryError(20, "is not a directory", str(place))
    except OSError as error:
        raise failed("create the directory", path, error) from error


def remove_tree(path: str) -> None:
    """No error when it is gone already."""
    try:
        if not os.path.lexists(path):
            return
        if os.path.islink(path) or not os.path.isdir(path):
            os.unlink(path)
            return
        try:
            shutil.rmtree(path)
        except OSError:
            # Restored directories may be read-only, and something may have been added meanwhile.
            _make_writable(path)
            shutil.rmtree(path)
    except FileNotFoundError:
        if os.path.lexists(path):
            raise Failure(f"{path} changes while it is removed") from None
    except OSError as error:
        raise failed("remove", path, error) from error


def scan(path: str) -> Iterator[Entry]:
    """Everything below, a directory at a time; links are not followed."""
    pending = [""]
    while pending:
        directory = pending.pop()
        try:
            with os.scandir(f"{path}/{directory}") as entries:
                for entry in entries:
                    relative = f"{directory}{entry.name}"
                    try:
                        fact = _fact(entry, relative)
                    except FileNotFoundError:
                        continue
                    if fact.kind == "directory":
                        pending.append(f"{relative}/")
                    yield fact
        except OSError as error:
            if directory and isinstance(error, FileNotFoundError):
                continue
            raise failed("read the directory", f"{path}/{directory}".rstrip("/"), error) from error


def free_bytes(path: str) -> int:
    """Room left for this user on the file system that holds the path, or its nearest parent."""
    place = os.path.abspath(path)
    while not os.path.exists(place):
        place = os.path.dirname(place)
    try:
        return shutil.disk_usage(place).free
    except OSError as error:
        raise failed("ask for the room left on", place, error) from error


def failed(verb: str, path: str, error: OSError) -> Failure:
    """What the system said of a path."""
    mend = f"give user {os.geteuid()} the right to do so" if isinstance(error, PermissionError) else ""
    return Failure(f"cannot {verb} {path}: {error.strerror}", mend)


def _fact(entry: os.DirEntry[str], relative: str) -> Entry:
    seen = entry.stat(follow_symlinks=False)
    mode = seen.st_mode & _KIND
    if mode == stat.S_IFREG:
        return Entry(relative, "file", seen.st_size, seen.st_mtime)
    if mode == stat.S_IFDIR:
        return Entry(relative, "directory", 0, seen.st_mtime)
    if mode == stat.S_IFLNK:
        return Entry(relative, "link", seen.st_size, seen.st_mtime, os.readlink(entry.path))
    return Entry(relative, "other", 0, seen.st_mtime)


def _make_writable(path: str) -> None:
    pending = [path]
    while pending:
        directory = pending.pop()
        try:
            os.chmod(directory, 0o700)
            with os.scandir(directory) as entries:
                pending.extend(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            continue
