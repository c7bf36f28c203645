"""PostgreSQL, from declarations to evidence: a dump, a recovery to a moment, a failover rehearsed beside production."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from drtests.databases.rehearsing import APPLICATION
from tests.support.estate import Estate, ago
from tests.support.postgres import PASSWORD, PostgresPair
from tests.support.servers import wait_for, workplace

pytestmark = pytest.mark.usefixtures("restic_needed")
COUNT = "SELECT count(*) FROM students"
QUICK = {"fsync": "off", "shared_buffers": "8MB"}
CHECKS: list[dict[str, Any]] = [
    {"sql": {"database": "records", "query": COUNT, "value": 50}},
    {"database": {"database": "records"}},
    {"marker": {"sql": {"database": "records", "query": "SELECT max(at) FROM heartbeat"}}},
]


class Lab:
    """An estate whose data is what a PostgreSQL server was backed up to; `moments` are of three heartbeats."""

    def __init__(self, estate: Estate, pair: PostgresPair) -> None:
        self.estate = estate
        self.pair = pair
        self.moments: list[datetime] = []

    def run(self, drill: str, *arguments: str, **system: Any) -> tuple[int, dict[str, Any]]:
        """The exit code, and the one drill's record. Nothing may be left, here or at production."""
        estate, primary = self.estate, self.pair.primary
        estate.systems["app"] = estate.system(**{"checks": CHECKS, **system})
        estate.write()
        before = len(estate.packs())
        done = estate.drtests("run", f"app::{drill}", *arguments, env={"DRTESTS_TEST_POSTGRES": PASSWORD})
        assert len(estate.packs()) > before, done.stdout + done.stderr
        pack = estate.packs()[-1]
        [found] = json.loads((pack / "record.json").read_text())["drills"]
        assert estate.leftovers() == []
        assert not any(PASSWORD.encode() in path.read_bytes() for path in pack.rglob("*") if path.is_file())
        running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        assert str(estate.staging) not in running
        connected = f"SELECT count(*) FROM pg_stat_activity WHERE application_name = '{APPLICATION}'"
        wait_for(lambda: primary.sql(connected) == "0\n", "production still has a connection of the drill")
        assert primary.sql("SELECT slot_name FROM pg_replication_slots") == "standby\n"
        return done.returncode, found

    def database(self, recipe: str, path: str, **options: Any) -> dict[str, Any]:
        below = self.estate.restored
        return {"id": "records", "recipe": recipe, "path": f"{below}/{path}", "settings": QUICK, **options}

    def failover(self, **options: Any) -> dict[str, Any]:
        return {"id": "rehearsed", "kind": "postgres", "stands_for": "records", "source": "primary"} | {
            "settings": QUICK,
            "timeout": "20s",
            **options,
        }


@pytest.fixture(scope="module")
def lab(postgres_pair: PostgresPair) -> Iterator[Lab]:
    restic = shutil.which("restic")
    if restic is None:
        raise RuntimeError("restic is not installed: apt-get install restic")
    # The scratch server's user needs a way to the staging, which pytest's own folders do not give.
    with workplace(None) as folder:
        made = Lab(Estate(folder, restic), postgres_pair)
        made.estate.data.mkdir(parents=True)
        primary = postgres_pair.primary
        primary.sql("CREATE TABLE students (n int PRIMARY KEY); CREATE TABLE heartbeat (at timestamptz)")
        primary.sql("INSERT INTO students SELECT generate_series(1, 50)")
        try:
            _back_up(made, folder)
            yield made
        finally:
            primary.sql("DROP TABLE students, heartbeat")
            postgres_pair.settle()


def _back_up(lab: Lab, folder: Path) -> None:
    """Heartbeats, a dump, a base backup, and the log behind it with further heartbeats; all backed up by restic."""
    primary, data = lab.pair.primary, lab.estate.data

    def beat() -> None:
        told = primary.sql("INSERT INTO heartbeat VALUES (clock_timestamp()) RETURNING at")
        lab.moments.append(datetime.fromisoformat(told.strip()))

    beat()
    out = primary.data.parent / "out"
    primary.program("pg_basebackup", *primary.login()[:3], "--checkpoint=fast", "--no-sync", f"-D{out}")
    out.rename(data / "base")
    # Within the second in which it began no moment counts as later than the base backup.
    primary.sql("SELECT pg_sleep(1)")
    beat()
    primary.sql("SELECT pg_sleep(0.1)")
    beat()
    (data / "wal").mkdir()
    names = primary.sql("SELECT pg_walfile_name(pg_current_wal_lsn()) FROM pg_switch_wal()").split()
    (data / "app.dump").write_bytes(
        subprocess.run(
            ["pg_dump", "--format=custom", *primary.login()], capture_output=True, timeout=60, check=True
        ).stdout
    )
    for name in sorted(path.name for path in (primary.data / "pg_wal").iterdir() if len(path.name) == 24):
        if name <= names[0]:
            shutil.copyfile(primary.data / "pg_wal" / name, data / "wal" / name)
    lab.estate.init_repository()
    lab.estate.backup(ago(seconds=0))
    lab.estate.estate["databases"] = [
        {
            "id": server.name,
            "type": "postgres",
            "port": server.port,
            "user": "drtests",
            "password": "env:DRTESTS_TEST_POSTGRES",
        }
        for server in (lab.pair.primary, lab.pair.standby)
    ]


