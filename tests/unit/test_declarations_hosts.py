"""Other machines in the declarations: absolute paths, ways that end, and which machine a host is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from drtests.declarations.load import load_project
from drtests.drill.safety import refuse_unsafe
from drtests.errors import ConfigurationError, Diagnostic, SafetyError
from drtests.hosts.local import LocalHost
from drtests.model.estate import Host, Staging
from tests.support.estate import Estate

_SSH = {"address": "192.0.2.7", "user": "recovery"}


def far(name: str = "far", **changed: Any) -> dict[str, Any]:
    return {"id": name, "type": "ssh", "ssh": _SSH | changed}


@pytest.fixture
def estate(tmp_path: Path) -> Estate:
    """Restored to another machine, out of a repository that it reaches over the network."""
    made = Estate(tmp_path)
    made.estate["hosts"] = [far()]
    made.estate["repositories"][0]["location"] = "rest:http://nas.example/"
    made.estate["staging"] = [{"id": "scratch", "host": "far", "path": "/srv/drtests", "disposable": True}]
    return made


def problems(estate: Estate) -> list[Diagnostic]:
    estate.write()
    with pytest.raises(ConfigurationError) as caught:
        load_project(estate.root)
    return list(caught.value.problems)


def line_of(estate: Estate, file: str, text: str) -> int:
    lines = (estate.root / "targets" / file).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


@pytest.mark.parametrize("path", ["staging", "~/staging", "./x"])
def test_a_relative_staging(estate: Estate, path: str) -> None:
    estate.estate["staging"][0]["path"] = path
    [found] = problems(estate)
    assert "is not absolute" in found.what
    assert found.where.startswith(f"targets/estate.yaml:{line_of(estate, 'estate.yaml', f'path: {path}')}:")
    assert "whole path" in found.mend


def test_a_relative_source(estate: Estate) -> None:
    estate.systems["app"]["sources"] = [{"path": "production/app", "host": "far"}]
    [found] = problems(estate)
    assert found.where.startswith(f"targets/systems/app.yaml:{line_of(estate, 'systems/app.yaml', 'production/app')}:")


@pytest.mark.parametrize("host", [None, "local", "far"])
def test_a_relative_repository(estate: Estate, host: str | None) -> None:
    estate.estate["repositories"][0] |= {"location": "repository"} | ({"host": host} if host else {})
    [found] = problems(estate)
    assert found.where.startswith("targets/estate.yaml:")
    assert "repository 'nas'" in found.what
    assert "'far'" in found.what


def test_what_is_absolute_or_reached_over_the_network(estate: Estate) -> None:
    estate.write()
    load_project(estate.root)
    estate.estate["repositories"][0]["location"] = "/mnt/nas"
    estate.write()
    load_project(estate.root)


def test_ways_in_circles(estate: Estate) -> None:
    estate.estate["hosts"] = [far("far", jump="b"), far("b", jump="c"), far("c", jump="b"), far("d")]
    found = problems(estate)
    assert [problem.what for problem in found] == [
        "the way to host 'b' goes round in circles: b -> c -> b",
        "the way to host 'c' goes round in circles: c -> b -> c",
    ]


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"keepalive": "0s"}, "longer than nothing"),
        ({"connect_timeout": "0s"}, "longer than nothing"),
        ({"passphrase": "env:PHRASE"}, "goes with `key`"),
        ({"sudo_password": "env:PHRASE"}, "goes with `sudo: true`"),
    ],
)
def test_options_that_do_not_fit(estate: Estate, changed: dict[str, Any], what: str) -> None:
    estate.estate["hosts"] = [far(**changed)]
    [found] = problems(estate)
    assert what in found.what
    assert found.where.startswith("targets/estate.yaml:")


def test_which_machine_a_host_is(estate: Estate) -> None:
    estate.estate["hosts"] = [
        far("far"),
        far("same", user="root", sudo=True),
        far("port", port=2222),
        far("behind", jump="port"),
        {"id": "here"},
    ]
    estate.write()
    machine = load_project(estate.root).estate.machine
    names = ("far", "same", "port", "behind", "here", "local", None)
    assert [machine(name) for name in names] == ["far", "far", "port", "behind", "local", "local", "local"]


def test_the_same_machine_by_another_name(estate: Estate) -> None:
    estate.estate["hosts"].append(far("same", user="root"))
    estate.systems["app"]["sources"] = [{"path": "/srv/drtests/app", "host": "same"}]
    [found] = problems(estate)
    assert "contains production data of system 'app'" in found.what


class Elsewhere(LocalHost):
    """A host that is another machine in name only: its kernel is that of this one."""

    def local_path(self, path: str) -> None:
        return None


class Apart(Elsewhere):
    """Another machine."""

    def read(self, path: str, limit: int) -> bytes:
        return b"another boot\n" if path.endswith("boot_id") else super().read(path, limit)


def test_this_machine_by_another_name(estate: Estate, tmp_path: Path) -> None:
    """Reached over SSH, and nevertheless the machine with the data: told by what runs there."""
    estate.produce()
    estate.write()
    project = load_project(estate.root)
    for path in (estate.data, estate.root, estate.root / "targets"):
        staging = Staging(id="scratch", host="far", path=str(path), disposable=True)
        with pytest.raises(SafetyError):
            refuse_unsafe(project, staging, Elsewhere(Host(id="far")))
        assert refuse_unsafe(project, staging, Apart(Host(id="far"))) == str(path)


def test_links_are_followed_on_the_other_machine(estate: Estate, tmp_path: Path) -> None:
    data, link = tmp_path / "there" / "data", tmp_path / "there" / "staging"
    data.mkdir(parents=True)
    link.symlink_to(data)
    estate.systems["app"]["sources"] = [{"path": str(data), "host": "far"}]
    estate.estate["staging"][0]["path"] = str(link)
    estate.write()
    project = load_project(estate.root)
    with pytest.raises(SafetyError, match="overlaps production data"):
        refuse_unsafe(project, project.staging("scratch"), Apart(Host(id="far")))


def test_the_whole_machine(estate: Estate) -> None:
    estate.write()
    project = load_project(estate.root)
    with pytest.raises(SafetyError, match="whole machine"):
        refuse_unsafe(project, Staging(id="s", host="far", path="/", disposable=True), Apart(Host(id="far")))
