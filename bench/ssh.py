"""A hundred checks on one host over SSH, connecting included, against pytest-testinfra doing the same ones."""

from __future__ import annotations

import hashlib
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path

import testinfra

from bench.result import Result, compared, paired, timed
from drtests.checks.command import CommandCheck, CommandSpec
from drtests.checks.files import FilesCheck, FilesSpec
from drtests.clock import SystemClock
from drtests.hosts.ssh import SshHost
from drtests.hosts.ssh.pool import close_all
from drtests.protocols.check import Check, Resources
from tests.support.sshd import Sshd, running

_CHECKS = 100
_TARGET = 1.0


def measure(directory: Path, scale: float, pairs: int) -> Iterator[Result]:
    """Is it there, has it the right content, what does a command say: a third each."""
    place = directory / "ssh"
    files = _files(place / "files", max(3, int(_CHECKS * scale)))
    server_folder = place / "server"
    server_folder.mkdir()
    with running(server_folder) as server:
        for backend in ("paramiko", "ssh"):

            def ours() -> float:
                return timed(lambda: _ours(server, place / "files", files))

            def theirs(backend: str = backend) -> float:
                return timed(lambda: _theirs(server, backend, files))

            ours()
            what = f"{len(files)} checks over SSH against pytest-testinfra, {backend} backend"
            yield compared(what, list(paired(pairs, ours, theirs)), at_most=_TARGET)


def _files(folder: Path, count: int) -> dict[Path, str]:
    folder.mkdir(parents=True)
    made = {}
    for number in range(count):
        data = f"file {number}\n".encode() * 100
        path = folder / f"{number:04}"
        path.write_bytes(data)
        made[path] = hashlib.sha256(data).hexdigest()
    return made


def _ours(server: Sshd, root: Path, files: dict[Path, str]) -> None:
    host = SshHost(server.context("bench"))
    resources = Resources(host, str(root), SystemClock(), str(root))
    for number, (path, digest) in enumerate(files.items()):
        check: Check
        if number % 3 == 0:
            check = FilesCheck(FilesSpec(path=path.name, exist=True))
        elif number % 3 == 1:
            check = FilesCheck(FilesSpec(path=path.name, sha256=digest))
        else:
            check = CommandCheck(CommandSpec(run=("test", "-s", path.name)))
        seen = check.observe(resources)
        if seen.get("exit_code") != 0 and (seen.get("count") != 1 or seen["sha256"] not in (None, digest)):
            raise RuntimeError(f"{path}: {seen}")
    close_all()


def _theirs(server: Sshd, backend: str, files: dict[Path, str]) -> None:
    # Its paramiko backend warns of every host key, known or not.
    warnings.simplefilter("ignore", UserWarning)
    config = server.folder / "config"
    config.write_text(f"Host *\n  UserKnownHostsFile {server.known_hosts}\n  StrictHostKeyChecking yes\n")
    user = server.ssh().user
    where = f"{backend}://{user}@{server.address}:{server.port}"
    # Without a path for its socket ssh would share no connection, whatever testinfra says of ControlPersist.
    socket = server.folder / "control"
    shared = {"controlpath": str(socket)} if backend == "ssh" else {}
    host = testinfra.get_host(where, ssh_identity_file=str(server.key), ssh_config=str(config), **shared)
    for number, (path, digest) in enumerate(files.items()):
        if number % 3 == 0:
            good = host.file(str(path)).exists
        elif number % 3 == 1:
            good = host.file(str(path)).sha256sum == digest
        else:
            good = host.run("test -s %s", str(path)).rc == 0
        if not good:
            raise RuntimeError(str(path))
    if backend == "ssh":
        # It would stay up for a minute; the next run connects anew, as ours does.
        end = ["ssh", "-F", str(config), "-o", f"ControlPath={socket}", "-O", "exit", server.address]
        subprocess.run(end, check=True, capture_output=True, timeout=20)
    else:
        host.backend.client.close()
        # testinfra keeps hosts and their connections.
        del host.backend.client
