"""IsolatedHost keeps the contract of hosts; and from inside nothing can be reached but what is let through."""

from __future__ import annotations

import ast
import os
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import pytest

from drtests.errors import HostError
from drtests.hosts.isolation.host import IsolatedHost, Isolation, Wall, isolate
from drtests.hosts.local import LocalHost
from drtests.hosts.ssh import SshHost
from drtests.model.estate import Host as Declaration
from drtests.protocols.host import CommandResult, Host, Service
from drtests.testing.host_contract import HostContract
from tests.support.needs import needs
from tests.support.sshd import Sshd


@pytest.fixture
def plain(request: pytest.FixtureRequest) -> Iterator[LocalHost]:
    made = LocalHost(Declaration(id="local"), marker=f"isolated-{os.getpid()}-{id(request)}")
    yield made
    made.sweep()


@pytest.fixture
def keeper(request: pytest.FixtureRequest) -> Iterator[LocalHost]:
    """Keeps the namespaces, under a mark of its own: sweeping the host must not end them."""
    made = LocalHost(Declaration(id="local"), marker=f"keeper-{os.getpid()}-{id(request)}")
    yield made
    made.sweep()


@pytest.fixture
def workplace(tmp_path: Path) -> str:
    (tmp_path / "work").mkdir()
    return str(tmp_path / "work")


def isolated(
    plain: Host, keeper: Host, folder: Path, wall: Wall, python: str = sys.executable
) -> tuple[IsolatedHost, Isolation]:
    """Where namespaces are not to be had: skipped, but on the build server it fails."""
    try:
        made = isolate(keeper, str(folder), python, wall)
    except HostError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(error.what)
    return IsolatedHost(plain, made), made


@pytest.fixture
def host(plain: LocalHost, keeper: LocalHost, tmp_path: Path) -> Iterator[IsolatedHost]:
    made, isolation = isolated(plain, keeper, tmp_path / "isolation", Wall())
    yield made
    isolation.service.stop(5.0)


class TestIsolatedHost(HostContract):
    pass


class Answering:
    """A server on loopback that says `hello` to whoever connects."""

    def __init__(self, family: int = socket.AF_INET, address: str = "127.0.0.1") -> None:
        self._listener = socket.socket(family)
        self._listener.bind((address, 0) if family == socket.AF_INET else address)
        self._listener.listen(16)
        self.port = self._listener.getsockname()[1] if family == socket.AF_INET else 0
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(b"hello")


_ASK = """
import socket, sys
kind, place, port = sys.argv[1:]
try:
    made = socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET)
    made.settimeout(5)
    made.connect(place if kind == "unix" else (place, int(port)))
    print(made.recv(100).decode())
except OSError as error:
    print(type(error).__name__)
"""


def ask(host: Host, place: str, port: int = 0) -> str:
    """What a process of that host gets to hear there."""
    kind = "tcp" if port else "unix"
    return host.run([sys.executable, "-c", _ASK, kind, place, str(port)], timeout=30).stdout.strip()


def test_nothing_is_reached_but_what_is_let_through(plain: LocalHost, keeper: LocalHost, tmp_path: Path) -> None:
    with Answering() as vault, Answering() as production:
        wall = Wall([("127.0.0.1", vault.port)], [("database live", "127.0.0.1", production.port)])
        made, isolation = isolated(plain, keeper, tmp_path / "isolation", wall)
        assert (ask(plain, "127.0.0.1", production.port), ask(plain, "127.0.0.1", vault.port)) == ("hello", "hello")
        assert ask(made, "127.0.0.1", vault.port) == "hello"
        assert ask(made, "127.0.0.1", production.port) == "ConnectionRefusedError"
        assert ask(made, "192.0.2.1", 80) == "OSError"
        assert isolation.connections() == 1
        probed = isolation.probe(made)
        assert (probed["other_network"], probed["interfaces"], probed["reached"]) == (True, ["lo"], [])
        assert f"database live at 127.0.0.1 port {production.port}" in probed["asked"]
        # The same questions, asked by a process that is not isolated, find it all: they can tell the difference.
        seen = isolation.probe(plain)
        assert seen["other_network"] is False
        assert f"database live at 127.0.0.1 port {production.port}" in seen["reached"]
        isolation.service.stop(5.0)
        with pytest.raises(HostError):
            isolation.connections()


