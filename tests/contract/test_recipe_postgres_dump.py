"""The recipe postgres-dump: every form of pg_dump's output, and what must turn it red."""

from __future__ import annotations

import gzip
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from drtests.databases.postgres.dump import PostgresDumpRecipe, PostgresDumpSpec
from drtests.databases.postgres.scratch import ScratchPostgres
from drtests.errors import DatabaseDamaged, DatabaseError, DatabaseMissing
from drtests.hosts.local import LocalHost
from drtests.model.estate import Host as Declaration
from drtests.testing.recipe_contract import RecipeContract, Restored
from tests.support.postgres import PostgresPair, PostgresServer, binaries
from tests.support.servers import free_port
from tests.support.servers import workplace as made_workplace

QUESTION = "SELECT count(*), min(name), sum(length(paper)) FROM students"
ANSWER = [[400, "student 1", 400 * 32 + 8 * 31968]]
QUICK = {"fsync": "off", "shared_buffers": "8MB"}
WRITE = "DELETE FROM students"
CLIENT = ("sh", "-c", "psql -XAtc 'SELECT count(*) FROM students'")


@pytest.fixture(scope="module")
def host() -> Iterator[LocalHost]:
    made = LocalHost(Declaration(id="local"))
    yield made
    assert list(made.sweep()) == []


@pytest.fixture(scope="class")
def workplace() -> Iterator[str]:
    with made_workplace(None) as folder:
        yield str(folder)


def fill(server: PostgresServer) -> None:
    server.sql("CREATE DATABASE app")
    server.sql(
        "CREATE ROLE owner_of_app NOLOGIN;"
        "CREATE TABLE students (id int PRIMARY KEY, name text, paper text);"
        "INSERT INTO students SELECT n, 'student ' || n,"
        " repeat(md5(n::text), CASE WHEN n % 50 = 0 THEN 1000 ELSE 1 END) FROM generate_series(1, 400) AS n;"
        "CREATE INDEX ON students (name); ALTER TABLE students OWNER TO owner_of_app;"
        "GRANT SELECT ON students TO reader;"
        "CREATE VIEW names AS SELECT name FROM students;"
        "CREATE FUNCTION twice(x int) RETURNS int LANGUAGE sql AS 'SELECT 2 * x';",
        "app",
    )


