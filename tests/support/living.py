"""Opens running databases that a test names, as a drill's reach would."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from drtests import registry
from drtests.errors import UsageError
from drtests.hosts.local import LocalHost
from drtests.model.connections import LiveDatabase
from drtests.model.estate import Host as Declaration
from drtests.protocols.database import Live, LiveContext
from drtests.protocols.engine import Engine
from drtests.protocols.host import Host
from drtests.protocols.store import Store


@dataclass(slots=True)
class LivingReach:
    """Fulfils `drtests.protocols.reach.Reach`: databases by id, with their passwords."""

    databases: Mapping[str, tuple[LiveDatabase, str | None]]

    def host(self, host_id: str | None) -> Host:
        return LocalHost(Declaration(id=host_id or "local"))

    def live(self, database_id: str, *, writable: bool = False) -> Live:
        declared, password = self.databases[database_id]
        made: Live = registry.database(declared.type)(LiveContext(declared, self.host(None), password, writable))
        return made

    def engine(self, repository_id: str) -> Engine:
        raise UsageError("there is no engine")

    def store(self, store_id: str, *, writer: bool = False) -> Store:
        raise UsageError("there is no store")
