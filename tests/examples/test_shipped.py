"""The example sees what it should, and each sabotage."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from drtests.hosts.local import LocalHost
from drtests.model.estate import Host as Declaration
from drtests.protocols.replication import Replication
from tests.examples.shipped import MARKER, Folder, Shipped, ShippedSpec
from tests.support.scratch import MemoryReach


class Here(MemoryReach):
    """All hosts are this one."""

    def host(self, host_id: str | None) -> LocalHost:
        return LocalHost(Declaration(id=host_id or "local"))


@dataclass
class Pair:
    """A folder and its copy, with the tool that ships one to the other."""

    root: Path

    def ship(self) -> None:
        shutil.rmtree(self.root / "replica", ignore_errors=True)
        shutil.copytree(self.root / "source", self.root / "replica")

    def replication(self, replica: str = "replica") -> Replication:
        source, copy = Folder(path=str(self.root / "source")), Folder(path=str(self.root / replica))
        return Shipped(ShippedSpec(source=source, replica=copy), Here())


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a.txt").write_text("a")
    made = Pair(tmp_path)
    made.ship()
    return made


def test_markers_arrive_when_it_is_shipped_and_not_before(pair: Pair) -> None:
    replication = pair.replication()
    replication.begin()
    replication.mark(1)
    assert replication.newest() is None
    pair.ship()
    assert replication.newest() == 1
    replication.mark(2)
    assert replication.newest() == 1  # the tool is paused, and that is seen
    pair.ship()
    assert replication.newest() == 2
    replication.end()
    replication.end()
    pair.ship()
    assert not list(pair.root.rglob(MARKER))


def test_what_it_is_a_copy_of(pair: Pair) -> None:
    assert pair.replication().identify().problems == ()
    assert pair.replication("source").identify().problems == ("source and replica are one folder",)
    assert pair.replication("nowhere").identify().problems == ("there is no folder at the replica",)


@pytest.mark.parametrize("sabotage", ["changed", "missing", "extra"])
def test_comparing_sees_a_difference(pair: Pair, sabotage: str) -> None:
    assert [one.same for one in pair.replication().compare()] == [True]
    copy = pair.root / "replica" / "a.txt"
    if sabotage == "missing":
        copy.unlink()
    else:
        copy.with_name("a.txt" if sabotage == "changed" else "b.txt").write_text("b")
    assert [one.same for one in pair.replication().compare()] == [False]
