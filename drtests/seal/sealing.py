"""Writing a tree's manifest: in one pass, on all cores, in bounded memory, all or nothing."""

from __future__ import annotations

import hashlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from drtests.core.manifest import file_line, header_line, ignorer, link_line, trailer_line
from drtests.errors import Diagnostic, DrtestsError
from drtests.hashing import digest_files
from drtests.model.units import utc_text

_LISTED = 20
_FLUSH = 1024


class SealError(DrtestsError):
    """The tree could not be sealed as it is; no manifest was written. Carries the files it failed on."""

    permanent = False

    def __init__(self, root: Path, problems: Sequence[tuple[str, str]]) -> None:
        count = len(problems)
        super().__init__(
            f"{root} was not sealed: {count} {'entries' if count != 1 else 'entry'} could not be read in one state",
            where=str(root),
            mend="seal a snapshot or a tree that is at rest, or leave these out with an ignore pattern",
        )
        self.problems = tuple(problems)

    def diagnostics(self) -> Sequence[Diagnostic]:
        shown = [Diagnostic(problem, path) for path, problem in self.problems[:_LISTED]]
        if len(self.problems) > _LISTED:
            shown.append(Diagnostic(f"and {len(self.problems) - _LISTED} more"))
        return (Diagnostic(self.what, self.where, self.mend), *shown)


@dataclass(frozen=True, slots=True)
class SealSummary:
    """What was sealed. `sha256` is that in the manifest's last line; `seconds` is monotonic."""

    destination: Path
    files: int
    links: int
    bytes: int
    sha256: str
    seconds: float


class _Writer:
    """Counts and hashes what it writes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._running = hashlib.sha256()
        self._lines: list[str] = []
        self.files = 0
        self.links = 0
        self.bytes = 0

    def head(self, line: bytes) -> None:
        self._running.update(line)
        self._file.write(line)

    def file(self, path: str, size: int, sha256: str) -> None:
        self.files += 1
        self.bytes += size
        self._add(file_line(path, size, sha256))

    def link(self, path: str, target: str) -> None:
        self.links += 1
        self._add(link_line(path, target))

    def end(self) -> str:
        self._flush()
        sha256 = self._running.hexdigest()
        self._file.write(trailer_line(self.files, self.links, self.bytes, sha256))
        return sha256

    def _add(self, line: str) -> None:
        self._lines.append(line)
        if len(self._lines) >= _FLUSH:
            self._flush()

    def _flush(self) -> None:
        data = "".join(self._lines).encode()
        self._lines.clear()
        self._running.update(data)
        self._file.write(data)


def seal(root: Path, destination: Path, *, workers: int | None = None, ignore: Sequence[str] = ()) -> SealSummary:
    """Writes the manifest of `root` to `destination`, replacing an older one in one step.

    `workers` is the number of hashing threads, all cores by default. `ignore` holds patterns,
    see `drtests.core.manifest.ignorer`; they are noted in the manifest. The destination itself is
    never part of it. A manifest is written only when every file was read in one
    state: SealError lists what vanished, changed or could not be read.
    """
    started = time.monotonic()
    root = root.resolve()
    destination = destination.resolve()
    partial = destination.with_name(f".{destination.name}.{os.getpid()}.partial")
    left_out = {str(path.relative_to(root)) for path in (destination, partial) if path.is_relative_to(root)}
    ignored = ignorer(ignore) if ignore else None
    try:
        if not root.is_dir():
            raise NotADirectoryError(20, "is not a directory", str(root))
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            with os.fdopen(descriptor, "wb") as file:
                writer = _Writer(file)
                writer.head(header_line(utc_text(datetime.now(UTC)), ignore))
                problems = _write_entries(
                    root, writer, workers, lambda p: p in left_out or bool(ignored and ignored(p))
                )
                if problems:
                    raise SealError(root, problems)
                sha256 = writer.end()
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, destination)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        _sync_directory(destination.parent)
    except OSError as error:
        raise DrtestsError(
            f"cannot seal {root}: {error.strerror}",
            where=str(error.filename or destination),
            mend="see that the tree can be read and the manifest's directory can be written",
        ) from error
    seconds = time.monotonic() - started
    return SealSummary(destination, writer.files, writer.links, writer.bytes, sha256, seconds)


def _write_entries(
    root: Path, writer: _Writer, workers: int | None, left_out: Callable[[str], bool]
) -> list[tuple[str, str]]:
    """Writes all entries in order; returns what could not be read."""
    problems: list[tuple[str, str]] = []
    order: deque[tuple[str, str] | None] = deque()
    """What was walked and not written: links with their targets, None for a file."""

    def files() -> Iterator[str]:
        for path, target in _walk(str(root), left_out, problems):
            if target is None:
                order.append(None)
                yield path
            else:
                order.append((path, target))

    for found in digest_files(str(root), files(), workers):
        while (link := order.popleft()) is not None:
            writer.link(*link)
        if found.problem:
            problems.append((found.path, found.problem))
        else:
            writer.file(found.path, found.size, found.sha256)
    for link in order:
        if link is not None:
            writer.link(*link)
    return problems


def _walk(
    root: str, left_out: Callable[[str], bool], problems: list[tuple[str, str]]
) -> Iterator[tuple[str, str | None]]:
    """Files (target None) and links, sorted by the components of their paths, a directory at a time."""
    stack = [("", _entries(root, "", problems))]
    while stack:
        prefix, entries = stack[-1]
        entry = next(entries, None)
        if entry is None:
            stack.pop()
            continue
        path = prefix + entry.name
        if left_out(path):
            continue
        if entry.is_file(follow_symlinks=False):
            yield path, None
        elif entry.is_dir(follow_symlinks=False):
            stack.append((f"{path}/", _entries(root, path, problems)))
        elif entry.is_symlink():
            try:
                yield path, os.readlink(entry.path)
            except OSError as error:
                problems.append((path, error.strerror or type(error).__name__))


def _entries(root: str, directory: str, problems: list[tuple[str, str]]) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(f"{root}/{directory}" if directory else root) as entries:
            return iter(sorted(entries, key=lambda entry: entry.name))
    except OSError as error:
        problems.append((directory or ".", error.strerror or type(error).__name__))
        return iter(())


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
