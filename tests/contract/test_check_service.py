"""The checks on programs, services and databases keep the contract, and turn red on each sabotage."""

from __future__ import annotations

import contextlib
import http.server
import shutil
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import ValidationError

from drtests.checks.command import CommandCheck
from drtests.checks.http import HttpCheck
from drtests.checks.sqlite import SqliteCheck
from drtests.errors import HostError
from drtests.hosts.local import LocalHost
from drtests.model.estate import Host as Declaration
from drtests.model.verdict import Verdict
from drtests.protocols.check import Objective, Resources
from drtests.protocols.host import Host
from drtests.testing.check_contract import MOMENT, Case, CheckContract, SystemClock

MET, MISSED, INCONCLUSIVE = Verdict.MET, Verdict.MISSED, Verdict.INCONCLUSIVE


@pytest.fixture
def host() -> LocalHost:
    return LocalHost(Declaration(id="local"))


def _sub(root: Path) -> None:
    (root / "app").mkdir()


def _out(root: Path) -> None:
    (root / "app").symlink_to("/")


def _sh(script: str) -> list[str]:
    return ["sh", "-c", script]


class TestCommand(CheckContract):
    check = CommandCheck
    cases = (
        Case("good", {"run": ["true"]}, MET, reason="exit code 0"),
        Case("wrong exit code", {"run": ["false"]}, MISSED, reason="exit code 1, 0 expected"),
        Case("expected exit code", {"run": _sh("exit 4"), "exit_code": 4}, MET),
        Case("output", {"run": ["echo", "12 pupils"], "stdout": r"^\d+ pupils$"}, MET, restored_text="12 pupils"),
        Case("other output", {"run": ["echo", "no pupils"], "stdout": r"^\d+ pupils$"}, MISSED, reason="output"),
        Case("one line of many", {"run": _sh("echo a; echo b; echo c"), "stdout": "^b$"}, MET),
        Case("not found", {"run": ["drtests-no-such-program"]}, None, reason="drtests-no-such-program"),
        Case("not found by a shell", {"run": _sh("drtests-no-such-program")}, INCONCLUSIVE, reason="cannot be run"),
        Case("timeout", {"run": ["sleep", "300"], "timeout": "0.3s"}, None, reason="did not end within"),
        Case("killed from outside", {"run": _sh("kill -9 $$")}, INCONCLUSIVE, reason="SIGKILL"),
        Case("crashed", {"run": _sh("kill -SEGV $$")}, MISSED),
        Case("cwd", {"run": _sh("pwd"), "cwd": "app", "stdout": "/restored/app$"}, MET, _sub),
        Case("cwd leads out", {"run": ["true"], "cwd": "app"}, None, _out, reason="leads out"),
        Case(
            "environment",
            {"run": _sh('echo "$A$B"'), "environment": {"B": 2}, "stdout": "^12$"},
            MET,
            environment={"A": "1"},
        ),
    )
    refused = (
        {"run": []},
        {"run": "echo hi"},
        {"run": ["true"], "stdout": "("},
        {"run": ["true"], "timeout": 5},
        {"run": ["true"], "cwd": "/"},
    )


