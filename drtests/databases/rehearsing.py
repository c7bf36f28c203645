"""What rehearsals of a failover share: whom they ask, what they built, how they wait, how the source is found."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

from drtests.errors import DatabaseError, SafetyError, UsageError
from drtests.model.connections import LiveDatabase
from drtests.protocols.database import Live, Scratch, ScratchPlace
from drtests.protocols.host import Host

APPLICATION = "drtests-rehearsal"
"""How production's own lists call what a rehearsal does there."""

_POLL = 0.1
_SLOWEST = 5.0


class Declared(Protocol):
    """A client that tells what it was made of."""

    @property
    def id(self) -> str: ...

    @property
    def declared(self) -> LiveDatabase: ...

    @property
    def host(self) -> Host: ...


_Live = TypeVar("_Live", bound=Live)
_Scratch = TypeVar("_Scratch", bound=Scratch)


class Rehearsing(Generic[_Live, _Scratch]):
    """The part of a rehearsal that is the same for all kinds.

    `client` is the class of its clients, `product` the server's name.
    """

    def __init__(self, open_live: Callable[[str], Live], client: type[_Live], product: str) -> None:
        self._open = open_live
        self._client = client
        self._product = product
        self._sessions: dict[str, _Live] = {}
        self._place: ScratchPlace | None = None
        self._made: _Scratch | None = None

    def abandon(self, timeout: float) -> None:
        made, self._made = self._made, None
        if made is not None:
            made.stop(timeout)

    def _session(self, name: str) -> _Live:
        if name not in self._sessions:
            live = self._open(name)
            if not isinstance(live, self._client):
                raise UsageError(
                    f"{name} is no {self._product}, but {live.type}", where=f"database {name}", mend="name one that is"
                )
            self._sessions[name] = live
        return self._sessions[name]

    def _running(self) -> tuple[_Scratch, ScratchPlace]:
        if self._made is None or self._place is None:
            raise UsageError("there is no throwaway replica: it was not built")
        return self._made, self._place

    def _looks(self, timeout: float) -> Iterator[None]:
        """Moments to look whether it has caught up, until the time is over. Raises DatabaseError when it has ended."""
        made, place = self._running()
        began = place.clock.monotonic()
        while True:
            died = made.died()
            if died is not None:
                raise DatabaseError(f"the throwaway replica ended: {died}", mend="see its words")
            yield
            waited = place.clock.monotonic() - began
            if waited >= timeout:
                return
            # Each question is journaled: the longer it takes, the less it matters when exactly it ends.
            place.clock.sleep(min(max(_POLL, waited / 50), _SLOWEST, timeout - waited))


def check_reached(session: Declared, host: Host, *, by_socket: bool) -> None:
    """Raises DatabaseError when a server on `host` would not find that one where its client does.

    `by_socket`: whether one may follow the other by a socket.
    """
    declared = session.declared
    if declared.socket is not None and not by_socket:
        raise DatabaseError(
            "nobody can follow it by a socket",
            where=f"database {session.id}",
            mend="declare its `address` and `port` instead of `socket`",
        )
    if session.host.id != host.id and (declared.socket is not None or loopback(declared.address)):
        raise DatabaseError(
            f"{declared.socket or declared.address} leads to it on host {session.host.id} only, and the staging is on "
            f"host {host.id}",
            where=f"database {session.id}",
            mend="declare an `address` that leads to it from both",
        )


def check_apart(session: Declared, port: int | None, usual: int) -> None:
    """Raises SafetyError when a replica that listens on `port` would be what is found where the source is declared."""
    declared = session.declared
    if port == (declared.port or usual) and loopback(declared.address):
        raise SafetyError(
            f"port {port} is the source's own: the throwaway replica would take its place",
            where=f"database {session.id}",
            mend="leave `port` out, or give another",
        )


def loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"
