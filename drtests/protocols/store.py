"""Store: a bucket of objects, or a part of one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from drtests.model.connections import Store as Declared


@dataclass(frozen=True, slots=True)
class StoreContext:
    """All that a store adapter is given; an adapter is a callable `(StoreContext) -> Store`.

    `credentials` are resolved: access_key, secret_key and perhaps
    session_token. `role` is `reader` or `writer`.
    """

    declared: Declared
    role: str
    credentials: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ObjectFact:
    """One version of one object. `version` is None where the bucket keeps none; `deleted` marks a delete marker."""

    key: str
    size: int
    modified: datetime
    etag: str
    version: str | None = None
    latest: bool = True
    deleted: bool = False


@dataclass(slots=True)
class Usage:
    """What was asked of the store so far: counted at the wire, retries included."""

    reads: int = 0
    """GET and HEAD requests."""
    writes: int = 0
    """PUT, COPY, POST, LIST and DELETE requests."""
    bytes_out: int = 0
    """Bytes of objects that left the store."""
    bytes_in: int = 0


@dataclass(frozen=True, slots=True)
class BucketFacts:
    """What the store tells of the bucket. None: it did not tell, which is never taken for an answer.

    `unknown` says, by field, why it is not known.
    """

    versioning: str | None = None
    """enabled, suspended or off."""
    lock_mode: str | None = None
    """Default retention: compliance, governance or none."""
    lock_seconds: float | None = None
    """Default retention in seconds; 0 for none."""
    encryption: str | None = None
    """Default encryption, e.g. AES256 or aws:kms; none."""
    public: bool | None = None
    """Whether anybody at all may read, write or list."""
    early_deletion: tuple[str, ...] | None = None
    """Lifecycle rules that delete or expire objects or versions, in words."""
    replication: str | None = None
    """Where it is replicated to, and whether that is enabled; none."""
    location: str | None = None
    """Region or location."""
    unknown: Mapping[str, str] = field(default_factory=dict)
    raw: Mapping[str, Any] = field(default_factory=dict)
    """For the evidence, without secrets."""


class Store(Protocol):
    """One bucket with one set of credentials. Every adapter passes `drtests.testing.store_contract`.

    Keys are whole keys, prefix included. Raises the StoreError that fits;
    what is safe to ask again was asked again before it raises.
    """

    @property
    def id(self) -> str: ...

    @property
    def bucket(self) -> str: ...

    @property
    def prefix(self) -> str:
        """Keys outside it are not looked at."""

    @property
    def usage(self) -> Usage: ...

    def version(self) -> str:
        """Name and version of what speaks to the store, e.g. `boto3 1.40.1`."""

    def facts(self) -> BucketFacts: ...

    def objects(self, prefix: str = "") -> Iterator[ObjectFact]:
        """The latest of all objects, in order of their keys."""

    def versions(self, prefix: str = "") -> Iterator[ObjectFact]:
        """All versions and delete markers, by key, newest first.

        Raises StoreUnversioned where the bucket keeps none.
        """

    def read(self, key: str, version: str | None = None, limit: int | None = None) -> bytes:
        """The object, or its first `limit` bytes."""

    def download(self, fact: ObjectFact, path: Path) -> str:
        """Writes that version to a file, resumed where it broke off; returns its SHA-256 in hex.

        Raises ObjectDamaged when what came is not what the store says it holds.
        """

    def write(self, key: str, data: bytes) -> str | None:
        """Writes an object; returns its version. Raises SafetyError outside the declared probe prefix."""

    def delete(self, key: str, version: str | None = None) -> None:
        """Deletes an object or a version. Raises SafetyError outside the declared probe prefix."""
