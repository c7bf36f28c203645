"""Real SSH servers for tests, each with keys of its own.

Started by root, a server gets a view of the machine of its own (a mount namespace), with users and rights to sudo
that exist there only. One that can be cut off has a network namespace, too.
"""

from __future__ import annotations

import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from drtests.hosts.ssh.pool import close_all
from drtests.model.connections import Ssh
from drtests.model.estate import Host
from drtests.protocols.host import HostContext
from tests.support.needs import needs
from tests.support.servers import free_port, wait_for

USER = "drt-user"
"""A user of servers that root started, who is no root."""
ROOT = os.geteuid() == 0


@dataclass(slots=True)
class Sshd:
    """A server, and what logs in to it."""

    folder: Path
    address: str
    port: int
    program: str
    namespace: str = ""
    options: tuple[str, ...] = ()
    sudoers: str = ""
    """What USER may do, as after the user's name in sudoers."""
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def key(self) -> Path:
        return self.folder / "client"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def ssh(self, **changed: Any) -> Ssh:
        """How it is reached, as it would be declared."""
        given: dict[str, Any] = {
            "address": self.address,
            "port": self.port,
            "user": pwd.getpwuid(os.geteuid()).pw_name,
            "key": str(self.key),
            "known_hosts": str(self.known_hosts),
            "keepalive": timedelta(seconds=5),
        }
        return Ssh(**given | changed)

    def declared(self, name: str = "far", **changed: Any) -> dict[str, Any]:
        """For estate.yaml."""
        ssh = self.ssh(**changed).model_dump(mode="json", exclude_unset=True)
        return {"id": name, "type": "ssh", "ssh": ssh | {"keepalive": "1s", "connect_timeout": "5s"}}

    def context(self, mark: str = "", others: Sequence[Host] = (), name: str = "far", **changed: Any) -> HostContext:
        host = Host(id=name, type="ssh", ssh=self.ssh(**changed))
        return HostContext(host, mark, Path("/"), {one.id: one for one in (host, *others)})

    def logins(self) -> int:
        """How often somebody was let in so far."""
        return self.log.read_text(errors="replace").count("Accepted publickey ")

    def start(self) -> None:
        config = self.folder / "sshd_config"
        lines = [
            f"ListenAddress {self.address}",
            f"Port {self.port}",
            f"HostKey {self.folder / 'host'}",
            "PidFile none",
            f"AuthorizedKeysFile {self.folder / 'authorized_keys'}",
            "StrictModes no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "UsePAM no",
            "LogLevel VERBOSE",
            "MaxSessions 100",
            *self.options,
        ]
        config.write_text("\n".join(lines) + "\n")
        argv = [self.program, "-D", "-e", "-f", str(config)]
        if ROOT:
            argv = [*self._apart(), *argv]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        wait_for(self.answers, f"sshd: {self.log.read_text(errors='replace')[-1000:]}")

    def _apart(self) -> list[str]:
        """Runs what follows with files of /etc of its own, in its network namespace if it has one."""
        etc = self.folder / "etc"
        etc.mkdir(exist_ok=True)
        if self.sudoers:
            needs("sudo", install="sudo")
        ask = [needs("openssl", install="openssl"), "passwd", "-6", "-stdin"]
        hashed = subprocess.run(ask, input=f"{self.password}\n", text=True, capture_output=True, check=True).stdout
        hashed = hashed.strip()
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        shutil.chown(home, 4242, 4242)
        # The same shell for everybody, which reads no files of its user's first.
        users = re.sub(r"^(root:.*:)[^:]*$", r"\1/bin/sh", Path("/etc/passwd").read_text(), flags=re.MULTILINE)
        files = {
            "passwd": users + f"{USER}:x:4242:4242::{home}:/bin/sh\n",
            "group": Path("/etc/group").read_text() + f"{USER}:x:4242:\n",
            "shadow": f"root:*:19000::::::\n{USER}:{hashed}:19000::::::\n",
            "sudoers": "Defaults env_reset, use_pty\nroot ALL=(ALL) ALL\n"
            + (f"{USER} {self.sudoers}\n" if self.sudoers else ""),
        }
        mounts = ["mount --make-rprivate /"]
        for name, text in files.items():
            (etc / name).write_text(text)
            (etc / name).chmod(0o440 if name == "sudoers" else 0o644)
            if Path("/etc", name).exists():
                mounts.append(f"mount --bind {etc / name} /etc/{name}")
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        enter = ["nsenter", f"--net=/run/netns/{self.namespace}"] if self.namespace else []
        return [*enter, "unshare", "--mount", "sh", "-c", " && ".join([*mounts, 'exec "$@"']), "sh"]

    @property
    def password(self) -> str:
        """USER's, for sudo."""
        file = self.folder / "sudo-password"
        if not file.exists():
            file.touch(mode=0o600)
            file.write_text(secrets.token_urlsafe(18))
        return file.read_text()

    def answers(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise RuntimeError(f"sshd ended: {self.log.read_text(errors='replace')[-1000:]}")
        try:
            with socket.create_connection((self.address, self.port), timeout=1) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def sessions(self) -> list[int]:
        """Processes of the server that serve somebody."""
        if self.process is None:
            return []
        return [pid for pid in descendants(self.process.pid) if command_of(pid).startswith("sshd: ")]

    def cut(self) -> None:
        """Ends everybody's connection at once; the server itself stays."""
        for pid in self.sessions():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def stop(self) -> None:
        if self.process is not None:
            self.cut()
            self.process.terminate()
            self.process.wait(20)
            self.process = None


def descendants(pid: int) -> list[int]:
    """All that a process started, and what those did."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found: list[int] = []
    new = [pid]
    while new:
        new = [child for child, parent in parents.items() if parent in new]
        found += new
    return found


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def carriers(text: str) -> list[str]:
    """Command lines of processes that have this in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and text.encode() in (entry / "environ").read_bytes():
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                if state not in "ZX":
                    found.append(command_of(int(entry.name)))
        except OSError:
            continue
    return found


def keygen(path: Path, passphrase: str = "", kind: str = "ed25519") -> Path:
    argv = ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "drtests", "-f", str(path)]
    subprocess.run(argv, check=True, timeout=60, stdin=subprocess.DEVNULL)
    return path


