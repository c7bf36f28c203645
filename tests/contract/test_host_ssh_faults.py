"""Connections that are shared, and connections that break: nothing runs on, nothing is begun twice, nothing is told."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from drtests.errors import HostBusy, HostError, HostUnreachable
from drtests.hosts.ssh import SshHost
from drtests.hosts.ssh.pool import close_all
from drtests.testing.host_contract import eventually
from tests.support.sshd import Cable, Sshd, carriers, command_of, eventually_no, running, short_folder

_KEEPALIVE = timedelta(seconds=0.5)
_BEATS = 3 * 0.5
_SLACK = 15.0
"""Seconds on top of what the keepalive promises: a busy machine, and the grace of what is ended."""


@pytest.fixture(autouse=True)
def _afresh() -> Iterator[None]:
    close_all()
    yield
    close_all()


def agents(server: Sshd) -> list[int]:
    """Those that serve this server's connections."""
    from tests.support.sshd import descendants

    if server.process is None:
        return []
    return [pid for pid in descendants(server.process.pid) if "drtests-agent" in command_of(pid).partition(" -c ")[2]]


def test_a_thousand_commands_take_one_connection(sshd: Sshd) -> None:
    before = sshd.logins()
    connections = sshd.log.read_text(errors="replace").count("Connection from ")
    hosts = [SshHost(sshd.context(f"mark-{number}")) for number in range(4)]
    wrong: list[str] = []

    def work(host: SshHost) -> None:
        for number in range(250):
            result = host.run(["echo", f"{number}"], timeout=60)
            if result.stdout != f"{number}\n":
                wrong.append(result.stdout)

    threads = [threading.Thread(target=work, args=(host,)) for host in hosts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert sshd.logins() == before + 1
    # One more is the question whether the server is up, if it was just started.
    assert sshd.log.read_text(errors="replace").count("Connection from ") == connections + 1


def test_nothing_but_a_few_words_in_the_process_list(sshd: Sshd) -> None:
    host = SshHost(sshd.context())
    assert host.exists("/")
    lines = [command_of(pid) for pid in agents(sshd)]
    assert lines
    assert all(len(line) < 300 and "import os,sys" in line for line in lines)


def test_environment_and_input_are_not_in_the_process_list(sshd: Sshd, tmp_path: Path) -> None:
    host = SshHost(sshd.context())
    secret = f"secret-{os.urandom(8).hex()}"
    seen: list[str] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.005):
            seen.extend(line for entry in Path("/proc").iterdir() if secret in (line := _line(entry)))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        result = host.run(
            ["sh", "-c", 'sleep 0.3; cat; echo "$S"'], timeout=20, stdin=secret.encode(), env={"S": secret}
        )
    finally:
        over.set()
        looking.join()
    assert result.stdout.count(secret) == 2
    assert seen == []


def _line(entry: Path) -> str:
    return command_of(int(entry.name)) if entry.name.isdigit() else ""


def test_cut_while_a_command_runs(sshd: Sshd, tmp_path: Path) -> None:
    host = SshHost(sshd.context("cut-1"))
    count = tmp_path / "count"
    service = host.start(["sleep", "300"], cwd=str(tmp_path), log=str(tmp_path / "log"))
    failed: list[HostError] = []

    def command() -> None:
        try:
            host.run(["sh", "-c", f"echo x >> {count}; exec sleep 300"], timeout=200)
        except HostError as error:
            failed.append(error)

    running_ = threading.Thread(target=command)
    running_.start()
    eventually(count.exists, "it does not run")
    sshd.cut()
    running_.join(_SLACK)
    assert isinstance(failed[0], HostUnreachable)
    assert "was lost" in failed[0].what
    # It ended there, was not begun again, and what was a service is not taken for running.
    assert eventually_no("DRTESTS_MARK=cut-1", _SLACK) == []
    assert count.read_text() == "x\n"
    with pytest.raises(HostUnreachable):
        service.exit_code()
    service.stop(5)
    assert service.exit_code() == -signal.SIGKILL
    assert host.run(["echo", "again"], timeout=20).stdout == "again\n"


def test_what_left_its_group_ends_with_the_connection(sshd: Sshd, tmp_path: Path) -> None:
    host = SshHost(sshd.context("cut-2"))
    host.run(
        ["sh", "-c", f"setsid sleep 300 & setsid env -u DRTESTS_MARK sleep 300 & echo > {tmp_path}/up"], timeout=20
    )
    assert len(carriers("DRTESTS_MARK=cut-2")) >= 1
    sshd.cut()
    assert eventually_no("DRTESTS_MARK=cut-2", _SLACK) == []
    eventually(lambda: not agents(sshd), "an agent stays", _SLACK)


