"""The example keeps the contract of replications."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from drtests.hosts.local import LocalHost
from drtests.model.estate import Host as Declaration
from drtests.protocols.replication import Replication
from drtests.testing.replication_contract import Pair, ReplicationContract
from tests.examples.shipped import MARKER, Folder, Shipped, ShippedSpec
from tests.support.scratch import MemoryReach


class Here(MemoryReach):
    """All hosts are this one."""

    def host(self, host_id: str | None) -> LocalHost:
        return LocalHost(Declaration(id=host_id or "local"))


class ShippedPair(Pair):
    """A folder and its copy, with the tool that ships one to the other."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._ships = threading.Lock()
        (root / "source").mkdir()
        (root / "source" / "a.txt").write_text("a")
        self.settle()

    def build(self, **options: Any) -> Replication:
        return self._to("replica")

    def one(self) -> Replication:
        return self._to("source")

    def _to(self, replica: str) -> Replication:
        source, copy = Folder(path=str(self.root / "source")), Folder(path=str(self.root / replica))
        return Shipped(ShippedSpec(source=source, replica=copy), Here())

    def settle(self) -> None:
        source, replica = self.root / "source", self.root / "replica"
        with self._ships:
            shutil.copytree(source, replica, dirs_exist_ok=True)
            for file in replica.iterdir():
                if not (source / file.name).exists():
                    file.unlink()

    def work(self) -> None:
        (self.root / "source" / "work.txt").write_text("work")

    def traces(self) -> Sequence[str]:
        return [str(file) for file in self.root.rglob(f"{MARKER}*")]

    @contextmanager
    def following(self) -> Iterator[None]:
        over = threading.Event()

        def tool() -> None:
            while not over.wait(0.02):
                try:
                    self.settle()
                except (FileNotFoundError, shutil.Error):
                    continue  # it went while it was copied

        worker = threading.Thread(target=tool)
        worker.start()
        try:
            yield
        finally:
            over.set()
            worker.join(30)

    @contextmanager
    def paused(self) -> Iterator[None]:
        with self._ships:
            yield

    @contextmanager
    def gone(self) -> Iterator[None]:
        (self.root / "replica").rename(self.root / "away")
        yield

    @contextmanager
    def differing(self) -> Iterator[None]:
        (self.root / "replica" / "a.txt").write_text("b")
        yield


class TestShipped(ReplicationContract):
    @pytest.fixture
    def pair(self, tmp_path: Path) -> Pair:
        return ShippedPair(tmp_path)

    def test_what_is_the_same_is_the_same(self, pair: Pair) -> None:
        """Everything is compared, without being declared."""
        assert [one.same for one in pair.build().compare()] == [True]
