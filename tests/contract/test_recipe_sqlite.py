"""The recipe for SQLite keeps the contract: files with a log, and dumps."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from drtests.databases.sqlite import SqliteRecipe
from drtests.errors import DatabaseDamaged, DatabaseError, DatabaseRefused
from drtests.hosts.local import LocalHost
from drtests.model.estate import Host as Declaration
from drtests.protocols.database import Scratch, ScratchPlace
from drtests.testing.check_contract import SystemClock
from drtests.testing.recipe_contract import RecipeContract, Restored

AWKWARD = "it's\ttabbed,\r\ntwo lines; BEGIN; naïve 数据库"
QUESTION = "SELECT id, name, grade, class FROM pupil WHERE id < 4 ORDER BY id"
ANSWER = [[1, "Jansen; 1", 7.5, None], [2, AWKWARD, -1.0, "1b"], [3, "Jansen; 3", 7.5, None]]
CLIENT = ("sh", "-c", 'exec python3 -m sqlite3 "$SQLITE_DATABASE" "SELECT count(*) FROM pupil"')
if sys.version_info < (3, 12):  # the module has no command line yet
    CLIENT = (
        "python3",
        "-c",
        "import os, sqlite3; "
        "print(sqlite3.connect(os.environ['SQLITE_DATABASE']).execute('SELECT count(*) FROM pupil').fetchone())",
    )


@pytest.fixture(scope="class")
def host() -> LocalHost:
    return LocalHost(Declaration(id="local"), marker=f"recipe-sqlite-{os.getpid()}")


@pytest.fixture(scope="class")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("sqlite"))


def fill(path: Path, *, wal: bool = False) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path)
    if wal:
        connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(
        "CREATE TABLE class (id TEXT PRIMARY KEY);"
        "CREATE TABLE pupil (id INTEGER PRIMARY KEY, name TEXT, grade REAL, class TEXT REFERENCES class);"
        "CREATE TABLE log (at TEXT);"
        "CREATE TRIGGER told AFTER DELETE ON pupil BEGIN INSERT INTO log VALUES ('x;'); SELECT 1; END;"
        "INSERT INTO class VALUES ('1b');"
    )
    connection.executemany(
        "INSERT INTO pupil (name, grade, class) VALUES (?, ?, ?)",
        [(AWKWARD, -1.0, "1b") if n == 2 else (f"Jansen; {n}", 7.5, None) for n in range(1, 901)],
    )
    connection.commit()
    return connection


def restored(tree: Path, path: str) -> Restored:
    return Restored(
        tree=tree,
        options={"path": path},
        paths=["path"],
        question=QUESTION,
        answer=ANSWER,
        write="DELETE FROM pupil",
        client=CLIENT,
        client_prints="900",
    )


class TestFileWithLog(RecipeContract):
    """As a backup of a running application holds it: the newest rows are in the log only."""

    recipe = SqliteRecipe
    server = False

    @pytest.fixture(scope="class")
    @classmethod
    def restored(cls, tmp_path_factory: pytest.TempPathFactory) -> Restored:
        tree, live = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("live")
        connection = fill(live / "app.db", wal=True)
        for name in ("app.db", "app.db-wal"):
            shutil.copyfile(live / name, tree / name)
        connection.close()
        return restored(tree, "app.db")

    def damage(self, tree: Path) -> None:
        (tree / "app.db-wal").unlink()
        (tree / "app.db").write_bytes(b"SQLite format 3\0" + b"\xa5" * 5000)


class TestDump(RecipeContract):
    recipe = SqliteRecipe
    server = False

    @pytest.fixture(scope="class")
    @classmethod
    def restored(cls, tmp_path_factory: pytest.TempPathFactory) -> Restored:
        tree = tmp_path_factory.mktemp("tree")
        dump(tree)
        return restored(tree, "srv/app.sql")


def dump(tree: Path) -> Path:
    connection = fill(tree.parent / f"{tree.name}-live.db")
    path = tree / "srv/app.sql"
    path.parent.mkdir()
    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines(f"{line}\n" for line in connection.iterdump())
    connection.close()
    return path


def bring_up(host: LocalHost, root: Path, path: str = "app.db") -> tuple[Scratch, dict[str, Any]]:
    folder = root.parent / f"{root.name}-folder"
    folder.mkdir()
    facts: dict[str, Any] = {}
    place = ScratchPlace(host, str(root), str(folder), SystemClock(), timeout=60, tell=facts.__setitem__)
    return SqliteRecipe(SqliteRecipe.Spec.model_validate({"path": path})).bring_up(place), facts  # type: ignore[arg-type]


def _flip(tree: Path) -> None:
    with (tree / "app.db").open("r+b") as file:
        file.seek(8192)
        file.write(b"\xa5" * 8192)


def _orphan(tree: Path) -> None:
    connection = sqlite3.connect(tree / "app.db")
    connection.execute("UPDATE pupil SET class = '9z' WHERE id = 7")
    connection.commit()
    connection.close()


@pytest.mark.parametrize(("sabotage", "told"), [(_flip, ""), (_orphan, "row 7 of pupil refers to a row of class")])
def test_integrity_finds_damage(host: LocalHost, tmp_path: Path, sabotage: Callable[[Path], None], told: str) -> None:
    tree = tmp_path / "tree"
    fill(tree / "app.db").close()
    sabotage(tree)
    scratch, _ = bring_up(host, tree)
    problems = scratch.integrity(60).problems
    assert problems
    assert any(told in problem for problem in problems)


@pytest.mark.parametrize("cut", ["a line", "half a line", "all but the end"])
def test_a_dump_without_its_end_is_damaged(host: LocalHost, tmp_path: Path, cut: str) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    path = dump(tree)
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    assert lines[-1] == "COMMIT;\n"
    left = {"a line": lines[:-2], "half a line": [*lines[:300], lines[300][:20]], "all but the end": lines[:-1]}[cut]
    path.write_text("".join(left), encoding="utf-8", newline="")
    with pytest.raises(DatabaseDamaged, match=r"before its transaction|whole dump"):
        bring_up(host, tree, "srv/app.sql")


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="needs the program sqlite3 (apt-get install sqlite3)")
def test_a_dump_of_the_program_itself(host: LocalHost, tmp_path: Path) -> None:
    fill(tmp_path / "live.db").close()
    tree = tmp_path / "tree"
    tree.mkdir()
    with (tree / "app.db").open("wb") as file:
        subprocess.run(["sqlite3", str(tmp_path / "live.db"), ".dump"], stdout=file, check=True, timeout=60)
    scratch, facts = bring_up(host, tree)
    assert [list(row) for row in scratch.session.query(QUESTION)] == ANSWER
    assert facts["from"] == "dump"


@pytest.mark.parametrize(
    "text", ["", "-- nothing\n", "SELECT 1;", "hello " * 1000, "BEGIN; ROLLBACK; -- due to errors\n"]
)
def test_what_is_no_database(host: LocalHost, tmp_path: Path, text: str) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "app.db").write_text(text)
    with pytest.raises(DatabaseDamaged):
        bring_up(host, tree)


def test_several_statements_on_a_line(host: LocalHost, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "app.db").write_text("BEGIN; CREATE TABLE a (x); INSERT INTO a VALUES ('1;2'); COMMIT;")
    assert bring_up(host, tree)[0].session.query("SELECT x FROM a") == [["1;2"]]


def test_a_session_makes_no_other_file(host: LocalHost, tmp_path: Path) -> None:
    tree, other = tmp_path / "tree", tmp_path / "other.db"
    fill(tree / "app.db").close()
    session = bring_up(host, tree)[0].session
    for statement in (f"ATTACH '{other}' AS o", f"VACUUM INTO '{other}'", "PRAGMA query_only = 0; DELETE FROM pupil"):
        with pytest.raises(DatabaseError):
            session.query(statement)
    assert not other.exists()
    with pytest.raises(DatabaseRefused):
        session.query("DELETE FROM pupil")


def test_values_that_JSON_does_not_know(host: LocalHost, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    fill(tree / "app.db").close()
    session = bring_up(host, tree)[0].session
    assert session.query("SELECT 9e999, x'00ff', CAST(x'ff41' AS TEXT), 9223372036854775807") == [
        ["inf", "00ff", "\\xffA", 9223372036854775807]
    ]
    with pytest.raises(DatabaseError, match="larger than"):
        session.query(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 20000) "
            "SELECT i, printf('%0100d', i) FROM n"
        )


def test_a_removed_file_is_seen(host: LocalHost, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    fill(tree / "app.db").close()
    scratch, _ = bring_up(host, tree)
    assert scratch.died() is None
    Path(scratch.environment["SQLITE_DATABASE"]).unlink()
    assert scratch.died()
    with pytest.raises(DatabaseDamaged, match="gone"):
        scratch.session.query("SELECT 1")
    scratch.stop(1)
    assert scratch.died() is None
