"""The machine that runs drtests."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from drtests.errors import CommandNotFound, CommandTimeout, HostBusy, HostError
from drtests.hashing import digest_files
from drtests.hosts.children import Child, LocalService
from drtests.hosts.processes import MARK, sweep_marked
from drtests.model.estate import Host as Declaration
from drtests.model.units import format_duration
from drtests.protocols.host import CommandResult, FileFact, HostContext, LineSink, Service

__all__ = ["LocalHost", "open_local", "sweep_marked"]

_KIND = 0o170000
"""The bits of a mode that tell what it is."""


def open_local(context: HostContext) -> LocalHost:
    """The adapter for hosts of type `local`."""
    return LocalHost(context.declared, context.mark)


class LocalHost:
    """Runs commands as the user who runs drtests.

    `marker` is what `sweep` looks for; a host that is given none makes up its own.
    """

    def __init__(self, declaration: Declaration, marker: str = "") -> None:
        self._id = declaration.id
        self._marker = marker or f"host-{uuid.uuid4().hex}"

    @property
    def id(self) -> str:
        return self._id

    def __repr__(self) -> str:
        return f"LocalHost({self._id!r})"

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        on_line: LineSink | None = None,
    ) -> CommandResult:
        started = time.monotonic()
        pipe = subprocess.PIPE
        feed = pipe if stdin is not None else subprocess.DEVNULL
        child = Child(self._spawn(argv, feed, pipe, pipe, env, cwd), stdin, on_line)
        try:
            if not child.pump(started + timeout):
                raise CommandTimeout(
                    f"{argv[0]} did not end within {format_duration(timeout)} and was killed",
                    where=f"host {self._id}",
                    mend="see whether it hangs (storage, network, a question it asks); else declare a longer timeout",
                )
            exit_code = child.reap()
        finally:
            child.close()
        return CommandResult(tuple(argv), exit_code, *child.output(), time.monotonic() - started)

    def start(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: str, log: str) -> Service:
        try:
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._failed("write", log, error) from error
        try:
            process = self._spawn(argv, subprocess.DEVNULL, output, subprocess.STDOUT, env, cwd)
        finally:
            os.close(output)
        return LocalService(process, log)

    def sweep(self) -> Sequence[str]:
        return sweep_marked(self._marker)

    def local_path(self, path: str) -> Path | None:
        return Path(path)

    def exists(self, path: str) -> bool:
        return os.path.lexists(path)

    def read(self, path: str, limit: int) -> bytes:
        try:
            with open(path, "rb") as file:
                return file.read(limit)
        except OSError as error:
            raise self._failed("read", path, error) from error

    def write(self, path: str, data: bytes, mode: int = 0o600) -> None:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(descriptor, mode)
                file.write(data)
        except OSError as error:
            raise self._failed("write", path, error) from error

    def make_directory(self, path: str) -> None:
        missing: list[Path] = []
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
            raise self._failed("create the directory", path, error) from error

    def remove_tree(self, path: str) -> None:
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
                raise HostError(f"{path} changes while it is removed", where=f"host {self._id}") from None
        except OSError as error:
            raise self._failed("remove", path, error) from error

    def scan(self, path: str) -> Iterator[FileFact]:
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
                raise self._failed("read the directory", f"{path}/{directory}".rstrip("/"), error) from error

    def digests(self, root: str, paths: Iterable[str]) -> Iterator[tuple[str, str]]:
        for found in digest_files(root, paths):
            if found.problem:
                raise HostError(f"cannot read {root}/{found.path}: {found.problem}", where=f"host {self._id}")
            yield found.path, found.sha256

    def free_bytes(self, path: str) -> int:
        place = os.path.abspath(path)
        while not os.path.exists(place):
            place = os.path.dirname(place)
        try:
            return shutil.disk_usage(place).free
        except OSError as error:
            raise self._failed("ask for the room left on", place, error) from error

    def resolve(self, path: str) -> str:
        return os.path.realpath(path)

    @contextmanager
    def lock(self, path: str, timeout: float) -> Iterator[None]:
        lock = FileLock(path)
        try:
            lock.acquire(timeout=timeout, poll_interval=0.1)
        except Timeout:
            raise HostBusy(
                f"somebody else holds {path} since more than {timeout:.0f} s", where=f"host {self._id}"
            ) from None
        except OSError as error:
            raise self._failed("lock", path, error) from error
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def forward(self, address: str, port: int) -> Iterator[tuple[str, int]]:
        yield address, port

    def _spawn(
        self,
        argv: Sequence[str],
        stdin: int,
        stdout: int,
        stderr: int,
        env: Mapping[str, str] | None,
        cwd: str | None,
    ) -> subprocess.Popen[bytes]:
        if not argv:
            raise HostError("an empty command cannot be run", where=f"host {self._id}")
        try:
            return subprocess.Popen(
                list(argv),
                bufsize=0,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                cwd=cwd,
                env={**os.environ, **(env or {}), MARK: self._marker},
                start_new_session=True,
            )
        except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
            if cwd is not None and error.filename == cwd:
                raise self._failed("enter the directory", cwd, error) from error
            raise CommandNotFound(
                f"cannot run {argv[0]}: {error.strerror}",
                where=f"host {self._id}",
                mend=f"install {argv[0]}, or give its full path",
            ) from None
        except (OSError, ValueError) as error:
            raise HostError(f"cannot run {argv[0]}: {error}", where=f"host {self._id}") from None

    def _failed(self, verb: str, path: str, error: OSError) -> HostError:
        mend = f"give {_user()} the right to do so" if isinstance(error, PermissionError) else ""
        return HostError(f"cannot {verb} {path}: {error.strerror}", where=f"host {self._id}", mend=mend)


def _user() -> str:
    return f"user {os.geteuid()}"


def _fact(entry: os.DirEntry[str], relative: str) -> FileFact:
    seen = entry.stat(follow_symlinks=False)
    mode = seen.st_mode & _KIND
    if mode == stat.S_IFREG:
        return FileFact(relative, "file", seen.st_size, seen.st_mtime)
    if mode == stat.S_IFDIR:
        return FileFact(relative, "directory", 0, seen.st_mtime)
    if mode == stat.S_IFLNK:
        return FileFact(relative, "link", seen.st_size, seen.st_mtime, os.readlink(entry.path))
    return FileFact(relative, "other", 0, seen.st_mtime)


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
