"""The declared copies of the kit: where each is, and what is found there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from drtests.core.kit import CopySeen, age_of, production_sites
from drtests.errors import DrtestsError, ObjectDamaged, ObjectMissing
from drtests.kit.contents import declarations_digest
from drtests.kit.making import OpenHost
from drtests.kit.places import Bucket, Folder
from drtests.kit.reading import KitRead, read_kit
from drtests.model.kit import KitCopy
from drtests.model.project import Project
from drtests.model.units import parse_instant
from drtests.protocols.store import Store

OpenStore = Callable[[str, str | None], Store]
"""By id; with the writer's credentials when there is a key below which it may write, and nowhere else."""


@dataclass(frozen=True, slots=True)
class Unopened:
    """A place on a host that cannot be opened: whatever is asked of it raises why."""

    where: str
    why: DrtestsError

    def names(self) -> Sequence[str]:
        raise self.why

    def read(self, name: str) -> bytes:  # noqa: ARG002 - it never comes to that
        raise self.why

    def digests(self, names: Sequence[str]) -> Iterator[tuple[str, str]]:  # noqa: ARG002 - it never comes to that
        raise self.why

    def write(self, files: Mapping[str, bytes]) -> None:  # noqa: ARG002 - it never comes to that
        raise self.why


@dataclass(frozen=True, slots=True)
class Copy:
    """A declared copy that can be read. `site` is where it is, None when that is not declared."""

    declared: KitCopy
    place: Folder | Bucket | Unopened
    where: str
    site: str | None


def copies(project: Project, open_host: OpenHost, open_store: OpenStore) -> Iterator[Copy]:
    """All that are declared. No bucket is opened before it is used."""
    for declared in project.estate.kit.copies if project.estate.kit else ():
        if declared.path is not None:
            path = str(project.path(declared.path))
            host = project.host(declared.host or "local")
            where = f"{path} on host {host.id}"
            try:
                place: Folder | Unopened = Folder(open_host(declared.host), path)
            except DrtestsError as error:
                place = Unopened(where, error)
            yield Copy(declared, place, where, declared.site or host.site)
        else:
            yield _in_store(project, declared, open_store)


def _in_store(project: Project, declared: KitCopy, open_store: OpenStore) -> Copy:
    name = declared.store or ""
    site = declared.site or next((store.site for store in project.estate.stores if store.id == name), None)
    place = Bucket(declared.key, lambda: open_store(name, None), lambda: open_store(name, declared.key))
    return Copy(declared, place, f"{declared.key}/ in store {name}", site)


@dataclass(frozen=True, slots=True)
class Looked:
    """A copy, what was read there, and what is to be judged of it."""

    copy: Copy
    read: KitRead
    seen: CopySeen


def look_at(project: Project, copy: Copy, now: datetime) -> Looked:
    """Reads all of the copy. What keeps us from reading it is told, not raised: it says nothing of the copy."""
    offsite = None if copy.site is None else copy.site not in production_sites(project)
    try:
        found = read_kit(copy.place)
    except (ObjectDamaged, ObjectMissing) as error:
        # The store itself says so: an object of the kit is not what it holds of it, or went away meanwhile.
        found = KitRead(True, None, (error.what,))
    except DrtestsError as error:
        return Looked(copy, KitRead(there=False), CopySeen(copy.where, copy.site, offsite, unread=error.what))
    made_at = found.manifest["made_at"] if found.manifest else None
    try:
        age = age_of(parse_instant(made_at), now) if made_at is not None else None
    except ValueError:
        age = None
    same = found.manifest["declarations"] == declarations_digest(project) if found.manifest else None
    return Looked(
        copy,
        found,
        CopySeen(copy.where, copy.site, offsite, found.there, made_at, age, same, found.problems),
    )
