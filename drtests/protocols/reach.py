"""Reach: how adapters open what is declared elsewhere, by its id, without knowing how it is declared."""

from __future__ import annotations

from typing import Protocol

from drtests.protocols.database import Live
from drtests.protocols.engine import Engine
from drtests.protocols.host import Host
from drtests.protocols.store import Store


class Reach(Protocol):
    """Opens what `estate.yaml` declares, journaled and redacted.

    All methods raise SecretError, UsageError (no such id), and whatever the adapter raises.
    """

    def host(self, host_id: str | None) -> Host:
        """The machine that runs drtests for None."""

    def live(self, database_id: str, *, writable: bool = False) -> Live:
        """A running database. Unless `writable`, its session cannot write even by mistake."""

    def engine(self, repository_id: str) -> Engine:
        """The backup engine of a repository, on the repository's host."""

    def store(self, store_id: str, *, writer: bool = False) -> Store:
        """A bucket, with the reader's credentials, or those of the backup writer."""
