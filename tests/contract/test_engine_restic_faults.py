"""What goes wrong with a repository has a name: real faults, with every restic there is."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

import pytest

from drtests.engines.restic.engine import ResticEngine
from drtests.errors import (
    DiskFull,
    EngineError,
    EngineKilled,
    EngineTimeout,
    RepositoryDamaged,
    RepositoryLocked,
    RepositoryMissing,
    RepositoryUnreachable,
)
from drtests.hosts.local import LocalHost
from drtests.model.estate import Host as HostDeclaration
from drtests.model.system import Snapshots
from drtests.protocols.engine import RecoveryPoint
from drtests.protocols.host import CommandResult, LineSink
from drtests.testing.host_contract import eventually
from tests.support.restic_lab import (
    BIG,
    PASSWORD,
    PATIENCE,
    Lab,
    damage,
    hang,
    powerless,
    processes_with,
    release,
    shorten,
)

OLD = (0, 17)
"""Releases before it read a pack that is gone again and again, for most of a minute."""


@pytest.fixture
def lab(sound: Lab, tmp_path: Path) -> Lab:
    return sound.copy(tmp_path)


@pytest.fixture
def out(tmp_path: Path) -> str:
    (tmp_path / "out").mkdir()
    return str(tmp_path / "out")


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def big_point(lab: Lab, engine: ResticEngine) -> RecoveryPoint:
    """The one whose data lies in the largest pack."""
    wanted = lab.big.point
    return next(point for point in engine.recovery_points(Snapshots()) if point.time == wanted.time)


def ended(lab: Lab) -> None:
    eventually(lambda: not processes_with(str(lab.repository)), "a restic was left running")


def started(out: str) -> None:
    """The folders are there, and the data is in a pack that hangs: it neither was nor will be done."""
    eventually(lambda: bool(os.listdir(out)), "the restore does not start", PATIENCE)


def told(error: EngineError) -> str:
    said = error.diagnostics()[0]
    assert all([said.what, said.where, said.mend]), said
    assert PASSWORD not in f"{said} {error!r} {error.__cause__!r}"
    assert "\n" not in said.what
    return said.what


class Listening(LocalHost):
    """Keeps what commands say while they say it."""

    heard: ClassVar[list[str]] = []

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
        def line(stream: str, text: str) -> None:
            self.heard.append(text)
            if on_line is not None:
                on_line(stream, text)

        return super().run(argv, timeout=timeout, stdin=stdin, env=env, cwd=cwd, on_line=line)


@pytest.fixture
def listening(lab: Lab) -> Lab:
    Listening.heard.clear()
    return replace(lab, host=Listening(HostDeclaration(id="local")))


def test_storage_that_hangs(lab: Lab, out: str) -> None:
    engine = lab.engine()
    point = big_point(lab, engine)
    hang(lab.largest_pack())
    with pytest.raises(EngineTimeout) as caught:
        engine.restore(point, out, timeout=2)
    assert "did not end within 2s" in told(caught.value)
    ended(lab)


def test_killed_while_it_restores_and_no_password_in_sight(lab: Lab, out: str, threads: ThreadPoolExecutor) -> None:
    engine = lab.engine()
    point = big_point(lab, engine)
    hang(lab.largest_pack())
    restoring = threads.submit(engine.restore, point, out, timeout=PATIENCE)
    started(out)
    seen = processes_with(str(lab.repository))
    leaks = processes_with(PASSWORD)
    for pid in seen:
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(EngineKilled) as caught:
        restoring.result(PATIENCE)
    assert any("restore" in line for line in seen.values()), "no restic was running: nothing is proved"
    assert leaks == {}
    assert all("--no-lock" in line for line in seen.values())
    assert "signal 9" in told(caught.value)
    ended(lab)


def test_repository_vanishes_while_it_restores(lab: Lab, out: str, threads: ThreadPoolExecutor) -> None:
    engine = lab.engine()
    point = big_point(lab, engine)
    pack = hang(lab.largest_pack())
    old = lab.version < OLD
    restoring = threads.submit(engine.restore, point, out, timeout=5 if old else PATIENCE)
    started(out)
    lab.repository.rename(lab.root / "gone")
    release(lab.root / "gone" / pack.relative_to(lab.repository), restoring.done)
    with pytest.raises(EngineError) as caught:
        restoring.result(PATIENCE)
    assert type(caught.value) is (EngineTimeout if old else RepositoryMissing), "what is gone is not damaged"
    assert "no such file" in told(caught.value)
    ended(lab)


def test_repository_vanishes_while_it_is_read_back(listening: Lab, threads: ThreadPoolExecutor) -> None:
    lab, engine = listening, listening.engine()
    pack = hang(lab.largest_pack())
    old = lab.version < OLD
    reading = threads.submit(engine.verify, 1, 1, 8 if old else PATIENCE)
    eventually(lambda: says("read all data"), "nothing is read", PATIENCE)
    lab.repository.rename(lab.root / "gone")
    release(lab.root / "gone" / pack.relative_to(lab.repository), reading.done)
    with pytest.raises(EngineError) as caught:
        reading.result(PATIENCE)
    assert type(caught.value) is (EngineTimeout if old else RepositoryMissing), "what is gone is not damaged"
    assert "no such file" in told(caught.value)
    ended(lab)


def test_storage_that_does_not_let_a_pack_be_read_is_not_damaged(lab: Lab, out: str, tmp_path: Path) -> None:
    lab.largest_pack().chmod(0)
    old = lab.version < OLD
    engine = lab.engine(program=powerless(tmp_path / "restic", lab.program))
    with pytest.raises(EngineError) as caught:
        engine.verify(1, 1, 4 if old else PATIENCE)
    assert type(caught.value) is (EngineTimeout if old else RepositoryUnreachable)
    assert "permission denied" in told(caught.value)
    with pytest.raises(EngineError) as caught:
        engine.restore(big_point(lab, engine), out, timeout=4 if old else PATIENCE)
    assert type(caught.value) is (EngineTimeout if old else RepositoryUnreachable)


def says(text: str) -> bool:
    return any(text in line for line in Listening.heard)


def stop(lab: Lab, pack: Path, number: signal.Signals, done: Callable[[], bool]) -> None:
    """Tells restic to stop while it waits for a pack, and lets it read nothing once it heard."""
    for pid in processes_with(str(lab.repository)):
        os.kill(pid, number)
    eventually(lambda: done() or says("signal"), "it does not listen", PATIENCE)
    release(pack, done)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_while_it_restores(
    listening: Lab, out: str, threads: ThreadPoolExecutor, number: signal.Signals
) -> None:
    engine = listening.engine()
    point = big_point(listening, engine)
    pack = hang(listening.largest_pack())
    restoring = threads.submit(engine.restore, point, out, timeout=PATIENCE)
    started(out)
    stop(listening, pack, number, restoring.done)
    with pytest.raises(EngineKilled) as caught:
        restoring.result(PATIENCE)
    told(caught.value)
    ended(listening)


def test_told_to_stop_while_it_reads_back(listening: Lab, threads: ThreadPoolExecutor) -> None:
    pack = hang(listening.largest_pack())
    reading = threads.submit(listening.engine().verify, 1, 1, PATIENCE)
    eventually(lambda: says("read all data"), "nothing is read", PATIENCE)
    stop(listening, pack, signal.SIGTERM, reading.done)
    with pytest.raises(EngineKilled) as caught:
        reading.result(PATIENCE)
    told(caught.value)
    ended(listening)


def test_damaged_pack(lab: Lab, out: str) -> None:
    engine = lab.engine()
    point = big_point(lab, engine)
    damage(lab.largest_pack())
    before = lab.fingerprint()
    with pytest.raises(RepositoryDamaged) as caught:
        engine.restore(point, out, timeout=PATIENCE)
    told(caught.value)
    results = [engine.verify(part, 2, PATIENCE) for part in (1, 2)]
    (bad,) = [result for result in results if result.problems]
    assert lab.largest_pack().name[:8] in " ".join(bad.problems)
    assert sum(result.units_read or 0 for result in results) == results[0].units
    assert lab.fingerprint() == before


def test_short_pack(lab: Lab, out: str) -> None:
    engine = lab.engine()
    point = big_point(lab, engine)
    shorten(lab.largest_pack())
    old = lab.version < OLD
    with pytest.raises(EngineError) as caught:
        engine.restore(point, out, timeout=4 if old else PATIENCE)
    assert type(caught.value) is (EngineTimeout if old else RepositoryDamaged)
    told(caught.value)
    if not old:
        assert engine.verify(1, 1, PATIENCE).problems


def test_missing_pack(lab: Lab, out: str) -> None:
    engine = lab.engine()
    point = big_point(lab, engine)
    pack = lab.largest_pack()
    pack.unlink()
    old = lab.version < OLD
    with pytest.raises(EngineError) as caught:
        engine.restore(point, out, timeout=4 if old else PATIENCE)
    assert type(caught.value) is (EngineTimeout if old else RepositoryDamaged)
    assert "no such file" in told(caught.value)
    # Whichever part it would be in: that a pack is missing shows in every run.
    result = engine.verify(1, 2, PATIENCE)
    assert pack.name[:8] in " ".join(result.problems)


def test_missing_index(lab: Lab, out: str) -> None:
    engine = lab.engine()
    point = big_point(lab, engine)
    shutil.rmtree(lab.repository / "index")
    (lab.repository / "index").mkdir()
    with pytest.raises(RepositoryDamaged) as caught:
        engine.restore(point, out, timeout=PATIENCE)
    told(caught.value)


def test_disk_full(lab: Lab, small_disk: Path) -> None:
    assert shutil.disk_usage(small_disk).free < BIG
    engine = lab.engine()
    with pytest.raises(DiskFull) as caught:
        engine.restore(big_point(lab, engine), str(small_disk), timeout=PATIENCE)
    told(caught.value)


def test_storage_refuses_connections(lab: Lab) -> None:
    with socket.socket() as taken:
        # Bound and not listening: nobody else can take the port, and it refuses.
        taken.bind(("127.0.0.1", 0))
        location = f"s3:http://127.0.0.1:{taken.getsockname()[1]}/bucket"
        keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "very-secret-key", "AWS_DEFAULT_REGION": "eu"}
        engine = lab.engine(location=location, environment=keys, timeout=6)
        with pytest.raises((RepositoryUnreachable, EngineTimeout)) as caught:
            engine.recovery_points(Snapshots())
    if isinstance(caught.value, RepositoryUnreachable):
        assert "connection refused" in told(caught.value)
    assert told(caught.value)
    eventually(lambda: not processes_with(location), "a restic was left running")
    assert "very-secret-key" not in str(caught.value.diagnostics())


def test_exclusive_lock(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Held by a real check that hangs on a pack."""
    engine = lab.engine()
    hang(lab.largest_pack())
    holder = subprocess.Popen(
        lab.command("check", "--read-data"),
        env=lab.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        eventually(lambda: bool(os.listdir(lab.repository / "locks")), "the check takes no lock", PATIENCE)
        with pytest.raises(RepositoryLocked) as caught:
            engine.guard()
        assert f"process {holder.pid}" in told(caught.value)
        assert not caught.value.permanent
        assert len(engine.recovery_points(Snapshots())) == len(lab.held), "a list does not wait for locks"
    finally:
        holder.kill()
        holder.wait(30)
    assert len(os.listdir(lab.repository / "locks")) == 1
    with pytest.raises(RepositoryLocked):
        engine.guard()
    monkeypatch.setattr("drtests.engines.restic.engine._STALE", timedelta(0))
    engine.guard()
    assert len(os.listdir(lab.repository / "locks")) == 1, "the lock of another is not ours to remove"


def test_shared_lock_does_not_block(lab: Lab) -> None:
    """Held by a real backup that waits for its input."""
    backup = subprocess.Popen(
        lab.command("backup", "--stdin"),
        env=lab.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        eventually(lambda: bool(os.listdir(lab.repository / "locks")), "the backup takes no lock", PATIENCE)
        lab.engine().guard()
        assert backup.poll() is None
        assert os.listdir(lab.repository / "locks"), "the lock was gone: nothing is proved"
    finally:
        backup.kill()
        backup.communicate(timeout=30)
