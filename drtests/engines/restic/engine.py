"""The restic adapter."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from drtests.engines.restic import parse
from drtests.engines.restic.arguments import by_hand, restoring, selection
from drtests.engines.restic.failures import failure, unread
from drtests.engines.restic.places import place_of
from drtests.engines.restic.stored import stored, stored_bytes
from drtests.engines.restic.watch import watch_room
from drtests.errors import (
    CommandNotFound,
    CommandTimeout,
    EngineError,
    EngineMissing,
    EngineTimeout,
    EngineTooOld,
    RepositoryDamaged,
    RepositoryLocked,
)
from drtests.model.system import Snapshots
from drtests.model.units import format_duration, utc_text
from drtests.protocols.capabilities import HandStep
from drtests.protocols.engine import (
    EngineContext,
    IntegrityResult,
    ProgressSink,
    RecoveryPoint,
    RestoreResult,
    Statistics,
)
from drtests.protocols.host import CommandResult, FileFact, LineSink

OLDEST: parse.Version = (0, 14, 0)
_JSON_RESTORE: parse.Version = (0, 16, 0)
"""From here on `restore --json` tells what it does; before, it prints text and no progress."""
_STALE = timedelta(minutes=30)
"""restic refreshes its locks every five minutes and takes older ones for dead after thirty."""
_HASHED = '''exec 3>&1
exit "$({ { "$@" 3>&-; echo $? >&4; } | sha256sum >&3; } 4>&1)"'''
"""For `sh`: hashes what the command that follows prints, and ends as that command ended."""
_FRAMES = "2"
"""Progress lines a second."""
_AMBIENT = ("RESTIC_PASSWORD_FILE", "RESTIC_PASSWORD_COMMAND", "RESTIC_REPOSITORY_FILE", "RESTIC_HOST")
"""What restic would take from the host's own environment over what is declared; empty is as good as not set.

