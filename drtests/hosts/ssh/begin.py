"""Starts the agent on a host, as root where that is declared."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from typing import Any

import paramiko

from drtests.errors import HostError, HostUnreachable
from drtests.hosts.ssh.boot import PROMPT, READY, command, source
from drtests.model.connections import Ssh
from drtests.model.units import format_duration

_POLL = 0.005
_CHUNK = 4096


def begin(
    transport: paramiko.Transport, ssh: Ssh, where: str, settings: Mapping[str, Any], sudo_password: str | None
) -> paramiko.Channel:
    """The channel to an agent that has its source. Raises HostUnreachable, HostError."""
    try:
        channel = transport.open_session(timeout=ssh.connect_timeout.total_seconds())
        starting = _Starting(channel, ssh, where)
        channel.exec_command(command(ssh.python, sudo=ssh.sudo, password=sudo_password is not None))
        starting.wait(sudo_password)
        channel.sendall(source(settings))
    except (OSError, EOFError, paramiko.SSHException) as error:
        raise HostUnreachable(
            f"the connection broke off before anything was started: {str(error) or type(error).__name__}",
            where=where,
            mend="try again; if it stays so, see what sshd writes to the host's log",
        ) from None
    return channel


class _Starting:
    """What the far end says until its Python asks for the source."""

    def __init__(self, channel: paramiko.Channel, ssh: Ssh, where: str) -> None:
        self._channel = channel
        self._ssh = ssh
        self._where = where
        self._out = b""
        self._err = b""

    def wait(self, sudo_password: str | None) -> None:
        """Answers sudo once, when it asks."""
        timeout = self._ssh.connect_timeout.total_seconds()
        deadline = time.monotonic() + timeout
        answered = False
        while READY + b"\n" not in self._out:
            asked = self._err.count(PROMPT.encode())
            if asked and sudo_password is not None:
                if not answered:
                    answered = True
                    self._channel.sendall(sudo_password.encode() + b"\n")
                elif asked > 1:
                    raise self._sudo_refuses("the password is wrong")
            if time.monotonic() > deadline:
                raise HostError(
                    f"{self._ssh.python} did not start within {format_duration(timeout)}{self._said()}",
                    where=self._where,
                    mend="log in by hand and see what hangs; or declare a longer `connect_timeout`",
                )
            if not self._take():
                if self._over():
                    raise self._refused()
                time.sleep(_POLL)

    def _take(self) -> bool:
        """Whether anything came."""
        channel = self._channel
        came = False
        if channel.recv_ready():
            self._out = (self._out + channel.recv(_CHUNK))[-64 * 1024 :]
            came = True
        if channel.recv_stderr_ready():
            self._err = (self._err + channel.recv_stderr(_CHUNK))[-64 * 1024 :]
            came = True
        return came

    def _over(self) -> bool:
        channel = self._channel
        gone = channel.exit_status_ready() or channel.closed or channel.eof_received
        return bool(gone) and not channel.recv_ready() and not channel.recv_stderr_ready()

    def _said(self) -> str:
        text = (self._err or self._out).decode("utf-8", errors="replace").replace(PROMPT, "").strip()
        return f"; it said: {' / '.join(text.splitlines()[-3:])[-400:]}" if text else ""

    def _refused(self) -> HostError:
        said = self._said()
        if self._ssh.sudo and "sudo" in said:
            return self._sudo_refuses(said.removeprefix("; it said: "))
        code = self._channel.recv_exit_status() if self._channel.exit_status_ready() else None
        if code in (126, 127) or "not found" in said:
            return HostError(
                f"{self._ssh.python} cannot be run on the host{said}",
                where=self._where,
                mend="install Python 3.7 or newer there, or declare where it is: `python: /usr/bin/python3`",
            )
        return HostError(
            f"{self._ssh.python} did not start on the host (exit code {code}){said}",
            where=self._where,
            mend=f"see what `{shlex.join([self._ssh.python, '-V'])}` says there: it has to be Python 3.7 or newer, "
            "and the user's shell has to let it run",
        )

    def _sudo_refuses(self, why: str) -> HostError:
        password = "correct `sudo_password`" if self._ssh.sudo_password else "declare `sudo_password` by reference"
        return HostError(
            f"sudo refuses {self._ssh.user}: {why}",
            where=self._where,
            mend=f"{password}, or allow it there without one: "
            f"`{self._ssh.user} ALL=(root) NOPASSWD: ALL` in /etc/sudoers.d/drtests",
        )
