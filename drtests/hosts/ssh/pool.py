"""One connection for each declared host of this process, made when it is needed, and again when it was lost."""

from __future__ import annotations

import atexit
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tenacity import Retrying, retry_if_exception, stop_after_attempt, stop_after_delay, wait_exponential

from drtests.errors import DrtestsError, HostError
from drtests.hosts.failure import Failure
from drtests.hosts.frames import VERSION
from drtests.hosts.ssh.link import Link
from drtests.hosts.told import as_told
from drtests.model.connections import Ssh
from drtests.model.estate import Host as Declared
from drtests.protocols.host import HostContext
from drtests.secrets import resolve

if TYPE_CHECKING:
    import paramiko

_T = TypeVar("_T")

_ATTEMPTS = 3
_REST = 5.0
"""Seconds for which a host that could not be reached is not tried again: clean up asks many times."""
_SUCCEED = 60.0


class Connection:
    """The way to one host. Threads share it; whoever needs it first makes it."""

    def __init__(self, declared: Declared, ssh: Ssh, root: Path, hosts: Mapping[str, Declared]) -> None:
        self._declared = declared
        self._ssh = ssh
        self._root = root
        self._hosts = hosts
        self._turn = threading.RLock()
        self._transport: paramiko.Transport | None = None
        self._link: Link | None = None
        self._before: Mapping[str, Any] | None = None
        """The agent of the connection that was lost last, until it is sure that it is gone."""
        self._failed: tuple[float, DrtestsError] | None = None

    def link(self) -> Link:
        """A connection that works, as far as is known. Raises HostUnreachable, HostError, SecretError."""
        with self._turn:
            if self._link is not None and not self._link.lost:
                return self._link
            return self._retrying(self._linked)

    def transport(self) -> paramiko.Transport:
        """For hosts that are reached through this one."""
        with self._turn:
            if self._transport is not None and self._transport.is_active():
                return self._transport
            return self._retrying(self._connected)

    def close(self) -> None:
        """Ends it, and with it what was started on the host."""
        with self._turn:
            transport, self._transport = self._transport, None
            if self._link is not None:
                self._link.lose("it was closed")
            if transport is not None:
                transport.close()

    def _retrying(self, make: Callable[[], _T]) -> _T:
        """Only what can be mended by trying again is tried again, and nothing is run on the host before it worked."""
        if self._failed is not None and time.monotonic() - self._failed[0] < _REST:
            raise self._failed[1]
        # A jump host that is gone may first have to be found out, then connected to anew.
        limit = self._ssh.connect_timeout.total_seconds() * (2 if self._ssh.jump else 1)
        retrying = Retrying(
            stop=stop_after_attempt(_ATTEMPTS) | stop_after_delay(limit),
            wait=wait_exponential(multiplier=0.25, max=2),
            retry=retry_if_exception(lambda error: isinstance(error, DrtestsError) and not error.permanent),
            reraise=True,
        )
        try:
            made = retrying(make)
        except DrtestsError as error:
            self._failed = None if error.permanent else (time.monotonic(), error)
            raise
        self._failed = None
        return made

    def _connected(self) -> paramiko.Transport:
        connect, _ = _library()
        ssh, root = self._ssh, self._root
        if self._transport is not None:
            self._transport.close()
            self._transport = None
        wanted = connect.Wanted(self._declared.id, ssh, root, _secret(ssh.passphrase, root))
        opener = connect.direct
        if ssh.jump is not None:
            jump = _connection(self._hosts[ssh.jump], root, self._hosts)
            opener = connect.through(jump.transport(), ssh.jump, jump.close)
        transport: paramiko.Transport = connect.connect(wanted, opener)
        self._transport = transport
        return transport

    def _linked(self) -> Link:
        transport = self._transport
        if transport is None or not transport.is_active():
            transport = self._connected()
        try:
            link = self._started(transport)
        except BaseException:
            transport.close()
            raise
        self._link = link
        return link

    def _started(self, transport: paramiko.Transport) -> Link:
        """Starts the agent. What an earlier one left is ended before anything new is begun."""
        ssh, where = self._ssh, f"host {self._declared.id}"
        token = secrets.token_hex(8)
        password = _secret(ssh.sudo_password, self._root) if ssh.sudo else None
        keepalive = ssh.keepalive.total_seconds()
        settings = {"token": token, "keepalive": keepalive}
        _, begin = _library()
        channel = begin.begin(transport, ssh, where, settings, password)
        link = Link(channel, transport.close, where, keepalive)
        hello = link.greet(ssh.connect_timeout.total_seconds())
        if hello.get("version") != VERSION:
            link.lose("it speaks another language")
            raise link.unreachable()
        if self._before is not None:
            try:
                link.answer("succeed", _SUCCEED, **self._before)
            except Failure as failure:
                raise as_told(failure, self._declared.id) from None
        self._before = {"pid": hello["pid"], "began": hello["began"], "boot": hello["boot"], "token": token}
        return link


def connection(context: HostContext) -> Connection:
    """The connection of a declared host; always the same one within a process."""
    return _connection(context.declared, context.root, context.hosts)


def close_all() -> None:
    """Ends every connection of this process, and with them what was started on those hosts."""
    with _TURN:
        connections = list(_POOL.values())
        _POOL.clear()
    for one in connections:
        one.close()


_POOL: dict[tuple[Any, ...], Connection] = {}
_TURN = threading.Lock()
atexit.register(close_all)


def _connection(declared: Declared, root: Path, hosts: Mapping[str, Declared]) -> Connection:
    ssh = declared.ssh
    if ssh is None:
        raise HostError(
            f"host {declared.id!r} has no `ssh`", where=f"host {declared.id}", mend="say how it is reached, under `ssh`"
        )
    way = [declared]
    while (jump := way[-1].ssh) is not None and jump.jump is not None:
        following = hosts.get(jump.jump)
        if following is None or following in way:
            raise HostError(
                f"there is no way to host {declared.id!r} through {jump.jump!r}",
                where=f"host {declared.id}",
                mend="let `jump` name another host of type ssh, and not go round in circles",
            )
        way.append(following)
    key = (os.getpid(), root, *way)
    with _TURN:
        if key not in _POOL:
            _POOL[key] = Connection(declared, ssh, root, hosts)
        return _POOL[key]


def _secret(reference: str | None, root: Path) -> str | None:
    return None if reference is None else resolve(reference, root=root)


def _library() -> tuple[Any, Any]:
    """What needs paramiko, which only those install who have such hosts. Raises HostError when it is not there."""
    try:
        from drtests.hosts.ssh import begin, connect  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise HostError(
            f"hosts of type ssh need paramiko, which cannot be imported: {error}",
            mend="install it into the environment that drtests runs in: pip install 'drtests[ssh]'",
        ) from None
    return connect, begin
