"""SshHost keeps the contract of hosts, over real connections to a real sshd."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from drtests.hosts.ssh import SshHost
from drtests.protocols.host import Host
from drtests.testing.host_contract import HostContract
from tests.support.sshd import Sshd


@pytest.fixture
def host(request: pytest.FixtureRequest, sshd: Sshd) -> Iterator[SshHost]:
    made = SshHost(sshd.context(f"contract-{os.getpid()}-{id(request)}"))
    yield made
    made.sweep()


@pytest.fixture
def workplace(tmp_path: object) -> str:
    return str(tmp_path)


class TestSshHost(HostContract):
    pass


def test_is_a_host(host: SshHost) -> None:
    assert isinstance(host, Host)
    assert host.id == "far"
    assert host.local_path("/") is None
