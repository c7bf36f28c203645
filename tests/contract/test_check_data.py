"""The checks on files and trees keep the contract, and turn red on each sabotage."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from drtests.checks.files import FilesCheck
from drtests.checks.marker import MarkerCheck
from drtests.checks.tree import TreeCheck
from drtests.hosts.local import LocalHost
from drtests.model.estate import Host as Declaration
from drtests.model.verdict import Verdict
from drtests.seal import MANIFEST_NAME, seal
from drtests.testing.check_contract import MOMENT, Case, CheckContract

MET, MISSED, INCONCLUSIVE = Verdict.MET, Verdict.MISSED, Verdict.INCONCLUSIVE
Arrange = Callable[[Path], object]


@pytest.fixture
def host() -> LocalHost:
    return LocalHost(Declaration(id="local"))


def _write(path: Path, data: bytes, age: timedelta = timedelta(hours=2)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    at = (MOMENT - age).timestamp()
    os.utime(path, (at, at))


def _files(root: Path) -> None:
    for number in range(5):
        _write(root / f"srv/data/d{number}/f{number}.txt", b"x" * 1000, timedelta(hours=2 + number))
    _write(root / "srv/one.bin", b"content")


def _then(first: Arrange, sabotage: Arrange) -> Arrange:
    def both(root: Path) -> None:
        first(root)
        sabotage(root)

    return both


def _outside(root: Path) -> None:
    (root.parent / "outside").mkdir()
    _write(root.parent / "outside/f", b"x")
    (root / "srv").symlink_to(root.parent / "outside")


_HASH = hashlib.sha256(b"content").hexdigest()


class TestFiles(CheckContract):
    check = FilesCheck
    cases = (
        Case("there", {"path": "srv/one.bin", "exist": True}, MET, _files),
        Case("not there", {"path": "srv/two.bin", "exist": True}, MISSED, _files, reason="no file srv/two.bin"),
        Case("directory missing", {"path": "gone/*.bin", "exist": True}, MISSED, _files),
        Case("rightly not there", {"path": "srv/lock", "exist": False}, MET, _files),
        Case("wrongly there", {"path": "srv/one.bin", "exist": False}, MISSED, _files),
        Case("enough", {"path": "srv/data", "min_count": 5, "min_size": "5kB"}, MET, _files),
        Case("everything in the root", {"path": ".", "min_count": 6}, MET, _files),
        Case("too few", {"path": "srv/data", "min_count": 6}, MISSED, _files, reason="at least 6"),
        Case("too small", {"path": "srv/data", "min_size": "5001B"}, MISSED, _files),
        Case("pattern", {"path": "srv/**/*.txt", "min_count": 5}, MET, _files),
        Case("pattern of one part", {"path": "srv/*.txt", "min_count": 1}, MISSED, _files),
        Case("pattern of characters", {"path": "srv/data/d[0-1]/f?.txt", "min_count": 2}, MET, _files),
        Case("pattern without", {"path": "srv/data/d[!0-3]/*", "min_count": 2}, MISSED, _files),
        Case("hash", {"path": "srv/one.bin", "sha256": _HASH}, MET, _files),
        Case("changed byte", {"path": "srv/one.bin", "sha256": "0" * 64}, MISSED, _files, reason="differs"),
        Case("hash of many", {"path": "srv/data", "sha256": _HASH}, MISSED, _files),
        Case("new enough", {"path": "srv/data", "newest_within": "2h"}, MET, _files),
        Case("too old", {"path": "srv/data", "newest_within": "119m"}, MISSED, _files, reason="1h59m allowed"),
        Case(
            "from the future",
            {"path": "srv/data", "newest_within": "1d"},
            INCONCLUSIVE,
            _then(_files, lambda root: _write(root / "srv/data/new", b"", timedelta(hours=-1))),
        ),
        Case("leads out", {"path": "srv/f", "exist": True}, None, _outside, reason="leads out"),
        Case("pattern leads out", {"path": "srv/*", "exist": True}, None, _outside, reason="leads out"),
    )
    refused = (
        {"path": "srv"},
        {"path": "/srv", "exist": True},
        {"path": "srv/../..", "exist": True},
        {"path": "", "exist": True},
        {"path": "srv", "min_size": "5"},
        {"path": "srv", "min_count": 0},
        {"path": "srv", "exist": False, "min_count": 1},
        {"path": "srv", "sha256": "abc"},
    )


def _sealed(root: Path) -> None:
    _files(root)
    _write(root / "srv/empty", b"")
    _write(root / os.fsdecode(b"srv/caf\xe9"), b"latin")
    (root / "srv/link").symlink_to("one.bin")
    (root / "srv/void").mkdir()
    seal(root / "srv", root / "srv" / MANIFEST_NAME)


def _sabotage(change: Callable[[Path], object]) -> Arrange:
    return _then(_sealed, lambda root: change(root / "srv"))


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:-size])


def _relink(path: Path) -> None:
    path.unlink()
    path.symlink_to("data")


def _replaced_by_directory(srv: Path) -> None:
    (srv / "one.bin").unlink()
    (srv / "one.bin").mkdir()


def _elsewhere(root: Path) -> None:
    _files(root)
    seal(root, root / "m.jsonl")


_TREE = {"path": "srv"}


class TestTree(CheckContract):
    check = TreeCheck
    cases = (
        Case("as sealed", _TREE, MET, _sealed, reason="all 8 files"),
        Case(
            "changed byte", _TREE, MISSED, _sabotage(lambda srv: _flip(srv / "one.bin")), reason="1 changed (one.bin)"
        ),
        Case("cut file", _TREE, MISSED, _sabotage(lambda srv: _cut(srv / "one.bin", 1)), reason="1 changed"),
        Case(
            "missing file", _TREE, MISSED, _sabotage(lambda srv: (srv / "empty").unlink()), reason="1 missing (empty)"
        ),
        Case("missing link", _TREE, MISSED, _sabotage(lambda srv: (srv / "link").unlink()), reason="1 missing (link)"),
        Case("changed link", _TREE, MISSED, _sabotage(lambda srv: _relink(srv / "link")), reason="1 changed (link)"),
        Case("file became a directory", _TREE, MISSED, _sabotage(_replaced_by_directory), reason="1 changed (one.bin)"),
        Case("extra file", _TREE, MISSED, _sabotage(lambda srv: _write(srv / "new", b"")), reason="1 extra (new)"),
        Case("extra link", _TREE, MISSED, _sabotage(lambda srv: (srv / "way").symlink_to("/etc")), reason="1 extra"),
        Case("extra allowed", _TREE | {"extra": "allow"}, MET, _sabotage(lambda srv: _write(srv / "new", b""))),
        Case("extra ignored", _TREE | {"ignore": ["*.log"]}, MET, _sabotage(lambda srv: _write(srv / "x/a.log", b""))),
        Case(
            "changed ignored", _TREE | {"ignore": ["data"]}, MET, _sabotage(lambda srv: _flip(srv / "data/d0/f0.txt"))
        ),
        Case(
            "truncated manifest", _TREE, None, _sabotage(lambda srv: _cut(srv / MANIFEST_NAME, 200)), reason="cut off"
        ),
        Case("altered manifest", _TREE, None, _sabotage(lambda srv: _flip(srv / MANIFEST_NAME)), reason="manifest"),
        Case("no manifest", _TREE, None, _sabotage(lambda srv: (srv / MANIFEST_NAME).unlink()), reason="no manifest"),
        Case("no tree", _TREE, MISSED, reason="no directory srv"),
        Case("everything ignored", _TREE | {"ignore": ["*"]}, INCONCLUSIVE, _sealed, reason="proves nothing"),
        Case(
            "empty manifest",
            {},
            INCONCLUSIVE,
            lambda root: seal(root, root / MANIFEST_NAME),
            reason="proves nothing",
        ),
        Case("manifest elsewhere", {"path": ".", "manifest": "m.jsonl"}, MET, _elsewhere),
        Case("leads out", _TREE, None, _outside, reason="leads out"),
    )
    refused = ({"path": "/srv"}, {"path": "../srv"}, {"manifest": "/etc/passwd"}, {"extra": "maybe"})


def _marker_file(text: str) -> Arrange:
    return lambda root: _write(root / "app/marker", text.encode())


def _rows(*values: object) -> Arrange:
    def arrange(root: Path) -> None:
        import sqlite3

        connection = sqlite3.connect(root / "app.db")
        connection.execute("CREATE TABLE marker (at)")
        connection.executemany("INSERT INTO marker VALUES (?)", [(value,) for value in values])
        connection.commit()
        connection.close()

    return arrange


_FILE = {"file": {"path": "app/marker"}}
_ROW = {"sqlite": {"path": "app.db", "query": "SELECT max(at) FROM marker"}}
_HOUR = timedelta(hours=1)


class TestMarker(CheckContract):
    check = MarkerCheck
    cases = (
        Case("fresh file", _FILE, MET, _marker_file("2026-03-01T04:30:00+01:00\n"), _HOUR, reason="data loss 30m"),
        Case("exactly the objective", _FILE, MET, _marker_file("2026-03-01T03:00:00Z"), _HOUR),
        Case("stale file", _FILE, MISSED, _marker_file("2026-03-01T02:59:59Z"), _HOUR, reason="RPO 1h"),
        Case("seconds", _FILE, MET, _marker_file(str(MOMENT.timestamp() - 60)), _HOUR, reason="data loss 1m"),
        Case("milliseconds", _FILE, None, _marker_file(str(MOMENT.timestamp() * 1000)), _HOUR, reason="seconds"),
        Case("clocks a little apart", _FILE, MET, _marker_file("2026-03-01T04:00:04Z"), _HOUR, reason="data loss 0s"),
        Case("later than the disaster", _FILE, INCONCLUSIVE, _marker_file("2026-03-01T04:00:10Z"), _HOUR),
        Case("no objective", _FILE, INCONCLUSIVE, _marker_file("2026-03-01T03:59:00Z"), None, reason="no RPO"),
        Case("no file", _FILE, MISSED, reason="not in the restored copy"),
        Case("empty file", _FILE, MISSED, _marker_file(" \n"), reason="empty"),
        Case("no time", _FILE, None, _marker_file("hunter22"), reason="is not a time"),
        Case("no zone", _FILE, None, _marker_file("2026-03-01T04:00:00"), reason="without a zone"),
        Case("zone declared", _FILE | {"zone": "Europe/Amsterdam"}, MET, _marker_file("2026-03-01 04:30:00"), _HOUR),
        Case("fresh row", _ROW, MET, _rows("2026-01-01T00:00:00Z", "2026-03-01T03:30:00Z"), _HOUR),
        Case("stale row", _ROW, MISSED, _rows("2026-01-01T00:00:00Z"), _HOUR),
        Case("number row", _ROW, MET, _rows(int(MOMENT.timestamp()) - 10), _HOUR),
        Case("no row", _ROW, MISSED, _rows(), _HOUR, reason="holds no marker"),
        Case("no database", _ROW, MISSED, reason="not in the restored copy"),
        Case("no table", {"sqlite": {"path": "app.db", "query": "SELECT at FROM nope"}}, MISSED, _rows(1)),
        Case("no query", {"sqlite": {"path": "app.db", "query": "SELEKT"}}, None, _rows(1), reason="cannot read"),
        Case("fresh files", {"files": {"path": "srv/data"}}, MET, _files, timedelta(hours=2)),
        Case("stale files", {"files": {"path": "srv/**"}}, MISSED, _files, _HOUR, reason="data loss 2h"),
        Case("no files", {"files": {"path": "none/*"}}, MISSED, _files, _HOUR),
    )
    refused = (
        {},
        _FILE | _ROW,
        _FILE | {"zone": "Mars/Base"},
        {"file": {"path": "/etc/hostname"}},
        {"sqlite": {"path": "a.db", "query": ""}},
    )


def test_what_proves_data() -> None:
    def proves(check: type[FilesCheck | MarkerCheck], options: dict[str, object]) -> bool:
        return check(check.Spec.model_validate(options)).proves_data  # type: ignore[arg-type]

    assert not proves(FilesCheck, {"path": "a", "min_count": 1})
    assert proves(FilesCheck, {"path": "a", "sha256": "0" * 64})
    assert proves(MarkerCheck, dict(_FILE))
    assert not proves(MarkerCheck, {"files": {"path": "a"}})
