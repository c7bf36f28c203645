"""What goes wrong on a bad day, with the real binaries: never MET, nothing lost, nothing left, and told what to do."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.estate import Estate, ago, make_estate
from tests.support.restic import restic_programs

_PATIENCE = 60.0


_PROGRAMS = restic_programs() or ["restic"]


@pytest.fixture(params=[_PROGRAMS[0], _PROGRAMS[-1]], ids=["the machine's", "the newest"])
def estate(tmp_path: Path, request: pytest.FixtureRequest, restic_needed: None) -> Estate:
    """An estate whose restore takes long enough to be caught in the middle."""
    made = make_estate(tmp_path, request.param)
    made.estate["repositories"][0]["program"] = request.param
    made.write()
    return made


def grow(estate: Estate, megabytes: int = 64) -> None:
    for number in range(megabytes // 8):
        (estate.data / f"large{number}").write_bytes(os.urandom(8 * 1024 * 1024))
    # Times of snapshots are in whole seconds here: well apart from the one before.
    estate.backup(ago(minutes=1))


def start(estate: Estate, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "drtests", "run", *arguments],
        cwd=estate.root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def until(condition: Callable[[], Any], what: str, run: subprocess.Popen[str] | None = None) -> Any:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        if run is not None and run.poll() is not None:
            pytest.fail(f"the run ended before {what}: {run.communicate()[0]}")
        time.sleep(0.002)
    pytest.fail(f"waited {_PATIENCE} s for {what}")


def restoring(estate: Estate) -> int | None:
    """The pid of the restic that restores into this estate's staging."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"restore" in words and any(word.startswith(str(estate.staging).encode()) for word in words):
            return int(entry.name)
    return None


def stopped_in_the_middle(estate: Estate, run: subprocess.Popen[str]) -> int:
    """Freezes restic once it has written something; returns its pid."""
    pid = int(until(lambda: restoring(estate), "restic restores", run))
    os.kill(pid, signal.SIGSTOP)
    while not any(path.is_file() for path in estate.staging.rglob("root/**/large*")):
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.01)
        os.kill(pid, signal.SIGSTOP)
    return pid


def ended(run: subprocess.Popen[str]) -> tuple[int, str]:
    try:
        output, _ = run.communicate(timeout=_PATIENCE * 2)
    finally:
        run.kill()
    return run.returncode, output


def drill(estate: Estate, name: str = "app::restore") -> Any:
    record = json.loads((estate.packs()[-1] / "record.json").read_text())
    return next(one for one in record["drills"] if one["id"] == name)


def test_wrong_password(estate: Estate) -> None:
    (estate.root / "password").write_text("wrong")
    done = estate.drtests("run")
    assert done.returncode == 2
    assert "password" in done.stdout
    assert drill(estate)["verdict"] == "INCONCLUSIVE"
    assert "wrong" not in (estate.packs()[-1] / "journal" / "main.jsonl").read_text().replace("wrong password", "")
    assert estate.leftovers() == []


def test_disk_full_in_staging(estate: Estate, small_disk: Path) -> None:
    grow(estate, 16)
    estate.estate["staging"][0]["path"] = str(small_disk / "staging")
    estate.write()
    done = estate.drtests("run")
    assert done.returncode == 2
    told = drill(estate)
    assert told["verdict"] == "INCONCLUSIVE"
    assert "no room" in told["reasons"][0]
    assert any("make room" in advice for advice in told["advice"])
    assert [path.name for path in (small_disk / "staging").iterdir() if path.name.startswith("drtests-")] == []
    assert drill(estate, "app::recovery_points")["verdict"] == "MET"


def test_restic_killed_in_the_middle_of_a_restore(estate: Estate) -> None:
    grow(estate)
    run = start(estate)
    os.kill(stopped_in_the_middle(estate, run), signal.SIGKILL)
    code, output = ended(run)
    assert code == 2, output
    told = drill(estate)
    assert told["verdict"] == "INCONCLUSIVE"
    assert "killed by signal 9" in told["reasons"][0]
    assert {phase["name"]: phase["outcome"] for phase in told["phases"]} == {
        "locate": "done",
        "provision": "done",
        "restore": "failed",
        "clean up": "done",
    }
    assert estate.leftovers() == []


