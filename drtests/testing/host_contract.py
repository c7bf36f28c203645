"""What every Host must do.

Subclass `HostContract` in a test module and give it two fixtures: `host`, and
`workplace`, the absolute path of an empty directory on that host. The host
must have `sh`, `sleep`, `cat`, `head`, `tr`, `ln`, `chmod`, `stat`, `setsid`, `flock` and `python3`.
"""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from drtests.errors import CommandNotFound, CommandTimeout, HostBusy, HostError
from drtests.protocols.host import Host

_MIB = 1024 * 1024
_ECHO = """
import os, socket, sys, threading
server = socket.socket()
server.bind(("127.0.0.1", 0))
server.listen(16)
open(sys.argv[1] + ".new", "w").write(str(server.getsockname()[1]))
os.rename(sys.argv[1] + ".new", sys.argv[1])
def serve(connection):
    while True:
        data = connection.recv(65536)
        if not data:
            connection.sendall(b"bye")
            connection.close()
            return
        connection.sendall(data.upper())
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
"""


def require(condition: bool, message: str) -> None:
    """Fails the test. Library code holds no `assert`: it vanishes under `python -O`."""
    if not condition:
        raise AssertionError(message)


def eventually(condition: Callable[[], bool], message: str, seconds: float = 10.0) -> None:
    """Waits for a condition, with a deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        require(time.monotonic() < deadline, message)
        time.sleep(0.01)


class HostContract:
    """The suite."""

    def test_output_and_exit_code(self, host: Host) -> None:
        result = host.run(["sh", "-c", "echo out; echo err >&2; exit 3"], timeout=20)
        require((result.stdout, result.stderr, result.exit_code) == ("out\n", "err\n", 3), str(result))
        require(result.argv[0] == "sh" and result.seconds >= 0, str(result))

    def test_arguments_reach_the_program_as_they_are(self, host: Host) -> None:
        words = ["a b", "$HOME", "'", '"', "*", "", "é"]
        result = host.run(["sh", "-c", 'for word in "$@"; do echo "[$word]"; done', "sh", *words], timeout=20)
        require(result.stdout == "".join(f"[{word}]\n" for word in words), result.stdout)

    def test_stdin(self, host: Host) -> None:
        data = b"line\n" * 100_000
        require(host.run(["cat"], timeout=20, stdin=data).stdout.encode() == data, "stdin did not arrive whole")

    def test_stdin_that_nobody_reads(self, host: Host) -> None:
        require(host.run(["true"], timeout=20, stdin=b"x" * 4 * _MIB).exit_code == 0, "failed on unread stdin")

    def test_no_stdin_is_an_empty_one(self, host: Host) -> None:
        require(host.run(["cat"], timeout=20).stdout == "", "stdin was not empty")

    def test_environment_is_added(self, host: Host) -> None:
        command = ["sh", "-c", 'echo "$DRTESTS_CONTRACT ${PATH:+path}"']
        result = host.run(command, timeout=20, env={"DRTESTS_CONTRACT": "it is's"})
        require(result.stdout == "it is's path\n", result.stdout)

    def test_cwd(self, host: Host, workplace: str) -> None:
        result = host.run(["pwd", "-P"], timeout=20, cwd=workplace)
        require(result.stdout.strip() == host.resolve(workplace), result.stdout)

    def test_missing_cwd(self, host: Host, workplace: str) -> None:
        with pytest.raises(HostError):
            host.run(["true"], timeout=20, cwd=f"{workplace}/nowhere")

    def test_lines_as_they_come(self, host: Host) -> None:
        lines: list[tuple[str, str]] = []
        script = "echo one; echo two >&2; printf 'three\\n\\nfour'"
        result = host.run(["sh", "-c", script], timeout=20, on_line=lambda stream, line: lines.append((stream, line)))
        out = [line for stream, line in lines if stream == "stdout"]
        require(out == ["one", "three", "", "four"] and ("stderr", "two") in lines, str(lines))
        require(result.stdout == "one\nthree\n\nfour", result.stdout)

    def test_only_the_end_of_much_output_is_kept(self, host: Host) -> None:
        script = "head -c 6000000 /dev/zero | tr '\\0' x; echo end; head -c 6000000 /dev/zero | tr '\\0' y >&2"
        result = host.run(["sh", "-c", script], timeout=60)
        require(len(result.stdout) <= _MIB and result.stdout.endswith("xend\n"), "the end of stdout is not kept")
        require(len(result.stderr) == _MIB, f"{len(result.stderr)} characters of stderr kept")

    def test_killed_by_a_signal(self, host: Host) -> None:
        require(host.run(["sh", "-c", "kill -9 $$"], timeout=20).exit_code == -9, "a signal is not told")

    def test_missing_program(self, host: Host) -> None:
        with pytest.raises(CommandNotFound) as caught:
            host.run(["drtests-no-such-program"], timeout=20)
        require("drtests-no-such-program" in caught.value.what and bool(caught.value.mend), caught.value.what)

    def test_timeout_ends_the_whole_group(self, host: Host, workplace: str) -> None:
        script = f"sleep 300 & echo $! > {workplace}/pid; trap '' TERM; wait; sleep 300"
        with pytest.raises(CommandTimeout) as caught:
            host.run(["sh", "-c", script], timeout=1, env={"CONTRACT_SECRET": "hunter22"})
        require("hunter22" not in str(caught.value.diagnostics()), "the environment is in the error")
        self._gone(host, f"{workplace}/pid")

    def test_error_in_the_line_sink_ends_the_child(self, host: Host, workplace: str) -> None:
        class Stop(BaseException):
            pass

        def sink(_stream: str, _line: str) -> None:
            raise Stop

        script = f"echo $$ > {workplace}/pid; echo go; sleep 300"
        with pytest.raises(Stop):
            host.run(["sh", "-c", script], timeout=60, on_line=sink)
        self._gone(host, f"{workplace}/pid")

    def test_a_left_grandchild_is_not_waited_for_and_swept(self, host: Host, workplace: str) -> None:
        script = f"setsid sh -c 'echo $$ > {workplace}/pid; exec sleep 300' & until [ -s {workplace}/pid ]; do :; done"
        result = host.run(["sh", "-c", script], timeout=60)
        require(result.exit_code == 0 and result.seconds < 50, "waited for a process that was left behind")
        pid = host.read(f"{workplace}/pid", 100).decode().strip()
        require(self._runs(host, pid), "the left process does not run: nothing is proved")
        found = host.sweep()
        require(len(found) == 1 and pid in found[0] and "sleep" in found[0], f"swept {found}, not {pid}")
        require(not self._runs(host, pid), "the left process was not ended")
        require(list(host.sweep()) == [], "swept twice")

    def test_service(self, host: Host, workplace: str) -> None:
        script = f"echo up; echo why >&2; sleep 300 & echo $! > {workplace}/pid; wait"
        service = host.start(["sh", "-c", script], cwd=workplace, log=f"{workplace}/log", env={"A": "b"})
        try:
            eventually(lambda: "up" in service.output() and "why" in service.output(), "no output of the service")
            eventually(lambda: host.exists(f"{workplace}/pid"), "the service did not start its child")
            require(service.exit_code() is None and service.pid > 0, "a running service has an exit code")
            require(len(service.output(limit=3)) == 3, "the limit of the output is not kept")
        finally:
            service.stop(10)
        require(service.exit_code() is not None, "a stopped service has no exit code")
        self._gone(host, f"{workplace}/pid")
        service.stop(10)

    def test_service_that_ended_by_itself(self, host: Host, workplace: str) -> None:
        service = host.start(["sh", "-c", "exit 7"], cwd=workplace, log=f"{workplace}/log")
        eventually(lambda: service.exit_code() is not None, "the end of the service is not seen")
        require(service.exit_code() == 7, f"exit code {service.exit_code()}")
        service.stop(5)
        require(service.exit_code() == 7, f"exit code {service.exit_code()} after stop")

    def test_service_that_does_not_heed(self, host: Host, workplace: str) -> None:
        script = f"trap '' TERM; echo $$ > {workplace}/pid; while :; do sleep 1; done"
        service = host.start(["sh", "-c", script], cwd=workplace, log=f"{workplace}/log")
        eventually(lambda: host.exists(f"{workplace}/pid"), "the service did not start")
        service.stop(0.2)
        self._gone(host, f"{workplace}/pid")

    def test_service_without_program(self, host: Host, workplace: str) -> None:
        with pytest.raises(CommandNotFound):
            host.start(["drtests-no-such-program"], cwd=workplace, log=f"{workplace}/log")

    def test_files(self, host: Host, workplace: str) -> None:
        path = f"{workplace}/a/b/file"
        host.make_directory(f"{workplace}/a/b")
        host.make_directory(f"{workplace}/a/b")
        require(self._mode(host, f"{workplace}/a") == "700", "a new parent is open to others")
        require(not host.exists(path), "exists before it is written")
        host.write(path, b"\0secret", 0o644)
        host.write(path, b"\0new", 0o600)
        require(host.exists(path) and host.read(path, 100) == b"\0new", "does not read what was written")
        require(host.read(path, 2) == b"\0n", "the limit is not kept")
        require(self._mode(host, path) == "600", "the mode is not set")
        with pytest.raises(HostError):
            host.read(f"{workplace}/none", 10)
        with pytest.raises(HostError):
            host.write(f"{workplace}/none/file", b"")

    def test_remove_tree(self, host: Host, workplace: str) -> None:
        script = "mkdir -p t/ro/deep keep && echo x > t/ro/deep/f && echo x > keep/f && ln -s ../keep t/link"
        host.run(["sh", "-c", f"{script} && ln -s keep way && chmod 500 t/ro/deep t/ro"], timeout=20, cwd=workplace)
        host.remove_tree(f"{workplace}/t")
        host.remove_tree(f"{workplace}/t")
        host.remove_tree(f"{workplace}/way")
        require(not host.exists(f"{workplace}/t") and not host.exists(f"{workplace}/way"), "something stays")
        require(host.exists(f"{workplace}/keep/f"), "a link was followed out of the tree")

    def test_scan(self, host: Host, workplace: str) -> None:
        script = "mkdir -p d/e out && printf abc > d/e/f && printf x > out/g && ln -s ../out d/link && mkfifo d/pipe"
        host.run(["sh", "-c", script], timeout=20, cwd=workplace)
        facts = {fact.path: fact for fact in host.scan(f"{workplace}/d")}
        kinds = {path: fact.kind for path, fact in facts.items()}
        wanted = {"e": "directory", "e/f": "file", "link": "link", "pipe": "other"}
        require(kinds == wanted, str(kinds))
        require(facts["e/f"].size == 3 and facts["link"].target == "../out", str(facts))
        require(abs(facts["e/f"].mtime - time.time()) < 86400, "no modification time")
        with pytest.raises(HostError):
            list(host.scan(f"{workplace}/none"))

    def test_digests(self, host: Host, workplace: str) -> None:
        contents = {f"n/{number}": str(number).encode() for number in range(200)}
        contents |= {"empty": b"", "large": b"0123456789abcdef" * 200_000, "edge": b"e" * 262144}
        host.make_directory(f"{workplace}/n")
        for path, data in contents.items():
            host.write(f"{workplace}/{path}", data)
        wanted = {path: hashlib.sha256(data).hexdigest() for path, data in contents.items()}
        require(dict(host.digests(workplace, iter(contents))) == wanted, "a hash is wrong")
        require(list(host.digests(workplace, [])) == [], "hashes of nothing")
        with pytest.raises(HostError):
            list(host.digests(workplace, ["empty", "none"]))

    def test_room(self, host: Host, workplace: str) -> None:
        require(host.free_bytes(f"{workplace}/not/yet") > 0, "no room")

    def test_resolve(self, host: Host, workplace: str) -> None:
        host.run(["sh", "-c", "mkdir real && ln -s real way"], timeout=20, cwd=workplace)
        real = host.resolve(f"{workplace}/real")
        require(host.resolve(f"{workplace}/way/x") == f"{real}/x", "a link is not followed")
        require(host.resolve(f"{workplace}/real/../way") == real, "`..` is not followed")

    def test_lock(self, host: Host, workplace: str) -> None:
        path = f"{workplace}/lock"
        with host.lock(path, 0):
            require(host.exists(path), "the lock's file is not made")
            with pytest.raises(HostBusy), host.lock(path, 0):
                pass
            with host.lock(f"{workplace}/other", 0):
                pass
        with host.lock(path, 0):
            pass
        require(host.exists(path), "the lock's file is not left behind")
        with pytest.raises(HostError), host.lock(f"{path}/below", 0):
            pass

    def test_lock_that_is_waited_for(self, host: Host, workplace: str) -> None:
        path = f"{workplace}/lock"
        order: list[str] = []

        def second() -> None:
            with host.lock(path, 60):
                order.append("second")

        waiting = threading.Thread(target=second)
        with host.lock(path, 0):
            waiting.start()
            # Time enough to get it by mistake.
            waiting.join(0.3)
            order.append("first")
        waiting.join(60)
        require(order == ["first", "second"], f"in the order {order}")

    def test_lock_is_released_by_an_error(self, host: Host, workplace: str) -> None:
        def broken() -> None:
            with host.lock(f"{workplace}/lock", 0):
                raise KeyError

        with pytest.raises(KeyError):
            broken()
        with host.lock(f"{workplace}/lock", 0):
            pass

    def test_lock_goes_with_its_holder(self, host: Host, workplace: str) -> None:
        path = f"{workplace}/lock"
        holder = host.start(
            ["flock", path, "sh", "-c", "echo held; exec sleep 300"], cwd=workplace, log=f"{workplace}/log"
        )
        try:
            eventually(lambda: "held" in holder.output(), "the holder does not get the lock")
            with pytest.raises(HostBusy), host.lock(path, 0):
                pass
        finally:
            holder.stop(5)
        with host.lock(path, 5):
            pass

    def test_forward(self, host: Host, workplace: str) -> None:
        with self._echo(host, workplace) as port, host.forward("127.0.0.1", port) as here:
            data = b"abcdefgh" * (_MIB // 2)
            for _ in range(2):
                require(_spoken(here, b"word") == b"WORDbye", "what is said does not come back")
            require(_spoken(here, data) == data.upper() + b"bye", "much data does not come back whole")
            both = [socket.create_connection(here, timeout=20) for _ in range(2)]
            for number, connection in enumerate(both):
                connection.sendall(b"one"[number:])
            answers = [connection.recv(3) for connection in both]
            for connection in both:
                connection.close()
            require(answers == [b"ONE", b"NE"], f"two at a time: {answers}")

    def test_forward_to_where_nobody_listens(self, host: Host, workplace: str) -> None:
        with self._echo(host, workplace) as port:
            pass
        with host.forward("127.0.0.1", port) as here, pytest.raises(ConnectionError):
            socket.create_connection(here, timeout=20).close()

    def test_forward_notices_the_end_of_the_service(self, host: Host, workplace: str) -> None:
        with self._echo(host, workplace) as port, host.forward("127.0.0.1", port) as here:
            require(_spoken(here, b"x") == b"Xbye", "the service does not answer")
            connection = socket.create_connection(here, timeout=20)
            connection.sendall(b"y")
            require(connection.recv(1) == b"Y", "the service does not answer")
            host.sweep()
            try:
                require(connection.recv(1) == b"", "something comes from a service that is gone")
            except ConnectionError:
                pass
            finally:
                connection.close()

    @contextmanager
    def _echo(self, host: Host, workplace: str) -> Iterator[int]:
        file = f"{workplace}/port"
        host.remove_tree(file)
        service = host.start(["python3", "-c", _ECHO, file], cwd=workplace, log=f"{workplace}/echo.log")
        try:
            eventually(lambda: host.exists(file), "the service did not start")
            yield int(host.read(file, 10))
        finally:
            service.stop(5)

    @staticmethod
    def _mode(host: Host, path: str) -> str:
        return host.run(["stat", "-c", "%a", path], timeout=20).stdout.strip()

    @staticmethod
    def _runs(host: Host, pid: str) -> bool:
        state = host.run(["sh", "-c", f"cat /proc/{pid}/stat || true"], timeout=20).stdout.rpartition(")")[2].split()
        return bool(state) and state[0] not in "ZX"

    def _gone(self, host: Host, file: str) -> None:
        eventually(lambda: bool(host.read(file, 100).strip()), "no process id was written")
        pid = host.read(file, 100).decode().strip()
        eventually(lambda: not self._runs(host, pid), f"process {pid} still runs")


def _spoken(address: tuple[str, int], data: bytes) -> bytes:
    """Everything that comes back when this is said, and nothing more."""
    heard = bytearray()
    with socket.create_connection(address, timeout=20) as connection:

        def listen() -> None:
            while piece := connection.recv(65536):
                heard.extend(piece)

        listening = threading.Thread(target=listen)
        listening.start()
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        listening.join(30)
    return bytes(heard)
