"""What an agent can be asked to do on its machine.

Also runs on hosts that are reached over SSH: nothing but the standard library of Python 3.7. Raises Failure.
"""

from __future__ import annotations

import fcntl
import os
import queue
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from drtests.hosts import machine
from drtests.hosts.children import Left
from drtests.hosts.digests import Digester, python
from drtests.hosts.failure import BUSY, FAILED, REFUSED, Failure
from drtests.hosts.frames import PIECE, Window
from drtests.hosts.processes import MARK, signal_group, sweep_marked

AGENT = "DRTESTS_AGENT"
"""Variable that tells what one agent started."""
_FACTS = 500
_POLL = 0.1
_PREDECESSOR = 15.0


class Request:
    """One thing that was asked for, until it is answered."""

    def __init__(self, number: int, send: Callable[..., None]) -> None:
        self.number = number
        self.inbox: queue.Queue[bytes | None] = queue.Queue()
        self.window = Window()
        self.cancelled = threading.Event()
        self.wake, self._waker = os.pipe()
        self._send = send

    def tell(self, header: dict[str, Any], payload: bytes = b"") -> None:
        """A part of the answer."""
        if self.window.take():
            self._send({"id": self.number, "data": header}, payload)

    def tell_all(self, header: dict[str, Any], payload: bytes) -> None:
        """In pieces."""
        for began in range(0, len(payload), PIECE):
            self.tell(header, payload[began : began + PIECE])

    def pieces(self) -> Iterator[bytes]:
        """What was sent along, until its end or until nobody wants the answer any more."""
        while True:
            piece = self.inbox.get()
            if piece is None or self.cancelled.is_set():
                return
            self._send({"id": self.number, "ack": 1})
            yield piece

    def cancel(self) -> None:
        """Nobody wants the answer any more."""
        self.cancelled.set()
        self.window.close()
        self.inbox.put(None)
        with suppress(OSError):
            os.write(self._waker, b"x")

    def close(self) -> None:
        self.window.close()
        for descriptor in (self.wake, self._waker):
            os.close(descriptor)


