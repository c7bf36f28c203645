"""The recipe postgres-basebackup: to the end of the log, to a moment, and what must turn it red."""

from __future__ import annotations

import gzip
import os
import random
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from drtests.databases.postgres.basebackup import PostgresBasebackupRecipe, PostgresBasebackupSpec
from drtests.databases.postgres.scratch import ScratchPostgres
from drtests.errors import DatabaseDamaged, DatabaseError, DatabaseMissing
from drtests.hosts.local import LocalHost
from drtests.model.estate import Host as Declaration
from drtests.testing.recipe_contract import RecipeContract, Restored
from drtests.testing.recording_host import RecordingHost
from tests.support.postgres import PostgresServer, binaries, make_primary, postgres_workplace
from tests.support.servers import wait_for
from tests.support.servers import workplace as made_workplace

COUNT = "SELECT count(*) FROM markers"
QUICK = {"fsync": "off", "shared_buffers": "8MB"}
WAL_SEGMENT = 1 << 20


@dataclass(frozen=True, slots=True)
class Archived:
    """Two base backups and the log from before the first to behind the second, with the commits of all markers."""

    tree: Path
    commits: list[tuple[datetime, datetime]]
    """Of each marker when it was written and when it was committed, in order."""
    bases: list[datetime]
    """When each base backup had ended."""


def _markers(server: PostgresServer, count: int) -> None:
    server.sql(
        f"DO $$ BEGIN FOR i IN 1..{count} LOOP INSERT INTO markers (at) VALUES (clock_timestamp()); COMMIT;"
        " PERFORM pg_sleep(0.003); END LOOP; END $$;"
    )


def _copy(server: PostgresServer, target: Path, *words: str) -> datetime:
    """A base backup; when it had ended.

    Then a second of nothing: within the second in which it began no moment counts as later than it.
    """
    server.program("pg_basebackup", *server.login()[:3], "--checkpoint=fast", "--no-sync", *words, f"-D{target}")
    return datetime.fromisoformat(server.sql("SELECT clock_timestamp() FROM pg_sleep(1)").strip()) - timedelta(
        seconds=1
    )


@pytest.fixture(scope="module")
def archived() -> Iterator[Archived]:
    with postgres_workplace() as (folder, user):
        tree = folder / "tree"
        for made in (tree, tree / "wal"):
            made.mkdir()
            if user is not None:
                shutil.chown(made, user)
        settings = {
            "archive_mode": "on",
            "archive_command": f"cp %p {tree}/wal/%f",
            "track_commit_timestamp": "on",
            "min_wal_size": "2MB",
            "max_connections": "37",
            "max_prepared_transactions": "3",
        }
        server = make_primary(folder, user, "primary", settings, "--wal-segsize=1")
        try:
            server.sql("CREATE TABLE markers (id serial PRIMARY KEY, at timestamptz)")
            server.sql("CREATE TABLE bulk AS SELECT n, md5(n::text) AS x FROM generate_series(1, 3000) AS n")
            server.sql("CREATE INDEX bulk_n ON bulk (n)")
            bases = [_copy(server, tree / "base-1")]
            _markers(server, 150)
            bases.append(_copy(server, tree / "base-2"))
            # Enough to fill several files of the log.
            server.sql("INSERT INTO bulk SELECT n, md5(n::text) FROM generate_series(3001, 20000) AS n")
            _markers(server, 150)
            asked = "SELECT at, pg_xact_commit_timestamp(xmin) FROM markers ORDER BY id"
            rows = [line.split("|") for line in server.sql(asked).splitlines()]
            last = server.sql("SELECT pg_walfile_name(pg_current_wal_lsn())").strip()
            server.sql("SELECT pg_switch_wal()")
            wait_for((tree / "wal" / last).exists, "the log is not archived")
        finally:
            server.stop()
        # A shutdown archives once more; what is copied from here on stays as it is.
        yield Archived(tree, [(datetime.fromisoformat(a), datetime.fromisoformat(b)) for a, b in rows], bases)


@pytest.fixture(scope="module")
def host() -> Iterator[LocalHost]:
    made = LocalHost(Declaration(id="local"))
    yield made
    assert list(made.sweep()) == []


@pytest.fixture(scope="class")
def workplace() -> Iterator[str]:
    with made_workplace(None) as folder:
        yield str(folder)


