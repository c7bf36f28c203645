"""What an engine may be able to do besides: ask with `isinstance`, and do without where it cannot."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from drtests.model.system import Snapshots
from drtests.protocols.engine import RecoveryPoint
from drtests.protocols.host import FileFact


@runtime_checkable
class Listing(Protocol):
    """Tells what is in a recovery point without restoring it. Raises as `Engine` does."""

    def fingerprint(self, point: RecoveryPoint, timeout: float) -> str | None:
        """A hash over all names, attributes and contents: equal ones, of one engine, mean equal recovery points.

        Different ones mean nothing: attributes that do not matter count, too. None where there is no such thing.
        """

    def entries(self, point: RecoveryPoint, timeout: float) -> Iterable[FileFact]:
        """Everything in it; paths as they were backed up, in no particular order. A link's target may be missing."""


@runtime_checkable
class Hashing(Protocol):
    """Hashes files of a recovery point without restoring them. Raises as `Engine` does."""

    def digest(self, point: RecoveryPoint, path: str, timeout: float) -> str:
        """SHA-256 of the file's content, in hex; the path as `Listing.entries` tells it."""


@runtime_checkable
class FetchesItself(Protocol):
    """An engine whose program fetches from the repository by itself, so that nobody else can count it."""

    def fetched(self, point: RecoveryPoint, timeout: float) -> int:
        """Bytes that restoring all of it has to fetch, about. Raises as `Engine` does."""


@dataclass(frozen=True, slots=True)
class HandStep:
    """A command line that a person can type. `what` says what it does, as an order."""

    what: str
    argv: tuple[str, ...]


@runtime_checkable
class ByHand(Protocol):
    """Tells how to do by hand what a drill does. Opens nothing, needs no secret."""

    def by_hand(
        self, snapshots: Snapshots, point: str, destination: str, include: Sequence[str], verify: bool
    ) -> Sequence[HandStep]:
        """Listing the recovery points, then restoring `point` (an id, or `latest`) to `destination`."""


@runtime_checkable
class TellsPlace(Protocol):
    """Tells where its repository really lies. Raises HostError."""

    def place(self) -> str:
        """Equal for two declarations of one place, such as a folder and a link to it. Holds no credentials."""


@runtime_checkable
class ShowsStored(Protocol):
    """Reads files of the repository as they lie there, as a thief would: with no key of it.

    Raises as `Engine` does; also where there is no way to them.
    """

    def stored(self, part: str) -> Sequence[str]:
        """Names of files that are not empty, below a folder of the repository (with a `/` at the end), or the file."""

    def stored_bytes(self, name: str, limit: int) -> bytes:
        """The first `limit` bytes of one of these."""


@runtime_checkable
class Encrypts(Protocol):
    """An engine that encrypts before anything leaves the machine."""

    CIPHER: ClassVar[str]
    """In words, for the evidence."""
    ENCRYPTED: ClassVar[tuple[str, ...]]
    """Files and folders (with a `/` at the end) below the repository's location that hold nothing but ciphertext."""
