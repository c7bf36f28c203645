"""MariaDB and Redis, from declarations to evidence: what was restored is started and read, replicas are measured."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import mariadb, redis
from tests.support.estate import Estate, ago
from tests.support.mariadb import MariaPair
from tests.support.needs import needs
from tests.support.redis import RedisPair
from tests.support.servers import wait_for, workplace

pytestmark = pytest.mark.usefixtures("restic_needed")
PASSWORDS = {"DRTESTS_TEST_MARIADB": mariadb.PASSWORD, "DRTESTS_TEST_REDIS": redis.PASSWORD}
COUNT = "SELECT COUNT(*) FROM app.students"


class Lab:
    """Two systems: `app` is kept in MariaDB, `cache` in Redis; each has a replica."""

    def __init__(self, estate: Estate, maria: MariaPair, cache: RedisPair) -> None:
        self.estate = estate
        self.maria = maria
        self.cache = cache

    def declare(self, tag: str = "app") -> None:
        estate, below = self.estate, self.estate.restored
        servers = (self.maria.source, self.maria.replica, self.cache.source, self.cache.replica)
        estate.estate["databases"] = [
            server.declared().model_dump(mode="json", exclude_none=True) for server in servers
        ]
        estate.bia["processes"][0]["dependencies"] = ["app", "cache"]
        common = {
            "backups": [{"repository": "nas", "interval": "24h", "snapshots": {"tags": [tag]}}],
            "sources": [],
        }
        # Lag is waited for before anything is compared: not where it does not end.
        table = [{"table": "app.students", "method": "checksum"}] if tag == "app" else []
        keys = [{"keys": "*", "method": "checksum"}] if tag == "app" else []
        quick = {"window": "2s", "interval": "0.5s", "markers": True}
        estate.systems["app"] = estate.system(
            **common,
            databases=[
                {
                    "id": "dump", "recipe": "mariadb-dump", "path": f"{below}/app.sql.gz", "database": "app",
                    "live": "main",
                },
                {"id": "files", "recipe": "mariadb-backup", "path": f"{below}/backup"},
            ],
            start=[
                {
                    "name": "the usual client finds it",
                    "run": ["mariadb", "--no-defaults", "-e", "INSERT INTO app.students VALUES (1000, 'step', NOW())"],
                }
            ],
            checks=[
                {"sql": {"database": "dump", "query": f"{COUNT} WHERE name <> 'step'", "compare": {"query": COUNT}}},
                {"sql": {"database": "files", "query": COUNT, "value": 300}},
                {"database": {"database": "dump"}},
                {"database": {"database": "files"}},
                {"marker": {"sql": {"database": "files", "query": "SELECT MAX(at) FROM app.students"}, "zone": "UTC"}},
            ],
            replicas=[
                {
                    "id": "standby", "kind": "mariadb", "source": "main", "replica": "standby", **quick,
                    "compare": table,
                }
            ],
        )  # fmt: skip
        estate.systems["cache"] = estate.system(
            **common,
            databases=[{"id": "keys", "recipe": "redis", "path": f"{below}/dump.rdb", "live": "cache"}],
            start=[{"name": "the client", "run": ["sh", "-c", 'redis-cli -s "$REDIS_SOCKET" SET step 1']}],
            checks=[
                {"sql": {"database": "keys", "query": "EXISTS key7", "value": 1}},
                {"sql": {"database": "keys", "query": "HLEN students", "compare": {}}},
                {"database": {"database": "keys"}},
            ],
            replicas=[
                {
                    "id": "mirror", "kind": "redis", "source": "cache", "replica": "mirror", **quick,
                    "compare": keys,
                }
            ],
        )  # fmt: skip
        estate.write()

    def run(self, tag: str = "app", chosen: str = "restore or replication") -> dict[str, dict[str, Any]]:
        """The drills' records by their ids. Nothing may be left, here or at production, and no secret be told."""
        self.declare(tag)
        estate = self.estate
        before = len(estate.packs())
        done = estate.drtests("run", "-k", chosen, env=PASSWORDS, timeout=300)
        assert len(estate.packs()) > before, done.stdout + done.stderr
        pack = estate.packs()[-1]
        told = b"".join(path.read_bytes() for path in pack.rglob("*") if path.is_file())
        assert not any(password.encode() in told for password in PASSWORDS.values())
        assert estate.leftovers() == []
        running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        assert str(estate.staging) not in running
        self.settle()
        for server in (self.maria.source, self.maria.replica):
            assert "drtests" not in server.sql("SHOW DATABASES")
        for cache in (self.cache.source, self.cache.replica):
            assert cache.cli("--scan", "--pattern", "drtests*") == ""
        return {drill["id"]: drill for drill in json.loads((pack / "record.json").read_text())["drills"]}

    def settle(self) -> None:
        """Everything as it was: both replicas follow, and have all."""
        self.maria.replica.sql("START SLAVE; SET GLOBAL read_only = 1")
        self.maria.source.sql("SET GLOBAL read_only = 0")
        self.maria.settle()
        self.cache.source.cli("CONFIG", "SET", "min-replicas-to-write", "0")
        self.cache.replica.cli("CONFIG", "SET", "masterauth", redis.PASSWORD)
        self.cache.settle()


