"""What each system owes: the strictest objectives of all that need it. And the order in which systems come back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

from drtests.model.base import CRITICALITIES, Criticality
from drtests.model.bia import Process
from drtests.model.project import Objective, Objectives
from drtests.model.system import System


def effective_objectives(processes: Sequence[Process], systems: Mapping[str, System]) -> dict[str, Objectives]:
    """For every system, by id.

    Asked for by every process that needs the system through hard
    dependencies, directly or through other processes and systems, by the
    systems on the way (a dependency must be back before its dependent), and
    by the system itself. Of equals the one named first counts.
    """
    edges = {p.id: _hard(p) for p in processes} | {f"system:{name}": _hard(s) for name, s in systems.items()}
    by_id = {process.id: process for process in processes}
    rto: dict[str, Objective] = {}
    rpo: dict[str, Objective] = {}
    rank: dict[str, int] = {}
    users: dict[str, list[str]] = {name: [] for name in systems}
    for process in processes:
        for system in _reached(process.id, edges, by_id, systems):
            users[system].append(process.id)
            rank[system] = max(rank.get(system, 0), CRITICALITIES.index(process.criticality))
            _tighten(rto, system, process.rto, f"process:{process.id}")
            _tighten(rpo, system, process.rpo, f"process:{process.id}")
    for name, system in systems.items():
        if system.rto is None and system.rpo is None:
            continue
        for target in [name, *_reached(f"system:{name}", edges, {}, systems)]:
            _tighten(rto, target, system.rto, f"system:{name}")
            _tighten(rpo, target, system.rpo, f"system:{name}")
    return {
        name: Objectives(rto.get(name), rpo.get(name), _criticality(rank.get(name)), tuple(users[name]))
        for name in systems
    }


def _criticality(rank: int | None) -> Criticality:
    return "medium" if rank is None else CRITICALITIES[rank]


def _hard(declared: Process | System) -> list[str]:
    return [dependency.target for dependency in declared.dependencies if dependency.type == "hard"]


def _reached(
    start: str, edges: Mapping[str, Sequence[str]], processes: Mapping[str, Process], systems: Mapping[str, System]
) -> list[str]:
    """Systems that `start` needs, however far down."""
    found: dict[str, None] = {}
    seen = {start}
    todo = list(edges.get(start, ()))
    while todo:
        target = todo.pop()
        node = target if target in processes else f"system:{target}"
        if node in seen:
            continue
        seen.add(node)
        if target in systems and target not in processes:
            found[target] = None
        todo.extend(edges.get(node, ()))
    return list(found)


def _tighten(found: dict[str, Objective], system: str, limit: timedelta | None, bound_by: str) -> None:
    if limit is not None and (system not in found or limit < found[system].limit):
        found[system] = Objective(limit, bound_by)


def recovery_order(systems: Mapping[str, System]) -> list[list[str]]:
    """Waves: each holds the systems that can come back once all earlier waves are up. Sorted within a wave.

    The systems of a cycle come back one by one, in the order of `bootstrap`.
    """
    needs = {name: {t for t in _hard(system) if t in systems and t != name} for name, system in systems.items()}
    cycle_of = {name: frozenset(cycle) for cycle in cycles(needs) for name in cycle}
    for cycle in set(cycle_of.values()):
        ordered = sorted(cycle, key=lambda name: (systems[name].bootstrap or 0, name))
        outside = set().union(*(needs[name] - cycle for name in cycle))
        for place, name in enumerate(ordered):
            needs[name] = outside | set(ordered[:place])
    waves: list[list[str]] = []
    dependents: dict[str, list[str]] = {name: [] for name in needs}
    missing = {name: len(targets) for name, targets in needs.items()}
    for name, targets in needs.items():
        for target in targets:
            dependents[target].append(name)
    ready = sorted(name for name, count in missing.items() if count == 0)
    while ready:
        waves.append(ready)
        following: list[str] = []
        for name in ready:
            for dependent in dependents[name]:
                missing[dependent] -= 1
                if missing[dependent] == 0:
                    following.append(dependent)
        ready = sorted(following)
    return waves


def cycles(needs: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Groups of more than one that need each other: Tarjan's strongly connected components, without recursion."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    found: list[list[str]] = []
    for root in needs:
        if root in index:
            continue
        work = [(root, iter(sorted(needs[root])))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, targets = work[-1]
            advanced = False
            for target in targets:
                if target not in needs:
                    continue
                if target not in index:
                    index[target] = low[target] = len(index)
                    stack.append(target)
                    on_stack.add(target)
                    work.append((target, iter(sorted(needs[target]))))
                    advanced = True
                    break
                if target in on_stack:
                    low[node] = min(low[node], index[target])
            if advanced:
                continue
            work.pop()
            if work:
                low[work[-1][0]] = min(low[work[-1][0]], low[node])
            if low[node] == index[node]:
                component = []
                while True:
                    member = stack.pop()
                    on_stack.discard(member)
                    component.append(member)
                    if member == node:
                        break
                if len(component) > 1:
                    found.append(sorted(component))
    return found
