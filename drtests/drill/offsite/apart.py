"""The part `separation`: what is declared, and what the drill can see of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from drtests import registry
from drtests.core.offsite.apart import (
    Facet,
    bucket_facets,
    counterparts,
    declared_facets,
    endpoint_of,
    judge_apart,
    store_of,
)
from drtests.drill.offsite.case import Case, Seen
from drtests.errors import DrtestsError, SecretError
from drtests.model.estate import Repository
from drtests.protocols.host import Host
from drtests.secrets import resolve

_KEYS = re.compile(r"KEY|SECRET|TOKEN|PASS|CRED|ACCOUNT|USER", re.IGNORECASE)
"""Names of variables that open something; others (a region, a proxy) may be the same on both sides."""
_TIMEOUT = 30.0


def see_apart(case: Case) -> Seen:
    """Secrets are compared in memory; only whether they are the same is told."""
    facets = list(declared_facets(case.project, case.plan.system, case.repository))
    own = _keys(case, case.repository)
    for other in counterparts(case.project, case.plan.system, case.repository):
        against = f"repository {other.id}"
        theirs = _keys(case, other)
        facets.append(_password(own, theirs, against))
        facets.append(_access(own, theirs, against))
        facets += _endpoint(case, other, against)
        facets += _buckets(case, other, against)
        facets += _device(case, other.folder, other.host, against)
    for source in case.system.sources:
        facets += _device(case, source.path, source.host, f"production data at {source.path}")
    case.measured = tuple(dict.fromkeys(one.what for one in facets if one.basis == "measured" and one.same is False))
    seen = {f"{one.what}, against {one.against}": _data(one) for one in facets}
    return seen, judge_apart(facets)


def _data(facet: Facet) -> dict[str, Any]:
    return {"same": facet.same, "told": facet.told, "basis": facet.basis}


@dataclass(frozen=True, slots=True)
class _Keys:
    """What opens a repository. Secrets stay in memory."""

    repository: Repository
    password: str | None = field(repr=False)
    access: frozenset[str] = field(repr=False)
    problem: str = ""

    @property
    def has_password(self) -> bool:
        return bool(registry.engine(self.repository.engine).PASSWORD_VARIABLE)

    @property
    def needs_none(self) -> bool:
        """A folder is opened by whoever may read it; what is reached over a network is opened by keys of some kind."""
        return self.repository.folder is not None


def _keys(case: Case, repository: Repository) -> _Keys:
    references = {name: value for name, value in repository.environment.items() if _KEYS.search(name)}
    found = [value for value in references.values() if not value.startswith("plain:")]
    plain = {value.removeprefix("plain:") for value in references.values() if value.startswith("plain:")}
    store = store_of(case.project, repository)
    for credentials in (store.reader, store.writer) if store else ():
        found += [value for value in credentials.model_dump().values() if value] if credentials else []
    try:
        password = resolve(repository.password, root=case.project.root) if repository.password else None
        access = frozenset(resolve(one, root=case.project.root) for one in found) | plain
    except SecretError as error:
        return _Keys(repository, None, frozenset(), error.what)
    case.log.hide([password or "", *(access - plain)])
    return _Keys(repository, password, access)


def _password(own: _Keys, theirs: _Keys, against: str) -> Facet:
    mend = "give the offsite repository a password of its own, kept elsewhere"
    reference = own.repository.password
    if reference is not None and reference == theirs.repository.password:
        return Facet("password", against, True, "both are found at the same place", "measured", mend)
    if own.problem or theirs.problem:
        return Facet("password", against, None, own.problem or theirs.problem, "measured", "let the drill read both")
    for one in (own, theirs):
        if not one.has_password:
            told = f"{one.repository.id} has none: its engine knows no password"
            return Facet("password", against, False, told, "measured")
        if one.password is None:
            told = f"none is declared of {one.repository.id}"
            return Facet("password", against, None, told, mend="declare `password` of both repositories")
    same = own.password == theirs.password
    return Facet("password", against, same, "the same value" if same else "two values", "measured", mend)


def _access(own: _Keys, theirs: _Keys, against: str) -> Facet:
    """What is not declared (a key that ssh finds by itself, say) may well be the same."""
    if own.problem or theirs.problem:
        return Facet("access keys", against, None, own.problem or theirs.problem, "measured", "let the drill read both")
    folders = [one for one in (own, theirs) if one.needs_none]
    if folders:
        both = "folders, reached without" if len(folders) == 2 else "one of them is a folder, and needs none"
        return Facet("access keys", against, False, both, "measured")
    bare = [one.repository.id for one in (own, theirs) if not one.access]
    if bare:
        told = f"those of {' and '.join(bare)} are not declared, and may be the same"
        return Facet("access keys", against, None, told, mend=_DECLARE)
    shared = len(own.access & theirs.access)
    mend = "let a separate account with keys of its own write the offsite copy"
    told = f"{shared} of {len(own.access)} values are the same" if shared else "no value is the same"
    return Facet("access keys", against, shared > 0, told, "measured", mend)


_DECLARE = (
    "declare the keys of both under `environment`, or as `reader` and `writer` of their stores; keys that ssh finds by "
    "itself cannot be compared: give an offsite copy over SFTP a key of its own, and keep the primary elsewhere"
)


def _endpoint(case: Case, other: Repository, against: str) -> Iterator[Facet]:
    """By what their locations say. Two folders say nothing here: whether they are on one disk is seen by itself."""
    stores = [store_of(case.project, one) for one in (case.repository, other)]
    if all(store is not None and store.endpoint is None for store in stores):
        # Of AWS all have one name; where each bucket is, it tells itself.
        return
    own, theirs = endpoint_of(case.repository, stores[0]), endpoint_of(other, stores[1])
    if any(one is None and repository.folder is None for one, repository in ((own, case.repository), (theirs, other))):
        told = "of one of them it cannot be told from its location"
        yield Facet("storage", against, None, told, mend="declare its bucket under `stores`, with its endpoint")
    elif own is not None and theirs is not None:
        same = _machine(own) == _machine(theirs)
        mend = "keep the offsite copy on storage of its own"
        yield Facet("storage", against, same, f"{own}, {theirs}", "measured", mend)
    elif own is not None or theirs is not None:
        yield Facet("storage", against, False, f"{own or 'a folder'}, {theirs or 'a folder'}", "measured")


def _buckets(case: Case, other: Repository, against: str) -> Iterator[Facet]:
    """By what one service tells of both; what two services call something cannot be compared."""
    stores = [store_of(case.project, one) for one in (case.repository, other)]
    own, theirs = stores
    if own is None or theirs is None or own.endpoint != theirs.endpoint:
        return
    try:
        facts = [case.facts(one.id) for one in (own, theirs)]
    except DrtestsError as error:
        mend = "let the readers do s3:GetBucketAcl and s3:GetBucketLocation"
        yield Facet("bucket owner", against, None, f"it could not be asked: {error.what}", mend=mend)
        return
    yield from bucket_facets(facts[0], facts[1], against)


def _machine(endpoint: str) -> str:
    """Without the port: two servers on one machine are lost together."""
    name, _, port = endpoint.rpartition(":")
    return name if name and port.isdigit() else endpoint


def _device(case: Case, path: str | None, host: str | None, against: str) -> Iterator[Facet]:
    """Only where both are folders of one machine; a folder of a bucket or another machine is no matter here."""
    own = case.repository
    if own.folder is None or path is None:
        return
    estate = case.project.estate
    if estate.machine(own.host) != estate.machine(host):
        yield Facet("machine", against, False, f"{estate.machine(own.host)}, {estate.machine(host)}")
        return
    here = case.reach.host(own.host)
    folders = [str(case.project.path(one)) for one in (own.folder, path)]
    devices = [_stat(here, folder, "-L", "-c", "%d") for folder in folders]
    kind = _stat(here, folders[0], "-f", "-c", "%T")
    mend = "a folder of the same machine is no offsite copy: keep it on another machine, at another site"
    if None in devices or kind is None:
        yield Facet("file system", against, None, "one of the folders could not be looked at", "measured", mend)
        return
    same = devices[0] == devices[1]
    yield Facet("file system", against, same, "on one file system" if same else "on two", "measured", mend)
    mounted = kind in _MOUNTED
    told = f"{kind}, mounted from elsewhere" if mounted else f"both on {estate.machine(own.host)} ({kind})"
    yield Facet("machine", against, not mounted, told, "measured", mend)


_MOUNTED = {"nfs", "nfs4", "cifs", "smb", "smb2", "afs", "ceph", "lustre", "gluster", "gpfs", "v9fs", "fuseblk", "fuse"}
"""Kinds of file systems that lie on another machine, as `stat` calls them."""


def _stat(host: Host, path: str, *options: str) -> str | None:
    result = host.run(["stat", *options, "--", path], timeout=_TIMEOUT)
    return result.stdout.strip() if result.exit_code == 0 and result.stdout.strip() else None
