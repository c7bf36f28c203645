"""What each system is held to, and the order in which systems come back. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from drtests.model.base import CRITICALITIES, Dependency
from drtests.model.bia import Process
from drtests.model.project import Objective, Objectives
from drtests.model.system import System

Graph = Mapping[str, Sequence[str]]
"""What each node needs, by name."""


def effective_objectives(processes: Sequence[Process], systems: Mapping[str, System]) -> dict[str, Objectives]:
    """Of every system: the strictest RTO and RPO of all that need it through hard dependencies, and of itself.

    A process needs a system directly, or through other systems and processes.
    A system with objectives of its own passes them on to what it needs: a
    dependency has to be back before its dependent. Where two are equally
    strict, a process binds before a system, and names in order of the
    alphabet. Criticality is the highest of those processes, `medium` where
    there is none.
    """
    by_id = {process.id: process for process in processes}
    needs = {f"process:{p.id}": _needs_of_process(p, by_id, systems) for p in processes}
    needs |= {f"system:{name}": [f"system:{t}" for t in hard(system, systems)] for name, system in systems.items()}
    users: dict[str, list[Process]] = {name: [] for name in systems}
    rtos: dict[str, list[Objective]] = {name: [] for name in systems}
    rpos: dict[str, list[Objective]] = {name: [] for name in systems}
    for process in processes:
        for name in _systems_below(f"process:{process.id}", needs):
            users[name].append(process)
            rtos[name].append(Objective(process.rto, f"process:{process.id}"))
            rpos[name].append(Objective(process.rpo, f"process:{process.id}"))
    for dependent, system in systems.items():
        if system.rto is None and system.rpo is None:
            continue
        for name in _systems_below(f"system:{dependent}", needs):
            if system.rto is not None:
                rtos[name].append(Objective(system.rto, f"system:{dependent}"))
            if system.rpo is not None:
                rpos[name].append(Objective(system.rpo, f"system:{dependent}"))
    return {
        name: Objectives(
            rto=_strictest(rtos[name]),
            rpo=_strictest(rpos[name]),
            criticality=max((p.criticality for p in users[name]), key=CRITICALITIES.index, default="medium"),
            processes=tuple(sorted(p.id for p in users[name])),
        )
        for name in systems
    }


def hard(thing: Process | System, known: Iterable[str]) -> list[str]:
    """Targets of its hard dependencies that are known."""
    return [d.target for d in thing.dependencies if d.type == "hard" and d.target in known]


def _needs_of_process(process: Process, processes: Mapping[str, Process], systems: Mapping[str, System]) -> list[str]:
    targets = [d.target for d in process.dependencies if d.type == "hard"]
    found = [f"system:{target}" for target in targets if target in systems]
    return found + [f"process:{target}" for target in targets if target in processes]


def _systems_below(start: str, needs: Graph) -> list[str]:
    """Systems that are needed, however far down; with the start, when it is one."""
    seen = {start}
    left = [start]
    for node in left:
        for target in needs[node]:
            if target not in seen:
                seen.add(target)
                left.append(target)
    return [node.removeprefix("system:") for node in left if node.startswith("system:")]


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
        in_order = sorted(group, key=lambda name: _bootstrap(systems[name], name))
        wave.update({name: place for place, name in enumerate(in_order, first)})
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