class Operations:
    """Those of one connection. `token` tells what was started for it; `worker` is the source of `hash_worker`."""

    def __init__(self, token: str, worker: bytes) -> None:
        self._token = token
        self._worker = worker
        self._services: dict[int, Left] = {}

    def end(self) -> None:
        """Ends whatever was started, and what that started."""
        services = list(self._services.values())
        for service in services:
            signal_group(service.pid, signal.SIGTERM)
        sweep_marked(self._token, AGENT)
        for service in services:
            signal_group(service.pid, signal.SIGKILL)

    def _environment(self, env: dict[str, str], mark: str) -> dict[str, str]:
        return {**env, MARK: mark, AGENT: self._token}

    def run(
        self,
        request: Request,
        argv: list[str],
        timeout: float,
        env: dict[str, str],
        mark: str,
        cwd: str | None,
        stdin: bool,
        lines: bool,
    ) -> dict[str, Any]:
        """Its output goes as it comes when `lines`, else the end of it when it has ended."""
        fed = b"".join(request.pieces()) if stdin else None

        def sink(name: str, data: bytes) -> None:
            if data:
                request.tell_all({"stream": name}, data)

        environment = self._environment(env, mark)
        ended = machine.run(argv, timeout, fed, environment, cwd, sink if lines else None, request.wake)
        if not lines:
            sink("stdout", ended.stdout)
            sink("stderr", ended.stderr)
        return {"exit_code": ended.exit_code, "seconds": ended.seconds}

    def start(
        self, request: Request, argv: list[str], env: dict[str, str], mark: str, cwd: str, log: str
    ) -> dict[str, Any]:
        """A service is called by the number of this request from now on."""
        service = machine.start(argv, self._environment(env, mark), cwd, log)
        self._services[request.number] = service
        return {"pid": service.pid, "service": request.number}

    def exit_code(self, service: int) -> dict[str, Any]:
        return {"exit_code": self._services[service].exit_code()}

    def output(self, service: int, limit: int) -> dict[str, Any]:
        return {"output": self._services[service].output(limit)}

    def stop(self, service: int, timeout: float) -> dict[str, Any]:
        self._services[service].stop(timeout)
        return self.exit_code(service)

    def sweep(self, mark: str) -> dict[str, Any]:
        return {"lines": sweep_marked(mark)}

    def succeed(self, pid: int, began: str, boot: str, token: str) -> dict[str, Any]:
        """Ends the agent of a connection that was lost, and whatever that started."""
        deadline = time.monotonic() + _PREDECESSOR
        with suppress(ProcessLookupError):
            if boot == this_boot() and started(pid) == began:
                os.kill(pid, signal.SIGTERM)
                while started(pid) == began and time.monotonic() < deadline:
                    time.sleep(0.02)
                if started(pid) == began:
                    os.kill(pid, signal.SIGKILL)
        return {"lines": sweep_marked(token, AGENT)}

    def exists(self, path: str) -> dict[str, Any]:
        return {"exists": os.path.lexists(path)}

    def read(self, request: Request, path: str, limit: int) -> dict[str, Any]:
        for piece in machine.read(path, limit, PIECE):
            if request.cancelled.is_set():
                break
            request.tell({}, piece)
        return {}

    def write(self, request: Request, path: str, mode: int) -> dict[str, Any]:
        data = b"".join(request.pieces())
        if not request.cancelled.is_set():
            machine.write(path, data, mode)
        return {}

    def make_directory(self, path: str) -> dict[str, Any]:
        machine.make_directory(path)
        return {}

    def remove_tree(self, path: str) -> dict[str, Any]:
        machine.remove_tree(path)
        return {}

    def free_bytes(self, path: str) -> dict[str, Any]:
        return {"free": machine.free_bytes(path)}

    def resolve(self, path: str) -> dict[str, Any]:
        return {"path": os.path.realpath(path)}

    def scan(self, request: Request, path: str) -> dict[str, Any]:
        facts: list[machine.Entry] = []
        for entry in machine.scan(path):
            facts.append(entry)
            if len(facts) == _FACTS:
                if request.cancelled.is_set():
                    return {}
                request.tell({"facts": facts})
                facts = []
        request.tell({"facts": facts})
        return {}

    def digests(self, request: Request, root: str) -> dict[str, Any]:
        """Paths come in batches, joined by NUL; the digests of a batch go when it is done."""

        def done(number: int, results: list[Any]) -> None:
            request.tell({"batch": number, "digests": [[digest, problem] for _, digest, problem in results]})

        helper = [*python(), "-c", f"import sys;exec(sys.stdin.buffer.read({len(self._worker)}))"]
        digester = Digester(root, (helper, self._worker), done)
        try:
            for number, batch in enumerate(request.pieces()):
                digester.add(number, batch.decode("utf-8", "surrogateescape").split("\0"))
            if not request.cancelled.is_set():
                digester.wait()
        finally:
            digester.close()
        return {}

    def lock(self, request: Request, path: str, timeout: float) -> dict[str, Any]:
        """Held until it is cancelled."""
        deadline = time.monotonic() + timeout
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise machine.failed("lock", path, error) from error
        try:
            while not _locked(descriptor, path):
                if time.monotonic() >= deadline:
                    raise Failure(f"somebody else holds {path} since more than {timeout:.0f} s", kind=BUSY)
                if request.cancelled.wait(_POLL):
                    return {}
            request.tell({"locked": True})
            request.cancelled.wait()
        finally:
            os.close(descriptor)
        return {}

    def connect(self, request: Request, address: str, port: int, timeout: float) -> dict[str, Any]:
        """A TCP connection, whose bytes are carried both ways until both ends are done."""
        try:
            connection = socket.create_connection((address, port), timeout)
        except OSError as error:
            barred = not isinstance(error, (ConnectionError, socket.timeout))
            what = f"cannot connect to {address}:{port} from there: {error.strerror or error}"
            raise Failure(what, "see the host's network and names", FAILED if barred else REFUSED) from None
        with connection:
            connection.settimeout(None)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            request.tell({"connected": True})
            out = threading.Thread(target=_carry_out, args=(request, connection), daemon=True)
            out.start()
            with suppress(OSError):
                while True:
                    data = connection.recv(PIECE)
                    if not data:
                        break
                    request.tell({}, data)
            request.tell({"ended": True})
            out.join()
        return {}


ALONE = ("exit_code", "output", "stop", "sweep", "succeed", "exists", "make_directory", "remove_tree", "free_bytes",
         "resolve")  # fmt: skip
"""Operations that are asked and answered in a frame each."""
WITH_REQUEST = ("run", "start", "read", "write", "scan", "digests", "lock", "connect")
"""Those that get more than one, or give more than one."""


def this_boot() -> str:
    """Which start of the machine this is."""
    with suppress(OSError), open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()
    return ""


def started(pid: int) -> str:
    """When a process was started, in ticks; empty when there is none, or it has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in (b"Z", b"X") else fields[19].decode()


def _locked(descriptor: int, path: str) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise machine.failed("lock", path, error) from error
    return True


def _carry_out(request: Request, connection: socket.socket) -> None:
    with suppress(OSError):
        for piece in request.pieces():
            connection.sendall(piece)
    with suppress(OSError):
        # Whoever waits to hear from it has to notice that nobody wants to know any more.
        connection.shutdown(socket.SHUT_RDWR if request.cancelled.is_set() else socket.SHUT_WR)
