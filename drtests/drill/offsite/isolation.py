"""Cuts the host of the restore off from everything but where the offsite repository is, and looks whether it is."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drtests.core.offsite.isolated import addresses_of, not_isolated, production, secret_files, sockets
from drtests.drill.journaled_host import JournaledHost
from drtests.drill.offsite.case import Case
from drtests.drill.reach import DrillReach
from drtests.drill.safety import machines_of, precious
from drtests.drill.stage import Stage
from drtests.errors import DrtestsError, HostError
from drtests.hosts.isolation.host import IsolatedHost, Isolation, Wall, isolate
from drtests.kit.tools import backup_program
from drtests.protocols.host import Host
from drtests.protocols.store import Store

_LOCAL = "local"
_TOLD = 20
"""Names of each kind that go into the evidence."""


@dataclass(slots=True)
class CutOff:
    """Whether the restore is cut off. `why_not` says why it is not; empty when it is."""

    why_not: str = "nothing was restored"
    facts: dict[str, Any] = field(default_factory=dict)
    isolation: Isolation | None = None

    def ended(self) -> None:
        """To be asked when all is done: an isolation that ended meanwhile is none."""
        if self.isolation is None:
            return
        try:
            self.facts["connections let through"] = self.isolation.connections()
        except DrtestsError as error:
            self.why_not = self.why_not or error.what


def cut_off(case: Case, stage: Stage, cut: CutOff) -> None:
    """Whatever the stage does from now on is isolated. Never raises because of that: where it cannot be, it is told."""
    through = addresses_of(case.project, case.repository)
    if backup_program(case.project, case.repository.id) is None:
        cut.why_not = f"engine {case.repository.engine!r} runs within drtests, which cannot be cut off from production"
        return
    if through is None:
        cut.why_not = "at which address the repository answers cannot be told from its location"
        return
    plain = stage.host
    if not isinstance(plain, JournaledHost):
        cut.why_not = f"host {plain.id} is none that can be isolated"
        return
    try:
        isolation = isolate(plain, f"{stage.place.folder}/isolation", _python(case, stage), _wall(case, stage, through))
        stage.beneath.running.append(("the isolation", isolation.service))
        isolated = plain.around(lambda host: IsolatedHost(host, isolation))
        probed = isolation.probe(isolated)
    except DrtestsError as error:
        cut.why_not = error.what
        return
    stage.host = isolated
    stage.reach = _Alone(case, stage, isolated)
    cut.isolation, cut.facts, cut.why_not = isolation, _facts(probed, isolation), not_isolated(probed)


def _wall(case: Case, stage: Stage, through: list[tuple[str, int]]) -> Wall:
    project, own = case.project, case.repository
    machines = machines_of(project, stage.staging, stage.host)
    hide = precious(project, machines, but=own.id)
    hide += sockets(project.estate, frozenset(machines))
    if _LOCAL in machines:
        hide += secret_files(project)
    keep = [stage.path] if own.folder is None else [stage.path, str(project.path(own.folder))]
    if _LOCAL in machines:
        # drtests itself, whose Python the probe is run with, and what checks may be written in.
        keep += [sys.prefix, str(Path(__file__).resolve().parents[2]), str(project.root / "targets")]
    return Wall(through, list(production(project, own)), hide, keep)


def _python(case: Case, stage: Stage) -> str:
    ssh = case.project.host(stage.staging.host).ssh
    return sys.executable if ssh is None else ssh.python


def _facts(probed: Mapping[str, Any], isolation: Isolation) -> dict[str, Any]:
    """The evidence: few words, and what was asked."""
    facts: dict[str, Any] = {
        "namespaces": "network, mounts" + (", users" if isolation.user else ""),
        "interfaces": list(probed["interfaces"]),
        "let through": list(probed["let_through"]),
    }
    for name in ("asked", "reached", "hidden", "seen"):
        found = list(probed[name])
        facts[name] = found[:_TOLD] + ([f"and {len(found) - _TOLD} more"] if len(found) > _TOLD else [])
    if isolation.problems:
        facts["could not be hidden"] = list(isolation.problems)[:_TOLD]
    return facts


class _Alone(DrillReach):
    """What checks may open in a smoking hole: the isolated host, and what is reached from there."""

    def __init__(self, case: Case, stage: Stage, isolated: JournaledHost) -> None:
        super().__init__(case.project, case.log, case.context.mark(case.plan))
        self.stores, self.usage = case.reach.stores, case.reach.usage
        self._machine = case.project.estate.machine(stage.staging.host)
        self._estate = case.project.estate
        self._isolated = isolated
        self._opened = case.reach

    def host(self, host_id: str | None) -> JournaledHost:
        if self._estate.machine(host_id) != self._machine:
            raise _cut(f"host {host_id or _LOCAL}")
        return self._isolated

    def store(self, store_id: str, *, writer: bool = False) -> Store:
        raise _cut(f"store {store_id}")

    def opened(self) -> tuple[Host, ...]:
        return tuple(self._opened.opened())


def _cut(what: str) -> HostError:
    return HostError(
        f"{what} is cut off in this drill, as it would be after a disaster",
        mend="let what brings the system back and checks it need nothing of production",
    )
