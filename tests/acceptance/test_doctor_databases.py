"""`drtests doctor` on running databases, on programs that recipes need, and on stores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from drtests.cli.checkup_databases import live_databases, recipes, stores
from drtests.cli.findings import Finding
from drtests.declarations.load import load_texts
from drtests.errors import StoreDenied
from drtests.model.project import Project
from drtests.protocols.store import BucketFacts, StoreContext
from tests.support.redis import PASSWORD, RedisPair
from tests.unit.test_declarations import BIA, ESTATE, RECORDS

HERE = "tests.acceptance.test_doctor_databases"


def project(root: Path, estate: str = "", system: str = "") -> Project:
    texts = {"bia.yaml": BIA, "estate.yaml": ESTATE + estate, "systems/records.yaml": RECORDS + system}
    return load_texts(root, {f"targets/{name}": text for name, text in texts.items()})


def only(found: Iterator[Finding]) -> Finding:
    [finding] = found
    return finding


@pytest.fixture
def declared(redis_pair: RedisPair, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """A real server as estate.yaml declares it."""
    monkeypatch.setenv("DRTESTS_TEST_REDIS", PASSWORD)
    monkeypatch.setenv("DRTESTS_TEST_WRONG", "not " + PASSWORD)

    def text(port: int = redis_pair.source.port, secret: str = "env:DRTESTS_TEST_REDIS") -> str:  # noqa: S107 - a reference
        return f"databases:\n  - {{id: sessions, type: redis, port: {port}, password: '{secret}', timeout: 5s}}\n"

    return text


def test_a_database_that_answers(tmp_path: Path, declared: Callable[..., str]) -> None:
    finding = only(live_databases(project(tmp_path, declared())))
    assert (finding.level, finding.subject) == ("ok", "database sessions")
    assert finding.text.startswith("Redis ")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"port": 1}, "127.0.0.1"),
        ({"secret": "env:DRTESTS_TEST_WRONG"}, ""),
        ({"secret": "env:DRTESTS_TEST_NOT_SET"}, "DRTESTS_TEST_NOT_SET is not set"),
    ],
)
def test_a_database_that_does_not(
    tmp_path: Path, declared: Callable[..., str], changed: dict[str, object], told: str
) -> None:
    finding = only(live_databases(project(tmp_path, declared(**changed))))
    assert finding.level == "problem"
    assert told in finding.text
    assert finding.mend
    assert PASSWORD not in str(finding)


SQLITE = "databases:\n  - {id: records, recipe: sqlite, path: srv/app.db}\n"


def test_programs_of_a_recipe(tmp_path: Path) -> None:
    finding = only(recipes(project(tmp_path, system=SQLITE)))
    assert (finding.level, finding.subject) == ("ok", "recipe of records/records")
    assert finding.text.startswith("SQLite 3.")
    assert finding.text.endswith("on host local")


def test_programs_of_a_recipe_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    finding = only(recipes(project(tmp_path, system=SQLITE)))
    assert finding.level == "problem"
    assert "install Python" in finding.mend


def test_a_recipe_that_does_not_tell_is_let_pass(tmp_path: Path) -> None:
    system = "databases:\n  - {id: a, recipe: 'tests.support.adapters:Everything', needed: x}\n"
    assert list(recipes(project(tmp_path, system=system))) == []


@dataclass(slots=True)
class Told:
    """Stands in for a store: what a real one tells is tested with its adapter."""

    context: StoreContext
    seen: list[str] = field(default_factory=list)

    def facts(self) -> BucketFacts:
        if self.context.credentials["access_key"] == "wrong":
            raise StoreDenied("the key is not known", mend="give the right one")
        public = self.context.declared.bucket == "public"
        return BucketFacts(
            versioning="enabled", lock_mode="compliance", lock_seconds=2592000.0, public=public, unknown={"x": "denied"}
        )


def open_told(context: StoreContext) -> Told:
    return Told(context)


@pytest.mark.parametrize(
    ("bucket", "key", "level", "text"),
    [
        ("backups", "right", "ok", "answers: versioning enabled, lock compliance for 30d, not told: x"),
        ("public", "right", "problem", "open to everybody"),
        ("backups", "wrong", "problem", "the key is not known"),
    ],
)
def test_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket: str, key: str, level: str, text: str) -> None:
    monkeypatch.setenv("DRTESTS_TEST_KEY", key)
    reader = "{access_key: env:DRTESTS_TEST_KEY, secret_key: env:DRTESTS_TEST_KEY}"
    estate = f"stores:\n  - {{id: vault, type: '{HERE}:open_told', bucket: {bucket}, reader: {reader}}}\n"
    finding = only(stores(project(tmp_path, estate)))
    assert finding.level == level
    assert text in finding.text
    assert bool(finding.mend) == (level == "problem")
