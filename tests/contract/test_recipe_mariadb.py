"""Recipes for MariaDB: dumps and physical backups of a real server, and what must turn them red."""

from __future__ import annotations

import gzip
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from drtests.databases.mariadb.backup import MariadbBackupRecipe, MariadbBackupSpec
from drtests.databases.mariadb.dump import MariadbDumpRecipe, MariadbDumpSpec
from drtests.databases.mariadb.scratch import Starting
from drtests.errors import DatabaseDamaged, DatabaseError, SafetyError
from drtests.hosts.local import LocalHost
from drtests.model.estate import Host as Declaration
from drtests.protocols.database import Recipe, Scratch, ScratchPlace
from drtests.testing.check_contract import SystemClock
from drtests.testing.recipe_contract import RecipeContract, Restored
from tests.support.mariadb import MariaPair, MariaServer
from tests.support.needs import needs
from tests.support.servers import free_port
from tests.support.servers import workplace as made_workplace

CLIENT = (
    "sh",
    "-c",
    'mariadb --no-defaults --batch --skip-column-names -e "SELECT COUNT(*), USER() FROM app.students"',
)
QUESTION = "SELECT COUNT(*), MIN(name), SUM(LENGTH(paper)) FROM app.students"
ANSWER = [[400, "student 1", 400 * 32 + 8 * 31968]]
WRITE = "DELETE FROM app.students"


@pytest.fixture(scope="module")
def host() -> Iterator[LocalHost]:
    made = LocalHost(Declaration(id="local"))
    yield made
    assert list(made.sweep()) == []


@pytest.fixture(scope="class")
def workplace() -> Iterator[str]:
    with made_workplace(None) as folder:
        yield str(folder)


def fill(server: MariaServer) -> None:
    server.sql(
        "CREATE DATABASE app; USE app;"
        "CREATE TABLE students (id INT PRIMARY KEY, name VARCHAR(80), paper LONGTEXT, KEY (name)) ENGINE=InnoDB;"
        "INSERT INTO students SELECT seq, CONCAT('student ', seq), REPEAT(MD5(seq), IF(seq % 50 = 0, 1000, 1))"
        " FROM seq_1_to_400;"
        "CREATE TABLE marks (id INT PRIMARY KEY, mark INT) ENGINE=MyISAM;"
        "INSERT INTO marks SELECT seq, 7 FROM seq_1_to_50;"
        "CREATE EVENT yearly ON SCHEDULE EVERY 1 YEAR DO DELETE FROM marks;"
        "CREATE VIEW names AS SELECT name FROM students;"
        "CREATE FUNCTION twice (x INT) RETURNS INT DETERMINISTIC RETURN 2 * x;"
        "CREATE USER 'app'@'%' IDENTIFIED BY 'of the application'; GRANT ALL ON app.* TO 'app'@'%';"
        "CREATE USER 'strict'@'localhost' IDENTIFIED BY 'x'"
    )


def dump(server: MariaServer, *words: str) -> bytes:
    program = needs("mariadb-dump", "mysqldump", install="mariadb-client")
    argv = [program, "--no-defaults", f"--socket={server.socket}", "--user=root", "--single-transaction", *words]
    return subprocess.run(argv, capture_output=True, timeout=60, check=True).stdout