def test_the_agent_itself_is_killed(sshd: Sshd, tmp_path: Path) -> None:
    """Then nobody ends what it started but the next connection, which does so before anything else."""
    host = SshHost(sshd.context("killed"))
    host.start(["sleep", "300"], cwd=str(tmp_path), log=str(tmp_path / "log"))
    for pid in agents(sshd):
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: _unreachable(host), "the loss is not noticed")
    assert host.exists("/")
    assert carriers("DRTESTS_MARK=killed") == []


def _unreachable(host: SshHost) -> bool:
    return bool(host._connection._link is None or host._connection._link.lost)


def test_a_lost_lock_is_not_worked_without(sshd: Sshd, tmp_path: Path) -> None:
    host = SshHost(sshd.context("lock"))
    lock = f"{tmp_path}/lock"
    with host.lock(lock, 0):
        host.write(f"{tmp_path}/file", b"")
        sshd.cut()
        # Clean up goes on; making anything does not.
        eventually(lambda: _unreachable(host), "the loss is not noticed")
        assert host.exists(f"{tmp_path}/file")
        for making in (
            lambda: host.run(["true"], timeout=5),
            lambda: host.start(["true"], cwd="/", log=f"{tmp_path}/log"),
            lambda: host.write(f"{tmp_path}/other", b""),
            lambda: host.make_directory(f"{tmp_path}/folder"),
        ):
            with pytest.raises(HostUnreachable, match="lock"):
                making()
        assert host.sweep() == []
        host.remove_tree(f"{tmp_path}/file")
        # The lock went with its holder.
        with SshHost(sshd.context("other")).lock(lock, 5):
            pass
    host.write(f"{tmp_path}/other", b"")


def test_a_runner_that_is_killed(sshd: Sshd, tmp_path: Path) -> None:
    """Its services and commands end on the host, its lock is free, and `sweep` by its mark finds nothing more."""
    program = f"""
import sys, threading, datetime
from pathlib import Path
from drtests.hosts.ssh import SshHost
from drtests.model.connections import Ssh
from drtests.model.estate import Host
from drtests.protocols.host import HostContext
ssh = Ssh.model_validate_json({sshd.ssh().model_dump_json()!r})
host = SshHost(HostContext(Host(id="far", type="ssh", ssh=ssh), "runner", Path("/")))
with host.lock({str(tmp_path / "lock")!r}, 0):
    host.start(["sleep", "300"], cwd="/", log={str(tmp_path / "log")!r})
    threading.Thread(target=lambda: host.run(["sleep", "301"], timeout=400)).start()
    host.run(["sh", "-c", "setsid sleep 302 & echo"], timeout=20)
    print("up", flush=True)
    host.run(["sleep", "303"], timeout=400)
"""
    other = SshHost(sshd.context("runner"))
    runner = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    try:
        assert runner.stdout is not None
        assert runner.stdout.readline() == b"up\n"
        eventually(lambda: len(carriers("DRTESTS_MARK=runner")) == 4, "not all of it runs")
        with pytest.raises(HostBusy), other.lock(f"{tmp_path}/lock", 0):
            pass
    finally:
        runner.kill()
        runner.wait(10)
        if runner.stdout is not None:
            runner.stdout.close()
    assert eventually_no("DRTESTS_MARK=runner", _SLACK) == []
    with other.lock(f"{tmp_path}/lock", _SLACK):
        pass
    assert other.sweep() == []


def test_an_agent_that_is_asked_to_end(sshd: Sshd, tmp_path: Path) -> None:
    host = SshHost(sshd.context("asked"))
    host.start(["sh", "-c", "trap '' TERM; while :; do sleep 1; done"], cwd=str(tmp_path), log=f"{tmp_path}/log")
    for pid in agents(sshd):
        os.kill(pid, signal.SIGTERM)
    assert eventually_no("DRTESTS_MARK=asked", _SLACK) == []


