"""Drills on another machine, with the real binaries: restic, services and checks run there, over one connection."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import pytest

from tests.e2e.test_faults import drill, ended, start, until
from tests.support.estate import PASSWORD, Estate, ago, make_estate
from tests.support.sshd import Cable, Sshd, carriers, command_of, descendants, eventually_no

pytestmark = pytest.mark.usefixtures("restic_needed")

_PORT = 8765
_BEATS = 3.0
"""Seconds without a word after which a connection counts as lost: three keepalives."""
_SLACK = 30.0


def on(server: Sshd, root: Path) -> Estate:
    """An estate whose one system is restored, started and checked on the server's machine."""
    made = make_estate(root)
    made.estate["hosts"] = [server.declared("far")]
    made.estate["repositories"][0]["location"] = str(root / "repository")
    made.estate["staging"] = [{"id": "scratch", "host": "far", "path": str(made.staging), "disposable": True}]
    url = f"http://127.0.0.1:{_PORT}/"
    serve = ["python3", "-m", "http.server", str(_PORT), "--bind", "127.0.0.1"]
    made.systems["app"] |= {
        "start": [
            {"name": "note", "run": ["sh", "-c", "hostname > started"], "cwd": made.restored},
            {"name": "web", "run": serve, "cwd": made.restored, "background": True, "ready": {"http": url}},
        ],
        "checks": [
            {"tree": {"path": made.restored, "extra": "allow"}},
            {"marker": {"file": {"path": f"{made.restored}/marker"}}},
            {"marker": {"files": {"path": f"{made.restored}/**"}}},
            {"files": {"path": f"{made.restored}/folder*/*.txt", "min_count": 20}},
            {"sqlite": {"path": f"{made.restored}/records.db", "query": "SELECT count(*) FROM students", "value": 50}},
            {"command": {"run": ["test", "-s", "started"], "cwd": made.restored}},
            {"http": {"url": f"{url}records.db"}},
        ],
    }
    made.write()
    return made


@pytest.fixture(scope="module")
def made_there(far_sshd: tuple[Sshd, Cable], tmp_path_factory: pytest.TempPathFactory) -> Estate:
    made = on(far_sshd[0], tmp_path_factory.mktemp("there"))
    grow(made)
    return made


@pytest.fixture(scope="module")
def made_near(sshd: Sshd, tmp_path_factory: pytest.TempPathFactory) -> Estate:
    made = on(sshd, tmp_path_factory.mktemp("near"))
    for part in ("start", "checks"):
        made.systems["app"][part] = [one for one in made.systems["app"][part] if "http" not in json.dumps(one)]
    grow(made)
    return made


@pytest.fixture
def there(made_there: Estate) -> Iterator[Estate]:
    """On a machine whose loopback is not ours."""
    with _as_it_was(made_there):
        yield made_there


@pytest.fixture
def near(made_near: Estate) -> Iterator[Estate]:
    """On a machine that is this one, for whoever may not make networks."""
    with _as_it_was(made_near):
        yield made_near


@contextmanager
def _as_it_was(estate: Estate) -> Iterator[None]:
    """Declarations are those of the beginning, and what a test leaves is its own fault only."""
    before = deepcopy((estate.estate, estate.systems))
    estate.write()
    shutil.rmtree(estate.reports, ignore_errors=True)
    try:
        yield
    finally:
        estate.estate, estate.systems = before
        shutil.rmtree(estate.staging, ignore_errors=True)


def grow(estate: Estate) -> None:
    """Enough to be caught while it is restored."""
    for number in range(8):
        (estate.data / f"large{number}").write_bytes(os.urandom(4 * 1024 * 1024))
    estate.backup(ago(minutes=1))


def restoring(estate: Estate) -> int | None:
    for entry in Path("/proc").glob("[0-9]*"):
        words = command_of(int(entry.name)).split()
        if "restore" in words and any(word.startswith(str(estate.staging)) for word in words):
            return int(entry.name)
    return None


