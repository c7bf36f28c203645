"""The connections of a client, so that they can be ended at once.

botocore's timeouts count from one piece of an answer to the next: a server that sends a byte now and then is in time.
"""

from __future__ import annotations

import socket
import threading
import weakref
from contextlib import suppress
from typing import Any


class Sockets:
    """Of one client of botocore, from now on."""

    def __init__(self, client: Any) -> None:
        self._turn = threading.Lock()
        self._open: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self.ended = False
        # By scheme; what a proxy needs is made of these, too. There is no other way to a connection of botocore's.
        pools = client._endpoint.http_session._pool_classes_by_scheme  # noqa: SLF001
        pools |= {scheme: self._watched(pool) for scheme, pool in pools.items()}

    def end(self) -> None:
        """Whoever waits for something is told that the connection ended; no other one is made."""
        with self._turn:
            self.ended = True
            found = list(self._open)
        for one in found:
            with suppress(OSError):
                # Not as TLS ends: another thread may be reading.
                socket.socket.shutdown(one, socket.SHUT_RDWR)

    def _opened(self, made: socket.socket) -> None:
        with self._turn:
            self._open.add(made)
            if not self.ended:
                return
        made.close()
        raise OSError("no connection is made any more")

    def _watched(self, pool: Any) -> Any:
        opened = self._opened

        class Connection(pool.ConnectionCls):  # type: ignore[misc] # which is found only now
            def connect(self) -> None:
                super().connect()
                opened(self.sock)

        return type(pool.__name__, (pool,), {"ConnectionCls": Connection})