def test_repository_that_vanishes_in_the_middle_of_a_restore(estate: Estate) -> None:
    grow(estate)
    # Old releases ask again for a minute for each file; what matters is that our own time limit holds.
    estate.systems["app"]["restore"]["timeout"] = "8s"
    estate.write()
    run = start(estate, "app::restore")
    pid = stopped_in_the_middle(estate, run)
    shutil.move(estate.root / "repository", estate.root / "gone")
    os.kill(pid, signal.SIGCONT)
    code, output = ended(run)
    assert code == 2, output
    told = drill(estate)
    assert told["verdict"] == "INCONCLUSIVE"
    assert told["advice"]
    assert estate.leftovers() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_told_to_stop_cleans_up_and_keeps_what_it_knew(estate: Estate, number: signal.Signals) -> None:
    grow(estate)
    run = start(estate)
    pid = stopped_in_the_middle(estate, run)
    run.send_signal(number)
    os.kill(pid, signal.SIGCONT)
    code, output = ended(run)
    assert code == 2, output
    record = json.loads((estate.packs()[-1] / "record.json").read_text())
    assert record["run"]["state"] == "interrupted"
    assert record["run"]["verdict"] == "INCONCLUSIVE"
    told = drill(estate)
    assert (told["verdict"], told["state"]) == ("INCONCLUSIVE", "interrupted")
    assert told["recovery_point"] is not None
    assert drill(estate, "app::integrity")["state"] == "not run"
    assert estate.leftovers() == []
    assert not Path(f"/proc/{pid}").exists()


@pytest.fixture
def killed(estate: Estate) -> Iterator[int]:
    """A run that was killed outright in the middle of a restore; the pid of the restic it left behind."""
    grow(estate)
    run = start(estate)
    pid = stopped_in_the_middle(estate, run)
    run.kill()
    run.communicate()
    yield pid
    if Path(f"/proc/{pid}").exists():
        os.kill(pid, signal.SIGKILL)


def test_after_sigkill_gc_reaps_and_report_tells_what_was_known(estate: Estate, killed: int) -> None:
    [pack] = estate.packs()
    assert not (pack / "record.json").exists()
    assert estate.leftovers()
    dry = estate.drtests("gc", "--dry-run")
    assert "would remove" in dry.stdout
    assert estate.leftovers()
    done = estate.drtests("gc")
    assert done.returncode == 0, done.stdout + done.stderr
    assert estate.leftovers() == []
    until(lambda: not Path(f"/proc/{killed}").exists(), "restic is gone")
    told = estate.drtests("report")
    assert told.returncode == 0, told.stderr
    assert (drill(estate)["verdict"], drill(estate)["state"]) == ("INCONCLUSIVE", "interrupted")
    assert drill(estate)["recovery_point"] is not None
    assert [phase["outcome"] for phase in drill(estate)["phases"]] == ["done", "done", "interrupted"]
    assert estate.drtests("verify").returncode == 0


def test_after_sigkill_the_next_run_finishes_the_pack_and_carries_its_actions(estate: Estate, killed: int) -> None:
    assert estate.drtests("gc").returncode == 0
    done = estate.drtests("run")
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = estate.packs()
    assert json.loads((first / "record.json").read_text())["run"]["state"] == "interrupted"
    [item] = [a for a in json.loads((second / "actions.json").read_text())["actions"] if a["drill"] == "app::restore"]
    assert item["detected_by"] == first.name
    assert (item["status"], item["retest_run"]) == ("closed", second.name)


def test_a_run_next_to_a_killed_one_waits_for_no_lock(estate: Estate, killed: int) -> None:
    """The kernel gives a dead process's lock back; what it left is no reason to fail either."""
    done = estate.drtests("run", "app::restore", "--lock-timeout", "5")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_service_that_was_left_running_is_ended_and_keeps_the_drill_from_being_met(estate: Estate) -> None:
    script = "import os,time,sys; os.fork() and sys.exit(); os.setsid(); time.sleep(300)"
    estate.systems["app"]["start"] = [{"name": "daemon", "run": [sys.executable, "-c", script]}]
    estate.write()
    done = estate.drtests("run", "app::restore")
    assert done.returncode == 2
    told = drill(estate)
    assert told["verdict"] == "INCONCLUSIVE"
    assert "left running" in told["reasons"][0]
    left = [p for p in Path("/proc").glob("[0-9]*/cmdline") if script.encode() in _read(p)]
    assert left == []


def test_a_service_that_dies_during_the_checks_keeps_the_drill_from_being_met(estate: Estate) -> None:
    script = "import os, socket, time; s = socket.create_server(('127.0.0.1', {port})); time.sleep(1.5); os._exit(7)"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ready = {"tcp": f"127.0.0.1:{port}"}
    run = [sys.executable, "-c", script.format(port=port)]
    estate.systems["app"]["start"] = [{"name": "web", "run": run, "background": True, "ready": ready}]
    estate.systems["app"]["checks"].append({"command": {"run": ["sleep", "2"]}})
    estate.write()
    done = estate.drtests("run", "app::restore")
    assert done.returncode == 2
    assert "service 'web' ended with exit code 7" in drill(estate)["reasons"][0]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_nothing_secret_is_written_anywhere(estate: Estate) -> None:
    secret = (estate.root / "password").read_text()
    estate.systems["app"]["start"] = [
        {"name": "tells", "run": ["sh", "-c", f"echo '{secret}' >&2; exit 3"]},
    ]
    estate.write()
    done = estate.drtests("run")
    assert done.returncode == 2
    assert secret not in done.stdout + done.stderr
    for path in estate.reports.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path
