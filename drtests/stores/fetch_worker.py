"""Fetches batches of small objects: a program of its own, so that many cores do not share one interpreter.

The first line of its input, a JSON object, tells where the bucket is and the keys of the account: by the pipe, since
arguments and environment are seen by others. Each further line is a batch of `[key, version, etag, path, modified]`,
answered by a line `[requests, bytes, [sha256 or null, ...]]`. Ends with its input.

Each object is asked for once, and only what is whole and has the MD5 that its ETag tells is left at its path. All else
is null: the one that asked brings it as ever, and learns what is wrong. That is why so little of HTTP will do here:
signing by botocore and asking by http.client cost more than all the rest together. Imports nothing of this package, to
start fast.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import socket
import ssl
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from typing import Any, BinaryIO
from urllib.parse import quote, urlsplit

Job = tuple[str, str | None, str, str, float]
_THREAD = threading.local()


_SAFE = "-_.~"
"""What is never quoted, beside letters and digits."""
_NOTHING = hashlib.sha256(b"").hexdigest()
"""Of the body of a GET."""
_LONGEST = 1 << 16
"""Bytes of one line of an answer."""


class Signer:
    """Signature version 4 of requests without a body, as botocore's S3SigV4Auth makes it."""

    def __init__(self, access_key: str, secret_key: str, session_token: str | None, region: str) -> None:
        self._access_key = access_key
        self._secret_key = secret_key
        self._token = session_token
        self._region = region
        self._of: tuple[str, bytes] = ("", b"")
        """A day, and the key for it."""

    def signed(self, path: str, query: str, headers: Mapping[str, str], now: datetime) -> Mapping[str, str]:
        """All headers to be sent. `path` and `query` are quoted, the names of `headers` in lower case."""
        stamp = now.strftime("%Y%m%dT%H%M%SZ")
        all_ = {**headers, "x-amz-content-sha256": _NOTHING, "x-amz-date": stamp}
        if self._token is not None:
            all_["x-amz-security-token"] = self._token
        names = sorted(all_)
        lines = "".join(f"{name}:{all_[name]}\n" for name in names)
        asked = f"GET\n{path}\n{query}\n{lines}\n{';'.join(names)}\n{_NOTHING}"
        scope = f"{stamp[:8]}/{self._region}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(asked.encode()).hexdigest()}"
        signature = hmac.new(self._key(stamp[:8]), text.encode(), "sha256").hexdigest()
        told = f"Credential={self._access_key}/{scope}, SignedHeaders={';'.join(names)}, Signature={signature}"
        return {**all_, "authorization": f"AWS4-HMAC-SHA256 {told}"}

    def _key(self, day: str) -> bytes:
        known, key = self._of
        if known != day:
            key = f"AWS4{self._secret_key}".encode()
            for part in (day, self._region, "s3", "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._of = (day, key)
        return key


class Worker:
    """One account's way to one bucket."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        self._where = urlsplit(told["base"])
        self._timeout = float(told["timeout"])
        self._signer = Signer(told["access_key"], told["secret_key"], told.get("session_token"), told["region"])
        self._trust = ssl.create_default_context(cafile=told["trust"]) if self._where.scheme == "https" else None
        self._threads = int(told["threads"])
        self._pool = ThreadPoolExecutor(self._threads)
        self._folders: set[str] = set()

    def batch(self, jobs: list[Job]) -> tuple[int, int, list[str | None]]:
        """Requests and bytes that it took; of each job the SHA-256 of what is at its path now, None when nothing is."""
        done: list[str | None] = [None] * len(jobs)
        places = count()
        took = list(self._pool.map(lambda _: self._work(jobs, done, places), range(self._threads)))
        return sum(one[0] for one in took), sum(one[1] for one in took), done

    def _work(self, jobs: list[Job], done: list[str | None], places: Iterator[int]) -> tuple[int, int]:
        requests = size = 0
        for place in places:
            if place >= len(jobs):
                break
            requests += 1
            try:
                data = self._get(jobs[place])
                size += len(data)
                done[place] = self._put(jobs[place], data)
            except _OtherwiseError as error:
                size += error.came
                self._hang_up()
                break
            except (OSError, ValueError):
                # A thread that lost its way tries no more in this batch: what hangs would hang for each.
                self._hang_up()
                break
        return requests, size

    def _get(self, job: Job) -> bytes:
        key, version, etag, _, _ = job
        path = f"{self._where.path}/{quote(key, safe=f'/{_SAFE}')}"
        query = "" if version is None else f"versionId={quote(version, safe=_SAFE)}"
        headers = {"host": self._where.netloc, "if-match": f'"{etag}"'}
        signed = self._signer.signed(path, query, headers, datetime.now(UTC))
        lines = "".join(f"{name}: {value}\r\n" for name, value in signed.items())
        link, answer = self._link()
        link.sendall(f"GET {path}{query and '?'}{query} HTTP/1.1\r\n{lines}\r\n".encode("latin-1"))
        data, stays = _body(answer)
        if not stays:
            self._hang_up()
        return data

    def _put(self, job: Job, data: bytes) -> str:
        _, _, etag, path, modified = job
        if hashlib.md5(data, usedforsecurity=False).hexdigest() != etag.lower():
            raise _OtherwiseError
        folder = os.path.dirname(path)
        if folder not in self._folders:
            os.makedirs(folder, exist_ok=True)
            self._folders.add(folder)
        try:
            with open(path, "wb", buffering=0) as file:
                file.write(data)
            os.utime(path, (modified, modified))
        except OSError:
            with suppress(OSError):
                os.unlink(path)
            raise
        return hashlib.sha256(data).hexdigest()

    def _link(self) -> tuple[socket.socket, BinaryIO]:
        """This thread's own connection."""
        known: tuple[socket.socket, BinaryIO] | None = getattr(_THREAD, "link", None)
        if known is None:
            host = self._where.hostname or ""
            link = socket.create_connection((host, self._where.port or (443 if self._trust else 80)), self._timeout)
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._trust is not None:
                link = self._trust.wrap_socket(link, server_hostname=host)
            known = link, link.makefile("rb")
            _THREAD.link = known
        return known

    def _hang_up(self) -> None:
        known: tuple[socket.socket, BinaryIO] | None = getattr(_THREAD, "link", None)
        if known is not None:
            _THREAD.link = None
            for end in reversed(known):
                with suppress(OSError):
                    end.close()


class _OtherwiseError(Exception):
    """What came is not what was asked for; so many bytes of an object did, at most."""

    def __init__(self, came: int = 0) -> None:
        super().__init__()
        self.came = came


def _body(answer: BinaryIO) -> tuple[bytes, bool]:
    """Of an answer that is plainly one: status 200, a length that is told once, all there. Also: whether it stays."""
    if answer.readline(_LONGEST).split(None, 2)[1:2] != [b"200"]:
        raise _OtherwiseError
    headers: dict[bytes, bytes] = {}
    while (line := answer.readline(_LONGEST)) not in (b"\r\n", b"\n"):
        name, colon, value = line.partition(b":")
        name = name.lower()
        if not colon or (name in headers and name == b"content-length"):
            raise _OtherwiseError
        headers[name] = value.strip()
    told = headers.get(b"content-length", b"")
    if not told.isdigit() or b"transfer-encoding" in headers or b"content-encoding" in headers:
        raise _OtherwiseError
    length = int(told)
    try:
        data = answer.read(length)
    except OSError:
        # How much of it came is not known.
        raise _OtherwiseError(length) from None
    if len(data) != length:
        raise _OtherwiseError(len(data))
    return data, headers.get(b"connection", b"").lower() != b"close"


def main() -> None:
    """Serves until its input ends."""
    worker = Worker(json.loads(sys.stdin.readline()))
    for line in sys.stdin:
        sys.stdout.write(json.dumps(worker.batch([tuple(job) for job in json.loads(line)])) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