def test_a_dump_comes_back(lab: Lab) -> None:
    step = {"name": "count", "run": ["psql", "-XAtc", "SELECT 1 / (count(*) - 49) FROM students"]}
    database = lab.database("postgres-dump", "app.dump", live="primary")
    compared = {"sql": {"database": "records", "query": COUNT, "compare": {"tolerance": 0}}}
    code, drill = lab.run("restore", databases=[database], checks=[*CHECKS, compared], start=[step])
    assert code == 0, drill
    assert [check["verdict"] for check in drill["checks"]] == ["MET"] * 4, drill["checks"]
    assert drill["facts"]["records server"].startswith("PostgreSQL ")
    assert drill["facts"]["records dump_form"] == "custom"
    assert drill["data_loss"]["proved_seconds"] is not None


def test_a_dump_that_lacks_a_table(lab: Lab) -> None:
    checks = [{"sql": {"database": "records", "query": "SELECT count(*) FROM grades", "compare": {"tolerance": 0}}}]
    database = lab.database("postgres-dump", "app.dump", live="primary")
    lab.pair.primary.sql("CREATE TABLE grades (n int)")
    try:
        code, drill = lab.run("restore", databases=[database], checks=checks)
    finally:
        lab.pair.primary.sql("DROP TABLE grades")
    assert code == 1, drill
    assert drill["checks"][-1]["verdict"] == "MISSED"


def test_a_dump_that_was_cut_off(lab: Lab) -> None:
    file = lab.estate.data / "app.dump"
    whole = file.read_bytes()
    os.truncate(file, len(whole) * 2 // 3)
    try:
        lab.estate.backup(ago(seconds=0), tag="cut")
    finally:
        file.write_bytes(whole)
    backups = [{"repository": "nas", "interval": "24h", "snapshots": {"tags": ["cut"]}}]
    code, drill = lab.run("restore", databases=[lab.database("postgres-dump", "app.dump")], backups=backups)
    assert code == 1, drill
    assert drill["verdict"] == "MISSED"
    assert any("app.dump" in reason for reason in drill["reasons"])


def test_a_recovery_to_a_moment(lab: Lab) -> None:
    database = lab.database("postgres-basebackup", "base", wal=f"{lab.estate.restored}/wal")
    moment = lab.moments[1] + (lab.moments[2] - lab.moments[1]) / 2
    beats = {"sql": {"database": "records", "query": "SELECT count(*) FROM heartbeat", "value": 2}}
    code, drill = lab.run("restore", f"--point=at:{moment.isoformat()}", databases=[database], checks=[*CHECKS, beats])
    assert code == 0, drill
    assert drill["data_loss"]["proved_seconds"] == pytest.approx((moment - lab.moments[1]).total_seconds(), abs=0.002)
    assert drill["facts"]["records recovery_ended"].startswith("before 20")


def test_a_moment_that_the_log_does_not_reach(lab: Lab) -> None:
    database = lab.database("postgres-basebackup", "base", wal=f"{lab.estate.restored}/wal")
    moment = lab.moments[-1] + timedelta(hours=1)
    code, drill = lab.run("restore", f"--point=at:{moment.isoformat()}", databases=[database])
    assert code == 2, drill
    assert drill["verdict"] == "INCONCLUSIVE"
    assert any("ends before the moment" in reason for reason in drill["reasons"])


def test_a_failover(lab: Lab) -> None:
    """Nothing is restored for it: all that is looked at is in the database."""
    failovers = [lab.failover(copy_from="standby")]
    databases = [lab.database("postgres-dump", "app.dump")]
    code, drill = lab.run("failover[rehearsed]", databases=databases, failovers=failovers)
    assert code == 0, drill
    assert drill["verdict"] == "MET"
    assert drill["kind"] == "failover"
    assert drill["test_type"] == "replica_promotion"
    assert [check["verdict"] for check in drill["checks"]] == ["MET"] * 3
    assert drill["data_loss"]["recovery_point_age_seconds"] == 0.0
    assert drill["recovery_time"]["total_seconds"] > 0
    assert drill["recovery_point"] is None
    assert drill["facts"]["records began_with"] == "a copy of standby"
    assert drill["measures"]["build_seconds"]["value"] > 0


def test_a_failover_that_begins_with_a_backup(lab: Lab) -> None:
    """Steps need the restored files, so those decide how old what came back is."""
    step = {"name": "use", "run": ["psql", "-XAtc", "CREATE TABLE used AS SELECT * FROM students"]}
    beats = {"sql": {"database": "records", "query": "SELECT count(*) FROM heartbeat", "value": 3}}
    code, drill = lab.run(
        "failover[rehearsed]",
        databases=[lab.database("postgres-dump", "app.dump")],
        failovers=[lab.failover(path=f"{lab.estate.restored}/base", wal=f"{lab.estate.restored}/wal")],
        start=[step],
        checks=[*CHECKS, beats, {"sql": {"database": "records", "query": "SELECT count(*) FROM used", "value": 50}}],
    )
    assert code == 0, drill
    assert drill["data_loss"]["recovery_point_age_seconds"] > 0
    assert drill["recovery_point"] is not None


def test_a_failover_to_a_standby_that_cannot_follow(lab: Lab) -> None:
    primary = lab.pair.primary
    primary.sql("ALTER ROLE drtests NOREPLICATION")
    try:
        code, drill = lab.run(
            "failover[rehearsed]",
            databases=[lab.database("postgres-dump", "app.dump")],
            failovers=[lab.failover()],
        )
    finally:
        primary.sql("ALTER ROLE drtests REPLICATION")
    assert code == 2, drill
    assert drill["verdict"] == "INCONCLUSIVE"
    assert drill["recovery_time"]["total_seconds"] is None
    assert any("does not let itself be copied" in reason for reason in drill["reasons"])