class TestBasebackup(RecipeContract):
    recipe = PostgresBasebackupRecipe
    keeps_tree = False

    def damage(self, tree: Path) -> None:
        super().damage(tree / "base-2" / "base")

    @pytest.fixture(scope="class")
    @classmethod
    def restored(cls, archived: Archived) -> Restored:
        options = {"path": "base-2", "wal": "wal", "settings": QUICK}
        client = ("psql", "-XAtc", COUNT)
        return Restored(archived.tree, options, ("path", "wal"), COUNT, [[300]], "DELETE FROM markers", client, "300")


class Brought:
    """Brings up changed copies of what was restored, and stops whatever it brought up."""

    def __init__(self, host: LocalHost, folder: str, tree: Path) -> None:
        self._host = RecordingHost(host)
        self._folder = folder
        self._tree = tree
        self._number = 0
        self._made: list[ScratchPostgres] = []
        self.facts: dict[str, Any] = {}

    def up(
        self, change: Callable[[Path], object] = lambda _: None, moment: datetime | None = None, **options: Any
    ) -> ScratchPostgres:
        self._number += 1
        options = {"path": "base-2", "settings": QUICK, "verify": False, **options}
        nothing = Path(self._folder, "nothing")
        nothing.mkdir(exist_ok=True)
        restored = Restored(nothing, options, (), COUNT, [[300]], "", ())
        place, self.facts = RecipeContract.place(self._host, restored, self._folder, f"d{self._number}", moment=moment)
        # Copying what is not asked for would take longer than all the rest.
        bases = {"base-1", "base-2"} - {path.name for path in self._tree.glob(options["path"])}
        subprocess.run(
            ["cp", "-a", *(str(path) for path in self._tree.iterdir() if path.name not in bases), place.root],
            check=True,
        )
        change(Path(place.root))
        made = PostgresBasebackupRecipe(PostgresBasebackupSpec.model_validate(options)).bring_up(place)
        assert isinstance(made, ScratchPostgres)
        self._made.append(made)
        return made

    def asked(self) -> int:
        """How often psql was run."""
        return sum(argv[0].endswith("/psql") for argv in self._host.seen.argvs)

    def stop(self) -> None:
        while self._made:
            self._made.pop().stop(10)


@pytest.fixture
def brought(host: LocalHost, archived: Archived) -> Iterator[Brought]:
    with made_workplace(None) as folder:
        made = Brought(host, str(folder), archived.tree)
        yield made
        made.stop()


def segments(tree: Path) -> list[Path]:
    """Whole files of the archived log, oldest first."""
    return sorted(path for path in (tree / "wal").iterdir() if len(path.name) == 24)


def _proved(made: ScratchPostgres, archived: Archived, moment: datetime) -> None:
    """Exactly the transactions that were committed by then are there, and so the newest marker is the last one."""
    wanted = sum(committed <= moment for _, committed in archived.commits)
    [[count, newest]] = made.session.query("SELECT count(*), max(at) FROM markers")
    assert count == wanted
    if count:
        assert datetime.fromisoformat(str(newest)) <= moment
        # The next one may have been written just before the moment, and committed after it.
        assert all(at > moment for at, _ in archived.commits[count + 1 :])


@pytest.mark.parametrize("number", range(20))
def test_it_lands_at_the_moment(archived: Archived, brought: Brought, number: int) -> None:
    first, last = archived.bases[0] + timedelta(seconds=1), archived.commits[-1][1]
    moment = first + (last - first) * random.Random(number).random()  # noqa: S311 - a sample, not a secret
    _proved(brought.up(moment=moment, path="base-1", wal="wal"), archived, moment)
    assert brought.facts["recovery_ended"].startswith("before 20")


@pytest.mark.parametrize(("marker", "base"), [(100, "base-1"), (299, "base-2")])
def test_the_youngest_base_backup_that_ended_before(
    archived: Archived, brought: Brought, marker: int, base: str
) -> None:
    moment = archived.commits[marker][0]
    _proved(brought.up(moment=moment, path="base-*", wal="wal"), archived, moment)
    assert brought.facts["base_backup"] == base


def test_to_the_end(archived: Archived, brought: Brought) -> None:
    made = brought.up(path="base-*", wal="wal", verify=True)
    assert made.session.query(COUNT) == [[300]]
    facts = brought.facts
    assert facts["base_backup"] == "base-2"
    assert facts["verified_by_manifest"] is True
    assert facts["data_checksums"] == "on"
    assert facts["timeline"] == 2
    assert facts["last_transaction"].startswith("20")
    # Each is a line in the journal, however long the recovery takes.
    assert brought.asked() < 6
    # What the server that wrote the log had has to be there, and nothing else of its configuration.
    assert made.session.query("SHOW max_connections") == [["37"]]
    assert made.session.query("SHOW archive_command") == [["(disabled)"]]


