"""LocalHost keeps the contract of hosts."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from drtests.errors import CommandTimeout
from drtests.hosts.local import LocalHost, sweep_marked
from drtests.model.estate import Host as Declaration
from drtests.protocols.host import Host
from drtests.testing.host_contract import HostContract


@pytest.fixture
def host(request: pytest.FixtureRequest) -> Iterator[LocalHost]:
    made = LocalHost(Declaration(id="local"), marker=f"contract-{os.getpid()}-{id(request)}")
    yield made
    made.sweep()


@pytest.fixture
def workplace(tmp_path: Path) -> str:
    return str(tmp_path)


class TestLocalHost(HostContract):
    pass


def test_is_a_host(host: LocalHost) -> None:
    assert isinstance(host, Host)
    assert host.id == "local"


def test_local_path_is_itself(host: LocalHost, tmp_path: Path) -> None:
    assert host.local_path(str(tmp_path)) == tmp_path


def test_names_that_are_not_utf8(host: LocalHost, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    (tmp_path / name).write_bytes(b"x")
    assert [fact.path for fact in host.scan(str(tmp_path))] == [name]
    assert [path for path, _ in host.digests(str(tmp_path), [name])] == [name]


def test_sweep_leaves_other_marks_and_itself_alone(host: LocalHost, tmp_path: Path) -> None:
    other = LocalHost(Declaration(id="other"), marker="contract-other")
    service = other.start(["sleep", "300"], cwd=str(tmp_path), log=str(tmp_path / "log"))
    try:
        assert host.sweep() == []
        assert sweep_marked("") == []
        assert service.exit_code() is None
        lines = sweep_marked("contract-other")
        assert lines == [f"pid {service.pid}: sleep 300"]
    finally:
        service.stop(5)


def test_sweep_finds_the_children_of_what_is_marked(host: LocalHost, tmp_path: Path) -> None:
    """A server that overwrites its environment (PostgreSQL does) is found through its parent."""
    script = f"env -i sh -c 'echo $$ > {tmp_path}/pid; exec sleep 300' & wait"
    service = host.start(["sh", "-c", script], cwd=str(tmp_path), log=str(tmp_path / "log"))
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert service.exit_code() is None
    pid = (tmp_path / "pid").read_text().strip()
    assert any(line.startswith(f"pid {pid}:") for line in host.sweep())
    service.stop(5)


def test_chatty_child_is_never_blocked(host: LocalHost) -> None:
    """Both pipes are full at once, while stdin is fed."""
    script = (
        "import sys\nfor _ in range(40):\n for f in sys.stderr, sys.stdout:\n  f.write('x' * 100000)\nsys.stdin.read()"
    )
    result = host.run([sys.executable, "-c", script], timeout=60, stdin=b"i" * 1_000_000)
    assert result.exit_code == 0
    assert len(result.stdout) == len(result.stderr) == 1024 * 1024


def test_last_words_after_a_timeout_do_not_block(host: LocalHost) -> None:
    script = "trap 'head -c 2000000 /dev/zero; exit 0' TERM; sleep 300 & wait"
    with pytest.raises(CommandTimeout):
        host.run(["sh", "-c", script], timeout=0.5)


def test_no_descriptor_is_leaked(host: LocalHost) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    host.run(["true"], timeout=20)
    before = count()
    for _ in range(20):
        host.run(["true"], timeout=20, stdin=b"x")
    assert count() == before