The first two win over RESTIC_PASSWORD, the third cannot be had with `--repo`, and the last hides the recovery
points of other hosts (0.17 on).
"""


class ResticEngine:
    """Reads a restic repository with the restic that is installed on the host.

    Every call has `--no-lock`: nothing is written to the repository, and no
    lock is taken or removed. The password travels in the environment.
    """

    PASSWORD_VARIABLE: ClassVar[str] = "RESTIC_PASSWORD"  # noqa: S105 - the name of a variable
    CIPHER: ClassVar[str] = "AES-256-CTR with Poly1305-AES, by restic itself"
    # Not `keys/`: they are JSON that holds the master key, encrypted with the password.
    ENCRYPTED: ClassVar[tuple[str, ...]] = ("config", "data/", "index/", "snapshots/")

    def __init__(self, context: EngineContext) -> None:
        self._context = context
        self._program = context.repository.program or "restic"
        self._where = f"repository {context.repository.id!r} ({context.location})"
        self._version: parse.Version | None = None

    def version(self) -> str:
        found = self._number()
        return f"restic {'.'.join(map(str, found))}"

    def _number(self) -> parse.Version:
        if self._version is None:
            result = self._start([self._program, "version"], 30.0, None)
            found = parse.version_of(result.stdout)
            if found is None:
                raise EngineError(
                    f"{self._program} does not say which version of restic it is",
                    where=f"host {self._context.host.id}",
                    mend="see `program:` of the repository: it has to be restic",
                )
            if found < OLDEST:
                raise EngineTooOld(
                    f"restic {'.'.join(map(str, found))} is too old",
                    where=f"host {self._context.host.id}",
                    mend=f"install restic {'.'.join(map(str, OLDEST))} or newer",
                )
            self._version = found
        return self._version

    def place(self) -> str:
        return place_of(self._context)

    def recovery_points(self, snapshots: Snapshots) -> Sequence[RecoveryPoint]:
        arguments = ["snapshots", "--json", *selection(snapshots)]
        return parse.points_of(self._ask(arguments, "listing snapshots").stdout)

    def guard(self) -> None:
        names = self._ask(["list", "locks"], "listing locks").stdout.split()
        for name in names:
            result = self._restic(["cat", "lock", name], self._small)
            if result.exit_code != 0:
                # It was released while we looked.
                continue
            try:
                lock = json.loads(result.stdout)
                since, exclusive = parse.time_of(lock["time"]), bool(lock.get("exclusive"))
            except (ValueError, KeyError, TypeError):
                continue
            if exclusive and datetime.now(UTC) - since < _STALE:
                holder = (
                    f"{lock.get('username', 'somebody')}@{lock.get('hostname', '?')}, process {lock.get('pid', '?')}"
                )
                raise RepositoryLocked(
                    f"an exclusive lock is held since {utc_text(since)} by {holder}",
                    where=self._where,
                    mend="wait until that process (a prune, most likely) is done: it may remove what is being read",
                )

    def restore(
        self,
        point: RecoveryPoint,
        destination: str,
        *,
        include: Sequence[str] = (),
        verify: bool = False,
        timeout: float,
        progress: ProgressSink | None = None,
    ) -> RestoreResult:
        tells = self._number() >= _JSON_RESTORE
        arguments = restoring(point.id, destination, include, verify) + ["--json"] * tells

        def line(stream: str, text: str) -> None:
            seen = parse.progress_of(text) if stream == "stdout" else None
            if seen is not None and progress is not None:
                progress(seen)

        watched: AbstractContextManager[None] = nullcontext()
        if progress is not None and not tells:
            watched = watch_room(self._context.host, destination, progress)
        with watched:
            result = self._restic(arguments, timeout, line if tells and progress else None)
        # Whatever is told as an error counts, also with exit code 0.
        if result.exit_code != 0 or parse.tells_error(result.stdout, result.stderr):
            told = parse.explanation(result.stdout, result.stderr)
            error = failure(result.exit_code, told, self._where, "restoring")
            if isinstance(error, RepositoryDamaged):
                self._still_there()
            raise error
        summary = next((m for m in parse.messages(result.stdout) if m["message_type"] == "summary"), {})
        size, files = summary.get("bytes_restored"), summary.get("files_restored")
        return RestoreResult(result.seconds, None if size is None else int(size), None if files is None else int(files))

    def verify(self, part: int, parts: int, timeout: float) -> IntegrityResult:
        subset = "--read-data" if parts == 1 else f"--read-data-subset={part}/{parts}"
        result = self._restic(["check", subset], timeout)
        read, total = parse.packs_of(result.stdout, parts == 1)
        problems: tuple[str, ...] = ()
        if result.exit_code != 0:
            problems = parse.damage_of(result.stdout, result.stderr)
            told = parse.explanation(result.stdout, result.stderr)
            if "repository contains errors" not in told or not problems or parse.SIGNAL.match(told):
                raise failure(result.exit_code, told, self._where, "reading data back")
            if held_back := unread(problems):
                raise failure(result.exit_code, "; ".join(held_back[:3]), self._where, "reading data back")
            self._still_there()
        return IntegrityResult(part, parts, result.seconds, problems, read, total)

    def statistics(self, point: RecoveryPoint, timeout: float) -> Statistics:
        result = self._restic(["stats", "--mode", "restore-size", "--json", point.id], timeout)
        self._raise_on_failure(result, "asking for statistics")
        found = parse.statistics_of(result.stdout)
        if found is None:
            # A snapshot that is not there is skipped, with exit code 0.
            raise failure(1, f"no matching ID found for {point.id}", self._where, "asking for statistics")
        return found

    def fetched(self, point: RecoveryPoint, timeout: float) -> int:
        """What it takes up in the repository, each piece once: compressed and encrypted, as it is fetched."""
        result = self._restic(["stats", "--mode", "raw-data", "--json", point.id], timeout)
        self._raise_on_failure(result, "asking for statistics")
        return parse.stored_size_of(result.stdout)

    def fingerprint(self, point: RecoveryPoint, timeout: float) -> str | None:
        """The root of the tree of hashes: `restic copy` keeps it; another backup of the same files need not."""
        result = self._restic(["cat", "snapshot", point.id], timeout)
        self._raise_on_failure(result, "reading a snapshot")
        return parse.tree_of(result.stdout)

    def entries(self, point: RecoveryPoint, timeout: float) -> Iterable[FileFact]:
        found: list[FileFact] = []
        said = False

        def line(stream: str, text: str) -> None:
            nonlocal said
            if stream == "stdout":
                said = said or '"struct_type":"snapshot"' in text
                fact = parse.entry_of(text)
                if fact is not None:
                    found.append(fact)

        result = self._restic(["ls", "--json", point.id], timeout, line)
        self._raise_on_failure(result, "listing a snapshot")
        if not said:
            # 0.14 skips a snapshot that is not there, with exit code 0.
            raise failure(1, f"no matching ID found for {point.id}", self._where, "listing a snapshot")
        return found

    def digest(self, point: RecoveryPoint, path: str, timeout: float) -> str:
        # Nothing of the content comes this way: only its hash, and restic's own exit code.
        result = self._restic(["dump", point.id, path], timeout, around=("sh", "-c", _HASHED, "sh"))
        self._raise_on_failure(result, "reading a file of a snapshot")
        return parse.digest_of(result.stdout)

    def by_hand(
        self, snapshots: Snapshots, point: str, destination: str, include: Sequence[str], verify: bool
    ) -> Sequence[HandStep]:
        return by_hand(self._program, self._context.location, snapshots, point, destination, include, verify)

    def stored(self, part: str) -> Sequence[str]:
        return stored(self._context, part)

    def stored_bytes(self, name: str, limit: int) -> bytes:
        return stored_bytes(self._context, name, limit)

    def _still_there(self) -> None:
        """Storage that went away in the middle looks like data that is missing; raises what fits when it did."""
        self._ask(["cat", "config"], "seeing whether the repository is still there")

    @property
    def _small(self) -> float:
        return self._context.repository.timeout.total_seconds()

    def _ask(self, arguments: Sequence[str], doing: str) -> CommandResult:
        result = self._restic(arguments, self._small)
        self._raise_on_failure(result, doing)
        return result

    def _raise_on_failure(self, result: CommandResult, doing: str) -> None:
        if result.exit_code != 0:
            raise failure(result.exit_code, parse.explanation(result.stdout, result.stderr), self._where, doing)

    def _restic(
        self,
        arguments: Sequence[str],
        timeout: float,
        on_line: LineSink | None = None,
        around: Sequence[str] = (),
    ) -> CommandResult:
        self._number()
        cache = ["--cache-dir", self._context.cache] if self._context.cache else ["--no-cache"]
        # restic does not say `--`-safe things of ids and paths, so options come first and joined where they can be.
        command = [*around, self._program, "--repo", self._context.location, "--no-lock", *cache, *arguments]
        return self._start(command, timeout, on_line)

    def _start(self, command: Sequence[str], timeout: float, on_line: LineSink | None) -> CommandResult:
        last: list[str] = []

        def line(stream: str, text: str) -> None:
            if stream == "stderr" and text.strip():
                last[:] = [text.strip()[:300]]
            if on_line is not None:
                on_line(stream, text)

        sink: Callable[[str, str], None] = line
        environment = {**dict.fromkeys(_AMBIENT, ""), **self._context.environment, "RESTIC_PROGRESS_FPS": _FRAMES}
        try:
            return self._context.host.run(command, timeout=timeout, env=environment, on_line=sink)
        except CommandNotFound as error:
            raise EngineMissing(
                f"{self._program} is not installed",
                where=f"host {self._context.host.id}",
                mend="install restic (Debian: apt-get install restic), or give its path as `program:` of it",
            ) from error
        except CommandTimeout as error:
            told = f"; its last words: {last[0]}" if last else ""
            raise EngineTimeout(
                f"restic did not end within {format_duration(timeout)} and was killed{told}",
                where=self._where,
                mend="see whether the storage answers; if it is only slow, declare a longer timeout",
            ) from error