def test_pulled_cable(far_sshd: tuple[Sshd, Cable], tmp_path: Path) -> None:
    """No packet arrives, and nobody is told: both ends find out by themselves."""
    server, cable = far_sshd
    host = SshHost(server.context("pulled", keepalive=_KEEPALIVE, connect_timeout=timedelta(seconds=2)))
    service = host.start(["sleep", "300"], cwd=str(tmp_path), log=str(tmp_path / "log"))
    count = tmp_path / "count"
    failed: list[tuple[float, HostError]] = []

    def command() -> None:
        try:
            host.run(["sh", "-c", f"echo x >> {count}; while :; do echo y; sleep 0.05; done"], timeout=200, on_line=_no)
        except HostError as error:
            failed.append((time.monotonic(), error))

    running_ = threading.Thread(target=command)
    running_.start()
    eventually(count.exists, "it does not run")
    began = time.monotonic()
    cable.pull()
    try:
        running_.join(_BEATS + _SLACK)
        [(when, error)] = failed
        assert isinstance(error, HostUnreachable)
        assert when - began < _BEATS + _SLACK
        # Gone on the host, too, though nobody could tell it to.
        assert eventually_no("DRTESTS_MARK=pulled", _BEATS + _SLACK) == []
        eventually(lambda: not agents(server), "the agent stays", _SLACK)
        with pytest.raises(HostUnreachable):
            host.exists("/")
        with pytest.raises(HostUnreachable):
            service.stop(1)
    finally:
        cable.plug()
    assert count.read_text() == "x\n"
    eventually(lambda: _answers(host), "no new connection is made", 30)
    assert host.sweep() == []


def _no(_stream: str, _line: str) -> None:
    pass


def _answers(host: SshHost) -> bool:
    try:
        return host.exists("/")
    except HostUnreachable:
        return False


def test_pulled_for_a_moment(far_sshd: tuple[Sshd, Cable], tmp_path: Path) -> None:
    """Shorter than three keepalives: nothing happened."""
    server, cable = far_sshd
    before = server.logins()
    host = SshHost(server.context("moment", keepalive=timedelta(seconds=2)))
    assert host.exists("/")
    cable.pull()
    time.sleep(0.5)
    cable.plug()
    assert host.run(["echo", "still"], timeout=60).stdout == "still\n"
    assert server.logins() == before + 1


def test_forward_out_of_a_network_of_its_own(far_sshd: tuple[Sshd, Cable], tmp_path: Path) -> None:
    """What listens on the host's own loopback is not here, and is reached nevertheless."""
    server, _ = far_sshd
    host = SshHost(server.context("forward"))
    (tmp_path / "page").write_text("restored")
    program = "import http.server as h;s=h.HTTPServer(('127.0.0.1',0),h.SimpleHTTPRequestHandler)"
    service = host.start(
        ["python3", "-c", f"{program};print(s.server_port,flush=True);s.serve_forever()"],
        cwd=str(tmp_path),
        log=str(tmp_path / "log"),
    )
    eventually(lambda: bool(re.search(r"\d+\n", service.output())), "the server does not start")
    port = int(service.output().split()[0])
    with pytest.raises(ConnectionError):
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    with host.forward("127.0.0.1", port) as here, socket.create_connection(here, timeout=5) as connection:
        connection.sendall(b"GET /page HTTP/1.0\r\n\r\n")
        said = b"".join(iter(lambda: connection.recv(4096), b""))
        assert said.endswith(b"restored")
    service.stop(5)


def test_cancelled_by_a_person(sshd: Sshd, tmp_path: Path) -> None:
    """Ctrl-C ends what runs there before it is let through here."""
    program = f"""
import signal
from pathlib import Path
from drtests.hosts.ssh import SshHost
from drtests.model.connections import Ssh
from drtests.model.estate import Host
from drtests.protocols.host import HostContext
ssh = Ssh.model_validate_json({sshd.ssh().model_dump_json()!r})
host = SshHost(HostContext(Host(id="far", type="ssh", ssh=ssh), "ctrl-c", Path("/")))
try:
    host.run(["sh", "-c", "echo > {tmp_path}/up; exec sleep 300"], timeout=400)
except KeyboardInterrupt:
    print(host.sweep())
"""
    runner = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    eventually((tmp_path / "up").exists, "it does not run")
    runner.send_signal(signal.SIGINT)
    said, _ = runner.communicate(timeout=60)
    assert said == "[]\n"
    assert carriers("DRTESTS_MARK=ctrl-c") == []


def test_a_host_that_comes_back(tmp_path: Path) -> None:
    """A refused connection is tried again for a little while."""
    with short_folder() as folder, running(folder) as server:
        host = SshHost(server.context("back"))
        assert host.exists("/")
        server.stop()
        eventually(lambda: _unreachable(host), "the loss is not noticed")
        starting = threading.Timer(0.3, server.start)
        starting.start()
        assert host.exists("/")
        starting.join()
