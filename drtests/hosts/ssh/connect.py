"""A connection over SSH, as far as its user has proved who they are, and the host which one it is."""

from __future__ import annotations

import logging
import shlex
import socket
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paramiko

from drtests.errors import HostError, HostUnreachable
from drtests.hosts.ssh.known import Known, fingerprint, known_keys, line_of, name_of
from drtests.model.connections import Ssh
from drtests.model.units import format_duration

_RSA = ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa")
_AUTHENTICATION = 2.0
"""How much longer than connecting proving who one is may take: the host may ask a directory."""

# It tells of every connection that breaks, to whoever listens or to standard error. We tell it ourselves, as errors.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which host, and how it is reached. Secrets are resolved."""

    id: str
    ssh: Ssh
    root: Path
    passphrase: str | None = field(default=None, repr=False)

    @property
    def where(self) -> str:
        return f"host {self.id} ({self.ssh.user}@{name_of(self.ssh.address, self.ssh.port)})"

    @property
    def timeout(self) -> float:
        return self.ssh.connect_timeout.total_seconds()


Opener = Callable[[str, int, float], Any]
"""Gives a socket, or what is as good as one, to (address, port), within so many seconds."""


def connect(wanted: Wanted, opener: Opener) -> paramiko.Transport:
    """Connects, makes sure of the host, then logs in.

    Raises HostUnreachable when trying again can help, else HostError.
    """
    known, file = _known(wanted)
    opened = _opened(wanted, opener)
    try:
        transport = paramiko.Transport(opened)
    except (OSError, paramiko.SSHException) as error:
        opened.close()
        raise _unreachable(wanted, str(error)) from None
    try:
        transport.banner_timeout = transport.handshake_timeout = wanted.timeout
        transport.channel_timeout = wanted.timeout
        transport.auth_timeout = _AUTHENTICATION * wanted.timeout
        _prefer(transport, known)
        try:
            transport.start_client(timeout=wanted.timeout)
            # It does not say when the time was over before that.
            transport.get_remote_server_key()
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise _unreachable(wanted, _said(error)) from None
        _make_sure(wanted, transport, known, file)
        _log_in(wanted, transport)
    except BaseException:
        transport.close()
        raise
    return transport


def through(transport: paramiko.Transport, jump: str, lost: Callable[[], None]) -> Opener:
    """Opens connections from a jump host; `lost` is called when the jump host itself no longer answers."""

    def opener(address: str, port: int, timeout: float) -> Any:
        try:
            return transport.open_channel("direct-tcpip", (address, port), ("127.0.0.1", 0), timeout=timeout)
        except paramiko.ChannelException as error:
            mend = f"see whether {jump} reaches it, and whether its sshd allows forwarding (AllowTcpForwarding)"
            raise HostUnreachable(
                f"jump host {jump} does not connect to {address}:{port}: {error.text}", mend=mend
            ) from None
        except (OSError, EOFError, paramiko.SSHException) as error:
            lost()
            raise HostUnreachable(
                f"jump host {jump} does not answer: {_said(error)}", mend="see whether it is up"
            ) from None

    return opener


def direct(address: str, port: int, timeout: float) -> socket.socket:
    """Opens a connection from this machine."""
    opened = socket.create_connection((address, port), timeout)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return opened


def _opened(wanted: Wanted, opener: Opener) -> Any:
    try:
        return opener(wanted.ssh.address, wanted.ssh.port, wanted.timeout)
    except TimeoutError:
        raise _unreachable(wanted, f"no answer within {format_duration(wanted.timeout)}") from None
    except socket.gaierror as error:
        raise HostUnreachable(
            f"cannot find {wanted.ssh.address}: {error.strerror}",
            where=wanted.where,
            mend="correct `address` in targets/estate.yaml, or see this machine's name resolution",
        ) from None
    except OSError as error:
        raise _unreachable(wanted, error.strerror or str(error)) from None


def _unreachable(wanted: Wanted, why: str) -> HostUnreachable:
    ssh = wanted.ssh
    return HostUnreachable(
        f"cannot connect to {ssh.address} port {ssh.port}: {why}",
        where=wanted.where,
        mend="see whether it is up, whether sshd listens on that port, and what firewalls lie between",
    )


def _said(error: BaseException) -> str:
    return str(error).strip() or type(error).__name__


def _known(wanted: Wanted) -> tuple[Known, Path]:
    file = wanted.root / Path(wanted.ssh.known_hosts).expanduser()
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        text = ""
    except OSError as error:
        raise HostError(
            f"cannot read the keys of known hosts in {file}: {error.strerror}",
            where=wanted.where,
            mend="let the user that runs drtests read it, or correct `known_hosts`",
        ) from None
    return known_keys(text, name_of(wanted.ssh.address, wanted.ssh.port)), file


def _prefer(transport: paramiko.Transport, known: Known) -> None:
    """Asks for a key of a kind that is known first: a host has several, and only one of them may be pinned."""
    options = transport.get_security_options()
    wanted = {kind for pinned, _ in known.keys for kind in (_RSA if pinned in _RSA else (pinned,))}
    kinds = list(options.key_types)
    options.key_types = tuple(sorted(kinds, key=lambda kind: kind not in wanted))


