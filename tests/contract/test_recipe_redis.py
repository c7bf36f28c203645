"""The recipe for Redis: snapshots and append-only files of a real server, and what must turn them red."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from drtests.databases.redis.recipe import RedisRecipe, RedisRecipeSpec
from drtests.errors import DatabaseDamaged, DatabaseError, DatabaseMissing, SafetyError
from drtests.hosts.local import LocalHost
from drtests.model.estate import Host as Declaration
from drtests.protocols.database import Scratch, ScratchPlace
from drtests.testing.check_contract import SystemClock
from drtests.testing.recipe_contract import RecipeContract, Restored
from tests.support.redis import make_server
from tests.support.servers import free_port, wait_for
from tests.support.servers import workplace as made_workplace

QUESTION = "EVAL_RO \"return {redis.call('DBSIZE'), redis.call('GET', 'key7'), redis.call('HLEN', 'students')}\" 0"
ANSWER: list[list[Any]] = [[503], ["v" * 7], [200]]
CLIENT = ("sh", "-c", 'redis-cli -s "$REDIS_SOCKET" DBSIZE')
FILL = """
for i = 1, 500 do redis.call('SET', 'key' .. i, string.rep('v', i)) end
for i = 1, 200 do redis.call('HSET', 'students', 'student ' .. i, i); redis.call('SADD', 'set', i * 7) end
redis.call('XADD', 'stream', '1-1', 'a', '1')
"""


@pytest.fixture(scope="module")
def host() -> Iterator[LocalHost]:
    made = LocalHost(Declaration(id="local"))
    yield made
    assert list(made.sweep()) == []


@pytest.fixture(scope="class")
def workplace() -> Iterator[str]:
    with made_workplace(None) as folder:
        yield str(folder)


@pytest.fixture(scope="module")
def backed_up(redis_home: tuple[Path, str | None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with what one server keeps on disk: `rdb/dump.rdb`, `aof/` with a directory of its own, `whole/`."""
    server = make_server(*redis_home, "kept", "--appendonly", "yes")
    server.start()
    try:
        assert "ERR" not in server.cli("EVAL", FILL, "0")
        server.cli("SAVE")
        server.cli("BGREWRITEAOF")
        wait_for(lambda: server.info("persistence")["aof_rewrite_in_progress"] == "0", "the rewrite hangs")
        wait_for(lambda: server.info("persistence")["aof_rewrite_scheduled"] == "0", "the rewrite does not start")
        server.cli("SET", "key7", "v" * 7)
        server.cli("-n", "3", "SET", "third", "3")
        tree = tmp_path_factory.mktemp("redis")
        (tree / "rdb").mkdir()
        shutil.copyfile(server.folder / "dump.rdb", tree / "rdb" / "dump.rdb")
        shutil.copytree(server.folder / "appendonlydir", tree / "aof")
        (tree / "whole").mkdir()
        shutil.copytree(tree / "rdb", tree / "whole" / "data", dirs_exist_ok=True)
        shutil.copytree(tree / "aof", tree / "whole" / "data" / "appendonlydir")
        return tree
    finally:
        server.process.stop()


class TestSnapshot(RecipeContract):
    recipe = RedisRecipe

    @pytest.fixture(scope="class")
    @classmethod
    def restored(cls, backed_up: Path) -> Restored:
        return Restored(backed_up / "rdb", {"path": "dump.rdb"}, ("path",), QUESTION, ANSWER, "DEL key7", CLIENT, "503")


