"""The JSON Schemas that editors use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from drtests import registry
from drtests.declarations.schemas import _join, file_name, schemas, text_of, write_schemas
from drtests.declarations.yamltext import parse
from drtests.model.bia import Bia
from drtests.model.estate import Estate
from drtests.model.system import System

CHECKOUT = Path(__file__).resolve().parents[2]
SHIPPED = CHECKOUT / "drtests" / "schemas"
TARGETS = {
    "bia": [CHECKOUT / "targets" / "bia.yaml"],
    "estate": [CHECKOUT / "targets" / "estate.yaml"],
    "system": sorted((CHECKOUT / "targets" / "systems").glob("*.yaml")),
}


def read(path: Path) -> Any:
    return parse(path.read_bytes())


def read_text(text: str) -> Any:
    return parse(text.encode())


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
    ("system", ["checks", 0], {"sql": {"database": "a", "query": "SELECT 1", "min": "many"}}),
    ("system", ["checks", 0], {"sql": {"database": "a", "query": "SELECT 1", "compare": {"tolerance": "two"}}}),
    ("system", ["checks", 0], {"database": {}}),
    ("system", ["checks", 0], {"marker": {"sql": {"database": "a"}}}),
    ("system", ["databases"], {"id": "a", "recipe": "sqlite", "path": "x"}),
    ("system", ["databases"], [{"id": "a", "recipe": "sqlite"}]),
    ("system", ["databases"], [{"id": "a", "recipe": "sqlit", "path": "x"}]),
    ("system", ["databases"], [{"id": "a", "path": "x"}]),
    ("system", ["databases"], [{"recipe": "sqlite", "path": "x"}]),
    ("system", ["databases"], [{"id": "a", "recipe": "sqlite", "path": "x", "pth": "y"}]),
    ("system", ["databases"], [{"id": "a", "recipe": "sqlite", "path": ["x"]}]),
    ("system", ["databases"], [{"id": "a", "recipe": "sqlite", "path": "x", "timeout": "5"}]),
    ("system", ["databases"], [{"id": "a", "recipe": "my_package:Recipe", "timeout": "5"}]),
    ("system", ["replicas"], [{"id": "a", "kind": "nothing"}]),
    ("system", ["replicas"], [{"id": "a", "kind": "my_package:Replica", "markers": "yes"}]),
    ("system", ["failovers"], [{"id": "a", "kind": "my_package:Failover"}]),
    ("estate", ["databases"], [{"id": "a", "type": "paper"}]),
    ("estate", ["databases"], [{"id": "a", "type": "redis", "password": "hunter2"}]),
    ("estate", ["stores"], [{"id": "a", "bucket": "abc", "reader": {"access_key": "AKIA", "secret_key": "x"}}]),
    ("estate", ["hosts"], [{"id": "a", "type": "ssh", "ssh": {"address": "a", "user": "b", "passphrase": "hunter2"}}]),
]
FINE: list[tuple[str, list[str | int], Any]] = [
    ("bia", ["processes", 0, "dependencies"], ["file-share", {"target": "website", "type": "soft"}]),
    ("system", ["restore", "point"], "latest"),
    ("system", ["restore", "point"], "0123abcd"),
    ("system", ["restore", "point"], {"before": "2026-03-01T04:00:00+01:00"}),
    ("system", ["restore", "point"], {"random_within": "30d"}),
    ("system", ["checks", 0], {"tree": {"path": "x"}, "name": "my own words"}),
    ("system", ["checks", 0], {"my_package.checks:Queue": {"any": 1}}),
    ("system", ["checks", 0], {"sql": {"database": "a", "query": "SELECT 1", "compare": {"tolerance": "2%"}}}),
    ("system", ["checks", 0], {"sql": {"database": "a", "query": "SELECT 1", "compare": {"tolerance": 5}, "min": 1}}),
    ("system", ["databases"], [{"id": "a", "recipe": "sqlite", "path": "x", "live": "b", "timeout": "5m"}]),
    ("system", ["databases"], [{"id": "a", "recipe": "my_package:Recipe", "any": 1}]),
    ("system", ["replicas"], [{"id": "a", "kind": "my_package:Replica", "markers": True, "any": 1}]),
    ("system", ["failovers"], [{"id": "a", "kind": "my_package:Failover", "stands_for": "b", "any": 1}]),
    ("estate", ["databases"], [{"id": "a", "type": "redis", "password": "env:PASSWORD"}]),
    ("estate", ["databases"], [{"id": "a", "type": "my_package:Client"}]),
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


def test_all_recipes_and_kinds_are_offered() -> None:
    for model, key, names in (
        ("Database", "recipe", registry.recipe_names()),
        ("Replica", "kind", registry.replication_kinds()),
        ("Failover", "kind", registry.rehearsal_kinds()),
    ):
        forms = schemas()["system"]["$defs"][model]["anyOf"]
        assert [form["properties"][key].get("const") for form in forms] == [*names, None]


def test_what_is_called_alike_is_kept_apart() -> None:
    """Checks and kinds of replicas both have a `compare`, each with options of its own."""
    definitions: dict[str, Any] = {"Compare": {"type": "string"}, "Same": {"type": "null"}}
    more = {
        "Compare": {"type": "object", "properties": {"again": {"$ref": "#/$defs/Compare"}}},
        "Same": {"type": "null"},
        "Replica": {"anyOf": [{"$ref": "#/$defs/Compare"}, {"$ref": "#/$defs/Same"}]},
    }
    _join(definitions, more, "Replica")
    assert definitions == {
        "Compare": {"type": "string"},
        "Same": {"type": "null"},
        "ReplicaCompare": {"type": "object", "properties": {"again": {"$ref": "#/$defs/ReplicaCompare"}}},
        "Replica": {"anyOf": [{"$ref": "#/$defs/ReplicaCompare"}, {"$ref": "#/$defs/Same"}]},
    }


def examples() -> Iterator[tuple[str, str, Any]]:
    """Every YAML example of the documentation that is a part of a declaration: where it is, of which file, the part."""
    keys = {name: set(model.model_fields) for name, model in (("estate", Estate), ("system", System), ("bia", Bia))}
    for page in sorted((CHECKOUT / "docs").rglob("*.md")):
        if "reference" in page.parts:
            continue
        for found in re.finditer(r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            value = read_text(found[1])
            where = (
                f"{page.relative_to(CHECKOUT)}:{page.read_text(encoding='utf-8')[: found.start()].count(chr(10)) + 1}"
            )
            if not isinstance(value, dict):
                continue
            name = next((name for name, known in keys.items() if set(value) <= known), "")
            # Both files have `databases`.
            if name == "estate" and any("recipe" in one for one in value.get("databases", ())):
                name = "system"
            if name:
                yield where, name, value


@pytest.mark.parametrize(("where", "name", "value"), [pytest.param(*one, id=one[0]) for one in examples()])
def test_examples_of_the_documentation_fit(where: str, name: str, value: Any) -> None:
    whole = read(TARGETS[name][0]) | value
    errors = [error.message for error in Draft202012Validator(schemas()[name]).iter_errors(whole)]
    assert not errors, where


def test_durations_are_shown_as_people_write_them() -> None:
    text = "".join(text_of(schema) for schema in schemas().values())
    assert '"default": "PT' not in text
    assert '"default": "4h"' in text


def test_writing(tmp_path: Path) -> None:
    written = write_schemas(tmp_path)
    assert [path.name for path in written] == ["bia.schema.json", "estate.schema.json", "system.schema.json"]
    assert written[0].read_bytes() == (SHIPPED / "bia.schema.json").read_bytes()
