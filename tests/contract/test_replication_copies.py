"""Copies of backups and of folders: what must be seen, and what must not look like lag or like none."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import ValidationError

from drtests.engines.restic.engine import ResticEngine
from drtests.engines.restic.places import place_of
from drtests.errors import HostError, UsageError
from drtests.hosts.local import LocalHost
from drtests.model.estate import Host as Declaration
from drtests.model.estate import Repository
from drtests.protocols.database import Live
from drtests.protocols.engine import Engine, EngineContext
from drtests.protocols.host import Host
from drtests.protocols.replication import Replication
from drtests.protocols.store import Store
from drtests.replications.backup_copy import BackupCopy, BackupCopySpec
from drtests.replications.files import FilesReplication, FilesReplicationSpec
from drtests.testing.replication_contract import Pair, ReplicationContract
from tests.support.weak_key import weaken

PASSWORD = "correct horse battery staple"


@dataclass
class Copies:
    """Two restic repositories below a folder; fulfils `drtests.protocols.reach.Reach`."""

    root: Path
    restic: str

    def run(self, repository: str, *words: str) -> str:
        environment = {**os.environ, "RESTIC_PASSWORD": PASSWORD, "TZ": "UTC"}
        if words[0] == "copy":
            # 0.14 names where it copies to by --repo, as ever, and where from by --from-repo.
            environment["RESTIC_FROM_PASSWORD"] = PASSWORD
            (self.root / "from").write_text(PASSWORD)
            words = (*words, "--from-password-file", str(self.root / "from"))
        argv = [self.restic, "--repo", str(self.root / repository), "--no-cache", "--quiet", *words]
        return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, check=True).stdout

    def back_up(self, ago: timedelta) -> None:
        (self.root / "data").mkdir(exist_ok=True)
        (self.root / "data" / "file").write_text(str(ago))
        when = (datetime.now(UTC) - ago).strftime("%Y-%m-%d %H:%M:%S")
        self.run("nas", "backup", "--host", "school", "--time", when, str(self.root / "data"))

    def copy(self) -> None:
        self.run("vault", "copy", "--from-repo", str(self.root / "nas"))

    def host(self, host_id: str | None) -> Host:
        return LocalHost(Declaration(id=host_id or "local"))

    def engine(self, repository_id: str) -> Engine:
        at = str(self.root / repository_id)
        repository = Repository(id=repository_id, location=at, password="env:X", program=self.restic)
        return ResticEngine(EngineContext(repository, at, self.host(None), {"RESTIC_PASSWORD": PASSWORD}))

    def live(self, database_id: str, *, writable: bool = False) -> Live:
        raise UsageError("there is no database")

    def store(self, store_id: str, *, writer: bool = False) -> Store:
        raise UsageError("there is no store")

    def seen(self, **options: Any) -> BackupCopy:
        return BackupCopy(BackupCopySpec(source="nas", replica="vault", **options), self)


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory, restic_needed: None) -> Copies:
    """Three points, all of them copied. Opening a repository costs a second, so it is made once."""
    made = Copies(tmp_path_factory.mktemp("copied"), shutil.which("restic") or "restic")
    made.run("nas", "init")
    made.run("vault", "init")
    for name in ("nas", "vault"):
        weaken(made.root / name, PASSWORD)
    for days in (3, 2, 1):
        made.back_up(timedelta(days=days))
    shutil.copytree(made.root / "vault", made.root / "empty")
    made.copy()
    return made


@pytest.fixture
def copies(tmp_path: Path, copied: Copies) -> Copies:
    """To be changed at will."""
    made = Copies(tmp_path / "copies", copied.restic)
    shutil.copytree(copied.root, made.root)
    return made


class CopiedPair(Pair):
    """No markers are written to repositories: one look tells all."""

    comparing: ClassVar[Mapping[str, Any]] = {"complete": "14d"}

    def __init__(self, copies: Copies) -> None:
        self.copies = copies

    def build(self, **options: Any) -> Replication:
        return self.copies.seen(**options)

    def one(self) -> Replication:
        (self.copies.root / "vault").rename(self.copies.root / "other")
        (self.copies.root / "vault").symlink_to(self.copies.root / "nas")
        return self.copies.seen()

    def settle(self) -> None:
        """Nothing is copied but what a test copies."""

    def work(self) -> None:
        self.copies.back_up(timedelta(hours=1))

    def traces(self) -> Sequence[str]:
        return ()

    def paused(self) -> AbstractContextManager[object]:
        return nullcontext()

    @contextmanager
    def gone(self) -> Iterator[None]:
        (self.copies.root / "vault").rename(self.copies.root / "away")
        yield

    @contextmanager
    def differing(self) -> Iterator[None]:
        points = self.copies.engine("vault").recovery_points(self.copies.seen()._spec.snapshots)
        self.copies.run("vault", "forget", points[1].id)
        yield


class TestBackupCopy(ReplicationContract):
    @pytest.fixture
    def pair(self, copies: Copies) -> Pair:
        return CopiedPair(copies)


def test_a_whole_copy_lacks_nothing(copies: Copies) -> None:
    seen = copies.seen()
    assert seen.identify().problems == ()
    assert seen.behind().seconds == 0
    assert seen.behind().basis == "measured"
    assert [one.same for one in seen.compare()] == [True]


def test_what_was_not_copied_yet_is_lag(copies: Copies) -> None:
    copies.back_up(timedelta(hours=5))
    copies.back_up(timedelta(hours=1))
    seen = copies.seen()
    assert seen.behind().seconds == pytest.approx(5 * 3600, abs=60)
    # It is lag, and no hole in what was copied.
    assert [one.same for one in seen.compare()] == [True]


def test_nothing_was_ever_copied(copies: Copies) -> None:
    shutil.rmtree(copies.root / "vault")
    (copies.root / "empty").rename(copies.root / "vault")
    seen = copies.seen()
    assert any("holds no recovery point" in problem for problem in seen.identify().problems)
    [compared] = seen.compare()
    assert (compared.same, compared.detail) == (False, "are missing from the copy, all 3 of them")
    assert seen.behind().seconds == pytest.approx(3 * 86400, abs=60)


def test_a_hole_in_the_copy(copies: Copies) -> None:
    ids = copies.run("vault", "list", "snapshots").split()
    times = {one.id: one.time for one in copies.engine("vault").recovery_points(copies.seen()._spec.snapshots)}
    middle = sorted(ids, key=lambda name: times[name])[1]
    copies.run("vault", "forget", middle)
    [compared] = copies.seen().compare()
    assert compared.same is False
    assert "1 of 3" in compared.detail
    assert copies.seen().behind().seconds == 0
    # What the copy may have forgotten is no hole.
    assert [one.same for one in copies.seen(complete="36h").compare()] == [True]


def test_one_repository_is_no_copy_of_itself(copies: Copies) -> None:
    (copies.root / "vault").rename(copies.root / "other")
    (copies.root / "vault").symlink_to(copies.root / "nas")
    [problem] = copies.seen().identify().problems
    assert problem.startswith("both repositories are one")
    with pytest.raises(ValidationError, match="the same"):
        BackupCopySpec(source="nas", replica="nas")


def test_a_mirror_of_all_files_is_a_copy(copies: Copies) -> None:
    """rclone and rsync keep the ids of points, and of the repository: it is another one all the same."""
    assert "copied by" not in copies.seen().identify().facts
    shutil.rmtree(copies.root / "vault")
    shutil.copytree(copies.root / "nas", copies.root / "vault")
    identity = copies.seen().identify()
    assert identity.problems == ()
    assert identity.facts["copied by"].startswith("mirroring")
    assert copies.seen().behind().seconds == 0
    copies.back_up(timedelta(hours=2))
    assert copies.seen().behind().seconds == pytest.approx(2 * 3600, abs=60)


def test_another_repository_is_no_copy(copies: Copies) -> None:
    """What has nothing in common is not the same on both sides."""
    shutil.rmtree(copies.root / "vault")
    (copies.root / "empty").rename(copies.root / "vault")
    copies.run("vault", "backup", "--host", "elsewhere", str(copies.root / "data"))
    assert [one.same for one in copies.seen().compare()] == [False]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("s3:https://s3.example.org/bucket/app", "s3:s3.EXAMPLE.org:443/bucket//app/", True),
        ("s3:https://s3.example.org/bucket/app", "s3:https://s3.example.org/bucket/other", False),
        ("s3:http://s3.example.org:9000/bucket", "s3:http://s3.example.org:9001/bucket", False),
        ("rest:https://backup.example.org:8000/", "rest:https://backup.example.org:8000", True),
        ("rest:https://backup.example.org:8000/one", "rest:https://backup.example.org:8000/two", False),
        ("sftp:me@nas:/srv/restic", "sftp://me@nas//srv/restic/", True),
        ("sftp:nas:/srv/restic", "sftp:vault:/srv/restic", False),
        ("rclone:one:restic", "rclone:two:restic", False),
    ],
)
def test_where_a_repository_really_lies(one: str, other: str, same: bool) -> None:
    host = LocalHost(Declaration(id="local"))
    places = [
        place_of(EngineContext(Repository(id="r", location=location, password="env:X"), location, host, {}))
        for location in (one, other)
    ]
    assert (places[0] == places[1]) is same


def test_an_empty_primary_is_a_finding_and_no_lag_of_zero(copies: Copies) -> None:
    made = copies
    shutil.rmtree(made.root / "nas")
    (made.root / "empty").rename(made.root / "nas")
    assert made.seen().identify().problems == ("the primary holds no recovery point of this system",)
    assert made.seen().behind().seconds is None
    assert [one.same for one in made.seen().compare()] == [None]
    with pytest.raises(UsageError):
        made.seen().mark(1)


@dataclass
class Folders:
    root: Path

    def __post_init__(self) -> None:
        for name in ("source", "replica"):
            (self.root / name).mkdir()
        for number in range(5):
            self.write(f"f{number}", f"content {number}")
        self.sync()

    def write(self, name: str, text: str, age: float = 3600) -> None:
        file = self.root / "source" / name
        file.write_text(text)
        os.utime(file, (time.time() - age, time.time() - age))

    def sync(self, words: Sequence[str] = ("-a",)) -> None:
        subprocess.run(["cp", *words, f"{self.root}/source/.", f"{self.root}/replica"], check=True, timeout=20)

    def seen(self, **options: Any) -> FilesReplication:
        places = {name: {"path": str(self.root / name)} for name in ("source", "replica")}
        reach = Copies(self.root, "restic")
        return FilesReplication(FilesReplicationSpec.model_validate({**places, **options}), reach)


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path)


def test_a_marker_that_is_there_is_not_overwritten(folders: Folders) -> None:
    seen = folders.seen()
    seen.begin()
    seen.mark(1)
    with pytest.raises(HostError, match="there already"):
        folders.seen().begin()
    seen.end()
    marker = folders.root / "source" / ".drtests-marker"
    old, new = int(time.time()) - 90_000, int(time.time()) - 60
    for text, stays in (("1\n", True), (f"{new}_0123abcd 7\n", True), (f"{old}_0123abcd 7\n", False), ("", True)):
        marker.write_text(text)
        if stays:
            with pytest.raises(HostError, match="there already"):
                folders.seen().begin()
            assert marker.read_text() == text
        else:
            folders.seen().begin()


def test_a_job_that_deletes_nothing_keeps_the_marker_of_the_drill_before(folders: Folders) -> None:
    first = folders.seen()
    first.begin()
    first.mark(5)
    folders.sync()
    assert first.newest() == 5
    [left] = first.end()
    assert ".drtests-marker at the replica" in left
    folders.sync()
    second = folders.seen()
    second.begin()
    second.mark(1)
    assert second.newest() is None
    folders.sync()
    assert second.newest() == 1


@pytest.mark.parametrize("text", ["", "1", "1\n", "{run}", "{run} ", "{run} 1", "other 1\n", "{run} x\n", "{run} -1\n"])
def test_half_a_marker_is_none(folders: Folders, text: str) -> None:
    seen = folders.seen()
    marker = folders.root / "replica" / ".drtests-marker"
    marker.write_text(text.replace("{run}", seen._run))
    assert seen.newest() is None
    marker.write_text(f"{seen._run} 12\n")
    assert seen.newest() == 12
    # A job may write in place: what had arrived has not gone for that.
    if not text.startswith("other"):
        marker.write_text(text.replace("{run}", seen._run))
        assert seen.newest() == 12
    marker.unlink()
    assert seen.newest() is None


def test_without_markers_it_is_an_estimate(folders: Folders) -> None:
    behind = folders.seen().behind()
    assert (behind.seconds, behind.basis) == (0, "estimated")
    folders.write("late", "x", age=600)
    assert folders.seen().behind().seconds == pytest.approx(3000, abs=5)


@pytest.mark.parametrize("method", ["names", "checksum"])
def test_what_differs(folders: Folders, method: str) -> None:
    assert [one.same for one in folders.seen(compare=method).compare()] == [True]
    # What changed just now may be on its way.
    folders.write("new", "x", age=1)
    assert [one.same for one in folders.seen(compare=method).compare()] == [True]
    (folders.root / "replica" / "f1").unlink()
    [compared] = folders.seen(compare=method).compare()
    assert compared.same is False
    assert "f1" in compared.detail


def test_only_a_checksum_sees_other_content_of_the_same_size(folders: Folders) -> None:
    (folders.root / "replica" / "f2").write_text("CONTENT 2")
    assert [one.same for one in folders.seen(compare="names").compare()] == [True]
    assert [one.same for one in folders.seen(compare="checksum").compare()] == [False]
    assert folders.seen().compare() == ()


def test_folders_that_are_not_there_or_are_one(folders: Folders) -> None:
    assert folders.seen().identify().problems == ()
    (folders.root / "replica").rename(folders.root / "gone")
    assert any("not there" in problem for problem in folders.seen().identify().problems)
    (folders.root / "replica").symlink_to(folders.root / "source")
    assert any("one and the same" in problem for problem in folders.seen().identify().problems)
    with pytest.raises(ValidationError, match="the same"):
        FilesReplicationSpec.model_validate({"source": {"path": "/a"}, "replica": {"path": "/a"}})