def _make_sure(wanted: Wanted, transport: paramiko.Transport, known: Known, file: Path) -> None:
    found = transport.get_remote_server_key()
    key, kind = found.asbytes(), found.get_name()
    name = name_of(wanted.ssh.address, wanted.ssh.port)
    shown = f"{fingerprint(key)} ({kind})"
    compare = "on the host itself, by its console, run `ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub`, key by key"
    pin = f"echo {shlex.quote(line_of(name, kind, key))} >> {shlex.quote(str(file))}"
    if key in known.revoked:
        raise HostError(
            f"the host shows a key that was revoked: {shown}",
            where=wanted.where,
            mend=f"do not connect until you know why it still has that key; it is marked @revoked in {file}",
        )
    if any(key == pinned for _, pinned in known.keys):
        return
    if known.keys:
        before = ", ".join(f"{fingerprint(pinned)} ({pinned_kind})" for pinned_kind, pinned in known.keys)
        forget = f"ssh-keygen -R {shlex.quote(name)} -f {shlex.quote(str(file))}"
        raise HostError(
            f"the host shows another key than the one that is known: {shown}, known: {before}",
            where=wanted.where,
            mend="somebody may stand between you and the host. Only if you know that its key was changed, and "
            f"{compare} shows the same fingerprint: {forget} && {pin}",
        )
    raise HostError(
        f"the host's key is not known: {shown}",
        where=wanted.where,
        mend=f"compare: {compare}. If the fingerprint is the same, make it known: {pin}",
    )


def _log_in(wanted: Wanted, transport: paramiko.Transport) -> None:
    if wanted.ssh.key is not None:
        _log_in_with(wanted, transport, [_key(wanted)])
        return
    with _agent_keys(wanted) as keys:
        _log_in_with(wanted, transport, keys)


def _log_in_with(wanted: Wanted, transport: paramiko.Transport, keys: Sequence[paramiko.PKey]) -> None:
    said = ""
    for key in keys:
        try:
            left = transport.auth_publickey(wanted.ssh.user, key)
        except paramiko.BadAuthenticationType as error:
            said = f"the host allows {', '.join(error.allowed_types) or 'nothing'} only"
            break
        except paramiko.AuthenticationException as error:
            if not transport.is_active():
                said = _said(error)
                break
            continue
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise _unreachable(wanted, f"broke off while logging in: {_said(error)}") from None
        if transport.is_authenticated():
            return
        said = f"the key is accepted, and {' or '.join(left)} is asked for, too"
        break
    tried = ", ".join(f"{fingerprint(key.asbytes())} ({key.get_name()})" for key in keys)
    raise HostError(
        f"{wanted.ssh.user} is not let in with {tried}" + (f": {said}" if said else ""),
        where=wanted.where,
        mend=f"add the public key to ~{wanted.ssh.user}/.ssh/authorized_keys there, or declare another `key` or `user`",
    )


@contextmanager
def _agent_keys(wanted: Wanted) -> Iterator[Sequence[paramiko.PKey]]:
    """They sign by asking ssh-agent, so they are good as long as it is connected."""
    try:
        agent = paramiko.Agent()
    except (OSError, paramiko.SSHException) as error:
        raise HostError(
            f"ssh-agent does not give its keys: {_said(error)}",
            where=wanted.where,
            mend="declare `key`, or see `ssh-add -l`",
        ) from None
    try:
        keys: Sequence[paramiko.PKey] = agent.get_keys()
        if not keys:
            raise HostError(
                "no key is declared, and ssh-agent has none",
                where=wanted.where,
                mend="declare `key` (a file, chmod 600), or load one with `ssh-add` where drtests runs (SSH_AUTH_SOCK)",
            )
        yield keys
    finally:
        agent.close()


def _key(wanted: Wanted) -> paramiko.PKey:
    file = wanted.root / Path(wanted.ssh.key or "").expanduser()
    quoted = shlex.quote(str(file))
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
        file.open("rb").close()
    except OSError as error:
        raise HostError(
            f"cannot read the key {file}: {error.strerror}",
            where=wanted.where,
            mend=f"correct `key`, or let the user that runs drtests read it (chmod 600 {quoted})",
        ) from None
    if mode & 0o077:
        raise HostError(
            f"the key {file} can be read by others (mode {mode:04o})", where=wanted.where, mend=f"chmod 600 {quoted}"
        )
    return _loaded(wanted, file)


def _loaded(wanted: Wanted, file: Path) -> paramiko.PKey:
    # A passphrase for a key that has none is refused as a mistake, so it is only the second try.
    phrases: list[Any] = [None] if wanted.passphrase is None else [None, wanted.passphrase.encode()]
    for phrase in phrases:
        try:
            found: paramiko.PKey = paramiko.PKey.from_path(file, phrase)
        except Exception as error:  # noqa: BLE001 - what is raised depends on the library below, and may quote the key
            why: Exception = error
        else:
            return found
    quoted = shlex.quote(str(file))
    what, mend = f"the key {file} cannot be used ({type(why).__name__})", f"see `ssh-keygen -y -f {quoted}`"
    if wanted.passphrase is not None:
        what = f"the passphrase does not open the key {file}"
    elif isinstance(why, (paramiko.PasswordRequiredException, TypeError)):
        what, mend = f"the key {file} needs a passphrase", "declare `passphrase` by reference, or use ssh-agent"
    raise HostError(what, where=wanted.where, mend=mend)
