"""A port of this machine that stands for one that a host reaches: what connects here is connected there."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from drtests.errors import HostError
from drtests.hosts.failure import REFUSED, Failure
from drtests.hosts.frames import PIECE
from drtests.hosts.ssh.link import Asked, Link
from drtests.hosts.told import as_told

_CONNECT = 10.0
_IDLE = 24 * 3600.0
_FRESH = 1.0
"""Seconds that the connection which was made to see whether it can be made may wait for its user."""
_RESET = struct.pack("ii", 1, 0)


@contextmanager
def forwarded(link: Callable[[], Link], host: str, address: str, port: int) -> Iterator[tuple[str, int]]:
    """Address and port here. Nothing listens on it when nothing does there at this moment."""
    over = link()
    try:
        first = _connected(over, address, port)
    except Failure as failure:
        raise as_told(failure, host) from None
    listener = socket.socket()
    try:
        listener.bind(("127.0.0.1", 0))
        here: tuple[str, int] = listener.getsockname()
        if first is None:
            # The port is ours and refuses, as the far one does.
            yield here
            return
        serving = _Serving(listener, first, lambda: _connected(over, address, port))
        try:
            yield here
        finally:
            serving.close()
        if over.lost:
            # What was seen through it, or not seen, was the connection's doing.
            raise over.unreachable()
    finally:
        listener.close()


def _connected(link: Link, address: str, port: int) -> Asked | None:
    """A connection on the host's side; None when it is refused there. Raises Failure, HostError."""
    asked = link.ask("connect", address=address, port=port, timeout=_CONNECT)
    try:
        asked.part(_CONNECT + _CONNECT)
    except BaseException as error:
        asked.close()
        if isinstance(error, Failure) and error.kind == REFUSED:
            return None
        raise
    return asked


class _Serving:
    """Takes connections, and carries their bytes both ways until the end."""

    def __init__(self, listener: socket.socket, first: Asked, again: Callable[[], Asked | None]) -> None:
        self._listener = listener
        self._again = again
        self._turn = threading.Lock()
        self._first: tuple[float, Asked] | None = (time.monotonic(), first)
        self._open: dict[socket.socket, Asked] = {}
        self._closed = False
        listener.listen(64)
        threading.Thread(target=self._accept, name="drtests-forward", daemon=True).start()

    def close(self) -> None:
        """Cuts what is still connected."""
        with self._turn:
            self._closed = True
            first, self._first = self._first, None
            connections = list(self._open.items())
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        if first is not None:
            first[1].abandon()
        for connection, asked in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            asked.abandon()

    def _accept(self) -> None:
        while not self._closed:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), name="drtests-forward", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                asked = self._taken()
            except (HostError, Failure):
                asked = None
            if asked is None:
                # A reset is the nearest to being refused that is left once a connection was accepted.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                return
            with self._turn:
                self._open[connection] = asked
                closed = self._closed
            try:
                if not closed:
                    _carry(connection, asked)
            finally:
                asked.abandon()
                with self._turn:
                    del self._open[connection]

    def _taken(self) -> Asked | None:
        with self._turn:
            first, self._first = self._first, None
        if first is not None:
            if time.monotonic() - first[0] < _FRESH:
                return first[1]
            first[1].abandon()
        return self._again()


def _carry(connection: socket.socket, asked: Asked) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    out = threading.Thread(target=_carry_out, args=(connection, asked), name="drtests-forward", daemon=True)
    out.start()
    try:
        for header, data in asked.parts(_IDLE):
            if header.get("ended"):
                connection.shutdown(socket.SHUT_WR)
            else:
                connection.sendall(data)
    except (OSError, HostError, Failure):
        with suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            connection.shutdown(socket.SHUT_RDWR)
    out.join()


def _carry_out(connection: socket.socket, asked: Asked) -> None:
    with suppress(OSError, HostError):
        while data := connection.recv(PIECE):
            if not asked.feed(data):
                break
        asked.feed_end()
