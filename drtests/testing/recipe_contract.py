"""What every `Recipe` must do: a backup becomes a database that runs, answers, and goes without a trace.

Subclass `RecipeContract` in a test module, set `recipe`, and give it three
fixtures of at least the scope of a class: `host`; `workplace`, the absolute
path of an empty directory on that host, to which all users have a way; and
`restored`, a `Restored` as an engine would leave it. The host must be this
machine, since the suite breaks what is restored, and have `cp`, `kill` and
`python3`.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import ValidationError

from drtests.errors import (
    CommandTimeout,
    DatabaseDamaged,
    DatabaseError,
    DatabaseMissing,
    DrtestsError,
    SafetyError,
)
from drtests.protocols.database import Recipe, Rows, Scratch, ScratchPlace
from drtests.protocols.host import Host
from drtests.testing.check_contract import SystemClock
from drtests.testing.host_contract import eventually, require
from drtests.testing.recording_host import BareHost, RecordingHost

_PATIENCE = 120.0
_ABSOLUTE = re.compile(r"/[^\s:=,;'\"()]+")
_SHARED = {"/", "/tmp", "/var/tmp", "/run", "/var/run", "/dev/null", "/dev/shm"}  # noqa: S108 - left out on purpose
_PROCESSES = """
import json, os, sys
folder = sys.stdin.read()
found = []
for pid in os.listdir("/proc"):
    if not pid.isdigit() or int(pid) == os.getpid():
        continue
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().replace(b"\\0", b" ").decode(errors="replace").strip()
        with open(f"/proc/{pid}/status") as file:
            user = next(int(line.split()[2]) for line in file if line.startswith("Uid:"))
        cwd = os.readlink(f"/proc/{pid}/cwd")
    except (OSError, StopIteration):
        continue
    if words and (folder in words or (cwd + "/").startswith(folder + "/")):
        found.append([int(pid), user, words])
print(json.dumps(found))
"""


@dataclass(frozen=True, slots=True)
class Restored:
    """What was restored, and what a database made of it has to say."""

    tree: Path
    """On this machine; every test works on a copy."""
    options: Mapping[str, Any]
    """Of the recipe."""
    paths: Sequence[str]
    """Names of those options that are paths below the tree; all of them are given."""
    question: str
    answer: Rows
    """Of `question`; not empty."""
    write: str
    """A statement that would change the answer."""
    client: Sequence[str]
    """The database's own client, without a word of where the database is; empty where there is none."""
    client_prints: str = ""
    """Something that it prints."""


@dataclass(frozen=True, slots=True)
class Up:
    """A database that was brought up."""

    place: ScratchPlace
    scratch: Scratch
    facts: Mapping[str, Any] = field(default_factory=dict)