def test_command_proves_data_only_on_the_authors_word() -> None:
    for word in (True, False):
        spec = {"run": ["true"], "proves_data": word}
        assert CommandCheck(CommandCheck.Spec.model_validate(spec)).proves_data is word  # type: ignore[arg-type]


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        name = self.path.partition("?")[0]
        if name == "/slow":
            self.server.stop.wait(20)  # type: ignore[attr-defined]
        if name == "/garbage":
            self.wfile.write(b"SSH-2.0-nothing\r\n\r\n")
            return
        status = {"/missing": 404, "/away": 302, "/home": 302, "/loop": 302}.get(name, 200)
        self.send_response(status)
        if status == 302:
            target = {"/away": "http://192.0.2.1/", "/home": "/health", "/loop": "/loop"}[name]
            self.send_header("Location", target)
        body = b"all 12 pupils are here\n" if status == 200 else b"no"
        self.send_header("Content-Length", str(len(body) + (5 if name == "/cut" else 0)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: Any) -> None:
        pass


@contextlib.contextmanager
def _serving() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.stop = threading.Event()  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.stop.set()  # type: ignore[attr-defined]
            server.shutdown()
            thread.join()


class TestHttp(CheckContract):
    check = HttpCheck
    cases = (
        Case("good", {"url": "/health"}, MET, reason="status 200"),
        Case("body", {"url": "/health", "body": r"\d+ pupils"}, MET, restored_text="12 pupils"),
        Case("other body", {"url": "/health", "body": r"^none"}, MISSED, reason="body"),
        Case("wrong status", {"url": "/missing"}, MISSED, reason="status 404, 200 expected"),
        Case("expected status", {"url": "/missing", "status": 404}, MET),
        Case("one of the expected", {"url": "/missing", "status": [200, 404]}, MET),
        Case("redirect at home", {"url": "/home"}, MET),
        Case("redirect away is not followed", {"url": "/away"}, MISSED, reason="status 302"),
        Case("redirect without end", {"url": "/loop"}, MISSED, reason="status 302"),
        Case("slow", {"url": "/slow", "within": "0.3s"}, MISSED, reason="no whole answer in time"),
        Case("cut", {"url": "/cut"}, MISSED, reason="cut"),
        Case("no HTTP", {"url": "/garbage"}, MISSED, reason="does not speak HTTP"),
        Case("query", {"url": "/health?a=b"}, MET),
        Case("unknown name", {"url": "http://drtests.invalid/"}, None, reason="drtests.invalid"),
    )
    refused = (
        {"url": "ftp://127.0.0.1/"},
        {"url": "127.0.0.1"},
        {"url": "http://user:pass@127.0.0.1/"},
        {"url": "http://127.0.0.1:99999/"},
        {"url": "http://127.0.0.1/", "status": 20},
        {"url": "http://127.0.0.1/", "within": 10},
    )

    def test_case(self, case: Case, host: Host, tmp_path: Path) -> None:
        with _serving() as base:
            url = str(case.options["url"])
            options = dict(case.options) | {"url": base + url if url.startswith("/") else url}
            super().test_case(Case(**{**_fields(case), "options": options}), host, tmp_path)

    def test_unknown_option_is_refused(self) -> None:
        with pytest.raises(ValidationError):
            HttpCheck.Spec.model_validate({"url": "http://127.0.0.1/", "no_such_option": 1})

    def test_refused_connection_is_a_miss(self, host: LocalHost, tmp_path: Path) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # bound, not listening: nobody else gets it
            url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
            judgement = self.judge(Case("refused", {"url": url}, MISSED), host, tmp_path)
        assert judgement.verdict is MISSED
        assert "refused" in judgement.reason


def _fields(case: Case) -> dict[str, Any]:
    return {name: getattr(case, name) for name in case.__dataclass_fields__}


def _database(root: Path, wal: bool = False) -> None:
    connection = sqlite3.connect(root / "app.db")
    if wal:
        connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE pupil (id INTEGER PRIMARY KEY, name TEXT, grade REAL)")
    connection.executemany("INSERT INTO pupil (name, grade) VALUES (?, ?)", [(f"Jansen {n}", 7.5) for n in range(900)])
    connection.execute("CREATE INDEX by_name ON pupil (name)")
    connection.commit()
    connection.close()


def _write_ahead(root: Path) -> None:
    """A database as a backup of a running application holds it: half of it is in the log only."""
    live = root.parent / "live"
    live.mkdir()
    _database(live, wal=True)
    connection = sqlite3.connect(live / "app.db")
    connection.execute("DELETE FROM pupil WHERE id > 100")
    connection.commit()
    for name in ("app.db", "app.db-wal"):
        shutil.copyfile(live / name, root / name)
    connection.close()


def _overwritten(root: Path) -> None:
    _database(root)
    with open(root / "app.db", "r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * 12288)


def _cut(root: Path) -> None:
    _database(root)
    with open(root / "app.db", "r+b") as file:
        file.truncate(12288)


def _bytes(data: bytes) -> Callable[[Path], None]:
    def arrange(root: Path) -> None:
        (root / "app.db").write_bytes(data)

    return arrange


def _no_tables(root: Path) -> None:
    connection = sqlite3.connect(root / "app.db")
    connection.execute("PRAGMA user_version = 3")
    connection.commit()
    connection.close()


_COUNT: Mapping[str, Any] = {"path": "app.db", "query": "SELECT count(*) FROM pupil"}
_NAME: Mapping[str, Any] = {"path": "app.db", "query": "SELECT name FROM pupil WHERE id = 3"}
_FOREVER = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


class TestSqlite(CheckContract):
    check = SqliteCheck
    cases: ClassVar[tuple[Case, ...]] = (
        Case("sound", {"path": "app.db"}, MET, _database),
        Case("in write-ahead mode", {"path": "app.db"}, MET, lambda root: _database(root, wal=True)),
        Case("with its log", dict(_COUNT) | {"value": 100}, MET, _write_ahead),
        Case("count", dict(_COUNT) | {"value": 900, "min": 900, "max": 900}, MET, _database),
        Case("other count", dict(_COUNT) | {"value": 901}, MISSED, _database, reason="gives 900, 901 expected"),
        Case("too few", dict(_COUNT) | {"min": 901}, MISSED, _database, reason="at least 901"),
        Case("too many", dict(_COUNT) | {"max": 899}, MISSED, _database, reason="at most 899"),
        Case("text", dict(_NAME) | {"value": "Jansen 2"}, MET, _database, restored_text="Jansen"),
        Case("other text", dict(_NAME) | {"value": "de Vries"}, MISSED, _database, restored_text="Jansen"),
        Case("text for a number", dict(_NAME) | {"min": 1}, None, _database, reason="need a number"),
        Case("no value", {"path": "app.db", "query": "SELECT max(id) FROM pupil WHERE 0", "min": 1}, MISSED, _database),
        Case("no row", {"path": "app.db", "query": "SELECT id FROM pupil WHERE 0", "min": 1}, MISSED, _database),
        Case("no table", {"path": "app.db", "query": "SELECT 1 FROM nope", "min": 1}, MISSED, _database),
        Case("no SQL", {"path": "app.db", "query": "SELEKT 1", "min": 1}, None, _database, reason="syntax"),
        Case(
            "writes are refused",
            {"path": "app.db", "query": "DELETE FROM pupil", "min": 1},
            None,
            _database,
            reason="readonly",
        ),
        Case(
            "another file is refused",
            {"path": "app.db", "query": "ATTACH 'file:other.db' AS other", "min": 1},
            None,
            _database,
            reason="not authorized",
        ),
        Case(
            "a copy elsewhere is refused",
            {"path": "app.db", "query": "VACUUM INTO 'x'", "min": 1},
            None,
            _database,
            reason="not",
        ),
        Case(
            "too long",
            {"path": "app.db", "query": _FOREVER, "min": 1, "timeout": "0.3s"},
            None,
            _database,
            reason="longer",
        ),
        Case("missing", {"path": "app.db"}, MISSED, reason="not in the restored copy"),
        Case("empty file", {"path": "app.db"}, MISSED, _bytes(b""), reason="empty file"),
        Case("no tables", {"path": "app.db"}, MISSED, _no_tables, reason="no tables"),
        Case("no database", {"path": "app.db"}, MISSED, _bytes(b"hello " * 1000), reason="damaged"),
        Case("overwritten", {"path": "app.db"}, MISSED, _overwritten),
        Case("cut", {"path": "app.db"}, MISSED, _cut),
        Case("a directory", {"path": "app.db"}, MISSED, lambda root: (root / "app.db").mkdir()),
        Case("leads out", {"path": "app/etc"}, None, _out, reason="leads out"),
    )
    refused = (
        {"path": "/app.db"},
        {"path": "app.db", "query": "SELECT 1"},
        {"path": "app.db", "min": 1},
        {"path": "app.db", "integrity": False},
    )

    def test_nothing_is_left_beside_the_tree(self, host: LocalHost, tmp_path: Path) -> None:
        root = tmp_path / "restored"
        root.mkdir()
        judgement = self.judge(Case("log", dict(_COUNT) | {"value": 100}, MET, _write_ahead), host, root)
        assert judgement.verdict is MET
        assert sorted(path.name for path in tmp_path.iterdir()) == ["live", "restored"]


def test_judgement_of_a_foreign_observation_raises() -> None:
    """An observation that lacks what is judged is an error, never a pass."""
    checks: list[tuple[Any, dict[str, Any]]] = [
        (CommandCheck, {"run": ["true"]}),
        (HttpCheck, {"url": "http://127.0.0.1/"}),
        (SqliteCheck, {"path": "a"}),
    ]
    for check, options in checks:
        with pytest.raises(KeyError):
            check(check.Spec.model_validate(options)).judge({}, Objective(MOMENT, None))


class Elsewhere(LocalHost):
    """Keeps its files to itself, as a host that is reached over SSH does."""

    def local_path(self, path: str) -> None:
        return None


class TestSqliteElsewhere(TestSqlite):
    """The host's own Python reads: nothing else is different."""

    cases: ClassVar[tuple[Case, ...]] = (
        *TestSqlite.cases,
        Case(
            "an answer that is too large",
            {"path": "app.db", "query": "SELECT hex(zeroblob(500000))", "value": "x"},
            None,
            _database,
            reason="larger than 900 kB",
        ),
        Case(
            "bytes",
            {"path": "app.db", "query": "SELECT x'00ff'", "value": "x"},
            MISSED,
            _database,
            reason="another text",
        ),
    )

    @pytest.fixture
    def host(self) -> LocalHost:
        return Elsewhere(Declaration(id="far"))

    def test_no_python_there(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        _database(tmp_path)
        monkeypatch.setenv("PATH", str(tmp_path))
        check = SqliteCheck(SqliteCheck.Spec.model_validate({"path": "app.db"}))  # type: ignore[arg-type]
        resources = Resources(Elsewhere(Declaration(id="far")), str(tmp_path), SystemClock(), str(tmp_path))
        with pytest.raises(HostError, match="own Python") as caught:
            check.observe(resources)
        assert "install Python" in caught.value.mend
