"""What goes over the wire between drtests and an object store: recorded, and made to fail where a test says so."""

from __future__ import annotations

import http.client
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.buckets import S3Server

_HOP = {"connection", "transfer-encoding", "keep-alive"}


@dataclass(frozen=True, slots=True)
class Request:
    """As it was sent, path-style."""

    method: str
    bucket: str
    key: str
    query: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Fault:
    """Instead of the server's answer: another one; or, with `cut`, only so many bytes of it, then the end."""

    status: int = 0
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    changed: Callable[[bytes], bytes] | None = None
    """What the body becomes on its way."""
    pause: float = 0.0
    """Seconds between two bytes of it."""
    dropped: tuple[str, ...] = ()
    """Headers of the answer that get lost."""


Rule = Callable[[Request, int], Fault | None]
"""Given the request and how many came before it."""


def error(code: str, status: int, message: str = "", more: str = "", **headers: str) -> Fault:
    """An error as S3 tells it."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>"
    return Fault(status, body, {"Content-Type": "application/xml", **headers})


@dataclass(slots=True)
class Wire:
    """A server as reached through it; `requests` holds all that were sent."""

    server: S3Server
    requests: list[Request] = field(default_factory=list)
    rule: Rule = lambda _request, _before: None
    trickling: int = 0
    """Answers that are on their way, byte by byte."""

    def sent(self, *methods: str) -> list[Request]:
        return [one for one in self.requests if one.method in methods]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    server: _Proxy

    def _any(self) -> None:
        wire = self.server.wire
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, _, query = self.path.partition("?")
        bucket, _, key = urllib.parse.unquote(path).lstrip("/").partition("/")
        request = Request(self.command, bucket, key, query, {k.lower(): v for k, v in self.headers.items()})
        with self.server.turn:
            before = len(wire.requests)
            wire.requests.append(request)
        fault = wire.rule(request, before) or Fault()
        if fault.status:
            self._answer(fault.status, dict(fault.headers), fault.body.encode(), fault)
            return
        status, told, data = self._asked(body)
        told = {k: v for k, v in told.items() if k.lower() not in fault.dropped} | dict(fault.headers)
        self._answer(status, told, fault.changed(data) if fault.changed else data, fault)

    def _asked(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        upstream = self.server.upstream
        link = http.client.HTTPConnection(str(upstream.hostname), upstream.port, timeout=30)
        try:
            headers = {k: v for k, v in self.headers.items() if k.lower() != "expect"}
            link.request(self.command, self.path, body, headers)
            answer = link.getresponse()
            told = {k: v for k, v in answer.getheaders() if k.lower() not in _HOP}
            return answer.status, told, answer.read()
        finally:
            link.close()

    def _answer(self, status: int, headers: Mapping[str, str], data: bytes, fault: Fault) -> None:
        head = self.command == "HEAD"
        self.send_response_only(status)
        for name, value in headers.items():
            if head or name.lower() != "content-length":
                self.send_header(name, value)
        if not head:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if head:
            return
        data = data[: fault.cut]
        step = 1 if fault.pause else max(1, len(data))
        with self.server.trickling(fault.pause):
            for at in range(0, len(data), step):
                self.wfile.write(data[at : at + step])
                if fault.pause:
                    self.server.over.wait(fault.pause)
        self.close_connection = fault.cut is not None

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _any

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, server: S3Server) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = urllib.parse.urlsplit(server.endpoint)
        self.turn = threading.Lock()
        self.over = threading.Event()
        self.wire = Wire(server.at(f"http://127.0.0.1:{self.server_port}"))

    @contextmanager
    def trickling(self, pause: float) -> Iterator[None]:
        """Counts the answers that are being told so, until they end or nobody listens."""
        with self.turn:
            self.wire.trickling += bool(pause)
        try:
            yield
        finally:
            with self.turn:
                self.wire.trickling -= bool(pause)

    def handle_error(self, *_: Any) -> None:
        """A client that went away is nobody's fault."""


@contextmanager
def wire(server: S3Server) -> Iterator[Wire]:
    """Between a test's stores and the server."""
    with _Proxy(server) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield proxy.wire
        finally:
            proxy.over.set()
            proxy.shutdown()
            thread.join(10)
