"""http: whether a started service answers, with the right status and body, in time."""

from __future__ import annotations

import hashlib
import http.client
import re
import socket
import ssl
import time
from datetime import timedelta
from typing import Annotated, Any, ClassVar
from urllib.parse import SplitResult, urljoin, urlsplit

from pydantic import AfterValidator, BaseModel, Field

from drtests.checks.command import Pattern
from drtests.errors import HostError
from drtests.model.base import Declaration
from drtests.model.units import Duration, format_duration
from drtests.model.verdict import Verdict
from drtests.probes import Way
from drtests.protocols.check import Judgement, Objective, Observation, Resources

_LARGEST = 64 * 1024 * 1024
_REDIRECTS = 5
_CHUNK = 65536


def _url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("not a URL; write e.g. http://127.0.0.1:8080/health")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a URL holds no user or password here; it would end up in the evidence")
    _ = parts.port
    return value


Status = Annotated[int, Field(ge=100, le=599)]


class HttpSpec(Declaration):
    """Options of `http`."""

    url: Annotated[str, AfterValidator(_url)]
    status: Status | tuple[Status, ...] = 200
    body: Pattern | None = None
    """Must be found in the body, read as UTF-8."""
    within: Duration = timedelta(seconds=10)
    """The whole answer is here in that time."""


class HttpCheck:
    """One GET from the host that was restored to, past proxies; redirects are followed on the same host and port."""

    Spec: ClassVar[type[BaseModel]] = HttpSpec

    def __init__(self, spec: HttpSpec) -> None:
        self._spec = spec

    @property
    def title(self) -> str:
        return f"http {urlsplit(self._spec.url)._replace(query='', fragment='').geturl()}"

    @property
    def proves_data(self) -> bool:
        return False

    def observe(self, resources: Resources) -> Observation:
        started = time.monotonic()
        deadline = started + self._spec.within.total_seconds()
        problem = ""
        status: int | None = None
        body = b""
        try:
            with Way(resources.host) as way:
                status, body = _get(self._spec.url, deadline, way)
        except TimeoutError:
            problem = "no whole answer in time"
        except (ssl.SSLError, socket.gaierror) as error:
            raise HostError(
                f"cannot ask {self._spec.url}: {error.strerror or error.reason}"
                if isinstance(error, ssl.SSLError)
                else f"cannot find {urlsplit(self._spec.url).hostname}: {error.strerror}",
                mend="correct the URL, the name or the certificate; nothing was learned of the service",
            ) from None
        except ConnectionError as error:
            problem = error.strerror or "the connection was cut"
        except http.client.HTTPException as error:
            problem = f"what answers does not speak HTTP ({type(error).__name__})"
        except OSError as error:
            raise HostError(
                f"cannot ask {self._spec.url}: {error.strerror}", mend="see this machine's network"
            ) from None
        if status is None:
            # Raises when the host itself is lost: then nothing was learned of the service.
            resources.host.exists(resources.root)
        seen: dict[str, Any] = {"status": status, "seconds": round(time.monotonic() - started, 3), "problem": problem}
        if status is not None:
            seen |= {"body_bytes": len(body), "body_sha256": hashlib.sha256(body).hexdigest(), "body_found": None}
            if self._spec.body is not None:
                text = body.decode("utf-8", errors="replace")
                seen["body_found"] = re.search(self._spec.body, text, re.MULTILINE) is not None
        return seen

    def judge(self, observation: Observation, objective: Objective) -> Judgement:
        allowed = self._spec.within.total_seconds()
        seconds = float(observation["seconds"])
        status = observation["status"]
        if status is None:
            reason = f"{observation['problem']} (after {seconds:.1f} s, {format_duration(allowed)} allowed)"
            return Judgement(Verdict.MISSED, reason)
        wanted = (self._spec.status,) if isinstance(self._spec.status, int) else self._spec.status
        if status not in wanted:
            return Judgement(Verdict.MISSED, f"status {status}, {' or '.join(map(str, wanted))} expected")
        if observation["body_found"] is False:
            return Judgement(Verdict.MISSED, f"status {status}, but the body does not hold what is expected")
        if seconds > allowed:
            return Judgement(Verdict.MISSED, f"answered after {seconds:.1f} s, {format_duration(allowed)} allowed")
        return Judgement(Verdict.MET, f"status {status} in {seconds:.2f} s")


def _get(url: str, deadline: float, way: Way) -> tuple[int, bytes]:
    first = urlsplit(url)
    for _ in range(_REDIRECTS + 1):
        parts = urlsplit(url)
        status, body, location = _once(parts, deadline, way)
        target = urljoin(url, location) if location and 300 <= status < 400 else ""
        if not target or urlsplit(target)[:2] != first[:2]:
            return status, body
        url = target
    return status, body


def _once(parts: SplitResult, deadline: float, way: Way) -> tuple[int, bytes, str]:
    made = way.encrypted if parts.scheme == "https" else way.plain
    connection = made(parts.hostname or "", parts.port, _left(deadline))
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", path, headers={"User-Agent": "drtests", "Connection": "close"})
        opened = connection.sock
        if opened is not None:
            opened.settimeout(_left(deadline))
        response = connection.getresponse()
        pieces: list[bytes] = []
        size = 0
        while True:
            if opened is not None and not response.isclosed():
                opened.settimeout(_left(deadline))
            piece = response.read1(_CHUNK)
            if not piece:
                break
            pieces.append(piece)
            size += len(piece)
            if size > _LARGEST:
                raise HostError(f"the answer is larger than {_LARGEST} bytes", mend="check a smaller page")
        if response.length:
            raise ConnectionError(0, "the connection was cut before the whole body came")
        return response.status, b"".join(pieces), response.getheader("Location") or ""
    finally:
        connection.close()


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