class RecipeContract:
    """The suite."""

    recipe: ClassVar[type[Recipe]]
    server: ClassVar[bool] = True
    """Whether a process runs for it."""
    keeps_tree: ClassVar[bool] = True
    """Whether the restored tree stays as it was restored."""

    def damage(self, tree: Path) -> None:
        """Cuts off what the recipe reads: by default the second half of the largest file."""
        largest = max((path for path in tree.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
        os.truncate(largest, largest.stat().st_size // 2)

    @classmethod
    def place(
        cls, host: Host, restored: Restored, workplace: str, name: str, **given: Any
    ) -> tuple[ScratchPlace, dict[str, Any]]:
        """A copy of the tree and a folder as a drill makes them; and the facts that will be told."""
        drill = f"{workplace}/{name}"
        for folder in ("root", "databases/one"):
            host.make_directory(f"{drill}/{folder}")
        host.run(["cp", "-a", f"{restored.tree}/.", f"{drill}/root"], timeout=_PATIENCE)
        facts: dict[str, Any] = {}
        return (
            ScratchPlace(
                host=host,
                root=f"{drill}/root",
                folder=f"{drill}/databases/one",
                clock=SystemClock(),
                timeout=given.pop("timeout", _PATIENCE),
                tell=facts.__setitem__,
                **given,
            ),
            facts,
        )

    @classmethod
    def bring_up(cls, place: ScratchPlace, restored: Restored) -> Scratch:
        return cls.recipe(cls.recipe.Spec.model_validate(dict(restored.options))).bring_up(place)

    @pytest.fixture(scope="class")
    @classmethod
    def up(cls, host: Host, restored: Restored, workplace: str) -> Iterator[Up]:
        """One for all tests that only ask."""
        place, facts = cls.place(host, restored, workplace, "up")
        scratch = cls.bring_up(place, restored)
        yield Up(place, scratch, facts)
        scratch.stop(20)
        # All other tests of the class have ended by now: a sweep ends whatever the host has started.
        swept = list(host.sweep())
        require(swept == [], f"left running: {swept}")

    def test_answers(self, up: Up, restored: Restored) -> None:
        session = up.scratch.session
        require(session.type == self.recipe.type, f"type {session.type!r} instead of {self.recipe.type!r}")
        require(re.search(r"\w+ \d", session.version()) is not None, f"{session.version()!r} is no name and version")
        require(bool(restored.answer), "no answer is expected: nothing is proved")
        rows = _plain(session.query(restored.question))
        require(rows == _plain(restored.answer), f"{rows} instead of {restored.answer}")
        require(up.scratch.died() is None, f"it runs, and is said to have died: {up.scratch.died()}")

    def test_facts_fit_the_evidence(self, up: Up) -> None:
        text = json.dumps(dict(up.facts), allow_nan=False)
        require(json.loads(text) == dict(up.facts), f"{up.facts} does not survive JSON")

    def test_own_client_finds_it(self, up: Up, restored: Restored, host: Host) -> None:
        """Recovery steps are given nothing but the environment."""
        environment = up.scratch.environment
        require(all(isinstance(value, str) for value in environment.values()), str(environment))
        if not restored.client:
            pytest.skip("this kind of database has no client")
        result = host.run(restored.client, timeout=30, env=environment)
        require(result.exit_code == 0 and restored.client_prints in result.stdout, str(result))

    def test_integrity_of_what_is_sound(self, up: Up) -> None:
        seen = up.scratch.integrity(_PATIENCE)
        problems = list(seen.problems)
        require(problems == [], f"damage in a sound database: {problems}")
        require(seen.read > 0 and bool(seen.what) and bool(seen.by), f"it does not tell what it read: {seen}")

    def test_session_only_reads(self, up: Up, restored: Restored) -> None:
        with pytest.raises(DatabaseError):
            up.scratch.session.query(restored.write)
        rows = _plain(up.scratch.session.query(restored.question))
        require(rows == _plain(restored.answer), f"a session that only reads changed the answer to {rows}")

    def test_runs_without_privileges(self, up: Up, host: Host) -> None:
        if not self.server:
            pytest.skip("no process runs for this kind of database")
        found = _processes(host, up.place.folder)
        require(bool(found), "no process works in the folder: nothing is proved")
        require(all(user != 0 for _, user, _ in found), f"run as root: {found}")

    def test_restored_tree_stays_as_it_is(self, up: Up, restored: Restored, host: Host) -> None:
        if not self.keeps_tree:
            pytest.skip("this recipe works in the restored tree itself")
        require(_listing(host, up.place.root) == _listing(host, str(restored.tree)), "the restored tree was written to")

    def test_two_side_by_side_and_no_trace(self, host: Host, restored: Restored, workplace: str) -> None:
        """From the same tree where it stays as it is; one ends, the other stays; then nothing is left but what the
        drill removes."""
        recording = RecordingHost(host)
        began = time.time()
        first, _ = self.place(recording, restored, workplace, "first")
        spare, _ = self.place(recording, restored, workplace, "second")
        other = spare.folder
        user = "nobody" if os.geteuid() == 0 and self.server else None
        root = first.root if self.keeps_tree else spare.root
        second = ScratchPlace(recording, root, other, SystemClock(), run_as=user, timeout=_PATIENCE)
        one = self.bring_up(first, restored)
        try:
            two = self.bring_up(second, restored)
            try:
                for scratch in (one, two):
                    rows = _plain(scratch.session.query(restored.question))
                    require(rows == _plain(restored.answer), f"{rows} instead of {restored.answer}")
                if user is not None:
                    users = {uid for _, uid, _ in _processes(host, other)}
                    require(users == {_uid(user)}, f"users {users}, and {user} was asked for")
                one.stop(20)
                require(_processes(host, first.folder) == [], "a process is left")
                rows = _plain(two.session.query(restored.question))
                require(rows == _plain(restored.answer), "it does not answer after the other was stopped")
            finally:
                two.stop(20)
        finally:
            one.stop(20)
        two.stop(20)
        self._no_trace(host, first.folder, other)
        left = [path for path in sorted(_mentioned(recording)) if _made_since(path, began, workplace)]
        require(left == [], f"left outside the folder: {left}")

    def test_death_is_seen(self, host: Host, restored: Restored, workplace: str) -> None:
        if not self.server:
            pytest.skip("no process runs for this kind of database")
        place, _ = self.place(host, restored, workplace, "killed")
        scratch = self.bring_up(place, restored)
        try:
            pids = [str(pid) for pid, _, _ in _processes(host, place.folder)]
            require(bool(pids), "no process works in the folder: nothing is proved")
            host.run(["kill", "-9", *pids], timeout=20)
            eventually(lambda: scratch.died() is not None, "its death is not seen")
            require(bool((scratch.died() or "").strip()), "not a word of why it died")
            with pytest.raises(DrtestsError):
                scratch.session.query(restored.question)
        finally:
            scratch.stop(20)
        self._no_trace(host, place.folder)

    def test_truncated_input(self, host: Host, restored: Restored, workplace: str) -> None:
        place, _ = self.place(host, restored, workplace, "truncated")
        self.damage(Path(place.root))
        with pytest.raises(DatabaseDamaged) as caught:
            self.bring_up(place, restored).stop(20)
        _told(caught.value)
        self._no_trace(host, place.folder)

    def test_nothing_there(self, host: Host, restored: Restored, workplace: str) -> None:
        for option in restored.paths:
            place, _ = self.place(host, restored, workplace, f"missing-{option}")
            path = str(restored.options[option])
            host.remove_tree(f"{place.root}/{path}")
            with pytest.raises(DatabaseError) as caught:
                self.bring_up(place, restored).stop(20)
            _told(caught.value)
            told = str(caught.value.diagnostics()[0])
            require(path in told, f"{told!r} does not say that {path} is missing")
            self._no_trace(host, place.folder)

    def test_stays_inside_the_restored_tree(self, host: Host, restored: Restored, workplace: str) -> None:
        require(bool(restored.paths), "no option is a path: nothing is proved")
        for option in restored.paths:
            for way_out in ("../outside", "/etc", "a/../../b", "~/x"):
                with pytest.raises(ValidationError):
                    self.recipe.Spec.model_validate(dict(restored.options) | {option: way_out})
            place, _ = self.place(host, restored, workplace, f"links-{option}")
            path = Path(place.root, str(restored.options[option]))
            outside = Path(workplace, f"outside-{option}")
            shutil.move(path, outside)
            path.symlink_to(outside)
            with pytest.raises(SafetyError):
                self.bring_up(place, restored).stop(20)
            self._no_trace(host, place.folder)

    def test_no_time_at_all(self, host: Host, restored: Restored, workplace: str) -> None:
        place, _ = self.place(host, restored, workplace, "hurried", timeout=0.001)
        with pytest.raises((DatabaseError, CommandTimeout)):
            self.bring_up(place, restored).stop(20)
        self._no_trace(host, place.folder)

    def test_no_program(self, host: Host, restored: Restored, workplace: str) -> None:
        place, _ = self.place(host, restored, workplace, "bare")
        bare = ScratchPlace(BareHost(host), place.root, place.folder, place.clock, timeout=_PATIENCE)
        with pytest.raises(DatabaseMissing) as caught:
            self.bring_up(bare, restored).stop(20)
        _told(caught.value)

    @staticmethod
    def _no_trace(host: Host, *folders: str) -> None:
        for folder in folders:
            require(_processes(host, folder) == [], f"left running: {_processes(host, folder)}")


def _told(error: DrtestsError) -> None:
    told = error.diagnostics()[0]
    require(bool(told.what and told.mend), f"what and mend are not both told: {told}")
    require("Traceback" not in str(told), str(told))


def _processes(host: Host, folder: str) -> list[tuple[int, int, str]]:
    """Process id, user id and command line of all that work in the folder, or name it."""
    result = host.run(["python3", "-c", _PROCESSES], timeout=30, stdin=host.resolve(folder).encode())
    return [(pid, user, words) for pid, user, words in json.loads(result.stdout)]


def _uid(user: str) -> int:
    return pwd.getpwnam(user).pw_uid


def _plain(rows: Rows) -> list[list[Any]]:
    return [list(row) for row in rows]


def _listing(host: Host, root: str) -> list[tuple[str, str, int, float]]:
    return sorted((fact.path, fact.kind, fact.size, fact.mtime) for fact in host.scan(root))


def _mentioned(host: RecordingHost) -> set[str]:
    """Every absolute path that a command, its environment or a file names."""
    texts = [*host.seen.words(), *host.seen.written]
    texts += [value for environment in host.seen.environments for value in environment.values()]
    texts += [data.decode(errors="replace") for data in (*host.seen.written.values(), *host.seen.inputs)]
    return {found.rstrip("/") for text in texts for found in _ABSOLUTE.findall(text)} - _SHARED


def _made_since(path: str, began: float, workplace: str) -> bool:
    if path.startswith((workplace, "/proc/", "/dev/")):
        return False
    try:
        return os.lstat(path).st_ctime >= began
    except (OSError, ValueError):
        return False
