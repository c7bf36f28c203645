"""Failovers of MariaDB and Redis, from declarations to evidence, rehearsed beside production."""

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
COUNT = "SELECT COUNT(*) FROM students"
FOLLOWERS = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'rehearsal'"
SMALL = {"innodb_buffer_pool_size": "16M", "innodb_log_file_size": "8M"}


class Lab:
    """Two systems: `app` is kept in MariaDB, `cache` in Redis."""

    def __init__(self, estate: Estate, maria: MariaPair, cache: RedisPair) -> None:
        self.estate = estate
        self.maria = maria
        self.cache = cache

    def declare(self, tag: str) -> None:
        estate, below = self.estate, self.estate.restored
        servers = [server.declared(user="rehearsal") for server in (self.maria.source, self.maria.replica)]
        servers += [server.declared() for server in (self.cache.source, self.cache.replica)]
        estate.estate["databases"] = [server.model_dump(mode="json", exclude_none=True) for server in servers]
        estate.bia["processes"][0]["dependencies"] = ["app", "cache"]
        common = {
            "backups": [{"repository": "nas", "interval": "24h", "snapshots": {"tags": [tag]}}],
            "sources": [],
        }
        shop: dict[str, Any] = {"kind": "mariadb", "stands_for": "shop", "source": "main", "database": "app"}
        shop |= {"settings": SMALL, "timeout": "60s"}
        estate.systems["app"] = estate.system(
            **common,
            databases=[{"id": "shop", "recipe": "mariadb-backup", "path": f"{below}/backup", "live": "main"}],
            checks=[
                {
                    "sql": {
                        "database": "shop",
                        "query": COUNT,
                        "compare": {"query": "SELECT COUNT(*) FROM app.students"},
                    }
                },
                {"database": {"database": "shop"}},
            ],
            failovers=[
                {"id": "copied", **shop, "copy_from": "standby"},
                {"id": "restored", **shop, "path": f"{below}/backup"},
            ],
        )
        estate.systems["cache"] = estate.system(
            **common,
            databases=[{"id": "keys", "recipe": "redis", "path": f"{below}/dump.rdb", "live": "cache"}],
            checks=[
                {"sql": {"database": "keys", "query": "HLEN students", "value": 99}},
                {"database": {"database": "keys"}},
            ],
            failovers=[{"id": "mirrored", "kind": "redis", "stands_for": "keys", "source": "cache", "timeout": "60s"}],
        )
        estate.write()

    def run(self, tag: str, chosen: str) -> dict[str, dict[str, Any]]:
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
        wait_for(lambda: self.maria.source.sql(FOLLOWERS) == "0\n", "somebody still follows MariaDB")
        wait_for(
            lambda: self.cache.source.info("replication")["connected_slaves"] == "1", "somebody still follows Redis"
        )
        return {drill["id"]: drill for drill in json.loads((pack / "record.json").read_text())["drills"]}


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
            f"CREATE USER rehearsal@'%' IDENTIFIED BY '{mariadb.PASSWORD}';"
            "GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, BINLOG MONITOR, REPLICA MONITOR, REPLICATION SLAVE ON *.*"
            " TO rehearsal@'%';"
            "CREATE DATABASE app; USE app; CREATE TABLE students (id INT PRIMARY KEY, name VARCHAR(80)) ENGINE=InnoDB;"
            "INSERT INTO students SELECT seq, CONCAT('student ', seq) FROM seq_1_to_300;"
        )
        fill = "for i = 1, 99 do redis.call('SET', 'key' .. i, i); redis.call('HSET', 'students', i, i) end"
        redis_pair.source.cli("EVAL", fill, "0")
        mariadb_pair.settle()
        try:
            _back_up(made)
            yield made
        finally:
            mariadb_pair.source.sql("DROP DATABASE app; DROP USER rehearsal@'%'")
            redis_pair.source.cli("FLUSHALL")
            mariadb_pair.settle()
            redis_pair.settle()


def _back_up(lab: Lab) -> None:
    """A physical backup, and one that was cut off; then production goes on."""
    data, source = lab.estate.data, lab.maria.source
    backup = [needs("mariadb-backup", install="mariadb-backup"), "--no-defaults", f"--socket={source.socket}"]
    backup += ["--user=root", "--backup", f"--target-dir={data}/backup"]
    subprocess.run(backup, capture_output=True, timeout=120, check=True)
    lab.estate.init_repository()
    lab.estate.backup(ago(seconds=0))
    os.truncate(data / "backup" / "ibdata1", 4096)
    lab.estate.backup(ago(seconds=0), tag="damaged")
    source.sql("INSERT INTO app.students VALUES (301, 'after the backup')")
    lab.maria.settle()


def test_failovers_that_succeed(lab: Lab) -> None:
    drills = lab.run("app", "failover")
    assert set(drills) == {"app::failover[copied]", "app::failover[restored]", "cache::failover[mirrored]"}
    for drill in drills.values():
        assert drill["verdict"] == "MET", drill["reasons"]
        assert (drill["kind"], drill["test_type"]) == ("failover", "replica_promotion")
        assert [check["verdict"] for check in drill["checks"]] == ["MET"] * 2
        assert drill["data_loss"]["recovery_point_age_seconds"] == 0.0
        assert drill["recovery_time"]["total_seconds"] > 0
        assert drill["measures"]["build_seconds"]["value"] > 0
    copied, restored, mirrored = (drills[name]["facts"] for name in sorted(drills))
    assert copied["shop began_with"] == "a copy of standby"
    assert restored["shop began_with"].endswith("/backup")
    assert restored["shop position"] == restored["shop replayed_to"]
    assert mirrored["keys began_with"] == "a copy of cache"


def test_failovers_that_do_not(lab: Lab) -> None:
    """A backup that was cut off; keys that production itself has lost."""
    lab.cache.source.cli("HDEL", "students", "7")
    try:
        drills = lab.run("damaged", "failover and not copied")
    finally:
        lab.cache.source.cli("HSET", "students", "7", "7")
    assert {drill["verdict"] for drill in drills.values()} == {"MISSED"}, [one["reasons"] for one in drills.values()]
    restored, mirrored = (drills[name]["checks"] for name in sorted(drills))
    assert [check["verdict"] for check in restored] == ["MISSED"]
    assert restored[0]["title"] == "database shop comes up"
    assert [check["verdict"] for check in mirrored] == ["MISSED", "MET"]


def test_a_failover_to_a_replica_that_may_not_follow(lab: Lab) -> None:
    lab.maria.source.sql("REVOKE REPLICATION SLAVE ON *.* FROM rehearsal@'%'")
    try:
        [drill] = lab.run("app", "copied").values()
    finally:
        lab.maria.source.sql("GRANT REPLICATION SLAVE ON *.* TO rehearsal@'%'")
    assert drill["verdict"] == "INCONCLUSIVE"
    assert drill["recovery_time"]["total_seconds"] is None
    assert any("REPLICATION SLAVE" in reason for reason in drill["reasons"])
