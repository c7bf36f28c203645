"""A host whose processes are isolated: each is started within namespaces that something else keeps."""

from __future__ import annotations

import json
import secrets
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from drtests.errors import CommandNotFound, HostError
from drtests.hosts.around import PassedOn
from drtests.hosts.isolation.inside import carry, line
from drtests.protocols.host import CommandResult, Host, LineSink, Service

_PROGRAM = "drtests.hosts.isolation.inside"
_LARGEST = 16 * 1024 * 1024
_READY = 60.0
_POLL = 0.02
_SHORT = 120.0
_RESET = struct.pack("ii", 1, 0)
_MISSING = "drtests: cannot run "
_NO_FOLDER = "drtests: cannot enter "
_ENTER = f"""cd "$1" 2>/dev/null || {{ echo "{_NO_FOLDER}$1" >&2; exit 126; }}
shift
command -v "$1" >/dev/null 2>&1 || {{ echo "{_MISSING}$1" >&2; exit 127; }}
exec "$@"
"""
"""For `sh`: whoever enters other mounts is at their root, whatever was asked for."""


@dataclass(frozen=True, slots=True)
class Wall:
    """What is let through, what must not be reached, and what is hidden. Names and ports; paths of the host."""

    through: Sequence[tuple[str, int]] = ()
    """The first has to be found; the others are further names of the same."""
    ask: Sequence[tuple[str, str, int]] = ()
    """What it is, name, port: to be asked from inside."""
    hide: Sequence[tuple[str, str]] = ()
    """What it is, path."""
    keep: Sequence[str] = ()
    """Folders that stay, wherever they are."""


@dataclass(frozen=True, slots=True)
class Isolation:
    """Namespaces that are kept until `service` is stopped."""

    service: Service
    host: Host
    folder: str
    python: str
    pid: int
    port: int
    token: str
    user: bool
    """Whether it took a namespace of users, too, as whoever is not root has to."""
    problems: tuple[str, ...]

    def probe(self, isolated: Host) -> Mapping[str, Any]:
        """What can be reached and seen by a command that is run as all others are. Raises HostError."""
        argv = [self.python, "-I", f"{self.folder}/inside.py", "probe", f"{self.folder}/settings.json"]
        told = isolated.run(argv, timeout=_SHORT)
        try:
            found: Mapping[str, Any] = json.loads(told.stdout)
        except ValueError:
            raise HostError(
                f"what can be reached cannot be told: {told.stderr.strip()[-300:]}", where=f"host {self.host.id}"
            ) from None
        return found

    def connections(self) -> int:
        """How many were let through. Raises HostError."""
        with self._asked({}) as (_, answer):
            return int(answer)

    def enter(self, cwd: str | None) -> list[str]:
        """The words before those of a command."""
        user = ["--user", "--preserve-credentials"] if self.user else []
        words = ["nsenter", "--target", str(self.pid), *user, "--net", "--mount", "--"]
        return [*words, "sh", "-c", _ENTER, "sh", cwd or "/"]

    @contextmanager
    def connected(self, address: str, port: int) -> Iterator[socket.socket | None]:
        """A connection from inside; None when it is refused there. Raises HostError."""
        with self._asked({"address": address, "port": port}) as (connection, answer):
            if answer not in {"ok", "refused"}:
                what = f"{address}:{port} cannot be reached from inside: {answer}"
                raise HostError(what, where=f"host {self.host.id}")
            yield connection if answer == "ok" else None

    @contextmanager
    def _asked(self, question: Mapping[str, Any]) -> Iterator[tuple[socket.socket, str]]:
        with self.host.forward("127.0.0.1", self.port) as here, socket.socket() as connection:
            try:
                connection.settimeout(_SHORT)
                connection.connect(here)
                connection.sendall(json.dumps({"token": self.token, **question}).encode() + b"\n")
                answer = line(connection).decode()
            except OSError as error:
                raise self._silent(str(error)) from None
            if not answer:
                raise self._silent("it ended")
            yield connection, answer

    def _silent(self, why: str) -> HostError:
        return HostError(f"whoever keeps the isolation does not answer: {why}", where=f"host {self.host.id}")