def test_what_shares_the_address_of_the_repository_is_reached(
    plain: LocalHost, keeper: LocalHost, tmp_path: Path
) -> None:
    with Answering() as vault:
        wall = Wall([("127.0.0.1", vault.port)], [("repository nas", "localhost", vault.port)])
        made, isolation = isolated(plain, keeper, tmp_path / "isolation", wall)
        assert "repository nas" in isolation.probe(made)["reached"][0]
        isolation.service.stop(5.0)


def test_an_address_that_is_not_of_this_machine_is_let_through_by_its_name(
    plain: LocalHost, keeper: LocalHost, tmp_path: Path
) -> None:
    """The address becomes one of the loopback inside; outside, nobody answers there."""
    made, isolation = isolated(plain, keeper, tmp_path / "isolation", Wall([("198.51.100.7", 443), ("localhost", 80)]))
    assert isolation.probe(made)["let_through"][-1] == "198.51.100.7 port 443"
    port = made.run(["sh", "-c", "cat /proc/net/tcp | awk '{print $2}'"], timeout=20).stdout
    assert "076433C6:01BB" in port
    isolation.service.stop(5.0)


def test_files_and_sockets_are_hidden_and_what_is_kept_is_there(
    plain: LocalHost, keeper: LocalHost, tmp_path: Path
) -> None:
    production, kept, secret = tmp_path / "srv", tmp_path / "srv" / "deep" / "staging", tmp_path / "secret"
    kept.mkdir(parents=True)
    (production / "data").write_text("pupils")
    (kept / "restored").write_text("pupils")
    secret.write_text("hunter2")
    listening = str(tmp_path / "live.sock")
    wall = Wall(hide=[("production data", str(production)), ("secret", str(secret))], keep=[str(kept)])
    with Answering(socket.AF_UNIX, listening):
        made, isolation = isolated(plain, keeper, tmp_path / "isolation", wall)
        assert ask(plain, listening) == "hello"
        assert ask(made, listening) == "ConnectionRefusedError"
    seen = made.run(["sh", "-c", f"cat {secret} {production}/data; ls {production}; cat {kept}/restored"], timeout=20)
    assert seen.stdout == "deep\npupils"
    made.run(["sh", "-c", f"echo more > {kept}/made"], timeout=20)
    assert (kept / "made").read_text() == "more\n"
    assert isolation.probe(made)["seen"] == []
    assert isolation.probe(plain)["seen"] == ["production data", "secret"]
    isolation.service.stop(5.0)
    assert (secret.read_text(), (production / "data").read_text()) == ("hunter2", "pupils")


def test_names_are_not_resolved(plain: LocalHost, keeper: LocalHost, tmp_path: Path) -> None:
    made, isolation = isolated(plain, keeper, tmp_path / "isolation", Wall(ask=[("host db", "db.school.example", 22)]))
    assert made.run(["getent", "hosts", "db.school.example"], timeout=60).exit_code != 0
    assert any(one.startswith("name server") for one in isolation.probe(made)["asked"]) or not _name_servers()
    isolation.service.stop(5.0)


def _name_servers() -> bool:
    return "nameserver" in Path("/etc/resolv.conf").read_text() if Path("/etc/resolv.conf").exists() else False


class AsNobody(LocalHost):
    """Whoever runs the tests is root: then commands run as a user who has no rights at all."""

    def run(self, argv: Sequence[str], **given: Any) -> CommandResult:
        return super().run(_as_nobody(argv), **given)

    def start(self, argv: Sequence[str], **given: Any) -> Service:
        return super().start(_as_nobody(argv), **given)

    def write(self, path: str, data: bytes, mode: int = 0o600) -> None:
        super().write(path, data, mode)
        if os.geteuid() == 0:
            shutil.chown(path, "nobody")

    def make_directory(self, path: str) -> None:
        super().make_directory(path)
        if os.geteuid() == 0:
            shutil.chown(path, "nobody")


def _as_nobody(argv: Sequence[str]) -> list[str]:
    return [*(["runuser", "-u", "nobody", "--"] if os.geteuid() == 0 else []), *argv]