def in_the_middle(estate: Estate, run: subprocess.Popen[str]) -> int:
    """Freezes restic while it restores; returns its process."""
    pid = int(until(lambda: restoring(estate), "restic restores", run))
    os.kill(pid, signal.SIGSTOP)
    return pid


def run_of(estate: Estate) -> str:
    """What the processes of the newest run carry."""
    [folder] = [path.name for path in estate.staging.glob("drtests-*")]
    return f"DRTESTS_MARK={folder.removeprefix('drtests-').rpartition('-app--')[0]}"


def test_met(there: Estate, far_sshd: tuple[Sshd, Cable]) -> None:
    server, _ = far_sshd
    before = server.logins()
    done = there.drtests("run", "app::restore")
    assert done.returncode == 0, done.stdout
    told = drill(there)
    assert told["verdict"] == "MET"
    assert [check["verdict"] for check in told["checks"]] == ["MET"] * 7
    assert {command["host"] for command in told["commands"]} == {"far"}
    assert any("restore" in command["argv"] for command in told["commands"])
    assert told["measures"]["restore_seconds"]["value"] > 0
    assert server.logins() == before + 1
    assert there.leftovers() == []
    assert carriers(f"DRTESTS_MARK={there.packs()[-1].name}/") == []
    for file in there.packs()[-1].rglob("*"):
        assert not file.is_file() or PASSWORD.encode() not in file.read_bytes(), file


PYTHON_TESTS = """
import pytest

@pytest.mark.recovery("app", checks=False)
def test_there(recovery):
    assert recovery.run(["test", "-s", "marker"], cwd="{restored}").exit_code == 0
    assert recovery.host.id == "far"

@pytest.mark.recovery("app", checks=False)
def test_wrong(recovery):
    assert recovery.run(["test", "-s", "nothing"]).exit_code == 0

@pytest.mark.recovery("app", checks=False)
def test_not_here(recovery):
    recovery.path("{restored}")
"""


def test_through_pytest(near: Estate) -> None:
    """Declared drills and tests in Python alike."""
    tests = near.root / "targets" / "test_app.py"
    tests.write_text(PYTHON_TESTS.replace("{restored}", near.restored))
    try:
        argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "targets"]
        done = subprocess.run(argv, cwd=near.root, capture_output=True, text=True, timeout=120, check=False)
    finally:
        tests.unlink()
    assert done.returncode == 1, done.stdout
    record = json.loads((near.packs()[-1] / "record.json").read_text())
    told = {one["id"]: one for one in record["drills"]}
    assert {name: one["verdict"] for name, one in told.items()} == {
        "app::restore": "MET",
        "app::recovery_points": "MET",
        "app::integrity": "MET",
        "app::test_there": "MET",
        "app::test_wrong": "MISSED",
        "app::test_not_here": "INCONCLUSIVE",
    }
    assert any("use recovery.run()" in reason for reason in told["app::test_not_here"]["reasons"])


SABOTAGED = {
    "tree": "1 changed",
    "files": "21",
    "sqlite": "51 expected",
    "command": "exit code 1",
    "http": "does not hold what is expected",
}


def test_sabotaged(there: Estate) -> None:
    """Every kind of check sees what is wrong there."""
    changed = {
        "files": {"min_count": 21},
        "sqlite": {"value": 51},
        "command": {"run": ["test", "-s", "never"]},
        "http": {"body": "nobody wrote this"},
    }
    for check in there.systems["app"]["checks"]:
        for kind, options in changed.items():
            check.get(kind, {}).update(options)
    page = {"http": {"url": f"http://127.0.0.1:{_PORT + 1}/"}}
    there.systems["app"]["checks"] = [*there.systems["app"]["checks"], page]
    there.systems["app"]["backups"][0]["snapshots"] = {"tags": ["bad"]}
    there.write()
    (there.data / "folder1" / "file1.txt").write_text("changed after it was sealed")
    there.run_restic("backup", "--tag", "bad", str(there.data))
    with serving(there, _PORT + 1):
        done = there.drtests("run", "app::restore")
    assert done.returncode == 1, done.stdout
    told = [check for check in drill(there)["checks"] if check["kind"] != "marker"]
    assert {check["verdict"] for check in told} == {"MISSED"}, told
    for check in told[:-1]:
        assert SABOTAGED[check["kind"]] in check["reason"]
    # Something answers at that address, on the machine that runs drtests.
    assert "refused" in told[-1]["reason"]
    assert there.leftovers() == []


