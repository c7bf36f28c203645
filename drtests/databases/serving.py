"""What all scratch servers share: who they run as, a way to their folder, a short socket, and one deadline."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from drtests.errors import CommandNotFound, DatabaseError, DatabaseMissing
from drtests.model.units import format_duration
from drtests.protocols.clock import Clock
from drtests.protocols.database import ScratchPlace
from drtests.protocols.host import CommandResult, Host

SOCKET_LIMIT = 107
"""Characters that a socket's path may have (Linux)."""

_SHORT = 30.0
_FIND = 'PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/libexec"; for p; do command -v "$p" && exit 0; done; exit 1'


class Deadline:
    """One time for all steps of a recipe."""

    def __init__(self, clock: Clock, seconds: float, what: str) -> None:
        self._clock = clock
        self._seconds = seconds
        self._what = what
        self._end = clock.monotonic() + seconds

    def left(self) -> float:
        """Seconds. Raises DatabaseError when there are none."""
        left = self._end - self._clock.monotonic()
        if left <= 0:
            raise DatabaseError(
                f"{self._what} did not come up within {format_duration(self._seconds)}",
                mend="declare a longer `timeout` for this database, or see what takes so long",
            )
        return left


@dataclass(frozen=True, slots=True)
class ServerUser:
    """Who a scratch server runs as. `name` is None where the commands of the host need no change."""

    name: str | None
    """To change to."""
    own: str
    """The user of the host's commands."""
    group: str = ""
    """Number of the main group of `name`."""

    def argv(self, argv: Sequence[str]) -> list[str]:
        """The command, run as that user; its process is the command itself."""
        if self.name is None:
            return list(argv)
        return ["setpriv", f"--reuid={self.name}", f"--regid={self.group}", "--init-groups", "--", *argv]


def server_user(place: ScratchPlace, usual: str) -> ServerUser:
    """The declared user, else the database's usual one, else nobody. Only root can change to another.

    Raises DatabaseError when the declared one cannot be had.
    """
    host = place.host
    number, own = _line(host, "id", "-u"), _line(host, "id", "-un")
    if number != "0":
        if place.run_as not in (None, own):
            raise DatabaseError(
                f"the scratch server cannot run as {place.run_as}: commands run as {own}",
                where=f"host {host.id}",
                mend="leave `run_as` out, or run drtests as root",
            )
        return ServerUser(None, own)
    for name in (place.run_as,) if place.run_as else (usual, "nobody"):
        group = host.run(["id", "-g", name], timeout=_SHORT)
        if group.exit_code == 0:
            return ServerUser(name, own, group.stdout.strip())
    raise DatabaseError(
        f"there is no user {place.run_as or 'nobody'} to run the scratch server as",
        where=f"host {host.id}",
        mend="declare `run_as` with a user that is there, and is not root",
    )


def hand_over(place: ScratchPlace, user: ServerUser, deadline: Deadline) -> None:
    """Gives the folder with all in it to that user, and opens the way to it.

    Only the drill's own folders and the staging are opened, for passing through. Raises DatabaseError when that is
    not enough.
    """
    if user.name is None:
        return
    host, folder = place.host, place.folder
    _done(host.run(["chown", "-R", f"{user.name}:", "--", folder], timeout=deadline.left()), host)
    if _reaches(host, user, folder):
        return
    databases = posixpath.dirname(folder)
    drill = posixpath.dirname(databases)
    ours = [databases, drill, posixpath.dirname(drill)]
    _done(host.run(["chmod", "o+x", "--", *ours], timeout=_SHORT), host)
    if not _reaches(host, user, folder):
        barred = _barred(host, user, host.resolve(folder))
        raise DatabaseError(
            f"user {user.name}, whom the scratch server runs as, is not let through {barred}",
            where=f"host {host.id}",
            mend=f"let others pass through it (chmod o+x {barred}), move the staging elsewhere, or declare `run_as`",
        )


def _reaches(host: Host, user: ServerUser, folder: str) -> bool:
    return host.run(user.argv(["test", "-w", folder]), timeout=_SHORT).exit_code == 0


def _barred(host: Host, user: ServerUser, folder: str) -> str:
    """The first folder on the way that does not let that user pass."""
    parts = folder.strip("/").split("/")
    for count in range(len(parts) + 1):
        on_the_way = "/" + "/".join(parts[:count])
        if host.run(user.argv(["test", "-x", on_the_way]), timeout=_SHORT).exit_code:
            return on_the_way
    return folder


@contextmanager
def told_as_missing(host: Host, package: str) -> Iterator[None]:
    """A command that is not there becomes DatabaseMissing."""
    try:
        yield
    except CommandNotFound as error:
        raise DatabaseMissing(error.what, where=f"host {host.id}", mend=f"install {package} there") from None


def program(host: Host, package: str, *names: str) -> str:
    """Full path of the first of these that is there, also where only administrators look. Raises DatabaseMissing."""
    with told_as_missing(host, package):
        result = host.run(["sh", "-c", _FIND, "sh", *names], timeout=_SHORT)
    if result.exit_code:
        raise DatabaseMissing(f"{names[0]} is not installed", where=f"host {host.id}", mend=f"install {package} there")
    return result.stdout.strip()


def socket_folder(place: ScratchPlace, user: ServerUser, name: str) -> str:
    """Where a socket of that name goes: the database's folder, else a private one, which the caller removes."""
    if len(f"{place.host.resolve(place.folder)}/{name}".encode()) <= SOCKET_LIMIT:
        return place.folder
    made = _line(place.host, "mktemp", "-d", "/tmp/drtests-XXXXXXXXXX")  # noqa: S108 - mktemp makes it, for us alone
    if user.name is not None:
        _done(place.host.run(["chown", f"{user.name}:", "--", made], timeout=_SHORT), place.host)
    return made


def _line(host: Host, *argv: str) -> str:
    result = host.run(argv, timeout=_SHORT)
    _done(result, host)
    return result.stdout.strip()


def _done(result: CommandResult, host: Host) -> None:
    if result.exit_code:
        raise DatabaseError(
            f"{result.argv[0]} failed: {result.stderr.strip()[-500:]}", where=f"host {host.id}", mend="run it by hand"
        )


def last_words(text: str, lines: int = 5) -> str:
    """The end of a log, on one line."""
    return " | ".join([line.strip() for line in text.splitlines() if line.strip()][-lines:])[-1500:]
