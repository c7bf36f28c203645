"""Stored files of a repository that is reached by REST or SFTP, read as they lie there: with no key of it."""

from __future__ import annotations

import base64
import http.client
import json
import re
import urllib.parse
from collections.abc import Sequence

from drtests.errors import CommandNotFound, EngineError, EngineMissing, RepositoryUnreachable
from drtests.probes import Way
from drtests.protocols.engine import EngineContext
from drtests.protocols.host import Host

_LISTING = "application/vnd.x.restic.rest.v2"
_NAME = re.compile(r"(?:^|/)(config|(?:data/[0-9a-f]{2}|index|snapshots)/[0-9a-f]{64})$")
_AWKWARD = re.compile(r"([^A-Za-z0-9_./@+:,=-])")


def stored(context: EngineContext, part: str) -> Sequence[str]:
    """Names of what lies below a folder (`data/`), or of the file itself. Raises EngineError, HostError."""
    return _Rest(context).names(part) if _kind(context) == "rest" else _Sftp(context).names(part)


def stored_bytes(context: EngineContext, name: str, limit: int) -> bytes:
    """The first `limit` bytes of one of these."""
    return _Rest(context).read(name, limit) if _kind(context) == "rest" else _Sftp(context).read(name, limit)


def _kind(context: EngineContext) -> str:
    kind = context.location.partition(":")[0]
    if kind not in {"rest", "sftp"}:
        raise EngineError(
            "what is stored cannot be looked at from here",
            where=_where(context),
            mend="declare the bucket under `stores`, and name it as `store` of the repository",
        )
    return kind


def _where(context: EngineContext) -> str:
    return f"repository {context.repository.id!r} ({context.location})"


class _Rest:
    """By restic's REST protocol, over connections of the host that the engine runs on."""

    def __init__(self, context: EngineContext) -> None:
        self._context = context
        self._url = urllib.parse.urlsplit(context.location.removeprefix("rest:"))

    def names(self, part: str) -> Sequence[str]:
        if not part.endswith("/"):
            return [part]
        try:
            told = json.loads(self._get(part, {"Accept": _LISTING}))
            return [part + str(one["name"]) for one in told or () if one["size"]]
        except (ValueError, KeyError, TypeError):
            raise self._odd("its answer is no listing of restic's REST protocol") from None

    def read(self, name: str, limit: int) -> bytes:
        # Whoever does not know ranges sends all of it.
        return self._get(name, {"Range": f"bytes=0-{limit - 1}"}, limit)

    def _get(self, name: str, headers: dict[str, str], limit: int | None = None) -> bytes:
        timeout = self._context.repository.timeout.total_seconds()
        path = f"/{'/'.join(one for one in [self._url.path.strip('/'), name] if one)}"
        try:
            with Way(self._context.host) as way:
                make = way.encrypted if self._url.scheme == "https" else way.plain
                link = make(str(self._url.hostname), self._url.port, timeout)
                link.request("GET", path, headers=headers | self._login())
                answer = link.getresponse()
                if answer.status not in {200, 206}:
                    raise self._odd(f"GET {path} is answered by {answer.status} {answer.reason}")
                return answer.read(limit)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise RepositoryUnreachable(
                f"the REST server does not answer: {error}",
                where=_where(self._context),
                mend="see that it is up and can be reached from this host, then run again",
            ) from None

    def _login(self) -> dict[str, str]:
        given = self._context.environment
        user = given.get("RESTIC_REST_USERNAME") or self._url.username
        if not user:
            return {}
        both = f"{user}:{given.get('RESTIC_REST_PASSWORD', '')}".encode()
        return {"Authorization": f"Basic {base64.b64encode(both).decode()}"}

    def _odd(self, what: str) -> EngineError:
        mend = "see whether `location:` is that of a REST server, and the keys under `environment:`"
        return EngineError(what, where=_where(self._context), mend=mend)


class _Sftp:
    """By the host's own `sftp`, through the same `ssh` as restic."""

    def __init__(self, context: EngineContext) -> None:
        self._context = context
        rest = context.location.removeprefix("sftp:")
        self._port: int | None = None
        if rest.startswith("//"):
            parts = urllib.parse.urlsplit(rest)
            # A second slash makes the path one of the machine, not of the account's own folder.
            self._root, self._port = parts.path.removeprefix("/"), parts.port
            self._address = parts.netloc if self._port is None else parts.netloc.rpartition(":")[0]
        else:
            self._address, _, self._root = rest.partition(":")
        self._root = self._root.rstrip("/")

    def names(self, part: str) -> Sequence[str]:
        below = {"data/": "data/*/*"}.get(part, f"{part}*" if part.endswith("/") else part)
        lines = self._batch([f"ls -1 {_plain(self._root)}/{below}"]).splitlines()
        return [found[1] for line in lines if (found := _NAME.search(line.strip()))]

    def read(self, name: str, limit: int) -> bytes:
        """Fetches all of it: SFTP's own program knows no parts."""
        host = self._context.host
        folder = self._run(host, ["mktemp", "-d"]).strip()
        try:
            self._batch([f"get {_plain(f'{self._root}/{name}')} {_plain(folder)}/sample"])
            return host.read(f"{folder}/sample", limit)
        finally:
            host.remove_tree(folder)

    def _batch(self, lines: Sequence[str]) -> str:
        port = ["-P", str(self._port)] if self._port is not None else []
        argv = ["sftp", "-q", "-S", "ssh", *port, "-b", "-", "--", self._address]
        return self._run(self._context.host, argv, "".join(f"{line}\n" for line in lines).encode())

    def _run(self, host: Host, argv: Sequence[str], stdin: bytes | None = None) -> str:
        timeout = self._context.repository.timeout.total_seconds()
        try:
            result = host.run(argv, timeout=timeout, stdin=stdin, env=self._context.environment)
        except CommandNotFound:
            raise EngineMissing(
                f"{argv[0]} is not installed", where=f"host {host.id}", mend="install it (Debian: openssh-client)"
            ) from None
        if result.exit_code != 0:
            told = (result.stderr.strip().splitlines() or ["it said nothing"])[-1][:300]
            mend = "see that this host's `sftp` reaches it as restic does"
            raise RepositoryUnreachable(f"{argv[0]} failed: {told}", where=_where(self._context), mend=mend)
        return result.stdout


def _plain(path: str) -> str:
    """As `sftp` reads it: without patterns."""
    return _AWKWARD.sub(r"\\\1", path)