def test_without_the_archive_the_log_in_the_backup_has_to_do(brought: Brought) -> None:
    assert brought.up(path="base-2").session.query(COUNT) == [[150]]


def test_log_that_was_packed_and_a_last_file_that_is_not_whole(archived: Archived, brought: Brought) -> None:
    def change(tree: Path) -> None:
        *others, last = segments(tree)
        for file in others:
            file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes(), 1))
            file.unlink()
        last.rename(last.with_name(f"{last.name}.partial"))

    assert brought.up(change, wal="wal").session.query(COUNT) == [[300]]


def test_a_program_that_unpacks_the_log_is_not_there(archived: Archived, brought: Brought) -> None:
    if shutil.which("lz4"):
        pytest.skip("lz4 is installed here")

    def change(tree: Path) -> None:
        for file in segments(tree):
            file.rename(file.with_name(f"{file.name}.lz4"))

    with pytest.raises(DatabaseMissing, match="lz4 is not installed"):
        brought.up(change, wal="wal")


def test_a_moment_that_the_log_does_not_reach(archived: Archived, brought: Brought) -> None:
    moment = archived.commits[-1][1] + timedelta(hours=1)
    with pytest.raises(DatabaseError, match=r"ends before the moment .* last transaction is of 20") as caught:
        brought.up(wal="wal", moment=moment)
    assert not isinstance(caught.value, DatabaseDamaged)
    with pytest.raises(DatabaseError, match="ends before the moment"):
        brought.up(path="base-1", moment=archived.commits[140][1])


@pytest.mark.parametrize("seconds", [-3600, 0])
def test_a_moment_before_the_base_backup(archived: Archived, brought: Brought, seconds: int) -> None:
    """Also when nothing was committed since, so that the server itself would have nothing to object."""
    label = (archived.tree / "base-1" / "backup_label").read_text()
    [began] = re.findall(r"^START TIME: (\S+ \S+) UTC$", label, re.MULTILINE)
    moment = datetime.fromisoformat(f"{began}+00:00") + timedelta(seconds=seconds - 0.5)
    with pytest.raises(DatabaseError, match="made after the moment") as caught:
        brought.up(path="base-1", wal="wal", moment=moment)
    assert "base-*" in caught.value.mend


def test_a_file_of_the_log_that_is_missing(archived: Archived, brought: Brought) -> None:
    with pytest.raises(DatabaseDamaged, match="breaks off"):
        brought.up(lambda tree: segments(tree)[-2].unlink(), wal="wal")
    with pytest.raises(DatabaseError, match="ends before the moment"):
        brought.up(lambda tree: segments(tree)[-2].unlink(), wal="wal", moment=archived.commits[-1][1])


def test_a_file_of_the_log_that_is_damaged(archived: Archived, brought: Brought) -> None:
    def flip(tree: Path) -> None:
        with segments(tree)[-2].open("r+b") as file:
            file.seek(WAL_SEGMENT // 2)
            file.write(b"damage" * 50)

    with pytest.raises(DatabaseDamaged, match="breaks off"):
        brought.up(flip, wal="wal")


def test_a_file_of_the_log_that_was_cut_off(archived: Archived, brought: Brought) -> None:
    with pytest.raises(DatabaseDamaged, match="wrong size"):
        brought.up(lambda tree: os.truncate(segments(tree)[-2], 5000), wal="wal")


def test_a_packed_file_of_the_log_that_was_cut_off(archived: Archived, brought: Brought) -> None:
    def change(tree: Path) -> None:
        file = segments(tree)[-2]
        file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes())[:2000])
        file.unlink()

    with pytest.raises(DatabaseDamaged):
        brought.up(change, wal="wal")


def test_no_archive_where_one_is_declared(brought: Brought) -> None:
    with pytest.raises(DatabaseDamaged, match="nowhere"):
        brought.up(wal="nowhere")
    with pytest.raises(DatabaseDamaged, match="no base backup"):
        brought.up(path="nothing-*")
    with pytest.raises(DatabaseDamaged, match="no base backup"):
        brought.up(path="wal")
    for path, wal in (("a", "a/pg_wal"), ("a/base", "a"), ("a", "a")):
        with pytest.raises(ValidationError, match="lie in each other"):
            PostgresBasebackupSpec(path=path, wal=wal)


