"""What a bucket held at a moment: the pure part of restoring from versions."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drtests.engines.bucket.state import file_of, moments, of_part, state_at, wanted
from drtests.errors import EngineError
from drtests.protocols.store import ObjectFact

ZERO = datetime(2026, 3, 1, tzinfo=UTC)


def version(key: str, second: float, deleted: bool = False) -> ObjectFact:
    return ObjectFact(key, 1, ZERO + timedelta(seconds=second), "", f"{key}@{second}", deleted=deleted)


CHANGES = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 30), st.booleans()), unique_by=lambda change: change[:2]
)


@given(CHANGES, st.integers(-1, 31))
def test_the_state_is_what_replaying_all_changes_gives(changes: list[tuple[str, int, bool]], second: int) -> None:
    replayed: dict[str, str] = {}
    for key, at, deleted in sorted(changes, key=lambda change: change[1]):
        if at <= second:
            replayed.pop(key, None)
            if not deleted:
                replayed[key] = f"{key}@{at}"
    told = [version(*change) for change in sorted(changes, key=lambda change: (change[0], -change[1]))]
    found = {fact.key: fact.version for fact in state_at(told, ZERO + timedelta(seconds=second))}
    assert found == replayed


def test_nothing_is_kept_of_what_went_by() -> None:
    seen = 0

    def many() -> Iterator[ObjectFact]:
        nonlocal seen
        for number in range(100_000):
            seen += 1
            yield version(f"{number:06}", 0)

    state = state_at(many(), ZERO)
    next(state)
    assert seen <= 2


def test_changes_of_a_second_are_one_moment_and_are_in_it() -> None:
    facts = [version("a", 0.2), version("b", 0.9), version("c", 1.0), version("d", 7.5, deleted=True)]
    found = moments(facts)
    assert found == [ZERO + timedelta(seconds=1), ZERO + timedelta(seconds=8)]
    assert {fact.key for fact in state_at(facts, found[0])} == {"a", "b", "c"}


@pytest.mark.parametrize("key", ["p/../x", "p//x", "p/./x", "p/", "p/a\0b", "p/" + "x" * 256, "p/é" + "é" * 127])
def test_keys_that_no_file_can_have(key: str) -> None:
    with pytest.raises(EngineError, match="no file can be named"):
        file_of(key, "p/")


def test_keys_become_paths_below_the_prefix() -> None:
    assert file_of("p/a/b.txt", "p/") == "a/b.txt"
    assert file_of("p/a/", "p/") == "a/"
    assert file_of("a b/ü", "") == "a b/ü"


@pytest.mark.parametrize(
    ("key", "included"), [("p/a/x", True), ("p/a", True), ("p/ab", False), ("p/b/c/d", True), ("p/b", False)]
)
def test_only_what_is_included(key: str, included: bool) -> None:
    assert wanted(key, "p/", ["/a", "b/c/"]) is included
    assert wanted(key, "p/", [])


@given(st.lists(st.text(), min_size=1, unique=True), st.integers(1, 12))
def test_every_key_is_in_exactly_one_part(keys: list[str], parts: int) -> None:
    for key in keys:
        assert sum(of_part(key, part, parts) for part in range(1, parts + 1)) == 1


def test_parts_are_even_and_never_change() -> None:
    sizes = [sum(of_part(f"data/{number}", part, 5) for number in range(5000)) for part in range(1, 6)]
    assert min(sizes) > 900
    # Another spread would read some objects twice and others never, once after an upgrade.
    assert of_part("data/1", 2, 5)
