"""The JSON Schemas that editors use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from drtests import registry
from drtests.declarations.schemas import file_name, schemas, text_of, write_schemas
from drtests.declarations.yamltext import parse

CHECKOUT = Path(__file__).resolve().parents[2]
SHIPPED = CHECKOUT / "drtests" / "schemas"
TARGETS = {
    "bia": [CHECKOUT / "targets" / "bia.yaml"],
    "estate": [CHECKOUT / "targets" / "estate.yaml"],
    "system": sorted((CHECKOUT / "targets" / "systems").glob("*.yaml")),
}


def read(path: Path) -> Any:
    return parse(path.read_bytes())


def fits(name: str, value: Any) -> bool:
    return Draft202012Validator(schemas()[name]).is_valid(value)


@pytest.mark.parametrize("name", ["bia", "estate", "system"])
def test_what_ships_is_current(name: str) -> None:
    """If not: python -m drtests.declarations.schemas drtests/schemas"""
    assert (SHIPPED / file_name(name)).read_text(encoding="utf-8") == text_of(schemas()[name])


@pytest.mark.parametrize("name", ["bia", "estate", "system"])
def test_the_demo_fits(name: str) -> None:
    Draft202012Validator.check_schema(schemas()[name])
    assert TARGETS[name]
    for path in TARGETS[name]:
        errors = [error.message for error in Draft202012Validator(schemas()[name]).iter_errors(read(path))]
        assert not errors, path


@pytest.mark.parametrize("name", ["bia", "estate", "system"])
def test_the_demo_points_its_editor_at_them(name: str) -> None:
    """At copies in targets/.schemas/, as `drtests init` makes them, so that the demo's copy of targets/ is whole."""
    for path in TARGETS[name]:
        hint, _, schema = path.read_text(encoding="utf-8").splitlines()[0].partition("$schema=")
        assert hint == "# yaml-language-server: "
        assert (path.parent / schema).resolve() == CHECKOUT / "targets" / ".schemas" / file_name(name)
        assert (path.parent / schema).read_bytes() == (SHIPPED / file_name(name)).read_bytes()


MISTAKES: list[tuple[str, list[str | int], Any]] = [
    ("bia", ["processes", 0, "rto"], "4"),
    ("bia", ["processes", 0, "rto"], 4),
    ("bia", ["processes", 0, "rtoo"], "4h"),
    ("bia", ["processes", 0, "criticality"], "hihg"),
    ("bia", ["processes", 0, "id"], "No Id"),
    ("bia", ["processes", 0, "dependencies"], "file-share"),
    ("bia", ["processes"], []),
    ("bia", ["processes", 0, "approved_at"], "2026-02-03"),
    ("estate", ["staging", 0, "disposable"], "yes"),
    ("estate", ["repositories", 0, "password"], "hunter2"),
    ("estate", ["organisation"], "School"),
    ("system", ["restore", "point"], "newest"),
    ("system", ["restore", "point"], {"befor": "2026-03-01T04:00:00Z"}),
    ("system", ["checks", 0], {"tre": {}}),
    ("system", ["checks", 0], {"tree": {"pth": "x"}}),
    ("system", ["checks", 0], {"tree": {}, "files": {"path": "x"}}),
    ("system", ["checks", 0], {"name": "nothing"}),
    ("system", ["checks", 0], "tree"),
    ("system", ["backups", 0, "interval"], None),
]
FINE: list[tuple[str, list[str | int], Any]] = [
    ("bia", ["processes", 0, "dependencies"], ["file-share", {"target": "website", "type": "soft"}]),
    ("system", ["restore", "point"], "latest"),
    ("system", ["restore", "point"], "0123abcd"),
    ("system", ["restore", "point"], {"before": "2026-03-01T04:00:00+01:00"}),
    ("system", ["restore", "point"], {"random_within": "30d"}),
    ("system", ["checks", 0], {"tree": {"path": "x"}, "name": "my own words"}),
    ("system", ["checks", 0], {"my_package.checks:Queue": {"any": 1}}),
]


def changed(name: str, path: list[str | int], value: Any) -> Any:
    whole = read(TARGETS[name][0])
    part = whole
    for step in path[:-1]:
        part = part[step]
    part[path[-1]] = value
    return whole


@pytest.mark.parametrize(("name", "path", "value"), MISTAKES)
def test_mistakes_do_not_fit(name: str, path: list[str | int], value: Any) -> None:
    assert not fits(name, changed(name, path, value))


@pytest.mark.parametrize(("name", "path", "value"), FINE)
def test_what_is_allowed_fits(name: str, path: list[str | int], value: Any) -> None:
    assert fits(name, changed(name, path, value))


def test_all_checks_are_offered() -> None:
    offered = set(schemas()["system"]["$defs"]["Check"]["properties"])
    assert offered == {"name", *registry.check_kinds()}


def test_durations_are_shown_as_people_write_them() -> None:
    text = "".join(text_of(schema) for schema in schemas().values())
    assert '"default": "PT' not in text
    assert '"default": "4h"' in text


def test_writing(tmp_path: Path) -> None:
    written = write_schemas(tmp_path)
    assert [path.name for path in written] == ["bia.schema.json", "estate.schema.json", "system.schema.json"]
    assert written[0].read_bytes() == (SHIPPED / "bia.schema.json").read_bytes()