def isolate(host: Host, folder: str, python: str, wall: Wall) -> Isolation:
    """Makes it, in a `folder` that is not there yet. Raises HostError when the host cannot; nothing runs then."""
    host.make_directory(folder)
    host.write(f"{folder}/inside.py", _source(), 0o644)
    ready, token = f"{folder}/ready.json", secrets.token_hex(16)
    hide = [list(one) for one in wall.hide]
    settings = {
        "folder": folder, "ready": ready, "token": token, "keep": list(wall.keep), "hide": hide, "declared": hide,
        "through": [list(one) for one in wall.through], "ask": [list(one) for one in wall.ask],
    }  # fmt: skip
    path = f"{folder}/settings.json"
    host.write(path, json.dumps(settings).encode())
    argv = [python, "-I", f"{folder}/inside.py", "keep", path]
    service = host.start(argv, cwd=folder, log=f"{folder}/log")
    try:
        told = _wait(host, service, ready)
    except BaseException:
        service.stop(5.0)
        raise
    problems = tuple(str(one) for one in told["problems"])
    return Isolation(service, host, folder, python, told["pid"], told["port"], token, told["user"], problems)


def _source() -> bytes:
    found = find_spec(_PROGRAM)
    if found is None or found.origin is None:
        raise ImportError(_PROGRAM)
    return Path(found.origin).read_bytes()


def _wait(host: Host, service: Service, ready: str) -> Mapping[str, Any]:
    deadline = time.monotonic() + _READY
    why = "it took too long"
    while time.monotonic() < deadline:
        ended = service.exit_code()
        if host.exists(ready):
            told: Mapping[str, Any] = json.loads(host.read(ready, _LARGEST))
            if "error" not in told:
                return told
            why = str(told["error"])
            break
        if ended is not None:
            why = (service.output().strip().splitlines() or [f"exit code {ended}"])[-1][-300:]
            break
        time.sleep(_POLL)
    raise HostError(
        f"the host cannot isolate processes: {why}",
        where=f"host {host.id}",
        mend="run as root there, or let users make namespaces (sysctl kernel.unprivileged_userns_clone, "
        "user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns); util-linux 2.38 or newer is needed",
    )


class IsolatedHost(PassedOn):
    """`host`, its processes within `isolation`, its files as they are. Connections are made from inside."""

    def __init__(self, host: Host, isolation: Isolation) -> None:
        super().__init__(host)
        self._isolation = isolation

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        on_line: LineSink | None = None,
    ) -> CommandResult:
        words = [*self._isolation.enter(cwd), *argv]
        done = self._host.run(words, timeout=timeout, stdin=stdin, env=env, on_line=on_line)
        if done.exit_code == 127 and done.stderr.startswith(_MISSING):
            raise self._missing(argv[0])
        if done.exit_code == 126 and done.stderr.startswith(_NO_FOLDER):
            raise HostError(f"cannot enter the directory {cwd} where it is isolated", where=f"host {self.id}")
        return CommandResult(tuple(argv), done.exit_code, done.stdout, done.stderr, done.seconds)

    def start(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: str, log: str) -> Service:
        there = self.run(["sh", "-c", 'command -v "$1"', "sh", argv[0]], timeout=_SHORT, cwd=cwd)
        if there.exit_code:
            raise self._missing(argv[0])
        return self._host.start([*self._isolation.enter(cwd), *argv], env=env, cwd=cwd, log=log)

    def _missing(self, program: str) -> CommandNotFound:
        return CommandNotFound(
            f"cannot run {program} where it is isolated",
            where=f"host {self.id}",
            mend=f"install {program}, or give its full path",
        )

    @contextmanager
    def forward(self, address: str, port: int) -> Iterator[tuple[str, int]]:
        with self._isolation.connected(address, port) as first:
            refused = first is None
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            here: tuple[str, int] = listener.getsockname()
            if refused:
                # The port is ours and refuses, as the one inside does.
                yield here
                return
            serving = _Serving(listener, lambda: self._isolation.connected(address, port))
            try:
                yield here
            finally:
                serving.close()


class _Serving:
    """Takes connections, and carries their bytes both ways until the end."""

    def __init__(
        self, listener: socket.socket, connect: Callable[[], AbstractContextManager[socket.socket | None]]
    ) -> None:
        self._listener = listener
        self._connect = connect
        self._turn = threading.Lock()
        self._open: set[socket.socket] = set()
        self._closed = False
        listener.listen(64)
        threading.Thread(target=self._accept, name="drtests-isolated", daemon=True).start()

    def close(self) -> None:
        """Cuts what is still connected."""
        with self._turn:
            self._closed = True
            connections = list(self._open)
        for each in (self._listener, *connections):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._closed:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), name="drtests-isolated", daemon=True).start()

    def _serve(self, here: socket.socket) -> None:
        with here, suppress(HostError), self._connect() as there:
            if there is None:
                # A reset is the nearest to being refused that is left once a connection was accepted.
                here.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                return
            with self._turn:
                self._open |= {here, there}
                closed = self._closed
            try:
                if not closed:
                    carry(here, there)
            finally:
                with self._turn:
                    self._open -= {here, there}
