"""Rules about buckets: what drtests writes there lies apart from all data."""

from __future__ import annotations

from collections.abc import Iterator

from drtests.core.offsite.lies import key_prefix
from drtests.declarations.rules import Declared
from drtests.declarations.yamltext import Path
from drtests.errors import Diagnostic
from drtests.model.connections import Store
from drtests.model.estate import Estate

_RESTIC = ("config", "data/", "index/", "keys/", "locks/", "snapshots/")
"""All that restic keeps at the top of a repository."""


def probes_apart(all_: Declared) -> Iterator[Diagnostic]:
    """No probe is ever written into a repository, wherever in the bucket that lies."""
    estate = all_.estate
    for number, store in enumerate(estate.stores if estate else ()):
        for taken, what in _taken(estate, store) if estate else ():
            if taken and _overlap(store.probe_prefix, taken):
                told = f"probes below {store.probe_prefix!r} would lie among those of {what}, below {taken!r}"
                mend = "give `probe_prefix` a prefix of its own, which nothing else in the bucket begins with"
                yield all_.sources["estate"].wrong(("stores", number, "probe_prefix"), told, mend)


def kits_apart(all_: Declared) -> Iterator[Diagnostic]:
    """No copy of the recovery kit lies in a repository, nor among probes."""
    estate = all_.estate
    for number, copy in enumerate(estate.kit.copies if estate and estate.kit else ()):
        store = next((one for one in estate.stores if one.id == copy.store), None) if estate else None
        if estate is None or store is None:
            continue
        at: Path = ("kit", "copies", number, "key")
        key, source = f"{copy.key}/", all_.sources["estate"]
        if not key.startswith(store.prefix):
            what = f"the kit below {key!r} would lie outside the prefix {store.prefix!r} of store {store.id!r}"
            yield source.wrong(at, what, f"begin `key` with {store.prefix!r}, or declare another store for the kit")
        for taken, what in [*_taken(estate, store), (store.probe_prefix, "the probes")]:
            if _overlap(key, taken):
                told = f"the kit below {key!r} would lie among the objects of {what}, below {taken!r}"
                yield source.wrong(at, told, "give the kit a `key` of its own, or a store of its own")


def _taken(estate: Estate, store: Store) -> Iterator[tuple[str, str]]:
    """With what the keys of repositories in that bucket begin, and whose they are; also through another store."""
    for repository in estate.repositories:
        through = next((one for one in estate.stores if one.id == repository.store), store)
        if (through.endpoint, through.bucket) != (store.endpoint, store.bucket):
            continue
        if repository.store is None and not repository.location.startswith("s3:"):
            continue
        prefix = key_prefix(repository, through.model_copy(update={"prefix": ""} if repository.store is None else {}))
        if prefix is None:
            continue
        what = f"repository {repository.id!r}"
        if prefix or repository.engine != "restic":
            yield prefix, what
        else:
            yield from ((own, what) for own in _RESTIC)


def _overlap(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)
