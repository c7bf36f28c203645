"""What the restore in a smoking hole may reach, what it must not, and whether that was so. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from drtests.core.offsite.apart import store_of
from drtests.model.estate import Estate, Repository
from drtests.model.project import Project

Address = tuple[str, int]
"""Name and port."""
_PORTS = {"http": 80, "https": 443}
_DATABASES = {"postgres": 5432, "mariadb": 3306, "redis": 6379}
_AWS = "s3.amazonaws.com"
_FILE = "file:"


def addresses_of(project: Project, repository: Repository) -> list[Address] | None:
    """Where its storage answers, the declared name first; none for a folder, None where that cannot be told."""
    if repository.folder is not None:
        return []
    kind, _, rest = repository.location.partition(":")
    if kind == "sftp":
        plain = rest if rest.startswith("//") else f"//{rest.replace(':', '/', 1)}"
        return _address(f"sftp:{plain}", 22)
    if kind == "rest":
        return _address(rest, None)
    if kind != "s3":
        return None
    found = _address(rest if "://" in rest else f"https://{rest}", None)
    if not found or not (found[0][0] == _AWS or found[0][0].endswith(".amazonaws.com")):
        return found
    # There the bucket becomes part of the name, and the region, too.
    path = urlsplit(rest if "://" in rest else f"https://{rest}").path.strip("/")
    bucket, store = path.partition("/")[0], store_of(project, repository)
    declared = repository.environment.get("AWS_DEFAULT_REGION", "").removeprefix("plain:")
    regions = {declared, store.region if store else ""} - {""}
    bases = [found[0][0], _AWS]
    for region in sorted(regions):
        bases += [f"s3.{region}.amazonaws.com", f"s3.dualstack.{region}.amazonaws.com"]
    names = [name for base in bases for name in (base, f"{bucket}.{base}")]
    return [(name, found[0][1]) for name in dict.fromkeys(names)]


def _address(url: str, default: int | None) -> list[Address] | None:
    try:
        parts = urlsplit(url)
        port = parts.port or default or _PORTS.get(parts.scheme)
    except ValueError:
        return None
    return [(parts.hostname, port)] if parts.hostname and port else None


def production(project: Project, repository: Repository) -> Iterator[tuple[str, str, int]]:
    """What must not be reached over the network: what it is, name, port. Everything declared but the repository."""
    estate = project.estate
    for host in estate.hosts:
        if host.ssh is not None:
            yield f"host {host.id}", host.ssh.address, host.ssh.port
    for database in estate.databases:
        port = database.port or _DATABASES.get(database.type)
        if database.socket is None and port:
            yield f"database {database.id}", database.address, port
    for other in estate.repositories:
        if other.id != repository.id:
            yield from ((f"repository {other.id}", *one) for one in (addresses_of(project, other) or [])[:1])
    for store in estate.stores:
        if store.id != repository.store and store.endpoint:
            yield from ((f"store {store.id}", *one) for one in _address(store.endpoint, None) or [])


def sockets(estate: Estate, machines: frozenset[str]) -> Iterator[tuple[str, str]]:
    """What databases of these machines are reached by: what it is, path."""
    for database in estate.databases:
        if database.socket is not None and estate.machine(database.host) in machines:
            yield f"database {database.id}", database.socket


def secret_files(project: Project) -> Iterator[tuple[str, str]]:
    """Files that references to secrets lead to; whatever is needed of them is handed over otherwise."""
    estate = project.estate
    keys = estate.kit.keys if estate.kit else ()
    holders = [*estate.repositories, *estate.stores, *estate.databases, *estate.hosts, *keys]
    found = {text for one in holders for text in _references(one.model_dump())}
    found |= {f"{_FILE}{host.ssh.key}" for host in estate.hosts if host.ssh and host.ssh.key}
    for reference in sorted(found):
        path = reference.removeprefix(_FILE).strip()
        yield f"secret {path}", str(project.path(path))


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if value.startswith(_FILE):
            yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _references(each)
    elif isinstance(value, Sequence):
        for each in value:
            yield from _references(each)


def not_isolated(probed: Mapping[str, Any]) -> str:
    """Why what was seen from inside is no isolation; empty when it is."""
    others = [name for name in probed["interfaces"] if name != "lo"]
    if not probed["other_network"]:
        return "it has the network of the host"
    if others:
        return f"it has the network interface {others[0]}"
    if probed["reached"]:
        return f"it reaches {_first(probed['reached'])}"
    if probed["seen"]:
        return f"it sees {_first(probed['seen'])}"
    return ""


def _first(found: Sequence[str]) -> str:
    return found[0] if len(found) == 1 else f"{found[0]} and {len(found) - 1} more"