def make_sshd(folder: Path, address: str = "127.0.0.1", **given: Any) -> Sshd:
    """Keys, and the host's key pinned; not started."""
    program = needs("/usr/sbin/sshd", "/usr/local/sbin/sshd", install="openssh-server")
    made = Sshd(folder, address, free_port() if address == "127.0.0.1" else 22, program, **given)
    folder.chmod(0o755)
    keygen(folder / "host")
    keygen(made.key)
    shutil.copyfile(folder / "client.pub", folder / "authorized_keys")
    pin(made)
    return made


def pin(server: Sshd, key: str = "host") -> None:
    kind, encoded, _ = (server.folder / f"{key}.pub").read_text().split(maxsplit=2)
    name = server.address if server.port == 22 else f"[{server.address}]:{server.port}"
    server.known_hosts.write_text(f"{name} {kind} {encoded}\n")


@contextmanager
def running(folder: Path, **given: Any) -> Iterator[Sshd]:
    server = make_sshd(folder, **given)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def short_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="drt-ssh-", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Cable:
    """A network of two, between this machine and a namespace, that can be pulled."""

    def __init__(self, name: str, number: int) -> None:
        self.namespace = name
        self._here, self._there = f"{name}-a"[:15], f"{name}-b"[:15]
        self._near, self.address = f"10.213.{number}.1", f"10.213.{number}.2"

    def lay(self) -> None:
        """Raises CalledProcessError where namespaces do not work."""
        ip("netns", "add", self.namespace)
        ip("link", "add", self._here, "type", "veth", "peer", "name", self._there)
        ip("link", "set", self._there, "netns", self.namespace)
        ip("address", "add", f"{self._near}/30", "dev", self._here)
        ip("link", "set", self._here, "up")
        inside = ("-n", self.namespace)
        ip(*inside, "address", "add", f"{self.address}/30", "dev", self._there)
        ip(*inside, "link", "set", self._there, "up")
        ip(*inside, "link", "set", "lo", "up")

    def pull(self) -> None:
        """From now on packets are lost, both ways, and nobody is told: neighbours are looked for where none is."""
        nowhere = ("lladdr", "02:00:00:00:00:01", "nud", "permanent")
        ip("neigh", "replace", self.address, *nowhere, "dev", self._here)
        ip("-n", self.namespace, "neigh", "replace", self._near, *nowhere, "dev", self._there)

    def plug(self) -> None:
        """They arrive again."""
        ip("neigh", "del", self.address, "dev", self._here)
        ip("-n", self.namespace, "neigh", "del", self._near, "dev", self._there)

    def remove(self) -> None:
        for words in (("link", "del", self._here), ("netns", "del", self.namespace)):
            subprocess.run(["ip", *words], timeout=30, check=False, capture_output=True)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, timeout=30, capture_output=True)


@pytest.fixture(scope="session")
def sshd() -> Iterator[Sshd]:
    """A server on loopback; whoever started the tests logs in."""
    with short_folder() as folder, running(folder) as server:
        yield server
        close_all()


@pytest.fixture(scope="session")
def far_sshd() -> Iterator[tuple[Sshd, Cable]]:
    """A server on a machine of its own, as far as the network goes, and the cable to it."""
    needs("ip", install="iproute2")
    if not ROOT:
        _lacking("a network namespace takes root")
    number = int.from_bytes(os.urandom(1), "big")
    cable = Cable(f"drt{os.getpid()}", number)
    with ExitStack() as stack:
        folder = stack.enter_context(short_folder())
        stack.callback(cable.remove)
        try:
            cable.lay()
        except subprocess.CalledProcessError as error:
            _lacking(f"network namespaces do not work here: {error.stderr.decode().strip()}")
        server = stack.enter_context(running(folder, address=cable.address, namespace=cable.namespace))
        stack.callback(close_all)
        yield server, cable


def _lacking(what: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


def eventually_no(text: str, seconds: float) -> list[str]:
    """What still carries it when the time is over."""
    deadline = time.monotonic() + seconds
    while (found := carriers(text)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found
