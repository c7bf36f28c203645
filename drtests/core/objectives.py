"""What each system is held to, and the order in which systems come back. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from drtests.model.base import CRITICALITIES, Dependency
from drtests.model.bia import Bia, Process
from drtests.model.project import Objective, Objectives
from drtests.model.system import System

Graph = Mapping[str, Sequence[str]]
"""What each node needs, by name."""


def effective_objectives(bia: Bia, systems: Mapping[str, System]) -> dict[str, Objectives]:
    """Of every system: the strictest RTO and RPO of all that need it through hard dependencies, and of itself.

    A process needs a system directly, or through other systems and processes.
    Where two are equally strict, a process binds before the system, and names
    in order of the alphabet. Criticality is the highest of those processes,
    `low` where there is none.
    """
    processes = {process.id: process for process in bia.processes}
    needs: dict[str, list[str]] = {f"process:{p.id}": _needs_of_process(p, processes, systems) for p in bia.processes}
    needs |= {f"system:{name}": [f"system:{t}" for t in hard(system, systems)] for name, system in systems.items()}
    asked: dict[str, list[Process]] = {name: [] for name in systems}
    for process in bia.processes:
        for node in _reachable(f"process:{process.id}", needs):
            kind, _, name = node.partition(":")
            if kind == "system":
                asked[name].append(process)
    return {name: _objectives(name, system, asked[name]) for name, system in systems.items()}


def hard(thing: Process | System, known: Iterable[str]) -> list[str]:
    """Targets of its hard dependencies that are known."""
    return [d.target for d in thing.dependencies if d.type == "hard" and d.target in known]  # type: ignore[operator]


def _needs_of_process(process: Process, processes: Mapping[str, Process], systems: Mapping[str, System]) -> list[str]:
    targets = [d.target for d in process.dependencies if d.type == "hard"]
    found = [f"system:{target}" for target in targets if target in systems]
    return found + [f"process:{target}" for target in targets if target in processes]


def _reachable(start: str, needs: Graph) -> set[str]:
    seen = {start}
    left = [start]
    while left:
        for target in needs.get(left.pop(), ()):
            if target not in seen:
                seen.add(target)
                left.append(target)
    return seen


def _objectives(name: str, system: System, processes: Sequence[Process]) -> Objectives:
    rtos = [Objective(process.rto, f"process:{process.id}") for process in processes]
    rpos = [Objective(process.rpo, f"process:{process.id}") for process in processes]
    if system.rto is not None:
        rtos.append(Objective(system.rto, f"system:{name}"))
    if system.rpo is not None:
        rpos.append(Objective(system.rpo, f"system:{name}"))
    return Objectives(
        rto=_strictest(rtos),
        rpo=_strictest(rpos),
        criticality=max((p.criticality for p in processes), key=CRITICALITIES.index, default="low"),
        processes=tuple(sorted(p.id for p in processes)),
    )


def _strictest(asked: Sequence[Objective]) -> Objective | None:
    # "process:..." sorts before "system:...".
    return min(asked, key=lambda objective: (objective.limit, objective.bound_by), default=None)


def recovery_order(systems: Mapping[str, System]) -> list[list[str]]:
    """Waves: every system comes after all it needs by hard dependencies; names in order within a wave.

    The systems of a cycle come one a wave, in order of their `bootstrap`.
    """
    graph = {name: hard(systems[name], systems) for name in sorted(systems)}
    wave: dict[str, int] = {}
    done: dict[str, int] = {}
    # Groups come with what they need before them.
    for group in components(graph):
        members = set(group)
        needed = (target for name in group for target in graph[name] if target not in members)
        first = max((done[target] for target in needed), default=-1) + 1
        for place, name in enumerate(sorted(group, key=lambda n: _bootstrap(systems[n], n)), first):
            wave[name] = place
        last = first + len(group) - 1
        done.update(dict.fromkeys(group, last))
    waves: list[list[str]] = [[] for _ in range(max(wave.values(), default=-1) + 1)]
    for name in graph:
        waves[wave[name]].append(name)
    return waves


def _bootstrap(system: System, name: str) -> tuple[bool, int, str]:
    return (system.bootstrap is None, system.bootstrap or 0, name)


def components(graph: Graph) -> Iterator[list[str]]:
    """Groups of nodes that all need each other (Tarjan), each after all the groups that it needs; linear in size."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    for root in graph:
        if root in index:
            continue
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        work = [(root, iter(graph[root]))]
        while work:
            node, targets = work[-1]
            deeper = _next_new(node, targets, index, low, on_stack)
            if deeper is not None:
                index[deeper] = low[deeper] = len(index)
                stack.append(deeper)
                on_stack.add(deeper)
                work.append((deeper, iter(graph[deeper])))
                continue
            work.pop()
            if work:
                low[work[-1][0]] = min(low[work[-1][0]], low[node])
            if low[node] == index[node]:
                at = stack.index(node) if stack[-1] != node else len(stack) - 1
                group = stack[at:]
                del stack[at:]
                on_stack.difference_update(group)
                yield group


def _next_new(
    node: str, targets: Iterator[str], index: Mapping[str, int], low: dict[str, int], on_stack: set[str]
) -> str | None:
    for target in targets:
        if target not in index:
            return target
        if target in on_stack:
            low[node] = min(low[node], index[target])
    return None


def a_cycle(group: Sequence[str], graph: Graph) -> list[str]:
    """A shortest way from the group's first name back to it, through the group."""
    start, members = min(group), set(group)
    came: dict[str, str] = {}
    left = [start]
    for node in left:
        for target in graph[node]:
            if target == start:
                way = [node]
                while way[-1] != start:
                    way.append(came[way[-1]])
                return [*reversed(way), start]
            if target in members and target not in came:
                came[target] = node
                left.append(target)
    return []


__all__ = ["Dependency", "Graph", "a_cycle", "components", "effective_objectives", "hard", "recovery_order"]
