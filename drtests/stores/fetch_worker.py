"""Fetches batches of small objects: a program of its own, so that many cores do not share one interpreter.

The first line of its input, a JSON object, tells where the bucket is and the keys of the account: by the pipe, since
arguments and environment are seen by others. Each further line is a batch of `[key, version, etag, path, modified]`,
answered by a line `[requests, bytes, [sha256 or null, ...]]`. Ends with its input.

Each object is asked for once, and only what is whole and has the MD5 that its ETag tells is left at its path. All else
is null: the one that asked brings it as ever, and learns what is wrong. Imports nothing of this package, to start fast.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import ssl
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from typing import Any
from urllib.parse import quote, urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

Job = tuple[str, str | None, str, str, float]
_THREAD = threading.local()


class Worker:
    """One account's way to one bucket."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        self._where = urlsplit(told["base"])
        self._timeout = float(told["timeout"])
        credentials = Credentials(told["access_key"], told["secret_key"], told.get("session_token"))
        self._auth = S3SigV4Auth(credentials, "s3", told["region"])
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
            except (OSError, http.client.HTTPException, _OtherwiseError):
                # A thread that lost its way tries no more in this batch: what hangs would hang for each.
                self._hang_up()
                break
        return requests, size

    def _get(self, job: Job) -> bytes:
        key, version, etag, _, _ = job
        query = "" if version is None else f"?versionId={quote(version, safe='-_.~')}"
        headers = {"If-Match": f'"{etag}"'}
        path = f"{self._where.path}/{quote(key, safe='/-_.~')}"
        request = AWSRequest("GET", f"{self._where.scheme}://{self._where.netloc}{path}{query}", headers=headers)
        # The body is empty, and its hash is signed: no other way of signing is needed.
        self._auth.add_auth(request)
        link = self._link()
        link.request("GET", f"{path}{query}", headers=dict(request.headers.items()))
        answer = link.getresponse()
        data = answer.read()
        if answer.status != 200:
            raise _OtherwiseError
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

    def _link(self) -> http.client.HTTPConnection:
        link: http.client.HTTPConnection | None = getattr(_THREAD, "link", None)
        if link is None:
            host, port = self._where.hostname or "", self._where.port
            if self._trust is None:
                link = http.client.HTTPConnection(host, port, timeout=self._timeout)
            else:
                link = http.client.HTTPSConnection(host, port, timeout=self._timeout, context=self._trust)
            _THREAD.link = link
        return link

    def _hang_up(self) -> None:
        link = getattr(_THREAD, "link", None)
        if link is not None:
            link.close()
            _THREAD.link = None


class _OtherwiseError(Exception):
    """It came, and is not what was asked for."""


def main() -> None:
    """Serves until its input ends."""
    worker = Worker(json.loads(sys.stdin.readline()))
    for line in sys.stdin:
        sys.stdout.write(json.dumps(worker.batch([tuple(job) for job in json.loads(line)])) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