@pytest.fixture(scope="module")
def lab(mariadb_pair: MariaPair, redis_pair: RedisPair) -> Iterator[Lab]:
    restic = shutil.which("restic")
    if restic is None:
        raise RuntimeError("restic is not installed: apt-get install restic")
    # The scratch servers' users need a way to the staging, which pytest's own folders do not give.
    with workplace(None) as folder:
        made = Lab(Estate(folder, restic), mariadb_pair, redis_pair)
        made.estate.data.mkdir(parents=True)
        mariadb_pair.source.sql(
            "CREATE DATABASE app; USE app;"
            "CREATE TABLE students (id INT PRIMARY KEY, name VARCHAR(80), at DATETIME) ENGINE=InnoDB;"
            "INSERT INTO students SELECT seq, CONCAT('student ', seq), UTC_TIMESTAMP() FROM seq_1_to_300;"
        )
        fill = "for i = 1, 99 do redis.call('SET', 'key' .. i, i); redis.call('HSET', 'students', i, i) end"
        redis_pair.source.cli("EVAL", fill, "0")
        try:
            _back_up(made)
            yield made
        finally:
            mariadb_pair.source.sql("DROP DATABASE app")
            redis_pair.source.cli("FLUSHALL")
            made.settle()


def _back_up(lab: Lab) -> None:
    data, source = lab.estate.data, lab.maria.source
    login = ["--no-defaults", f"--socket={source.socket}", "--user=root"]
    dump = [needs("mariadb-dump", "mysqldump", install="mariadb-client"), *login, "--single-transaction", "app"]
    with (data / "app.sql.gz").open("wb") as file:
        text = subprocess.run(dump, capture_output=True, timeout=60, check=True).stdout
        subprocess.run(["gzip", "-c"], input=text, stdout=file, timeout=60, check=True)
    backup = [needs("mariadb-backup", install="mariadb-backup"), *login, "--backup", f"--target-dir={data}/backup"]
    subprocess.run(backup, capture_output=True, timeout=120, check=True)
    prepare = [backup[0], "--no-defaults", "--prepare", f"--target-dir={data}/backup"]
    subprocess.run(prepare, capture_output=True, timeout=120, check=True)
    lab.cache.source.cli("SAVE")
    shutil.copyfile(lab.cache.source.folder / "dump.rdb", data / "dump.rdb")
    lab.estate.init_repository()
    lab.estate.backup(ago(seconds=0))
    # And once more, damaged.
    table = data / "backup" / "app" / "students.ibd"
    whole = table.read_bytes()
    at = 3 * 16384 + 4000
    table.write_bytes(whole[:at] + bytes(byte ^ 0xFF for byte in whole[at : at + 64]) + whole[at + 64 :])
    os.truncate(data / "dump.rdb", (data / "dump.rdb").stat().st_size // 2)
    lab.estate.backup(ago(seconds=0), tag="damaged")


def test_all_is_well(lab: Lab) -> None:
    drills = lab.run()
    for name in ("app::restore", "cache::restore"):
        assert drills[name]["verdict"] == "MET", drills[name]
        assert {check["verdict"] for check in drills[name]["checks"]} == {"MET"}
    facts = drills["app::restore"]["facts"]
    assert facts["dump server"].startswith("MariaDB 1")
    assert facts["dump dump_completed"].startswith("20")
    assert facts["files prepared"] == "before"
    assert drills["app::restore"]["data_loss"]["proved_seconds"] is not None
    assert drills["cache::restore"]["facts"]["keys keys_read"] == 100
    for name in ("app::replication[standby]", "cache::replication[mirror]"):
        assert drills[name]["verdict"] == "MET", drills[name]["reasons"]
        seen = drills[name]["replication"]
        assert (seen["how"], seen["basis"]) == ("markers", "measured")
        assert seen["markers"] >= seen["seen"] >= 1
        assert [one["same"] for one in seen["compared"]] == [True]


def test_damage_and_lag_are_misses(lab: Lab) -> None:
    """Flipped bytes in a table, half a snapshot; one replica is paused, the link of the other is broken."""
    lab.maria.replica.sql("STOP SLAVE SQL_THREAD")
    lab.cache.replica.cli("CONFIG", "SET", "masterauth", "wrong")
    lab.cache.source.cli("CLIENT", "KILL", "TYPE", "replica")
    wait_for(lambda: lab.cache.replica.info("replication")["master_link_status"] == "down", "still up")
    drills = lab.run("damaged")
    assert {drill["verdict"] for drill in drills.values()} == {"MISSED"}, {
        name: drill["reasons"] for name, drill in drills.items()
    }
    broken = [check for check in drills["app::restore"]["checks"] if check["verdict"] == "MISSED"]
    assert any("files" in check["title"] for check in broken)
    assert any("dump.rdb" in reason for reason in drills["cache::restore"]["reasons"])
    for name in ("app::replication[standby]", "cache::replication[mirror]"):
        assert drills[name]["replication"]["problems"]


def test_sources_that_refuse_markers_are_asked_for_positions(lab: Lab) -> None:
    lab.maria.source.sql("SET GLOBAL read_only = 1")
    lab.cache.source.cli("CONFIG", "SET", "min-replicas-to-write", "7")
    for drill in lab.run(chosen="replication").values():
        seen = drill["replication"]
        assert any("refuses markers" in note for note in seen["notes"])
        assert (seen["how"], seen["basis"]) == ("positions", "measured")
        assert drill["verdict"] == "MET", drill["reasons"]
