"""Is something up yet, as a host sees it? Two questions over the network, each with a timeout, neither ever raising."""

from __future__ import annotations

import http.client
import socket
import ssl
import urllib.error
import urllib.request
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Any, Self

from drtests.errors import HostError
from drtests.protocols.host import Host


class Way:
    """Opens TCP connections as a host would, until the end of the block. Raises HostError when the host is lost."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def connect(self, address: str, port: int, timeout: float | None) -> socket.socket:
        """Raises OSError as a connection from the host itself would, HostError."""
        here = self._open.enter_context(self._host.forward(address, port))
        return socket.create_connection(here, timeout)

    def plain(self, address: str, port: int | None, timeout: float) -> http.client.HTTPConnection:
        """Not connected yet; the names in requests and in certificates are those that the host would use."""
        return _Http(address, port, timeout=timeout, way=self)

    def encrypted(self, address: str, port: int | None, timeout: float) -> http.client.HTTPConnection:
        """The same, encrypted."""
        return _Https(address, port, timeout=timeout, way=self)


class _Http(http.client.HTTPConnection):
    def __init__(self, host: str, port: int | None = None, *, way: Way, timeout: float | None = None) -> None:
        super().__init__(host, port, timeout=timeout)
        self._way = way

    def connect(self) -> None:
        self.sock = self._way.connect(self.host, self.port, self.timeout)


class _Https(_Http):
    default_port = http.client.HTTPS_PORT

    def connect(self) -> None:
        super().connect()
        self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self.host)


class _HttpHandler(urllib.request.HTTPHandler):
    def __init__(self, way: Way) -> None:
        super().__init__()
        # `do_open` calls it like the class of a connection.
        self._made: Any = partial(_Http, way=way)

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._made, req)


class _HttpsHandler(urllib.request.HTTPSHandler):
    def __init__(self, way: Way) -> None:
        super().__init__()
        self._made: Any = partial(_Https, way=way)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._made, req)


def answers(url: str, timeout: float, host: Host) -> bool:
    """Whether an HTTP server answers that host with a status below 500."""
    try:
        with Way(host) as way:
            # Past any proxy: what was restored is asked, nobody else.
            past = urllib.request.ProxyHandler({})
            opener = urllib.request.build_opener(past, _HttpHandler(way), _HttpsHandler(way))
            with opener.open(url, timeout=timeout) as response:
                return int(response.status) < 500
    except urllib.error.HTTPError as error:
        with error:
            return error.code < 500
    except (OSError, http.client.HTTPException, ValueError, HostError):
        return False


def listens(address: str, timeout: float, host: Host) -> bool:
    """Whether `address:port` accepts a TCP connection of that host."""
    name, _, port = address.rpartition(":")
    try:
        with Way(host) as way, way.connect(name, int(port), timeout):
            return True
    except (OSError, ValueError, HostError):
        return False
