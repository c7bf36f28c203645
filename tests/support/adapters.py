"""An adapter with options of every sort, to be declared by its dotted path: only declared, never carried out."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel

from drtests.model.base import (
    DatabaseId,
    Declaration,
    Flag,
    HostId,
    LiveId,
    RepositoryId,
    SecretReference,
    StoreId,
)
from drtests.restored import RelativePath

DOTTED = "tests.support.adapters:Everything"


class Nested(Declaration):
    """Options below an option."""

    live: LiveId | None = None
    tables: tuple[str, ...] = ()
    session_token: SecretReference | None = None


class EverythingSpec(Declaration):
    """Options of every sort."""

    needed: str
    path: RelativePath = "."
    source: LiveId | None = None
    mirrors: tuple[LiveId, ...] = ()
    by_name: dict[str, LiveId] = {}  # noqa: RUF012 - frozen, and pydantic copies it
    via: HostId | None = None
    repository: RepositoryId | None = None
    store: StoreId | None = None
    beside: DatabaseId | None = None
    password: SecretReference | None = None
    compare: Nested | None = None
    parts: tuple[Nested, ...] = ()
    count: int = 1
    exact: Flag = False


class Everything:
    """The adapter."""

    Spec: ClassVar[type[BaseModel]] = EverythingSpec
    type: ClassVar[str] = "sqlite"

    def __init__(self, spec: EverythingSpec, *_reach: Any) -> None:
        self.spec = spec