def heap(tree: Path, archived: Archived) -> Path:
    """The largest file of a table of ours in base-2."""
    files = (tree / "base-2" / "base").rglob("[0-9]*")
    return max((file for file in files if file.is_file()), key=lambda file: file.stat().st_size)


def _flip(file: Path, at: int) -> None:
    with file.open("r+b") as data:
        data.seek(at)
        data.write(b"damage" * 20)


def test_bits_that_flipped_in_the_base_backup(archived: Archived, brought: Brought) -> None:
    with pytest.raises(DatabaseDamaged, match="manifest"):
        brought.up(lambda tree: _flip(heap(tree, archived), 8192 + 4000), verify=True)


def test_bits_that_flipped_before_the_manifest(archived: Archived, brought: Brought) -> None:
    made = brought.up(lambda tree: _flip(_table(tree, "bulk"), 8192 * 3 + 4000))
    found = made.integrity(60).problems
    assert any("checksum" in problem or "invalid page" in problem for problem in found), found


def test_an_index_that_lacks_rows(archived: Archived, brought: Brought) -> None:
    """Its pages are all sound; only comparing it with its table tells."""
    made = brought.up()
    assert made.integrity(60).problems == ()
    made.open("postgres", writable=True).script(
        "UPDATE pg_index SET indisready = false WHERE indexrelid = 'bulk_n'::regclass;\n"
        "INSERT INTO bulk VALUES (-1, 'unseen');\n"
        "UPDATE pg_index SET indisready = true WHERE indexrelid = 'bulk_n'::regclass;"
    )
    assert any("bulk_n" in problem for problem in made.integrity(60).problems)


def _table(tree: Path, name: str) -> Path:
    """File of a table in base-2, found by what is in it: the server is not there to be asked."""
    files = [file for file in (tree / "base-2" / "base").rglob("[0-9]*") if file.is_file() and file.stat().st_size > 0]
    marks = {"bulk": b"c4ca4238a0b923820dcc509a6f75849b"}
    return next(file for file in files if marks[name] in file.read_bytes())


