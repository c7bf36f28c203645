"""What drtests runs on a host that is reached over SSH: one process for a connection, gone when that is gone.

Sent over the connection and run from memory (see `drtests.hosts.ssh.boot`): nothing but the standard library of
Python 3.7. Every request has a thread, so that none waits for another. Whatever it started is ended when its input
ends, when it is told to end, and when nothing was heard for three keepalives.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from drtests.hosts.failure import FAILED, Failure
from drtests.hosts.frames import BEATS, PIECE, VERSION, Garbled, Unpacker, pack
from drtests.hosts.operations import ALONE, WITH_REQUEST, Operations, Request, started, this_boot


class Agent:
    """Serves one connection."""

    def __init__(self, source: int, target: int, settings: dict[str, Any], worker: str) -> None:
        self._source = source
        self._target = target
        self._patience = BEATS * float(settings["keepalive"])
        self._heard = time.monotonic()
        self._operations = Operations(settings["token"], worker.encode())
        self._requests: dict[int, Request] = {}
        self._turn = threading.Lock()
        self._writing = threading.Lock()
        self._ending = threading.Lock()

    def serve(self) -> None:
        """Until the input ends."""
        _in_background(self._watch)
        self._send({"hello": hello()})
        frames = Unpacker()
        while True:
            data = os.read(self._source, 4 * PIECE)
            if not data:
                return
            self._heard = time.monotonic()
            for header, payload in frames.feed(data):
                self._take(header, payload)

    def end(self) -> None:
        """Ends all that was started, then this process. Does not return."""
        # Never given back: whoever comes second waits here for the end.
        self._ending.acquire()
        with suppress(BaseException):
            with self._turn:
                for request in self._requests.values():
                    request.cancel()
            self._operations.end()
        os._exit(0)

    def _watch(self) -> None:
        while True:
            left = self._heard + self._patience - time.monotonic()
            if left <= 0:
                self.end()
            time.sleep(min(left, 1.0))

    def _send(self, header: dict[str, Any], payload: bytes = b"") -> None:
        frame = memoryview(pack(header, payload))
        with self._writing, suppress(OSError):
            while frame:
                frame = frame[os.write(self._target, frame) :]

    def _take(self, header: dict[str, Any], payload: bytes) -> None:
        """Never waits: whatever comes next may be what is waited for."""
        if "ping" in header:
            _in_background(self._send, {"pong": 1})
            return
        number = header["id"]
        with self._turn:
            if "op" in header:
                self._requests[number] = Request(number, self._send)
            request = self._requests.get(number)
            if request is None:
                return
            if "op" in header:
                _in_background(self._serve, request, header["op"], header["with"])
            elif "ack" in header:
                request.window.give(header["ack"])
            elif "cancel" in header:
                request.cancel()
            elif "eof" in header:
                request.inbox.put(None)
            else:
                request.inbox.put(payload)

    def _serve(self, request: Request, name: str, arguments: dict[str, Any]) -> None:
        try:
            answer = {"done": self._carry_out(request, name, arguments)}
        except Failure as failure:
            answer = {"failed": {"kind": failure.kind, "what": failure.what, "mend": failure.mend}}
        except Exception as error:  # noqa: BLE001 - whatever it is, somebody waits for an answer
            answer = {"failed": {"kind": FAILED, "what": f"{name}: {type(error).__name__}: {error}", "mend": ""}}
        with self._turn:
            del self._requests[request.number]
            request.close()
        self._send({"id": request.number, **answer})

    def _carry_out(self, request: Request, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if name in WITH_REQUEST:
            found: dict[str, Any] = getattr(self._operations, name)(request, **arguments)
        elif name in ALONE:
            found = getattr(self._operations, name)(**arguments)
        else:
            raise Failure(f"there is no operation {name!r}")
        return found


def hello() -> dict[str, Any]:
    """Who this is."""
    pid = os.getpid()
    version = ".".join(map(str, sys.version_info[:3]))
    return {"version": VERSION, "pid": pid, "began": started(pid), "boot": this_boot(), "python": version}


class _Stop(Exception):
    """A signal asks it to end."""


def main(settings: dict[str, Any], worker: str) -> None:
    """Serves standard input and output. `worker` is the source of `drtests.hash_worker`."""
    agent = Agent(0, 1, settings, worker)
    told: list[int] = []

    def stop(number: int, _frame: Any) -> None:
        told.append(number)
        if len(told) == 1:
            raise _Stop

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(_Stop, Garbled, OSError):
        agent.serve()
    agent.end()


def _in_background(work: Any, *arguments: Any) -> None:
    threading.Thread(target=work, args=arguments, daemon=True).start()