def test_whoever_is_not_root_isolates_too(request: pytest.FixtureRequest) -> None:
    """By a namespace of users, in which everybody stays who they are."""
    user = AsNobody(Declaration(id="local"), marker=f"nobody-{os.getpid()}-{id(request)}")
    folder = tempfile.mkdtemp(dir="/tmp")
    try:
        Path(folder).chmod(0o755)
        secret, python = f"{folder}/secret", needs("/usr/bin/python3", install="python3")
        Path(secret).write_text("hunter2")
        Path(secret).chmod(0o644)
        try:
            made = isolate(user, f"{folder}/isolation", python, Wall(hide=[("secret", secret)]))
        except HostError as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(error.what)
        inside = IsolatedHost(user, made)
        probed = made.probe(inside)
        assert (made.user, probed["interfaces"], probed["reached"], probed["seen"]) == (True, ["lo"], [], [])
        assert made.probe(user)["seen"] == ["secret"]
        who = [host.run(["id", "-u"], timeout=20).stdout for host in (user, inside)]
        assert who[0] == who[1]
        made.service.stop(5.0)
    finally:
        user.sweep()
        shutil.rmtree(folder, ignore_errors=True)


def test_over_ssh_it_is_the_same(sshd: Sshd, tmp_path: Path) -> None:
    """The far machine keeps the namespaces; what is asked from here goes over the connection, and is asked inside."""
    plain, keeper = (SshHost(sshd.context(f"{name}-{os.getpid()}")) for name in ("isolated", "keeper"))
    with Answering() as vault, Answering() as production:
        wall = Wall([("127.0.0.1", vault.port)], [("database live", "127.0.0.1", production.port)])
        made, isolation = isolated(plain, keeper, tmp_path / "isolation", wall, python="/usr/bin/python3")
        assert (ask(made, "127.0.0.1", vault.port), ask(plain, "127.0.0.1", production.port)) == ("hello", "hello")
        assert ask(made, "127.0.0.1", production.port) == "ConnectionRefusedError"
        with made.forward("127.0.0.1", vault.port) as here, socket.create_connection(here, 20) as connection:
            assert connection.recv(100) == b"hello"
        with made.forward("127.0.0.1", production.port) as here, pytest.raises(ConnectionRefusedError):
            socket.create_connection(here, 20)
        assert (isolation.probe(made)["reached"], isolation.probe(made)["interfaces"]) == ([], ["lo"])
        isolation.service.stop(5.0)
    assert keeper.sweep() == plain.sweep() == []


def test_where_namespaces_are_not_permitted_it_says_so_and_leaves_nothing(keeper: LocalHost, tmp_path: Path) -> None:
    """An `unshare` that is refused, as it is in many containers."""
    (tmp_path / "bin").mkdir()
    unshare = tmp_path / "bin" / "unshare"
    unshare.write_text("#!/bin/sh\necho 'unshare: unshare failed: Operation not permitted' >&2\nexit 1\n")
    unshare.chmod(0o755)
    python = tmp_path / "bin" / "python"
    python.write_text(f'#!/bin/sh\nPATH="{tmp_path}/bin:$PATH" exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    with pytest.raises(HostError, match=r"cannot isolate processes: .*Operation not permitted"):
        isolate(keeper, str(tmp_path / "isolation"), str(python), Wall())
    with pytest.raises(HostError, match=r"the address of vault\.invalid cannot be found"):
        isolate(keeper, str(tmp_path / "other"), sys.executable, Wall([("vault.invalid", 443)]))
    assert keeper.sweep() == []


def test_the_keeper_ends_with_its_mark(plain: LocalHost, keeper: LocalHost, tmp_path: Path) -> None:
    """After a crash, `drtests gc` ends it as anything else that was started."""
    _, isolation = isolated(plain, keeper, tmp_path / "isolation", Wall())
    assert len(keeper.sweep()) == 2
    assert keeper.sweep() == []
    isolation.service.stop(5.0)


def test_the_program_needs_an_old_python_and_nothing_else() -> None:
    """Its syntax is that of 3.7, and all that it imports is of the standard library."""
    text = Path(__file__).parents[2].joinpath("drtests/hosts/isolation/inside.py").read_text()
    tree = ast.parse(text, feature_version=(3, 7))
    named = {one.name for node in ast.walk(tree) if isinstance(node, ast.Import) for one in node.names}
    named |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {one.partition(".")[0] for one in named} <= sys.stdlib_module_names
