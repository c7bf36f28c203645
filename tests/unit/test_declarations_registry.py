"""Adapters are found by name and by dotted path, and what cannot be found is told."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from drtests import registry
from drtests.errors import UsageError


def test_our_own_are_there() -> None:
    assert {"files", "tree", "command", "http", "sqlite", "marker"} <= set(registry.check_kinds())
    assert "restic" in registry.engine_names()
    assert "local" in registry.host_types()
    for kind in registry.check_kinds():
        assert registry.check(kind) is registry.check(kind)
        assert registry.check(kind).Spec


def test_by_dotted_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "adapters_of_a_test.py").write_text("class Outer:\n    class Tape: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "adapters_of_a_test" not in sys.modules
    assert registry.engine("adapters_of_a_test:Outer.Tape").__name__ == "Tape"


@pytest.mark.parametrize(
    ("name", "what", "mend"),
    [
        ("resitc", "there is no engine 'resitc'", "did you mean 'restic'?"),
        ("zzz", "there is no engine 'zzz'", "installed engines: bucket, restic"),
        ("", "there is no engine ''", "restic"),
        ("no_such_module:Engine", "cannot be imported", "package.module:Class"),
        ("json:NoSuch", "cannot be imported", "package.module:Class"),
        (":Engine", "cannot be imported", "package.module:Class"),
        ("json:", "cannot be imported", "package.module:Class"),
    ],
)
def test_what_is_not_there(name: str, what: str, mend: str) -> None:
    with pytest.raises(UsageError) as caught:
        registry.engine(name)
    assert what in caught.value.what
    assert mend in caught.value.mend
