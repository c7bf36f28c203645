"""A machine to recover on, reached over SSH: a real sshd on loopback, with keys of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from demo.postgres import search_path
from demo.workdir import DemoError, WorkDir, declared_port

HOST = "dr-host"
_READY_WITHIN = 20.0


def make_host(work: WorkDir) -> None:
    """The host's key, pinned; a key to log in with; a folder to recover in."""
    folder = work.servers / "ssh"
    folder.mkdir()
    folder.chmod(0o700)
    for path, comment in ((folder / "host-key", HOST), (work.secrets / "dr-host-key", "drtests demo")):
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
        subprocess.run(argv, check=True, timeout=60)
    shutil.move(work.secrets / "dr-host-key.pub", folder / "authorized_keys")
    port = declared_port(work, HOST)
    kind, key, _ = (folder / "host-key.pub").read_text().split(maxsplit=2)
    (work.secrets / "known_hosts").write_text(f"[127.0.0.1]:{port} {kind} {key}\n")
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder / 'host-key'}\nPidFile none\n"
        f"AuthorizedKeysFile {folder / 'authorized_keys'}\nStrictModes no\nPermitRootLogin prohibit-password\n"
        f"PasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\nPrintMotd no\nX11Forwarding no\n"
        f"SetEnv PATH={search_path(work)}\n"
    )


@contextmanager
def ssh_server(work: WorkDir) -> Iterator[int]:
    """Runs it until the end of the block; yields the process id. Raises DemoError when it does not come up."""
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if program is None:
        raise DemoError("sshd is not installed; `apt-get install openssh-server` (scripts/system-deps does it for you)")
    if os.geteuid() == 0:
        # Compiled into sshd; a service manager would make it.
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    log = work.logs / "sshd.log"
    with log.open("ab") as out:
        server = subprocess.Popen(
            [program, "-D", "-e", "-f", str(work.servers / "ssh" / "sshd_config")],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        _wait(server, declared_port(work, HOST), log)
        yield server.pid
    finally:
        server.terminate()
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(timeout=10)


def _wait(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _READY_WITHIN
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
                if connection.recv(4) == b"SSH-":
                    return
        except OSError:
            pass
        if server.poll() is not None or time.monotonic() > deadline:
            said = log.read_text(errors="replace").strip()[-500:]
            raise DemoError(f"sshd did not come up on port {port}: {said}")
        time.sleep(0.1)