@pytest.fixture(scope="module")
def backed_up(mariadb_pair: MariaPair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A tree with dumps and physical backups of one server."""
    server = mariadb_pair.source
    fill(server)
    tree = tmp_path_factory.mktemp("backed-up")
    try:
        everything = ("--all-databases", "--routines", "--events", "--flush-privileges")
        following = ("--master-data=1", "--gtid", "--apply-slave-statements")
        whole = dump(server, *everything, *following)
        assert b"\nCHANGE MASTER" in whole
        assert b"\nSTART ALL SLAVES" in whole
        (tree / "all").mkdir()
        (tree / "all" / "all.sql.gz").write_bytes(gzip.compress(whole))
        (tree / "one").mkdir()
        (tree / "one" / "app.sql").write_bytes(dump(server, "--routines", "--events", "app"))
        program = needs("mariadb-backup", "mariabackup", install="mariadb-backup")
        argv = [program, "--no-defaults", "--backup", f"--socket={server.socket}", "--user=root"]
        (tree / "physical").mkdir()
        base = [f"--target-dir={tree}/physical/base"]
        subprocess.run([*argv, *base], capture_output=True, timeout=120, check=True)
        subprocess.run(["cp", "-a", str(tree / "physical" / "base"), str(tree / "prepared")], check=True)
        prepare = [program, "--no-defaults", "--prepare", f"--target-dir={tree}/prepared"]
        subprocess.run(prepare, capture_output=True, timeout=120, check=True)
        server.sql("CREATE TABLE app.later (id INT); INSERT INTO app.later VALUES (1)")
        more = [f"--target-dir={tree}/physical/more", f"--incremental-basedir={tree}/physical/base"]
        subprocess.run([*argv, *more], capture_output=True, timeout=120, check=True)
        yield tree
    finally:
        server.sql("DROP DATABASE app; DROP USER 'app'@'%'; DROP USER 'strict'@'localhost'")
        mariadb_pair.settle()


class TestDump(RecipeContract):
    recipe = MariadbDumpRecipe

    @pytest.fixture(scope="class")
    @classmethod
    def restored(cls, backed_up: Path) -> Restored:
        return Restored(
            backed_up / "one", {"path": "app.sql", "database": "app"}, ("path",), QUESTION, ANSWER, WRITE, CLIENT, "400"
        )


class TestBackup(RecipeContract):
    recipe = MariadbBackupRecipe
    keeps_tree = False

    def damage(self, tree: Path) -> None:
        os.truncate(tree / "base" / "ibdata1", 1_000_000)

    @pytest.fixture(scope="class")
    @classmethod
    def restored(cls, backed_up: Path) -> Restored:
        client = ("sh", "-c", 'mariadb --no-defaults --user="$MYSQL_USER" -N -e "SELECT COUNT(*) FROM app.students"')
        return Restored(backed_up / "physical", {"path": "base"}, ("path",), QUESTION, ANSWER, WRITE, client, "400")


class Brought:
    """Brings up a changed copy of what was backed up, and stops whatever it brought up."""

    def __init__(self, host: LocalHost, folder: str) -> None:
        self._host = host
        self._folder = folder
        self._scratches: list[Scratch] = []
        self.facts: dict[str, Any] = {}

    def __call__(self, recipe: Recipe, tree: Path) -> Scratch:
        place = f"{self._folder}/databases/{len(self._scratches)}"
        self._host.make_directory(place)
        found = recipe.bring_up(
            ScratchPlace(self._host, str(tree), place, SystemClock(), timeout=60, tell=self.facts.__setitem__)
        )
        self._scratches.append(found)
        return found

    def stop(self) -> None:
        for scratch in self._scratches:
            scratch.stop(20)


@pytest.fixture
def bring_up(
    host: LocalHost, mariadb_home: tuple[Path, str | None], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Brought]:
    """An empty data directory takes a second to make; the contract's suite above makes its own, here one is copied."""

    def copied(_: MariadbDumpRecipe, starting: Starting) -> None:
        host.run(["cp", "-a", f"{mariadb_home[0]}/template", starting.data], timeout=60)

    monkeypatch.setattr(MariadbDumpRecipe, "_install", copied)
    with made_workplace(None) as folder:
        made = Brought(host, str(folder))
        try:
            yield made
        finally:
            made.stop()


@pytest.fixture
def tree(backed_up: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    subprocess.run(["cp", "-a", f"{backed_up}/.", str(tmp_path)], check=True)
    return tmp_path


def dump_recipe(**options: Any) -> MariadbDumpRecipe:
    return MariadbDumpRecipe(MariadbDumpSpec.model_validate({"path": "one/app.sql", "database": "app"} | options))


def backup_recipe(**options: Any) -> MariadbBackupRecipe:
    return MariadbBackupRecipe(MariadbBackupSpec.model_validate({"path": "physical/base"} | options))


def flip(file: Path, at: int, count: int = 64) -> None:
    with file.open("r+b") as opened:
        opened.seek(at)
        old = opened.read(count)
        opened.seek(at)
        opened.write(bytes(byte ^ 0xFF for byte in old))


PAGE = 16384


@pytest.mark.parametrize("page", ["index", "long column"])
def test_flipped_bytes_in_a_table_are_found(bring_up: Brought, tree: Path, page: str) -> None:
    file = tree / "prepared" / "app" / "students.ibd"
    data = file.read_bytes()
    kinds = {"index": (17855,), "long column": (10, 11, 12, 18, 19)}[page]
    pages = range(4, len(data) // PAGE)
    found = [n for n in pages if int.from_bytes(data[n * PAGE + 24 : n * PAGE + 26], "big") in kinds]
    assert found, "no such page: nothing is proved"
    flip(file, found[len(found) // 2] * PAGE + 8000)
    scratch = bring_up(backup_recipe(path="prepared"), tree)
    assert bring_up.facts["prepared"] == "before"
    problems = list(scratch.integrity(60).problems)
    assert any("students" in problem for problem in problems), problems


def test_flipped_bytes_of_an_older_kind_of_table(bring_up: Brought, tree: Path) -> None:
    file = tree / "physical" / "base" / "app" / "marks.MYI"
    flip(file, 1100, 200)
    problems = list(bring_up(backup_recipe(), tree).integrity(60).problems)
    assert any("marks" in problem for problem in problems), problems


def test_a_dump_that_lacks_its_end_is_damaged(bring_up: Brought, tree: Path) -> None:
    """Also when it was cut between two statements, where SQL alone would not tell."""
    file = tree / "one" / "app.sql"
    whole = file.read_bytes()
    file.write_bytes(whole[: whole.index(b"-- Dump completed")])
    with pytest.raises(DatabaseDamaged, match="Dump completed"):
        bring_up(dump_recipe(), tree)
    # Declared as one that has no such line, it loads: nothing else tells.
    scratch = bring_up(dump_recipe(end_mark=False), tree)
    assert scratch.session.query(QUESTION) == ANSWER


def test_what_is_no_dump(bring_up: Brought, tree: Path) -> None:
    file = tree / "one" / "app.sql"
    whole = file.read_bytes()
    at = whole.index(b"INSERT INTO `students`")
    file.write_bytes(whole[:at] + b"INSE\0RT nonsense;\n" + whole[at:])
    with pytest.raises(DatabaseDamaged, match="cannot be loaded"):
        bring_up(dump_recipe(), tree)
    file.write_bytes(b"")
    with pytest.raises(DatabaseDamaged, match="empty"):
        bring_up(dump_recipe(end_mark=False), tree)
    (tree / "all" / "all.sql.gz").write_bytes(whole)
    with pytest.raises(DatabaseDamaged, match="cannot be read to its end"):
        bring_up(dump_recipe(path="all/all.sql.gz"), tree)


def test_a_dump_without_a_name_needs_one(bring_up: Brought, tree: Path) -> None:
    with pytest.raises(DatabaseError, match="names no database") as caught:
        bring_up(dump_recipe(database=None), tree)
    assert "`database`" in caught.value.mend


def test_orders_in_a_dump_are_not_carried_out(bring_up: Brought, tree: Path) -> None:
    """Neither those to the client, nor those to follow production, nor files of this machine."""
    file = tree / "one" / "app.sql"
    whole = file.read_text()

    def with_orders(orders: str) -> MariadbDumpRecipe:
        file.write_text(whole.replace("-- Dump completed", orders + "\n-- Dump completed"))
        return dump_recipe()

    for escape in (f"\\! touch {tree}/escaped", f"system touch {tree}/escaped;", f"tee {tree}/escaped"):
        with pytest.raises(DatabaseError):
            bring_up(with_orders(escape), tree)
        assert not (tree / "escaped").exists()
    follow = "CHANGE MASTER TO MASTER_HOST='production';"
    scratch = bring_up(with_orders(f"{follow}\nSTART SLAVE;"), tree)
    assert scratch.session.query("SHOW ALL SLAVES STATUS") == []
    # Nor is a table made, or a file read, outside the drill's folder.
    (tree / "outside").mkdir(mode=0o777)
    (tree / "outside").chmod(0o777)
    apart = f"CREATE TABLE apart (i INT) DATA DIRECTORY='{tree}/outside'; INSERT INTO apart VALUES (1);"
    scratch = bring_up(with_orders(apart), tree)
    assert scratch.session.query("SELECT * FROM apart") == [[1]]
    assert list((tree / "outside").iterdir()) == []
    for reading in ("LOAD DATA INFILE", "LOAD DATA LOCAL INFILE"):
        with pytest.raises(DatabaseError):
            bring_up(with_orders(f"CREATE TABLE files (t TEXT); {reading} '/etc/passwd' INTO TABLE files;"), tree)
    # Written otherwise than a dump has it, it is refused.
    with pytest.raises(DatabaseError, match="SUPER, REPLICATION SLAVE ADMIN"):
        bring_up(with_orders(f"  {follow}"), tree)


def test_a_dump_of_all_keeps_its_accounts_and_runs_nothing(bring_up: Brought, tree: Path, host: LocalHost) -> None:
    port = free_port()
    scratch = bring_up(dump_recipe(path="all/all.sql.gz", database=None, port=port), tree)
    session = scratch.session
    assert bring_up.facts["dump_completed"].startswith("20")
    assert session.query("SELECT @@event_scheduler, @@log_bin, @@skip_networking") == [["OFF", 0, 0]]
    assert session.query("SHOW ALL SLAVES STATUS") == []
    assert session.query("SELECT COUNT(*) FROM information_schema.events WHERE event_schema = 'app'") == [[1]]
    # As an application would: its own account, over the port; and by what the environment tells.
    words = ["mariadb", "--no-defaults", "--protocol=tcp", "--host=127.0.0.1", "-N", "-e", "SELECT app.twice(21)"]
    env = {**scratch.environment, "MYSQL_PWD": "of the application"}
    told = host.run([*words, "--user=app"], timeout=20, env=env)
    assert told.stdout.strip() == "42", told.stderr
    told = host.run([*words, "--user=drtests"], timeout=20, env=scratch.environment)
    assert told.stdout.strip() == "42", told.stderr
    assert host.run([*words, "--user=drtests"], timeout=20, env={**scratch.environment, "MYSQL_PWD": ""}).exit_code


def test_nobody_gets_in_without_the_password(bring_up: Brought, tree: Path, host: LocalHost) -> None:
    scratch = bring_up(dump_recipe(port=free_port()), tree)
    env = {**scratch.environment, "MYSQL_PWD": ""}
    words = ["mariadb", "--no-defaults", "--host=127.0.0.1", "-e", "SELECT 1"]
    for user in ("root", "drtests", "nobody", "app"):
        for protocol in ("tcp", "socket"):
            assert host.run([*words, f"--user={user}", f"--protocol={protocol}"], timeout=20, env=env).exit_code, user
    assert len(scratch.session.query("SELECT user, host FROM mysql.global_priv")) <= 5


def test_incremental_backups_are_applied(bring_up: Brought, tree: Path) -> None:
    scratch = bring_up(backup_recipe(incrementals=["physical/more"], database="app"), tree)
    assert scratch.session.query("SELECT * FROM later") == [[1]]
    assert scratch.integrity(60).problems == ()
    assert "GTID" in bring_up.facts["binlog_pos"]


def test_what_is_no_backup(bring_up: Brought, tree: Path) -> None:
    (tree / "physical" / "base" / "xtrabackup_checkpoints").unlink()
    with pytest.raises(DatabaseDamaged, match="no backup"):
        bring_up(backup_recipe(), tree)


@pytest.mark.parametrize("name", ["students.isl", "link"])
def test_a_backup_that_points_elsewhere_is_refused(bring_up: Brought, tree: Path, name: str) -> None:
    made = tree / "prepared" / "app" / name
    if name == "link":
        made.symlink_to("/var/lib/mysql")
    else:
        made.write_text("/var/lib/mysql/app/students.ibd")
    with pytest.raises(SafetyError, match="elsewhere"):
        bring_up(backup_recipe(path="prepared"), tree)


def test_a_long_path_gets_a_socket_elsewhere(bring_up: Brought, tree: Path) -> None:
    bring_up._folder += "/" + "long" * 25
    bring_up._host.make_directory(bring_up._folder)
    for folder in (Path(bring_up._folder), Path(bring_up._folder).parent):
        folder.chmod(0o755)
    scratch = bring_up(backup_recipe(path="prepared"), tree)
    socket = Path(scratch.environment["MYSQL_UNIX_PORT"])
    assert len(str(socket)) <= 107
    assert socket.exists()
    scratch.stop(20)
    assert not socket.parent.exists()


def test_a_busy_port(bring_up: Brought, tree: Path, mariadb_pair: MariaPair) -> None:
    with pytest.raises(DatabaseError, match=r"(?i)port|address already in use"):
        bring_up(backup_recipe(path="prepared", port=mariadb_pair.source.port), tree)


@pytest.mark.parametrize(
    "settings",
    [{"skip-networking": "0"}, {"log_bin": "x"}, {"a b": "1"}, {"plugin_load": "x"}, {"init-file": "/etc/passwd"}],
)
def test_settings_that_are_not_the_users(settings: dict[str, str]) -> None:
    for spec in (MariadbDumpSpec, MariadbBackupSpec):
        with pytest.raises(ValidationError):
            spec.model_validate({"path": "x", "settings": settings})


def test_settings_reach_the_server(bring_up: Brought, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    recipe = dump_recipe(settings={"lower_case_table_names": 1, "innodb-page-size": "32k"})
    session = bring_up(recipe, tree).session
    assert session.query("SELECT @@lower_case_table_names, @@innodb_page_size") == [[1, 32768]]


def test_programs(host: LocalHost) -> None:
    assert dump_recipe().programs(host).startswith("MariaDB 1")
    assert backup_recipe().programs(host).startswith("MariaDB 1")