def test_a_service_that_is_up_only_here(there: Estate) -> None:
    """On the machine that runs drtests, not on the one that was restored to."""
    there.systems["app"]["start"][1] |= {"run": ["sleep", "300"]}
    there.systems["app"]["start"][1]["ready"] = {"tcp": f"127.0.0.1:{_PORT}", "within": "1s"}
    there.write()
    with serving(there, _PORT):
        done = there.drtests("run", "app::restore")
    assert done.returncode == 2, done.stdout
    assert any("was not up in time" in reason for reason in drill(there)["reasons"])
    assert there.leftovers() == []


@contextmanager
def serving(estate: Estate, port: int) -> Iterator[None]:
    argv = ["python3", "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    quiet = subprocess.DEVNULL
    server = subprocess.Popen(argv, cwd=estate.data, stdout=quiet, stderr=quiet)
    try:
        yield
    finally:
        server.terminate()
        server.wait(10)


class Watch(threading.Thread):
    """Looks at every process, and at every file that a drill could have written, as fast as it can."""

    def __init__(self, server: Sshd, folders: list[Path]) -> None:
        super().__init__(daemon=True)
        self._server = server
        self._folders = folders
        self._over = threading.Event()
        self.told: list[str] = []
        self.rounds = 0
        self.remote = 0
        """Rounds in which a restic of the server's was seen with the password in its environment."""

    def run(self) -> None:
        secret = PASSWORD.encode()
        while not self._over.is_set():
            self.rounds += 1
            for entry in Path("/proc").glob("[0-9]*"):
                if secret in _read(entry / "cmdline"):
                    self.told.append(command_of(int(entry.name)))
            if self._server.process is not None:
                for pid in descendants(self._server.process.pid):
                    words = command_of(pid).split()
                    if words[:1] == ["restic"] and secret in _read(Path(f"/proc/{pid}/environ")):
                        self.remote += 1
            for folder in self._folders:
                for place, _, names in os.walk(folder):
                    paths = [Path(place, name) for name in names if not name.startswith(("large", "file"))]
                    self.told += [str(path) for path in paths if secret in _read(path)]

    def end(self) -> None:
        self._over.set()
        self.join(60)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_no_password_is_to_be_seen(near: Estate, sshd: Sshd) -> None:
    watch = Watch(sshd, [near.staging, near.reports, sshd.folder])
    watch.start()
    done = near.drtests("run", "app::restore")
    watch.end()
    assert done.returncode == 0, done.stdout
    assert watch.remote > 0, "restic was not seen at work: nothing is proved"
    assert watch.told == []


def test_cut_in_the_middle_of_a_restore(near: Estate, sshd: Sshd) -> None:
    run = start(near, "app::restore")
    restic = in_the_middle(near, run)
    mark = run_of(near)
    assert carriers(mark) != []
    sshd.cut()
    code, output = ended(run)
    assert code == 2, output
    told = drill(near)
    assert told["verdict"] == "INCONCLUSIVE"
    assert any("connection to the host was lost" in reason for reason in told["reasons"]), told["reasons"]
    assert command_of(restic) == ""
    assert eventually_no(mark, _SLACK) == []
    assert sum("restore" in command["argv"] for command in told["commands"]) == 1
    # Clean up came through over a new connection.
    assert near.leftovers() == []


def test_cut_while_a_service_runs(near: Estate, sshd: Sshd) -> None:
    near.systems["app"]["start"] = [
        {
            "name": "service",
            "run": ["sh", "-c", "touch up; exec sleep 300"],
            "background": True,
            "ready": {"tcp": f"127.0.0.1:{sshd.port}"},
        },
        {"name": "long", "run": ["sh", "-c", "touch long; exec sleep 301"], "timeout": "5m"},
    ]
    near.write()
    run = start(near, "app::restore")
    until(lambda: list(near.staging.glob("drtests-*/root/long")), "the service runs", run)
    mark = run_of(near)
    assert len(carriers(mark)) == 2
    sshd.cut()
    code, output = ended(run)
    assert code == 2, output
    assert drill(near)["verdict"] == "INCONCLUSIVE"
    assert eventually_no(mark, _SLACK) == []
    assert near.leftovers() == []


def test_pulled_cable_in_the_middle_of_a_restore(there: Estate, far_sshd: tuple[Sshd, Cable]) -> None:
    _, cable = far_sshd
    run = start(there, "app::restore")
    restic = in_the_middle(there, run)
    mark = run_of(there)
    began = time.monotonic()
    cable.pull()
    try:
        # The host ends it by itself, whether or not anybody can tell it to.
        assert eventually_no(mark, _BEATS + _SLACK) == []
        code, output = ended(run)
        took = time.monotonic() - began
    finally:
        cable.plug()
    assert command_of(restic) == ""
    assert code == 2, output
    told = drill(there)
    assert told["verdict"] == "INCONCLUSIVE"
    assert any("connection to the host was lost" in reason for reason in told["reasons"]), told["reasons"]
    # Noticing, then a clean up that tries in vain; far from the restore's own four hours.
    assert took < _BEATS + 2 * _SLACK
    assert there.leftovers() != []
    reaped = there.drtests("gc")
    assert reaped.returncode == 0, reaped.stdout + reaped.stderr
    assert there.leftovers() == []


def test_a_killed_runner_leaves_nothing_running_and_gc_removes_the_rest(near: Estate, sshd: Sshd) -> None:
    run = start(near, "app::restore")
    in_the_middle(near, run)
    mark = run_of(near)
    busy = near.drtests("gc")
    assert "in use" in busy.stdout
    run.kill()
    run.communicate(timeout=60)
    assert eventually_no(mark, _SLACK) == []
    assert near.leftovers() != []
    dry = near.drtests("gc", "--dry-run")
    assert "would remove" in dry.stdout
    reaped = near.drtests("gc")
    assert reaped.returncode == 0, reaped.stdout + reaped.stderr
    assert near.leftovers() == []


def test_doctor_and_plan(near: Estate, sshd: Sshd) -> None:
    looked = json.loads(near.drtests("doctor", "--json").stdout)
    assert looked["ok"], looked
    told = {finding["subject"]: finding["text"] for finding in looked["findings"]}
    assert "Linux" in told["host far"]
    assert "3 recovery points" in told["repository nas from host far"]
    assert "free" in told["staging scratch"]
    planned = near.drtests("plan", "--json")
    assert planned.returncode == 0, planned.stdout
    point = next(one["recovery_point"] for one in json.loads(planned.stdout)["drills"] if one["recovery_point"])
    assert " of " in point


def test_an_unknown_key_is_told_before_anything_is_done(near: Estate, sshd: Sshd) -> None:
    near.estate["hosts"][0]["ssh"]["known_hosts"] = "known_hosts"
    near.write()
    done = near.drtests("run", "app::restore")
    assert done.returncode == 2
    told = drill(near)
    assert any("SHA256:" in reason for reason in told["reasons"])
    assert any(f"[127.0.0.1]:{sshd.port} ssh-ed25519 " in advice for advice in told["advice"])
    looked = json.loads(near.drtests("doctor", "--json").stdout)
    assert any("make it known" in finding["mend"] for finding in looked["findings"])


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    yield
    assert eventually_no("DRTESTS_MARK=2", _SLACK) == []