@pytest.fixture(scope="module")
def dumped(postgres_pair: PostgresPair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A tree with the same database in every form."""
    server = postgres_pair.primary
    fill(server)
    tree = tmp_path_factory.mktemp("dumped")

    def dump(*words: str) -> bytes:
        argv = [str(binaries() / "pg_dump"), *server.login("app"), *words]
        return subprocess.run(argv, capture_output=True, timeout=60, check=True).stdout

    try:
        for form in ("plain", "custom", "tar", "directory", "packed"):
            (tree / form).mkdir()
        (tree / "plain" / "app.sql").write_bytes(dump())
        (tree / "packed" / "app.sql.gz").write_bytes(gzip.compress(dump("--create")))
        (tree / "custom" / "app.dump").write_bytes(dump("--format=custom"))
        (tree / "tar" / "app.tar").write_bytes(dump("--format=tar"))
        dump("--format=directory", f"--file={tree}/directory/app", "--compress=0")
        yield tree
    finally:
        server.sql("DROP DATABASE app")
        server.sql("DROP ROLE owner_of_app")
        postgres_pair.settle()


class TestCustom(RecipeContract):
    recipe = PostgresDumpRecipe

    @pytest.fixture(scope="class")
    @classmethod
    def restored(cls, dumped: Path) -> Restored:
        options = {"path": "app.dump", "database": "app", "settings": QUICK}
        return Restored(dumped / "custom", options, ("path",), QUESTION, ANSWER, WRITE, CLIENT, "400")


class Brought:
    """Brings up a changed copy of a dump, and stops whatever it brought up."""

    def __init__(self, host: LocalHost, folder: str) -> None:
        self._host = host
        self._folder = folder
        self._made: list[ScratchPostgres] = []
        self.facts: dict[str, Any] = {}
        self.tree = Path(folder, "tree")

    def copy(self, source: Path) -> Path:
        subprocess.run(["cp", "-a", str(source), str(self.tree)], check=True)
        return self.tree

    def up(self, **options: Any) -> ScratchPostgres:
        options = {**options, "settings": {**QUICK, **options.get("settings", {})}}
        restored = Restored(self.tree, options, ("path",), QUESTION, ANSWER, WRITE, CLIENT)
        place, self.facts = RecipeContract.place(self._host, restored, self._folder, f"d{len(self._made)}")
        made = PostgresDumpRecipe(PostgresDumpSpec.model_validate(options)).bring_up(place)
        assert isinstance(made, ScratchPostgres)
        self._made.append(made)
        return made

    def stop(self) -> None:
        for made in self._made:
            made.stop(10)


@pytest.fixture
def brought(host: LocalHost) -> Iterator[Brought]:
    with made_workplace(None) as folder:
        made = Brought(host, str(folder))
        yield made
        made.stop()


@pytest.mark.parametrize(
    ("form", "path", "database"),
    [
        ("plain", "app.sql", "restored"),
        ("tar", "app.tar", "app"),
        ("directory", "app", "app"),
        ("packed", "app.sql.gz", "app"),
    ],
)
def test_every_form_comes_back(dumped: Path, brought: Brought, form: str, path: str, database: str) -> None:
    brought.copy(dumped / form)
    if form == "packed":
        # It makes its own database, and goes there: ours only has to be another.
        made = brought.up(path=path, database="elsewhere")
        rows = made.open(database, writable=False).query(QUESTION)
    else:
        rows = brought.up(path=path, database=database).session.query(QUESTION)
    assert rows == ANSWER
    assert brought.facts["dump_form"] == form


CUT = {"plain": "app.sql", "packed": "app.sql.gz", "custom": "app.dump", "tar": "app.tar"}


@pytest.mark.parametrize(("form", "path"), CUT.items())
@pytest.mark.parametrize("part", [0.0, 0.99])
def test_a_dump_that_was_cut_off(dumped: Path, brought: Brought, form: str, path: str, part: float) -> None:
    file = brought.copy(dumped / form) / path
    os.truncate(file, int(file.stat().st_size * part))
    with pytest.raises(DatabaseDamaged):
        brought.up(path=path)


def test_a_table_of_a_directory_that_is_gone(dumped: Path, brought: Brought) -> None:
    tree = brought.copy(dumped / "directory")
    max((tree / "app").glob("*.dat"), key=lambda file: file.stat().st_size if file.name != "toc.dat" else 0).unlink()
    with pytest.raises(DatabaseDamaged):
        brought.up(path="app", database="app")


def test_a_statement_that_fails_is_not_skipped(dumped: Path, brought: Brought) -> None:
    file = brought.copy(dumped / "plain") / "app.sql"
    file.write_text(file.read_text().replace("COPY public.students", "COPY public.pupils"))
    with pytest.raises(DatabaseDamaged, match="pupils"):
        brought.up(path="app.sql")


def test_a_dump_without_its_end_mark_when_that_is_declared(dumped: Path, brought: Brought) -> None:
    file = brought.copy(dumped / "plain") / "app.sql"
    file.write_text("\n".join(line for line in file.read_text().split("\n") if "dump complete" not in line))
    with pytest.raises(DatabaseDamaged) as caught:
        brought.up(path="app.sql")
    assert "end_mark" in caught.value.mend
    assert brought.up(path="app.sql", end_mark=False).session.query(QUESTION) == ANSWER


def test_damage_in_the_restored_server_is_found(dumped: Path, brought: Brought) -> None:
    brought.copy(dumped / "custom")
    made = brought.up(path="app.dump", database="app")
    assert not made.integrity(60).problems
    owner = made.open("app", writable=True)
    owner.script("CHECKPOINT;")
    [[file]] = made.session.query("SELECT current_setting('data_directory') || '/' || pg_relation_filepath('students')")
    with Path(str(file)).open("r+b") as data:
        data.seek(4000)
        data.write(b"damage" * 20)
    # What is still in its memory would hide what is on disk.
    made.restart()
    found = made.integrity(60).problems
    assert found
    assert any("students" in problem or "checksum" in problem or "invalid page" in problem for problem in found)


def test_a_port_for_applications_asks_for_a_password(dumped: Path, brought: Brought, host: LocalHost) -> None:
    brought.copy(dumped / "custom")
    port = free_port()
    made = brought.up(path="app.dump", database="app", port=port)
    psql = ["psql", "-XAtwc", "SELECT count(*) FROM students"]
    assert made.environment["PGPORT"] == str(port)
    assert host.run(psql, timeout=20, env=made.environment).stdout == "400\n"
    wrong = {**made.environment, "PGPASSWORD": "wrong"}
    assert host.run(psql, timeout=20, env=wrong).exit_code == 2


def test_it_cannot_be_told_to_follow_production(dumped: Path, brought: Brought) -> None:
    for name in ("primary_conninfo", "archive_command", "listen_addresses", "recovery_target_time", "Bad Name"):
        with pytest.raises(ValidationError):
            PostgresDumpSpec.model_validate({"path": "x", "settings": {name: "x"}})
    brought.copy(dumped / "custom")
    made = brought.up(path="app.dump", settings={"work_mem": "8MB"})
    assert made.session.query("SHOW work_mem") == [["8MB"]]
    assert made.session.query("SHOW listen_addresses") == [[""]]
    assert made.session.query("SHOW archive_mode") == [["off"]]


def test_programs_that_are_not_there(dumped: Path, brought: Brought) -> None:
    brought.copy(dumped / "custom")
    with pytest.raises(DatabaseMissing):
        brought.up(path="app.dump", binaries="/nowhere")


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("CREATE EXTENSION nosuch;", "nosuch"),
        ("SET nosuch_timeout = 0;", "older than the one that wrote it"),
    ],
)
def test_what_the_host_lacks_says_nothing_of_the_dump(dumped: Path, brought: Brought, line: str, match: str) -> None:
    file = brought.copy(dumped / "plain") / "app.sql"
    file.write_text(f"{line}\n{file.read_text()}")
    with pytest.raises(DatabaseMissing, match=match) as caught:
        brought.up(path="app.sql")
    assert "install" in caught.value.mend


def test_text_in_no_encoding(dumped: Path, brought: Brought) -> None:
    file = brought.copy(dumped / "plain") / "app.sql"
    told = file.read_bytes().replace(b"'UTF8'", b"'SQL_ASCII'").replace(b"\tstudent 1\t", b"\tstudent \xff\t")
    file.write_bytes(told)
    made = brought.up(path="app.sql", encoding="SQL_ASCII", locale="C")
    assert made.session.query("SELECT encode(name::bytea, 'hex') FROM students WHERE id = 1") == [
        [b"student \xff".hex()]
    ]


def test_a_staging_to_which_the_server_has_no_way(dumped: Path, host: LocalHost) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root's commands run a server as somebody else")
    with made_workplace(None) as folder:
        barred = folder / "barred"
        staging = barred / "staging"
        staging.mkdir(parents=True)
        barred.chmod(0o700)
        brought = Brought(host, str(staging))
        brought.copy(dumped / "custom")
        with pytest.raises(DatabaseError, match=f"not let through {barred}$") as caught:
            brought.up(path="app.dump")
        assert f"chmod o+x {barred}" in caught.value.mend
