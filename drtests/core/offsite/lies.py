"""Where in a bucket a repository lies: what is proved of a bucket counts only for what is in it. Pure."""

from __future__ import annotations

from urllib.parse import urlsplit

from drtests.model.connections import Store
from drtests.model.estate import Repository

_AWS = ".amazonaws.com"


def key_prefix(repository: Repository, store: Store) -> str | None:
    """With what all keys of the repository begin (empty, or with a `/` at the end); None when it lies elsewhere.

    A location that names no bucket (of engines that read the store itself) lies where the store is.
    """
    if repository.engine == "bucket":
        # It is the store that is read; the location is for people.
        return store.prefix
    kind, _, rest = repository.location.partition(":")
    if kind != "s3":
        return store.prefix if "://" not in repository.location and repository.engine != "restic" else None
    parts = urlsplit(rest if "://" in rest else f"https://{rest}")
    bucket, _, below = parts.path.strip("/").partition("/")
    if bucket != store.bucket or not _same_endpoint(parts.netloc.lower(), store):
        return None
    prefix = f"{below}/" if below else ""
    return prefix if prefix.startswith(store.prefix) else None


def _same_endpoint(netloc: str, store: Store) -> bool:
    if store.endpoint is None:
        return netloc == _AWS.removeprefix(".") or netloc.endswith(_AWS)
    return netloc == urlsplit(store.endpoint).netloc.lower()
