"""A database, from its declaration to the evidence: restored, brought up, asked, compared, and gone again."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.support.estate import Estate, ago

pytestmark = pytest.mark.usefixtures("restic_needed")
CHECKOUT = Path(__file__).resolve().parents[2]
COUNT = "SELECT count(*) FROM students"


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Estate:
    """Running databases are played by files: what servers do is tested with their adapters.

    `production` is what was backed up, `ahead` has one student more, `gone` does not answer. A second
    backup, tagged `damaged`, holds the file torn.
    """
    restic = shutil.which("restic")
    if restic is None:
        raise RuntimeError("restic is not installed: apt-get install restic")
    made = Estate(tmp_path_factory.mktemp("estate"), restic)
    made.produce()
    file = made.data / "records.db"
    with sqlite3.connect(file) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE heartbeat (at TEXT)")
        database.execute("INSERT INTO heartbeat VALUES (?)", [ago(minutes=1).isoformat()])
    database.close()
    shutil.copyfile(file, made.root / "ahead.db")
    with sqlite3.connect(made.root / "ahead.db") as ahead:
        ahead.execute("INSERT INTO students (name) VALUES ('newcomer')")
    ahead.close()
    made.init_repository()
    made.backup(ago(seconds=30))
    whole = file.read_bytes()
    file.write_bytes(whole[:100] + b"\xa5" * 9000)
    made.backup(ago(seconds=10), tag="damaged")
    file.write_bytes(whole)
    made.estate["databases"] = [
        {"id": name, "type": "tests.support.scratch:FileLive", "database": str(at), "timeout": "5s"}
        for name, at in {"production": file, "ahead": made.root / "ahead.db", "gone": made.root / "gone.db"}.items()
    ]
    return made


def sql(query: str = COUNT, database: str = "records", **expected: Any) -> dict[str, Any]:
    return {"sql": {"database": database, "query": query, **expected}}


def run(estate: Estate, checks: list[dict[str, Any]], **system: Any) -> tuple[int, dict[str, Any]]:
    restored = f"{estate.restored}/records.db"
    lives = {"records": "production", "behind": "ahead", "other": "gone"}
    databases = [{"id": name, "recipe": "sqlite", "path": restored, "live": live} for name, live in lives.items()]
    estate.systems["app"] = estate.system(checks=checks, databases=databases, **system)
    estate.write()
    path = os.pathsep.join([str(CHECKOUT), os.environ.get("PYTHONPATH", "")])
    done = estate.drtests("run", "app::restore", env={"PYTHONPATH": path})
    assert estate.packs(), done.stdout + done.stderr
    [drill] = json.loads((estate.packs()[-1] / "record.json").read_text())["drills"]
    assert estate.leftovers() == []
    return done.returncode, drill


def test_all_is_well(estate: Estate) -> None:
    checks = [
        {"database": {"database": "records"}},
        sql(value=50),
        sql(compare={"tolerance": 0}),
        {"marker": {"sql": {"database": "records", "query": "SELECT max(at) FROM heartbeat"}}},
    ]
    script = "import os, sqlite3; db = sqlite3.connect(os.environ['DRTESTS_RECORDS_SQLITE_DATABASE']); "
    step = {"name": "touch", "run": ["python3", "-c", script + "db.execute('CREATE TABLE step (x)')"]}
    code, drill = run(estate, [*checks, sql("SELECT count(*) FROM step", value=0)], start=[step])
    assert [check["verdict"] for check in drill["checks"]] == ["MET"] * 5, drill["checks"]
    assert code == 0
    assert drill["data_loss"]
    assert drill["facts"]["records from"] == "file"
    assert drill["facts"]["records server"].startswith("SQLite 3")


def test_what_is_wrong_and_what_is_not_known(estate: Estate) -> None:
    checks = [
        sql(min=51),
        sql(database="behind", compare={"tolerance": 0}),
        sql(database="behind", compare={"tolerance": "2%"}),
        sql(database="other", compare={"tolerance": 0}),
        sql("SELECT name FROM students WHERE id = 1", value="nobody"),
        {"marker": {"sql": {"database": "records", "query": "SELECT max(at) FROM heartbeat WHERE 0"}}},
    ]
    code, drill = run(estate, checks)
    verdicts = [check["verdict"] for check in drill["checks"]]
    assert verdicts == ["MISSED", "MISSED", "MET", "INCONCLUSIVE", "MISSED", "MISSED"], drill["checks"]
    assert code == 1
    evidence = "".join(path.read_text() for path in estate.packs()[-1].rglob("*") if path.suffix in {".json", ".html"})
    assert "student 1" not in evidence
    assert "newcomer" not in evidence


def test_a_live_database_that_does_not_answer_is_never_met(estate: Estate) -> None:
    code, drill = run(estate, [sql(value=50), sql(database="other", value=50, compare={"tolerance": 0})])
    assert [check["verdict"] for check in drill["checks"]] == ["MET", "INCONCLUSIVE"]
    assert drill["verdict"] == "INCONCLUSIVE"
    assert code == 2


def test_a_database_that_cannot_be_brought_up(estate: Estate) -> None:
    """What cannot be loaded cannot be used, whatever else was restored."""
    backups = [{"repository": "nas", "interval": "24h", "snapshots": {"tags": ["damaged"]}}]
    code, drill = run(estate, [sql(value=50)], backups=backups)
    assert code == 1
    assert drill["verdict"] == "MISSED"
    assert any("records.db" in problem["what"] for problem in drill["problems"]), drill["problems"]