class TestAppendOnly(RecipeContract):
    recipe = RedisRecipe

    def damage(self, tree: Path) -> None:
        [base] = (tree / "data" / "appendonlydir").glob("*.base.*")
        os.truncate(base, base.stat().st_size // 2)

    @pytest.fixture(scope="class")
    @classmethod
    def restored(cls, backed_up: Path) -> Restored:
        return Restored(
            backed_up / "whole",
            {"path": "data", "use": "aof"},
            ("path",),
            QUESTION,
            ANSWER,
            "DEL key7",
            CLIENT,
            "503",
        )


class Brought:
    """Brings up a changed copy of what was backed up, and stops whatever it brought up."""

    def __init__(self, host: LocalHost, folder: str) -> None:
        self._host = host
        self._folder = folder
        self._scratches: list[Scratch] = []
        self.facts: dict[str, Any] = {}

    def __call__(self, tree: Path, **options: Any) -> Scratch:
        place = f"{self._folder}/databases/{len(self._scratches)}"
        self._host.make_directory(place)
        recipe = RedisRecipe(RedisRecipeSpec.model_validate(options))
        found = recipe.bring_up(
            ScratchPlace(self._host, str(tree), place, SystemClock(), timeout=60, tell=self.facts.__setitem__)
        )
        self._scratches.append(found)
        return found

    def stop(self) -> None:
        for scratch in self._scratches:
            scratch.stop(20)


@pytest.fixture
def bring_up(host: LocalHost) -> Iterator[Brought]:
    with made_workplace(None) as folder:
        made = Brought(host, str(folder))
        try:
            yield made
        finally:
            made.stop()


@pytest.fixture
def tree(backed_up: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(backed_up, tmp_path / "tree"))


def flip(file: Path, at: int, count: int = 3) -> None:
    data = bytearray(file.read_bytes())
    for place in range(at, at + count):
        data[place] ^= 0xFF
    file.write_bytes(data)


@pytest.mark.parametrize("at", [100, 5000, -4])
def test_flipped_bytes_in_a_snapshot(bring_up: Brought, tree: Path, at: int) -> None:
    file = tree / "rdb" / "dump.rdb"
    flip(file, at % file.stat().st_size)
    with pytest.raises(DatabaseDamaged, match="damaged") as caught:
        bring_up(tree, path="rdb/dump.rdb")
    assert "key" not in caught.value.what
    assert "student" not in caught.value.what


def test_a_snapshot_of_a_newer_release(bring_up: Brought, tree: Path) -> None:
    file = tree / "rdb" / "dump.rdb"
    data = file.read_bytes()
    file.write_bytes(data[:5] + b"0099" + data[9:])
    with pytest.raises(DatabaseMissing, match="newer"):
        bring_up(tree, path="rdb")


def test_what_is_no_snapshot(bring_up: Brought, tree: Path) -> None:
    for content in (b"", b"just a text", b"REDIS0010"):
        (tree / "rdb" / "dump.rdb").write_bytes(content)
        with pytest.raises(DatabaseDamaged):
            bring_up(tree, path="rdb/dump.rdb")


def incremental(tree: Path) -> Path:
    [file] = (tree / "aof").glob("*.incr.aof")
    return file


def test_the_end_of_an_append_only_file_is_missing(bring_up: Brought, tree: Path) -> None:
    file = incremental(tree)
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(DatabaseDamaged, match="not valid") as caught:
        bring_up(tree, path="aof")
    assert "cut_end" in caught.value.mend
    session = bring_up(tree, path="aof", cut_end=True).session
    assert session.query(QUESTION) == ANSWER
    assert bring_up.facts["cut_end"]


def test_damage_within_an_append_only_file_is_no_cut_end(bring_up: Brought, tree: Path) -> None:
    file = incremental(tree)
    data = file.read_bytes()
    file.write_bytes(data[:10] + b"nonsense\r\n" + data[10:])
    for cut_end in (False, True):
        with pytest.raises(DatabaseDamaged):
            bring_up(tree, path="aof", cut_end=cut_end)


def test_a_part_of_an_append_only_file_is_missing(bring_up: Brought, tree: Path) -> None:
    [base] = (tree / "aof").glob("*.base.*")
    base.unlink()
    for cut_end in (False, True):
        with pytest.raises(DatabaseDamaged):
            bring_up(tree, path="aof", cut_end=cut_end)


def test_which_one_is_meant(bring_up: Brought, tree: Path) -> None:
    with pytest.raises(DatabaseError, match="both") as caught:
        bring_up(tree, path="whole/data")
    assert "`use`" in caught.value.mend
    snapshot = bring_up(tree, path="whole/data", use="rdb")
    assert bring_up.facts["read"] == "rdb"
    assert bring_up.facts["checksum"] == "right"
    appended = bring_up(tree, path="whole/data", use="aof", database=3)
    assert appended.session.query("GET third") == [["3"]]
    assert snapshot.session.query(QUESTION) == ANSWER
    with pytest.raises(DatabaseDamaged, match="does not hold"):
        bring_up(tree, path="rdb", use="aof")
    (tree / "rdb" / "dump.rdb").rename(tree / "rdb" / "one.rdb")
    shutil.copyfile(tree / "rdb" / "one.rdb", tree / "rdb" / "two.rdb")
    with pytest.raises(DatabaseError, match="several"):
        bring_up(tree, path="rdb")


def test_one_file_of_an_older_release(bring_up: Brought, tree: Path) -> None:
    (tree / "old").mkdir()
    (tree / "old" / "appendonly.aof").write_bytes(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n")
    assert bring_up(tree, path="old").session.query("GET a") == [["1"]]
    assert bring_up(tree, path="old/appendonly.aof").session.query("GET a") == [["1"]]


def test_links_do_not_lead_out(bring_up: Brought, tree: Path) -> None:
    (tree / "rdb" / "other.rdb").symlink_to("/etc/passwd")
    with pytest.raises(SafetyError):
        bring_up(tree, path="rdb")


def test_all_databases_are_read(bring_up: Brought, tree: Path) -> None:
    scratch = bring_up(tree, path="aof")
    assert scratch.integrity(60).problems == ()
    with pytest.raises(DatabaseError, match=r"did not come up|every key"):
        scratch.integrity(0.0)


def test_a_server_that_dies_while_it_is_read(bring_up: Brought, tree: Path) -> None:
    scratch = bring_up(tree, path="aof")
    scratch._service.stop(0)  # type: ignore[attr-defined]
    [problem] = scratch.integrity(60).problems
    assert "ended" in problem


def test_a_port_with_a_password(bring_up: Brought, tree: Path, host: LocalHost) -> None:
    port = free_port()
    scratch = bring_up(tree, path="rdb", port=port)
    words = ["redis-cli", "-u", scratch.environment["REDIS_URL"], "--no-auth-warning", "DBSIZE"]
    assert host.run(words, timeout=20).stdout.strip() == "503"
    told = host.run(["redis-cli", "-p", str(port), "DBSIZE"], timeout=20)
    assert "NOAUTH" in told.stdout
    with pytest.raises(DatabaseError, match=r"(?i)address already in use"):
        bring_up(tree, path="rdb", port=port)


def test_it_follows_nobody_and_writes_nothing(bring_up: Brought, tree: Path) -> None:
    session = bring_up(tree, path="rdb", settings={"maxmemory-policy": "noeviction"}).session
    [[role], _, _] = session.query("ROLE")
    assert role == "master"
    assert session.query("CONFIG GET save") == [["save", ""]]
    assert session.query("CONFIG GET maxmemory-policy") == [["maxmemory-policy", "noeviction"]]


@pytest.mark.parametrize("name", ["replicaof", "requirepass", "save", "include", "a b", "x\ny"])
def test_settings_that_are_not_the_users(name: str) -> None:
    with pytest.raises(ValidationError):
        RedisRecipeSpec.model_validate({"path": "x", "settings": {name: "1"}})
    with pytest.raises(ValidationError):
        RedisRecipeSpec.model_validate({"path": "x", "settings": {"maxmemory": "1\nreplicaof production 6379"}})


def test_programs(host: LocalHost) -> None:
    assert RedisRecipe(RedisRecipeSpec(path="x")).programs(host).startswith("Redis 7")
