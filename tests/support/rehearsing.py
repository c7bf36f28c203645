"""A rehearsal of a failover on this machine, beside two real servers."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drtests.hosts.local import LocalHost
from drtests.model.connections import LiveDatabase
from drtests.protocols.database import Live, LiveContext, Rehearsal, ScratchPlace
from drtests.protocols.host import Host
from drtests.testing.check_contract import SystemClock
from drtests.testing.recording_host import RecordingHost
from tests.support.scratch import MemorySession


class Rehearsing:
    """One rehearsal; abandoned at the end."""

    def __init__(
        self,
        host: LocalHost,
        folder: Path,
        kind: Any,
        client: Callable[[LiveContext], Live],
        declared: dict[str, LiveDatabase],
        password: str,
    ) -> None:
        self.host = RecordingHost(host)
        self.folder = folder
        self.facts: dict[str, Any] = {}
        self.kind = kind
        self.client = client
        self.declared = declared
        self.password = password
        self.defaults: dict[str, Any] = {}
        self.made: Rehearsal | None = None
        self.place = ScratchPlace(
            host=self.host,
            root=str(folder / "root"),
            folder=str(folder / "databases" / "one"),
            clock=SystemClock(),
            timeout=60,
            tell=self.facts.__setitem__,
        )
        for path in (self.place.root, self.place.folder):
            self.host.make_directory(path)

    def open(self, name: str, host: Host | None = None) -> Live:
        if name == "memory":
            return MemorySession(name=name)
        return self.client(LiveContext(self.declared[name], host or self.host, self.password))

    def rehearse(self, open_live: Callable[[str], Live] | None = None, **options: Any) -> Rehearsal:
        self.stop()
        spec = self.kind.Spec.model_validate(self.defaults | options)
        made: Rehearsal = self.kind(spec, open_live or self.open)
        self.made = made
        return made

    def change(self, name: str, **changed: Any) -> None:
        self.declared[name] = LiveDatabase.model_validate(self.declared[name].model_dump() | changed)

    def files(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file()]

    def holds(self, secret: str) -> list[Path]:
        """Files with it."""
        return [path for path in self.files() if secret.encode() in path.read_bytes()]

    def stop(self) -> None:
        if self.made is not None:
            self.made.abandon(10)
            shutil.rmtree(self.place.folder)
            self.host.make_directory(self.place.folder)
