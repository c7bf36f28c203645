"""What `drtests init` writes works as it is."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from drtests.cli.scaffold import write_scaffold
from drtests.declarations.load import load_project
from drtests.declarations.yamltext import parse
from drtests.errors import ConfigurationError, UsageError

GIVEN = {
    "organisation": "OSG De Vliet",
    "repository": "/srv/backups/restic",
    "password": "env:RESTIC_PASSWORD",
    "staging": "/var/tmp/drtests-staging",  # noqa: S108 - named only, never made
}


def write(directory: Path, path: str | None = None, **changed: str) -> list[Path]:
    return write_scaffold(directory, path=path, **(GIVEN | changed))


def test_it_loads(tmp_path: Path) -> None:
    written = write(tmp_path / "new", path="/srv/app/")
    project = load_project(tmp_path / "new")
    assert project.estate.organisation.name == "OSG De Vliet"
    assert project.estate.repositories[0].location == "/srv/backups/restic"
    system = project.systems["main-system"]
    assert [check.options["path"] for check in system.checks] == ["srv/app", "srv/app"]
    assert system.sources[0].path == "/srv/app"
    assert all(path.is_file() for path in written)
    assert {path for path in (tmp_path / "new").rglob("*") if path.is_file()} == set(written)


@pytest.mark.parametrize(
    "value",
    ['The "best" school: no. 1 #', "no", "true", "2024", "- x", "{a}", "école", "'x'", "*x", "x ", "a: b"],
)
def test_any_text_survives(tmp_path: Path, value: str) -> None:
    write(tmp_path, organisation=value, staging=f"/var/{value}", path=f"srv/{value}", repository=f"/r/{value}")
    project = load_project(tmp_path)
    assert project.estate.organisation.name == value
    assert project.estate.staging[0].path == f"/var/{value}"
    assert project.estate.repositories[0].location == f"/r/{value}"
    assert project.systems["main-system"].checks[0].options["path"] == f"srv/{value}"
    ast.parse((tmp_path / "targets/test_example.py").read_text(encoding="utf-8"))


def test_editors_find_their_schemas(tmp_path: Path) -> None:
    write(tmp_path)
    files = sorted((tmp_path / "targets").rglob("*.yaml"))
    assert len(files) == 3
    for file in files:
        named = file.read_text(encoding="utf-8").splitlines()[0].removeprefix("# yaml-language-server: $schema=")
        schema: dict[str, Any] = json.loads((file.parent / named).read_text(encoding="utf-8"))
        errors = [error.message for error in Draft202012Validator(schema).iter_errors(parse(file.read_bytes()))]
        assert not errors, file


def test_what_is_commented_out_is_right_too(tmp_path: Path) -> None:
    """People take the `#` away; then it has to work."""
    write(tmp_path)
    file = tmp_path / "targets/systems/main-system.yaml"
    lines = file.read_text(encoding="utf-8").splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("# start:"))
    for number in range(start, start + 6):
        lines[number] = lines[number].removeprefix("# ")
    lines = [
        line.replace("  # - ", "  - ").replace("# manual:", "manual:").replace("#   - {name: D", "  - {name: D")
        for line in lines
    ]
    lines = [line.replace("  # include", "  include").replace("# rto: 4h", "rto: 4h") for line in lines]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    system = load_project(tmp_path).systems["main-system"]
    assert [check.kind for check in system.checks] == ["files", "tree", "sqlite", "http", "command", "marker"]
    assert system.start[0].background
    assert (len(system.manual), len(system.restore.include)) == (1, 1)


@pytest.mark.parametrize(
    "location",
    [
        "s3:http://127.0.0.1:9000/bucket/x",
        "sftp:joe@nas:/srv/restic",
        "sftp:joe@nas:/a b # c",
        "rest:https://nas:8000/",
    ],
)
def test_any_location(tmp_path: Path, location: str) -> None:
    write(tmp_path, repository=location)
    assert load_project(tmp_path).estate.repositories[0].location == location


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"staging": "/srv/backups/restic/x"}, "is inside repository 'backups'"),
        ({"staging": "/srv/backups"}, "contains repository 'backups'"),
        ({"repository": "local:/r", "staging": "/r"}, "is repository 'backups'"),
        ({"repository": "r", "staging": "./x/../r"}, "is repository 'backups'"),
        ({"staging": "."}, "contains the declarations"),
        ({"path": "/"}, "is inside production data"),
        ({"path": GIVEN["staging"] + "/x"}, "contains production data"),
        ({"repository": "rest:https://joe:hunter2@nas/"}, "a password in the location"),
    ],
)
def test_what_would_be_refused_is_not_written(tmp_path: Path, changed: dict[str, str], what: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        write_scaffold(tmp_path / "new", **{**GIVEN, **changed})
    told = "\n".join(map(str, caught.value.diagnostics()))
    assert what in told
    assert "nothing was written" in told
    assert "hunter2" not in told
    assert "estate.yaml:" not in told
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("taken", ["conftest.py", "targets/bia.yaml", "targets/.schemas/bia.schema.json"])
def test_nothing_is_overwritten(tmp_path: Path, taken: str) -> None:
    file = tmp_path / taken
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("mine")
    with pytest.raises(UsageError) as caught:
        write(tmp_path)
    assert taken in caught.value.what
    assert [path.read_text() for path in tmp_path.rglob("*") if path.is_file()] == ["mine"]


def test_a_link_that_leads_nowhere_is_there_too(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").symlink_to("nowhere")
    with pytest.raises(UsageError):
        write(tmp_path)
    assert not (tmp_path / "targets").exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        write(tmp_path / "file" / "below")


def test_what_was_begun_is_removed(tmp_path: Path) -> None:
    """Here targets/ cannot be made, after conftest.py was written."""
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "targets").write_text("mine")
    with pytest.raises(UsageError, match="cannot be written"):
        write(tmp_path / "new")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["targets"]


@pytest.mark.parametrize("password", ["hunter2", "env:", "plain:hunter2", "env:A\nB"])
def test_a_bare_password_is_refused_and_not_repeated(tmp_path: Path, password: str) -> None:
    with pytest.raises(UsageError) as caught:
        write(tmp_path, password=password)
    assert "hunter2" not in "".join(map(str, caught.value.diagnostics()))
    assert not list(tmp_path.iterdir())


UNUSABLE = [{"organisation": " "}, {"staging": "a\nb"}, {"path": "srv/../../etc"}, {"path": "a\\b"}]


@pytest.mark.parametrize("changed", UNUSABLE)
def test_values_that_cannot_be_used(tmp_path: Path, changed: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        write_scaffold(tmp_path, **(GIVEN | changed))
    assert not list(tmp_path.iterdir())
