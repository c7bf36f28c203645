"""The recovery kit: what people need when all is down. Declared in `targets/estate.yaml`."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field, model_validator

from drtests.model.base import Declaration, EngineVariable, Flag, Id, SecretReference, Text
from drtests.model.units import Duration


class KitCopy(Declaration):
    """A place where a copy of the recovery kit is kept: a folder, or a bucket."""

    path: str | None = None
    """Folder; a relative path is taken from the project's root."""
    host: Id | None = None
    """Host of the folder; the machine that runs drtests when not given."""
    store: Id | None = None
    """Bucket, instead of a folder."""
    key: str = Field(default="recovery-kit", min_length=1, pattern="^[^/].*[^/]$")
    """Below which key it lies; within the store's `prefix`, where it has one."""
    site: Id | None = None
    """Where it is; the site of the store or of the host when not given."""

    @model_validator(mode="after")
    def _one(self) -> KitCopy:
        if (self.path is None) == (self.store is None):
            raise ValueError("give exactly one of `path` and `store`")
        if self.host is not None and self.path is None:
            raise ValueError("`host` goes with `path`; a bucket is reached over the network")
        return self


class KeptKey(Declaration):
    """Where people find the keys of a repository when all is down: in words, never the keys themselves."""

    repository: Id
    kept: Text = Field(min_length=1)
    """In words: which safe, which envelope, which password manager."""
    holders: tuple[Id, ...] = ()
    """People who can get at it: at least two, as one of them may be lost, too."""
    password: SecretReference | None = None
    """The password as it is kept there, for the drill to take it from; the repository's own when not given."""
    environment: dict[str, EngineVariable] = Field(default_factory=dict)
    """The same for variables of the repository."""


class Kit(Declaration):
    """The recovery kit, and its copies. `drtests kit` writes it."""

    path: str = "recovery-kit"
    """Folder it is written to; a relative path is taken from the project's root."""
    copies: tuple[KitCopy, ...] = ()
    """Kept up to date by `drtests kit`. At least one has to be away from production."""
    max_age: Duration = timedelta(days=30)
    """An older one counts as stale, even when no declaration changed since."""
    tools: Flag = True
    """Put the backup programs themselves in."""
    keys: tuple[KeptKey, ...] = ()
    """Of each repository: where its keys are kept."""

    def folders(self) -> tuple[tuple[str | None, str], ...]:
        """Host and path of every folder that it lies in."""
        return ((None, self.path), *((copy.host, copy.path) for copy in self.copies if copy.path is not None))