@pytest.fixture(scope="module")
def packed(archived: Archived, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As pg_basebackup --format=tar --gzip writes it."""
    folder = tmp_path_factory.mktemp("packed")
    base = archived.tree / "base-2"
    names = sorted(path.name for path in base.iterdir() if path.name not in ("pg_wal", "backup_manifest"))
    names.remove("backup_label")
    empty = folder / "pg_wal"
    empty.mkdir()
    pack = ["tar", "--create", "--gzip"]
    subprocess.run(
        [
            *pack,
            f"--file={folder}/base.tar.gz",
            f"--directory={base}",
            "backup_label",
            *names,
            f"--directory={folder}",
            "pg_wal",
        ],
        check=True,
    )
    wal = sorted(path.name for path in (base / "pg_wal").iterdir() if path.is_file())
    subprocess.run([*pack, f"--file={folder}/pg_wal.tar.gz", f"--directory={base / 'pg_wal'}", *wal], check=True)
    empty.rmdir()
    shutil.copyfile(base / "backup_manifest", folder / "backup_manifest")
    return folder


def test_archives_instead_of_a_directory(packed: Path, archived: Archived, brought: Brought) -> None:
    def change(tree: Path) -> None:
        shutil.copytree(packed, tree / "tar-3")

    assert brought.up(change, path="tar-3", verify=True).session.query(COUNT) == [[150]]
    assert brought.facts["verified_by_manifest"] is True


def test_archives_that_were_cut_off(packed: Path, brought: Brought) -> None:
    def change(tree: Path) -> None:
        shutil.copytree(packed, tree / "tar-3")
        file = tree / "tar-3" / "base.tar.gz"
        os.truncate(file, file.stat().st_size // 2)

    with pytest.raises(DatabaseDamaged, match="cannot be unpacked"):
        brought.up(change, path="tar-3")


def test_files_of_a_running_server_are_no_backup(brought: Brought) -> None:
    def change(tree: Path) -> None:
        (tree / "base-2" / "backup_label").unlink()

    with pytest.raises(DatabaseDamaged, match="backup_label") as caught:
        brought.up(change)
    assert "snapshot: true" in caught.value.mend


def test_nothing_of_production_is_reached(archived: Archived, brought: Brought, tmp_path: Path) -> None:
    """Whatever configuration, links and orders come with the data."""
    production = tmp_path / "production"
    (production / "pg_wal").mkdir(parents=True)
    (production / "pg_wal" / "precious").write_text("log")
    tmp_path.chmod(0o755)

    def change(tree: Path) -> None:
        base = tree / "base-2"
        orders = (
            f"primary_conninfo = 'host=127.0.0.1 port=1'\narchive_mode = on\n"
            f"archive_command = 'touch {tmp_path}/sent'\n"
            f"restore_command = 'touch {tmp_path}/fetched'\nlisten_addresses = '*'\nport = 6543\n"
        )
        for name in ("postgresql.auto.conf", "postgresql.conf"):
            (base / name).write_text(orders)
        (base / "standby.signal").touch()
        (base / "server.log").symlink_to(production / "server.log")
        shutil.copytree(base / "pg_wal", tree / str(production).lstrip("/") / "pg_wal")
        shutil.rmtree(base / "pg_wal")
        (base / "pg_wal").symlink_to(production / "pg_wal")

    made = brought.up(change)
    assert made.session.query(COUNT) == [[150]]
    made.open("postgres", writable=True).script("INSERT INTO markers (at) VALUES (now()); SELECT pg_switch_wal();")
    assert [path.name for path in (production / "pg_wal").iterdir()] == ["precious"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["production"]
    assert brought.facts["links_removed"] == ["pg_wal", "server.log"]
    asked = "SELECT current_setting('listen_addresses'), current_setting('max_logical_replication_workers')"
    assert made.session.query(asked) == [["", "0"]]


def test_a_link_in_the_data_is_refused(brought: Brought) -> None:
    def change(tree: Path) -> None:
        file = _table(tree, "bulk")
        file.rename(tree / "elsewhere")
        file.symlink_to(tree / "elsewhere")

    with pytest.raises(DatabaseError, match="is a link to"):
        brought.up(change)


@pytest.fixture(scope="module")
def spread(archived: Archived) -> Iterator[tuple[Path, Path]]:
    """A base backup with a tablespace: where that was in production, and the tree."""
    with postgres_workplace() as (folder, user):
        for name in ("space", "mapped", "out"):
            (folder / name).mkdir()
            if user is not None:
                shutil.chown(folder / name, user)
        server = make_primary(folder, user, "spread")
        try:
            server.sql(f"CREATE TABLESPACE aside LOCATION '{folder}/space'")
            server.sql("CREATE TABLE markers TABLESPACE aside AS SELECT generate_series(1, 7) AS n")
            words = (f"--tablespace-mapping={folder}/space={folder}/mapped",)
            _copy(server, folder / "out" / "base-2", *words)
            _copy(server, folder / "out" / "tar", "--format=tar")
        finally:
            server.stop()
        # As an engine restores what lay elsewhere: under its whole path.
        kept = folder / "out" / str(folder / "mapped").lstrip("/")
        kept.parent.mkdir(parents=True)
        shutil.copytree(folder / "mapped", kept, symlinks=True)
        yield folder / "mapped", folder / "out"


@pytest.mark.parametrize("form", ["whole path", "declared", "tar", "missing"])
def test_tablespaces(spread: tuple[Path, Path], host: LocalHost, form: str) -> None:
    place_in_production, tree = spread
    before = sorted(place_in_production.rglob("*"))
    with made_workplace(None) as folder:
        made = Brought(host, str(folder), tree)
        moved = str(place_in_production).lstrip("/")
        options: dict[str, Any] = {"path": "tar" if form == "tar" else "base-2", "verify": True}
        if form == "declared":
            options["tablespaces"] = {str(place_in_production): "aside"}

        def change(root: Path) -> None:
            if form == "declared":
                (root / moved).rename(root / "aside")
            elif form != "whole path":
                shutil.rmtree(root / moved)

        try:
            if form == "missing":
                with pytest.raises(DatabaseError, match="tablespace at") as caught:
                    made.up(change, **options)
                assert "tablespaces:" in caught.value.mend
            else:
                scratch = made.up(change, **options)
                assert scratch.session.query(COUNT) == [[7]]
                [[at]] = scratch.session.query("SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE oid > 9999")
                assert str(at).startswith(str(folder))
        finally:
            made.stop()
    assert sorted(place_in_production.rglob("*")) == before


def test_data_of_a_release_that_is_not_there(brought: Brought) -> None:
    def change(tree: Path) -> None:
        (tree / "base-2" / "PG_VERSION").write_text("14\n")

    if int(binaries().parent.name) == 14:
        pytest.skip("that is the release that is here")
    with pytest.raises(DatabaseMissing, match="PostgreSQL 14 is not installed"):
        brought.up(change)
