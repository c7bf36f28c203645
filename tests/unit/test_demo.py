"""The demo's own judgement: it ends well only when exactly what it said has happened."""

from __future__ import annotations

import copy
import itertools
import json
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from demo import expect, link_checker, story, workdir
from drtests.declarations.schemas import schemas


@pytest.fixture(name="missed")
def _missed() -> expect.Pack:
    drills: list[dict[str, Any]] = [
        {"id": drill, "verdict": "MISSED" if drill == expect.SHORTFALL else "MET", "reasons": ["because"]}
        for drill in expect.DRILLS
    ]
    for drill in drills:
        drill["data_loss"] = {"recovery_point_age_seconds": 7200.0, "proved_seconds": 350_000.0}
        drill["rpo"] = {"seconds": 93_600.0}
    action = {"drill": expect.SHORTFALL, "status": "open", "fingerprint": "f1", "retest_run": None}
    return expect.Pack(Path("one"), {"drills": drills, "run": {"id": "run-1"}}, [action])


@pytest.fixture(name="mended")
def _mended(missed: expect.Pack) -> expect.Pack:
    record = copy.deepcopy(dict(missed.record)) | {"run": {"id": "run-2"}}
    for drill in record["drills"]:
        drill["verdict"] = "MET"
    return expect.Pack(Path("two"), record, [{**missed.actions[0], "status": "closed", "retest_run": "run-2"}])


def test_nothing_to_say_when_all_went_as_said(missed: expect.Pack, mended: expect.Pack) -> None:
    assert list(expect.first_run(1, missed)) == []
    assert list(expect.second_run(0, mended, missed)) == []


def _edit(pack: expect.Pack, drill: str, key: str, value: Any) -> None:
    dict(pack.drill(drill))[key] = value
    next(d for d in pack.record["drills"] if d["id"] == drill)[key] = value


SABOTAGE: dict[str, Callable[[expect.Pack], object]] = {
    "the shortfall is not seen": lambda pack: _edit(pack, expect.SHORTFALL, "verdict", "MET"),
    "something else is missed too": lambda pack: _edit(pack, "website::restore", "verdict", "MISSED"),
    "we do not know": lambda pack: _edit(pack, "website::integrity", "verdict", "INCONCLUSIVE"),
    "a drill is not there": lambda pack: pack.record["drills"].pop(0),
    "a drill nobody spoke of": lambda pack: pack.record["drills"].append(
        {"id": "x::y", "verdict": "MET", "reasons": []}
    ),
    "the snapshot is old too": lambda pack: _edit(
        pack, expect.SHORTFALL, "data_loss", {"recovery_point_age_seconds": 350_000.0, "proved_seconds": 350_000.0}
    ),
}


@pytest.mark.parametrize("sabotage", SABOTAGE.values(), ids=SABOTAGE.keys())
def test_the_first_run_differs(missed: expect.Pack, sabotage: Callable[[expect.Pack], object]) -> None:
    sabotage(missed)
    assert list(expect.first_run(1, missed))


def test_the_exit_code_and_the_pack_count(missed: expect.Pack, mended: expect.Pack) -> None:
    assert list(expect.first_run(0, missed))
    assert list(expect.first_run(1, None))
    assert list(expect.second_run(1, mended, missed))
    assert list(expect.second_run(0, None, missed))


@pytest.mark.parametrize(
    "changed", [{"status": "open"}, {"fingerprint": "another"}, {"retest_run": "run-1"}], ids=["open", "other", "run"]
)
def test_the_action_has_to_be_closed_by_that_run(
    missed: expect.Pack, mended: expect.Pack, changed: dict[str, str]
) -> None:
    pack = expect.Pack(mended.folder, mended.record, [{**mended.actions[0], **changed}])
    assert list(expect.second_run(0, pack, missed))


def test_a_folder_that_the_demo_did_not_make_is_left_alone(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    with pytest.raises(workdir.DemoError, match="did not make"):
        workdir.create(tmp_path)
    assert precious.read_text() == "mine"


def test_its_own_folder_is_built_anew(tmp_path: Path) -> None:
    work = workdir.create(tmp_path / "demo")
    (work.production / "old").write_text("from an earlier demo")
    workdir.create(tmp_path / "demo")
    assert not (work.production / "old").exists()
    assert (work.root / "targets" / "bia.yaml").is_file()
    assert (work.secrets.stat().st_mode & 0o077) == 0


@pytest.fixture(name="busy")
def _busy() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield int(other.getsockname()[1])


def test_a_port_that_is_taken_is_replaced_everywhere(tmp_path: Path, busy: int) -> None:
    (tmp_path / "system.yaml").write_text(f'run: [serve, "{busy}"]\nready: {{http: "http://127.0.0.1:{busy}/"}}\n')
    (tmp_path / "test_it.py").write_text(f'URL = "http://127.0.0.1:{busy}/classes"\n')
    workdir._use_free_ports(tmp_path)
    texts = [path.read_text() for path in sorted(tmp_path.iterdir())]
    assert all(str(busy) not in text for text in texts)
    assert "127.0.0.1:" in texts[0]
    assert "127.0.0.1:" in texts[1]


def test_nights_are_a_day_apart_and_none_is_to_come() -> None:
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    nights = story.nights(now)
    assert len(nights) == story.DAYS
    assert nights[-1] < now
    # Below the RPO of 26 hours less the declared 20 minutes that a backup takes.
    assert max(later - earlier for earlier, later in itertools.pairwise(nights)) < timedelta(hours=25)


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(
        '<a href="there.html">x</a> <img src="gone.jpg"> <a href="https://example.org/">'
    )
    (tmp_path / "there.html").write_text("here")
    assert link_checker.broken(tmp_path) == ["index.html: gone.jpg"]


def test_the_demo_carries_the_schemas_of_this_release() -> None:
    written = {
        path.name.removesuffix(".schema.json"): json.loads(path.read_text())
        for path in (workdir.CHECKOUT / "targets" / ".schemas").glob("*.json")
    }
    assert written == schemas(), "run `drtests schema` at the top of the checkout"
