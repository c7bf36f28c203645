"""Ways to a host: whose key, which user, through what; and all that is refused, with what to do about it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from drtests.errors import HostError, HostUnreachable
from drtests.hosts.ssh import SshHost
from drtests.hosts.ssh.pool import close_all
from drtests.model.estate import Host
from drtests.testing.host_contract import HostContract
from tests.support.needs import needs
from tests.support.servers import free_port
from tests.support.sshd import (
    ROOT,
    USER,
    Sshd,
    carriers,
    command_of,
    descendants,
    eventually_no,
    keygen,
    pin,
    running,
    short_folder,
)

as_root = pytest.mark.skipif(not ROOT, reason="users of the test's own, and their rights to sudo, take root")


@pytest.fixture(scope="module")
def own() -> Iterator[Sshd]:
    """A server whose files a test may change, and put back."""
    with short_folder() as folder, running(folder, sudoers="ALL=(root) NOPASSWD: ALL") as server:
        yield server


@pytest.fixture(autouse=True)
def _afresh() -> Iterator[None]:
    yield
    close_all()


def who(host: SshHost) -> str:
    return host.run(["id", "-un"], timeout=20).stdout.strip()


def refused(server: Sshd, **changed: Any) -> HostError:
    with pytest.raises(HostError) as caught:
        SshHost(server.context(**changed)).exists("/")
    return caught.value


@contextmanager
def changed(file: Path, text: str | bytes) -> Iterator[None]:
    before = file.read_bytes()
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    try:
        yield
    finally:
        file.write_bytes(before)


@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
def test_other_kinds_of_keys(own: Sshd, tmp_path: Path, kind: str) -> None:
    key = keygen(tmp_path / "key", kind=kind)
    with changed(own.folder / "authorized_keys", key.with_suffix(".pub").read_bytes()):
        assert SshHost(own.context(key=str(key))).exists("/")


def test_key_with_a_passphrase(own: Sshd, tmp_path: Path) -> None:
    key = keygen(tmp_path / "key", passphrase="open sesame")
    secret = tmp_path / "passphrase"
    secret.touch(mode=0o600)
    secret.write_text("open sesame\n")
    with changed(own.folder / "authorized_keys", key.with_suffix(".pub").read_bytes()):
        assert SshHost(own.context(key=str(key), passphrase=f"file:{secret}")).exists("/")
        none = refused(own, key=str(key))
        assert "needs a passphrase" in none.what
        secret.write_text("open barley")
        close_all()
        wrong = refused(own, key=str(key), passphrase=f"file:{secret}")
        assert "passphrase does not open" in wrong.what
        assert "barley" not in str(wrong.diagnostics())


def test_a_passphrase_that_is_not_needed(own: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHRASE", "for nothing")
    assert SshHost(own.context(passphrase="env:PHRASE")).exists("/")


def test_keys_of_an_agent(own: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    without = refused(own, key=None)
    assert "ssh-agent has none" in without.what
    assert "ssh-add" in without.mend
    path = str(own.folder / "agent")
    agent = subprocess.Popen([needs("ssh-agent", install="openssh-client"), "-D", "-a", path], stdout=subprocess.PIPE)
    try:
        assert agent.stdout is not None
        agent.stdout.readline()
        monkeypatch.setenv("SSH_AUTH_SOCK", path)
        other = keygen(tmp_path / "other")
        for key in (other, own.key):
            subprocess.run(["ssh-add", "-q", str(key)], check=True, timeout=20, capture_output=True)
        # The second of its keys fits.
        assert SshHost(own.context(key=None)).exists("/")
        subprocess.run(["ssh-add", "-q", "-d", str(own.key)], check=True, timeout=20, capture_output=True)
        close_all()
        assert "is not let in with SHA256:" in refused(own, key=None).what
    finally:
        agent.terminate()
        agent.wait(10)
        if agent.stdout is not None:
            agent.stdout.close()


def test_wrong_key(own: Sshd, tmp_path: Path) -> None:
    error = refused(own, key=str(keygen(tmp_path / "other")))
    assert error.permanent
    assert "is not let in" in error.what
    assert "authorized_keys" in error.mend


def test_key_that_is_no_secret(own: Sshd, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(own.key.read_bytes())
    key.chmod(0o640)
    error = refused(own, key=str(key))
    assert "0640" in error.what
    assert error.mend == f"chmod 600 {key}"
    assert "cannot read the key" in refused(own, key=str(tmp_path / "none")).what
    key.write_text("no key")
    key.chmod(0o600)
    assert "cannot be used" in refused(own, key=str(key)).what


def test_nobody_listens() -> None:
    with short_folder() as folder:
        server = Sshd(folder, "127.0.0.1", free_port(), "")
        keygen(server.key)
        error = refused(server)
        assert isinstance(error, HostUnreachable)
        assert not error.permanent
        assert f"port {server.port}" in error.what
        # It is not tried over and over by everybody who asks.
        assert refused(server).what == error.what


def test_a_server_that_says_nothing() -> None:
    import socket

    with short_folder() as folder, socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        server = Sshd(folder, "127.0.0.1", silent.getsockname()[1], "")
        keygen(server.key)
        assert isinstance(refused(server, connect_timeout=timedelta(seconds=0.5)), HostUnreachable)


def test_unknown_host_key(own: Sshd, tmp_path: Path) -> None:
    file = tmp_path / "known hosts"
    error = refused(own, known_hosts=str(file))
    assert error.permanent
    shown = subprocess.run(
        ["ssh-keygen", "-lf", str(own.folder / "host.pub")], capture_output=True, text=True, timeout=20, check=True
    )
    assert shown.stdout.split()[1] in error.what
    # What it says to do is what lets the host in; nobody was asked to log in before that.
    command = error.mend.partition("make it known: ")[2]
    assert shlex.quote(str(file)) in command
    before = own.logins()
    subprocess.run(["sh", "-c", command], check=True, timeout=20)
    assert SshHost(own.context(known_hosts=str(file))).exists("/")
    assert own.logins() == before + 1


def test_changed_host_key(own: Sshd, tmp_path: Path) -> None:
    keygen(own.folder / "impostor")
    file = own.known_hosts
    with changed(file, file.read_bytes()):
        pin(own, "impostor")
        error = refused(own)
        assert error.permanent
        assert "another key than the one that is known" in error.what
        assert error.what.count("SHA256:") == 2
        assert "somebody may stand between" in error.mend
        command = error.mend.partition("the same fingerprint: ")[2]
        assert command.startswith("ssh-keygen -R ")
        subprocess.run(["sh", "-c", command], check=True, timeout=20, capture_output=True)
        assert SshHost(own.context()).exists("/")


def test_a_key_of_another_kind_is_known(own: Sshd, tmp_path: Path) -> None:
    """The host offers several keys; the one that is pinned is asked for."""
    keygen(own.folder / "host-ecdsa", kind="ecdsa")
    own.stop()
    own.options = (f"HostKey {own.folder / 'host-ecdsa'}",)
    own.start()
    try:
        with changed(own.known_hosts, own.known_hosts.read_bytes()):
            pin(own, "host-ecdsa")
            assert SshHost(own.context()).exists("/")
    finally:
        close_all()
        own.stop()
        own.options = ()
        own.start()


def test_revoked_host_key(own: Sshd) -> None:
    line = own.known_hosts.read_text()
    with changed(own.known_hosts, f"{line}@revoked {line}"):
        assert "revoked" in refused(own).what


def test_no_python_there(own: Sshd) -> None:
    error = refused(own, python="/no/such/python3")
    assert "cannot be run" in error.what
    assert "Python 3.7" in error.mend
    assert "did not start" in refused(own, python="false").what


def test_an_old_python_there(own: Sshd, tmp_path: Path) -> None:
    """Simulated: a program that says which Python it is before it runs anything."""
    old = tmp_path / "python3.6"
    changed_version = "import sys; sys.version_info = (3, 6, 8); exec(sys.argv.pop())"
    old.write_text(f'#!/bin/sh\nshift 4\nexec python3 -c "{changed_version}" "$2"\n')
    old.chmod(0o755)
    error = refused(own, python=str(old))
    assert "python 3.6 is too old" in error.what
    assert "Python 3.7 or newer" in error.mend


@as_root
class TestAsUserWithSudo(HostContract):
    """Logged in as an ordinary user; commands run as root."""

    @pytest.fixture
    def host(self, own: Sshd, request: pytest.FixtureRequest) -> Iterator[SshHost]:
        made = SshHost(own.context(f"sudo-{os.getpid()}-{id(request)}", user=USER, sudo=True))
        yield made
        made.sweep()

    @pytest.fixture
    def workplace(self, tmp_path: Path) -> str:
        return str(tmp_path)

    def test_who(self, host: SshHost) -> None:
        assert who(host) == "root"


@as_root
def test_an_ordinary_user_all_along(own: Sshd) -> None:
    host = SshHost(own.context(user=USER))
    assert who(host) == USER
    with pytest.raises(HostError) as caught:
        host.write("/etc/drtests", b"")
    assert "user 4242" in caught.value.mend
    folder = host.run(["mktemp", "-d"], timeout=20).stdout.strip()
    host.write(f"{folder}/file", b"mine")
    assert [fact.path for fact in host.scan(folder)] == ["file"]
    host.remove_tree(folder)


@as_root
def test_sudo_with_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with short_folder() as folder, running(folder, sudoers="ALL=(root) ALL") as server:
        monkeypatch.setenv("SUDO_PASSWORD", server.password)
        assert who(SshHost(server.context(user=USER, sudo=True, sudo_password="env:SUDO_PASSWORD"))) == "root"
        close_all()
        without = refused(server, user=USER, sudo=True)
        assert "sudo refuses" in without.what
        assert "declare `sudo_password`" in without.mend
        monkeypatch.setenv("SUDO_PASSWORD", "not that")
        wrong = refused(server, user=USER, sudo=True, sudo_password="env:SUDO_PASSWORD")
        assert "the password is wrong" in wrong.what
        assert "not that" not in str(wrong.diagnostics())


@as_root
def test_cut_under_sudo(own: Sshd, tmp_path: Path) -> None:
    """sudo stands between sshd and the agent: what runs as root ends nevertheless."""
    host = SshHost(own.context("cut-sudo", user=USER, sudo=True))
    host.start(["sleep", "300"], cwd=str(tmp_path), log=str(tmp_path / "log"))
    assert len(carriers("DRTESTS_MARK=cut-sudo")) == 1
    own.cut()
    assert eventually_no("DRTESTS_MARK=cut-sudo", 20) == []
    assert host.sweep() == []


@as_root
def test_a_password_that_sudo_does_not_ask_for(own: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_PASSWORD", "whatever")
    assert who(SshHost(own.context(user=USER, sudo=True, sudo_password="env:SUDO_PASSWORD"))) == "root"


def test_jump_host(own: Sshd, sshd: Sshd) -> None:
    jump = Host(id="jump", type="ssh", ssh=own.ssh())
    host = SshHost(sshd.context(others=[jump], jump="jump"))
    before = own.logins()
    assert host.run(["echo", "there"], timeout=20).stdout == "there\n"
    assert own.logins() == before + 1
    # The way there is used by others, too, and is a host itself.
    assert SshHost(own.context(others=[jump], name="jump")).exists("/")
    assert own.logins() == before + 1
    # The connection comes from the jump host's server, not from here.
    assert own.process is not None
    sessions = [command_of(pid) for pid in descendants(own.process.pid)]
    assert any(line.startswith("sshd: ") for line in sessions)
    own.cut()
    assert host.exists("/"), "not connected anew through the jump host"


def test_jump_host_that_does_not_let_through(sshd: Sshd) -> None:
    with short_folder() as folder:
        server = running(folder)
        with server as jump:
            jump.stop()
            jump.options = ("AllowTcpForwarding no",)
            jump.start()
            error = refused(sshd, others=[Host(id="jump", type="ssh", ssh=jump.ssh())], jump="jump")
            assert "jump host jump does not connect" in error.what
            assert "AllowTcpForwarding" in error.mend
            # A service on that host is reached nevertheless: its own agent does it.
            with SshHost(jump.context()).forward("127.0.0.1", sshd.port) as here:
                import socket

                with socket.create_connection(here, timeout=10) as connection:
                    assert connection.recv(4) == b"SSH-"


def test_a_login_shell_that_talks(tmp_path: Path) -> None:
    with short_folder() as folder, running(folder) as server:
        server.stop()
        server.options = ('ForceCommand echo welcome; echo to all >&2; exec sh -c "$SSH_ORIGINAL_COMMAND"',)
        server.start()
        assert SshHost(server.context()).run(["echo", "x"], timeout=20).stdout == "x\n"


def test_without_paramiko(sshd: Sshd, tmp_path: Path) -> None:
    """Declared, and not installed: the message says what to install, and nothing else needs it."""
    (tmp_path / "paramiko.py").write_text("raise ModuleNotFoundError(\"No module named 'paramiko'\", name='paramiko')")
    program = (
        "from drtests.errors import HostError\n"
        "from drtests.hosts.ssh import open_ssh\n"
        "from drtests.model.connections import Ssh\n"
        "from drtests.model.estate import Host\n"
        "from drtests.protocols.host import HostContext\n"
        "host = open_ssh(HostContext(Host(id='far', type='ssh', ssh=Ssh(address='x', user='x'))))\n"
        "try:\n    host.exists('/')\nexcept HostError as error:\n    print(error.mend)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "pip install 'drtests[ssh]'" in done.stdout
