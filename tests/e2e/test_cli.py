"""The command line, as a user types it, on a real repository."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.estate import Estate, ago, make_estate

pytestmark = pytest.mark.usefixtures("restic_needed")


@pytest.fixture
def estate(tmp_path: Path) -> Estate:
    return make_estate(tmp_path)


def test_a_day_in_the_life(estate: Estate) -> None:
    """Miss, see the action, mend, retest, see it closed; then look at the evidence with stock tools only."""
    estate.produce(marker=ago(days=3))
    estate.backup(ago(minutes=2))
    first = estate.drtests("run")
    assert first.returncode == 1
    assert "data loss proved by data 3d" in first.stdout
    listed = json.loads(estate.drtests("actions", "--json").stdout)["actions"]
    assert [(item["drill"], item["status"], item["owner_name"], item["overdue"]) for item in listed] == [
        ("app::restore", "open", "Anna de Boer", False)
    ]
    assert estate.drtests("actions", "--overdue").returncode == 0

    estate.produce(marker=ago(minutes=1))
    estate.backup(ago(seconds=30))
    second = estate.drtests("run", "app::restore")
    assert second.returncode == 0, second.stdout
    assert f"closed    {listed[0]['id']}" in second.stdout
    assert "no open action items" in estate.drtests("actions").stdout
    told = json.loads(estate.drtests("actions", "--all", "--json").stdout)["actions"]
    assert told[0]["retest_run"] == estate.packs()[-1].name

    for pack in estate.packs():
        sums = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=pack, capture_output=True, text=True, check=False)
        assert sums.returncode == 0, sums.stdout
        assert estate.drtests("verify", pack.name).returncode == 0
    assert (estate.reports / "index.html").is_file()


def test_rebuilding_a_pack_gives_the_same_bytes(estate: Estate) -> None:
    assert estate.drtests("run").returncode == 0
    [pack] = estate.packs()
    before = {path: path.read_bytes() for path in pack.rglob("*") if path.is_file()}
    for path in before:
        if "journal" not in path.parts:
            path.unlink()
    # The declarations are not needed for it.
    (estate.root / "targets" / "bia.yaml").write_text("broken: [")
    done = estate.drtests("report", str(pack))
    assert done.returncode == 0, done.stderr
    assert {path: path.read_bytes() for path in pack.rglob("*") if path.is_file()} == before


def test_each_run_reads_the_next_part_of_the_repository(estate: Estate) -> None:
    estate.estate["repositories"][0]["integrity"] = {"parts": 3}
    estate.write()
    parts = []
    for _ in range(4):
        assert estate.drtests("run", "-m", "integrity").returncode == 0
        # A run of something else in between does not lose the place.
        assert estate.drtests("run", "-m", "recovery_points").returncode == 0
        record = json.loads((estate.packs()[-2] / "record.json").read_text())
        parts.append(record["drills"][0]["facts"]["integrity"]["part"])
    assert parts == [1, 2, 3, 1]


def test_a_gap_in_the_history_is_missed(estate: Estate) -> None:
    estate.bia["processes"][0]["rpo"] = "20h"
    estate.write()
    done = estate.drtests("run", "app::recovery_points")
    assert done.returncode == 1
    assert "worst case measured" in done.stdout
    assert "worst case declared" in done.stdout


def test_damage_in_the_repository_is_missed(estate: Estate) -> None:
    estate.estate["repositories"][0]["integrity"] = {"parts": 1}
    estate.write()
    pack = max((estate.root / "repository" / "data").rglob("*"), key=lambda path: path.stat().st_size)
    pack.chmod(0o600)
    content = bytearray(pack.read_bytes())
    content[len(content) // 3] ^= 0xFF
    pack.write_bytes(content)
    done = estate.drtests("run", "app::integrity")
    assert done.returncode == 1
    assert "found damage" in done.stdout


def test_init_check_and_run_on_ones_own_repository(estate: Estate, tmp_path: Path) -> None:
    project = tmp_path / "fresh"
    options = ["--organisation", "OSG: 'De Vliet' #1", "--repository", str(estate.root / "repository")]
    options += ["--password", f"file:{estate.root / 'password'}", "--staging", str(tmp_path / "fresh-staging")]
    options += ["--path", estate.restored]
    made = estate.drtests("init", str(project), *options)
    assert made.returncode == 0, made.stderr
    checked = estate.drtests("check", "--project", str(project))
    assert checked.returncode == 0, checked.stderr
    again = estate.drtests("init", str(project), *options)
    assert again.returncode == 4
    assert "Traceback" not in again.stderr
    ran = estate.drtests("run", "--project", str(project), "-m", "recovery_points or restore")
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_plan_and_doctor_touch_nothing(estate: Estate) -> None:
    def listing() -> dict[str, float]:
        return {str(path): path.stat().st_mtime for path in estate.root.rglob("*") if "__pycache__" not in path.parts}

    before = listing()
    plan = json.loads(estate.drtests("plan", "--json").stdout)
    assert [row["drill"] for row in plan["drills"]] == ["app::restore", "app::recovery_points", "app::integrity"]
    assert plan["drills"][0]["recovery_point"]
    assert plan["gaps"] == []
    assert estate.drtests("doctor").returncode == 0
    assert listing() == before


def test_doctor_and_plan_say_what_is_wrong(estate: Estate) -> None:
    (estate.root / "repository").rename(estate.root / "moved")
    doctor = estate.drtests("doctor", "--json")
    assert doctor.returncode == 2
    [finding] = [f for f in json.loads(doctor.stdout)["findings"] if f["level"] == "problem"]
    assert finding["subject"] == "repository nas"
    assert finding["mend"]
    plan = estate.drtests("plan")
    assert plan.returncode == 0
    assert "gap: app: there is no repository" in plan.stdout
    assert "gap" not in estate.drtests("plan", "--offline").stdout


@pytest.mark.parametrize("sabotage", ["changed", "added", "missing", "journal"])
def test_verify_sees_every_sabotage(estate: Estate, sabotage: str) -> None:
    assert estate.drtests("run", "-m", "recovery_points").returncode == 0
    [pack] = estate.packs()
    if sabotage == "changed":
        (pack / "report.html").write_text("all is well")
    elif sabotage == "added":
        (pack / "extra.txt").write_text("")
    elif sabotage == "missing":
        (pack / "junit.xml").unlink()
    else:
        journal = pack / "journal" / "main.jsonl"
        journal.write_bytes(journal.read_bytes().replace(b'"age":', b'"old":'))
    done = estate.drtests("verify", pack.name)
    assert done.returncode == 1
    assert "NOT intact" in done.stdout
    assert json.loads(estate.drtests("verify", "--json").stdout)["intact"] is False


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["run", "ap"], 4, "did you mean 'app'"),
        (["run", "app::nothing"], 5, "nothing ran"),
        (["run", "--point", "before:yesterday"], 4, "not a time"),
        (["run", "--point", "nonsense"], 2, "no recovery point"),
        (["run", "--nonsense"], 4, "No such option"),
        (["run", "-k", "and and"], 4, ""),
        (["nonsense"], 4, "No such command"),
        (["report", "nonsense"], 4, "pack"),
        (["verify", "./nowhere"], 2, "no such pack"),
        (["actions"], 4, "no run yet"),
        (["seal", "nowhere"], 4, "does not exist"),
        (["check", "--project", "/"], 4, "drtests init"),
        (["run", "--reports", "password"], 4, ""),
    ],
)
def test_bad_input_gets_words_and_an_exit_code(estate: Estate, arguments: list[str], code: int, text: str) -> None:
    done = estate.drtests(*arguments)
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode == code, done.stdout + done.stderr
    assert text in done.stdout + done.stderr
    if code == 4:
        assert estate.packs() == []


def test_every_problem_of_every_file_is_shown_at_once(estate: Estate) -> None:
    estate.bia["processes"][0]["owner"] = "ana"
    estate.systems["app"]["checks"] = [{"http": {"url": "http://127.0.0.1:1/"}}]
    estate.estate["staging"][0]["path"] = "production"
    estate.write()
    done = estate.drtests("check")
    assert done.returncode == 4
    for text in ("bia.yaml:", "did you mean", "app.yaml:", "estate.yaml:", "production data"):
        assert text in done.stderr


def test_the_same_seed_chooses_the_same_recovery_point(estate: Estate) -> None:
    chosen = set()
    for _ in range(2):
        estate.drtests("run", "app::restore", "--point", "random:30d", "--seed", "7")
        record = json.loads((estate.packs()[-1] / "record.json").read_text())
        chosen.add(record["drills"][0]["recovery_point"]["id"])
        assert "seed 7" in record["drills"][0]["recovery_point"]["chosen"]
    assert len(chosen) == 1


def test_a_pack_that_cannot_be_read_stops_the_next_run_before_it_loses_actions(estate: Estate) -> None:
    estate.drtests("run", "-m", "recovery_points")
    (estate.packs()[-1] / "record.json").write_text("{")
    done = estate.drtests("run", "-m", "recovery_points")
    assert done.returncode == 4
    assert "drtests report" in done.stderr
    assert estate.drtests("report").returncode == 0
    assert estate.drtests("run", "-m", "recovery_points").returncode == 0


def test_plain_locale_and_no_home(estate: Estate) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in ("HOME", "LANG")}
    estate.estate["organisation"]["name"] = "Scholengroep Één"
    estate.write()
    environment |= {"LC_ALL": "C", "PYTHONUTF8": "0"}
    done = estate.drtests("run", "-m", "recovery_points", env=environment)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(estate: Estate, shell: str) -> None:
    done = estate.drtests("completion", shell)
    assert done.returncode == 0
    assert "_DRTESTS_COMPLETE" in done.stdout


def test_runs_that_overlap_lose_no_action(estate: Estate) -> None:
    """A long run that began first and ends last knows what a short one found in the meantime."""
    estate.systems["app"]["start"] = [{"name": "slow", "run": ["sh", "-c", "while ! [ -e $GO ]; do sleep 0.05; done"]}]
    estate.systems["app"]["start"][0]["environment"] = {"GO": str(estate.root / "go")}
    estate.systems["app"]["backups"][0]["interval"] = "27h"
    estate.write()
    long = subprocess.Popen(
        [sys.executable, "-m", "drtests", "run", "app::restore"], cwd=estate.root, stdout=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while not list(estate.staging.glob("drtests-*/root/*")) and time.monotonic() < deadline:
            time.sleep(0.02)
        short = estate.drtests("run", "app::recovery_points")
        assert short.returncode == 1
        (estate.root / "go").touch()
        assert long.wait(timeout=60) == 0
    finally:
        long.kill()
    listed = json.loads(estate.drtests("actions", "--json").stdout)["actions"]
    assert [item["drill"] for item in listed] == ["app::recovery_points"]
    estate.drtests("run", "app::integrity")
    listed = json.loads(estate.drtests("actions", "--json").stdout)["actions"]
    assert [item["drill"] for item in listed] == ["app::recovery_points"]
