"""Effective objectives and the order of recovery."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from drtests.core.objectives import a_cycle, components, effective_objectives, recovery_order
from drtests.model.base import CRITICALITIES
from drtests.model.bia import Process
from drtests.model.project import Objective
from drtests.model.system import System

NAMES = [f"s{n}" for n in range(7)]


def system(*needs: str, soft: tuple[str, ...] = (), **more: object) -> System:
    dependencies = [*needs, *({"target": target, "type": "soft"} for target in soft)]
    declared = {
        "name": "x",
        "backups": [{"repository": "nas", "interval": "1d"}],
        "restore": {"staging": "scratch"},
        "dependencies": dependencies,
        **more,
    }
    return System.model_validate(declared)


def process(name: str, rto: int, rpo: int, *needs: object, criticality: str = "medium") -> Process:
    return Process.model_validate(
        {
            "id": name,
            "name": name,
            "owner": "anna",
            "rto": f"{rto}h",
            "rpo": f"{rpo}h",
            "dependencies": list(needs),
            "criticality": criticality,
        }
    )


def hours(limit: int, bound_by: str) -> Objective:
    return Objective(timedelta(hours=limit), bound_by)


def test_the_strictest_counts_and_is_named() -> None:
    systems = {"db": system(), "app": system("db"), "site": system(soft=("db",))}
    processes = [
        process("slow", 8, 1, "app", criticality="low"),
        process("fast", 2, 24, "app", criticality="high"),
        process("web", 1, 1, "site", criticality="critical"),
    ]
    found = effective_objectives(processes, systems)
    for name in ("db", "app"):
        assert (found[name].rto, found[name].rpo) == (hours(2, "process:fast"), hours(1, "process:slow"))
        assert (found[name].criticality, found[name].processes) == ("high", ("fast", "slow"))
    assert found["site"].processes == ("web",)


def test_through_other_processes() -> None:
    found = effective_objectives([process("a", 1, 1, "b"), process("b", 8, 8, "db")], {"db": system()})
    assert (found["db"].rto, found["db"].processes) == (hours(1, "process:a"), ("a", "b"))


def test_softly_needed_is_not_held_to_it() -> None:
    found = effective_objectives([process("a", 1, 1, {"target": "db", "type": "soft"})], {"db": system()})
    assert (found["db"].rto, found["db"].rpo, found["db"].processes) == (None, None, ())
    assert found["db"].criticality == "medium"


def test_its_own_objectives_bind_it_and_what_it_needs() -> None:
    systems = {"app": system("db", rto="1h"), "db": system(rpo="2h"), "other": system()}
    found = effective_objectives([process("a", 4, 4, "app")], systems)
    assert found["app"].rto == found["db"].rto == hours(1, "system:app")
    assert (found["db"].rpo, found["app"].rpo) == (hours(2, "system:db"), hours(4, "process:a"))
    assert found["other"].rto is None


def test_ties_do_not_depend_on_the_order() -> None:
    systems = {"app": system(rto="2h")}
    processes = [process("b", 2, 1, "app"), process("a", 2, 1, "app")]
    for order in (processes, processes[::-1]):
        found = effective_objectives(order, systems)["app"]
        assert (found.rto, found.rpo) == (hours(2, "process:a"), hours(1, "process:a"))


def test_cycles_end() -> None:
    systems = {"a": system("b", bootstrap=2), "b": system("a", bootstrap=1)}
    assert effective_objectives([process("p", 1, 1, "a")], systems)["b"].processes == ("p",)


edges = st.dictionaries(st.sampled_from(NAMES), st.sets(st.sampled_from(NAMES), max_size=3))


def systems_of(graph: Mapping[str, set[str]]) -> dict[str, System]:
    return {name: system(*sorted(graph.get(name, set()) - {name})) for name in NAMES}


processes = st.lists(
    st.tuples(
        st.integers(1, 9),
        st.integers(1, 9),
        st.sets(st.sampled_from(NAMES), max_size=3),
        st.sampled_from(CRITICALITIES),
    ),
    max_size=5,
)


@given(edges, processes, processes)
def test_another_process_never_loosens(
    graph: dict[str, set[str]],
    first: list[tuple[int, int, set[str], str]],
    more: list[tuple[int, int, set[str], str]],
) -> None:
    systems = systems_of(graph)
    all_ = [
        process(f"p{n}", rto, rpo, *sorted(needs), criticality=level)
        for n, (rto, rpo, needs, level) in enumerate([*first, *more])
    ]
    before = effective_objectives(all_[: len(first)], systems)
    after = effective_objectives(all_, systems)
    for name in NAMES:
        for was, is_ in ((before[name].rto, after[name].rto), (before[name].rpo, after[name].rpo)):
            assert was is None or (is_ is not None and is_.limit <= was.limit)
        assert set(before[name].processes) <= set(after[name].processes)
        if before[name].processes:
            rank = CRITICALITIES.index
            assert rank(after[name].criticality) >= rank(before[name].criticality)


@given(edges, processes)
def test_what_is_needed_is_held_to_no_less(
    graph: dict[str, set[str]], declared: list[tuple[int, int, set[str], str]]
) -> None:
    systems = systems_of(graph)
    all_ = [process(f"p{n}", rto, rpo, *sorted(needs)) for n, (rto, rpo, needs, _) in enumerate(declared)]
    found = effective_objectives(all_, systems)
    for name, one in systems.items():
        for dependency in one.dependencies:
            mine, theirs = found[name].rto, found[dependency.target].rto
            assert mine is None or (theirs is not None and theirs.limit <= mine.limit)


def test_waves() -> None:
    systems = {"c": system("b"), "b": system("a"), "a": system(), "z": system(soft=("c",)), "y": system("b", "z")}
    assert recovery_order(systems) == [["a", "z"], ["b"], ["c", "y"]]
    assert recovery_order({}) == []


def test_a_cycle_comes_in_its_bootstrap_order() -> None:
    systems = {
        "a": system("b", bootstrap=2),
        "b": system("a", "net", bootstrap=1),
        "net": system(),
        "app": system("b"),
        "gone": system("nowhere"),
    }
    assert recovery_order(systems) == [["gone", "net"], ["b"], ["a"], ["app"]]


@given(edges)
def test_every_system_comes_once_and_after_what_it_needs(graph: dict[str, set[str]]) -> None:
    systems = systems_of(graph)
    waves = recovery_order(systems)
    assert sorted(name for wave in waves for name in wave) == sorted(systems)
    assert all(wave == sorted(wave) and wave for wave in waves)
    rank = {name: number for number, wave in enumerate(waves) for name in wave}
    needs = {name: [d.target for d in one.dependencies] for name, one in systems.items()}
    group_of = {name: frozenset(group) for group in components(needs) for name in group}
    for name, targets in needs.items():
        for target in targets:
            assert rank[target] < rank[name] or group_of[name] == group_of[target]
    for group in set(group_of.values()):
        cycle = a_cycle(sorted(group), needs)
        assert bool(cycle) == (len(group) > 1)
        assert all(target in needs[name] for name, target in pairwise(cycle))
        assert len({rank[name] for name in group}) == len(group)


def test_a_long_chain_needs_no_deep_stack() -> None:
    chain = {f"n{n:05}": system(*([f"n{n - 1:05}"] if n else [])) for n in range(3000)}
    assert len(recovery_order(chain)) == 3000
    assert effective_objectives([process("p", 1, 1, "n02999")], chain)["n00000"].processes == ("p",)
