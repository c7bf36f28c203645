"""Opens what is declared, for one drill: what runs is journaled, every secret that is used is redacted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from drtests import registry
from drtests.drill.context import engine_on, open_store
from drtests.drill.hosts import open_host
from drtests.drill.journaled_host import JournaledHost
from drtests.drill.log import DrillLog
from drtests.errors import UsageError
from drtests.model.connections import LiveDatabase
from drtests.model.estate import Repository
from drtests.model.project import Project
from drtests.model.words import did_you_mean
from drtests.protocols.database import Live, LiveContext
from drtests.protocols.engine import Engine
from drtests.protocols.host import Host
from drtests.protocols.store import Store, Usage
from drtests.secrets import resolve

_Declared = TypeVar("_Declared", LiveDatabase, Repository)


class DrillReach:
    """Fulfils `drtests.protocols.reach.Reach`. A host is opened once, whoever asks for it."""

    def __init__(self, project: Project, log: DrillLog, mark: str) -> None:
        self._project = project
        self._log = log
        self._mark = mark
        self._hosts: dict[str | None, JournaledHost] = {}
        self.stores: list[Store] = []
        """All that were opened."""
        self.usage: dict[str, Usage] = {}
        """What was asked of each store by all of these together, by its id."""

    def host(self, host_id: str | None) -> JournaledHost:
        if host_id not in self._hosts:
            self._hosts[host_id] = JournaledHost(open_host(self._project, host_id, self._mark), self._log)
        return self._hosts[host_id]

    def opened(self) -> Sequence[Host]:
        """All hosts that were opened."""
        return tuple(self._hosts.values())

    def live(self, database_id: str, *, writable: bool = False) -> Live:
        declared = _found(self._project.estate.databases, database_id, "live database")
        password = resolve(declared.password, root=self._project.root) if declared.password else None
        self._log.hide([password or ""])
        context = LiveContext(declared, self.host(declared.host), password, writable)
        made: Live = registry.database(declared.type)(context)
        return made

    def engine(self, repository_id: str) -> Engine:
        repository = _found(self._project.estate.repositories, repository_id, "repository")
        return self.engine_on(repository, self.host(repository.host), None)

    def engine_on(
        self, repository: Repository, host: Host, cache: str | None, instead: Mapping[str, str] | None = None
    ) -> Engine:
        """The repository's engine on a host of the drill's own choice, with a cache there.

        `instead` overrules variables of its environment.
        """
        opened = engine_on(self._project, repository, host, cache, self.usage, instead)
        self._log.hide(opened.secrets)
        if opened.store is not None:
            self.stores.append(opened.store)
        return opened.engine

    def store(self, store_id: str, *, writer: bool = False) -> Store:
        made, secrets = open_store(self._project, store_id, writer=writer, usage=self.usage)
        self._log.hide(secrets)
        self.stores.append(made)
        return made


def _found(known: Iterable[_Declared], wanted: str, what: str) -> _Declared:
    declared = {one.id: one for one in known}
    if wanted not in declared:
        raise UsageError(f"there is no {what} {wanted!r}", mend=did_you_mean(wanted, declared, f"declared as {what}"))
    return declared[wanted]
