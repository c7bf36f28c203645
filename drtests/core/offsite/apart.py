"""Does the offsite copy share anything with production that can be lost, or misused, together?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from drtests.core.kit import production_sites
from drtests.model.connections import Store
from drtests.model.estate import Repository
from drtests.model.project import Project
from drtests.model.verdict import Verdict, combine
from drtests.protocols.check import Judgement
from drtests.protocols.store import BucketFacts


@dataclass(frozen=True, slots=True)
class Facet:
    """One thing that may be shared. `same` is None when it is not known."""

    what: str
    against: str
    """With which it is compared: a repository, or the production sites."""
    same: bool | None
    told: str
    basis: str = "declared"
    """`declared`, or `measured` when the drill saw it."""
    mend: str = ""


def site_of(project: Project, repository: Repository) -> str | None:
    """Its own, or that of the bucket it lies in."""
    store = store_of(project, repository)
    return repository.site or (store.site if store else None)


def store_of(project: Project, repository: Repository) -> Store | None:
    return next((store for store in project.estate.stores if store.id == repository.store), None)


def provider_of(project: Project, repository: Repository) -> str | None:
    store = store_of(project, repository)
    return repository.provider or (store.provider if store else None)


def account_of(project: Project, repository: Repository) -> str | None:
    store = store_of(project, repository)
    return repository.account or (store.account if store else None)


def counterparts(project: Project, system: str, repository: Repository) -> list[Repository]:
    """What it must be apart from: its primary, and the system's other repositories that are not offsite."""
    names = [repository.copy_of] if repository.copy_of else []
    names += [backup.repository for backup in project.systems[system].backups]
    found = [project.repository(name) for name in dict.fromkeys(names) if name != repository.id]
    return [one for one in found if not one.offsite or one.id == repository.copy_of]


def declared_facets(project: Project, system: str, repository: Repository) -> Iterator[Facet]:
    """Site, provider and account, as they are declared."""
    yield _site(project, system, repository)
    for other in counterparts(project, system, repository):
        against = f"repository {other.id}"
        own, theirs = site_of(project, repository), site_of(project, other)
        if theirs and own and not other.offsite:
            yield Facet("site", against, own == theirs, f"{own}, {theirs}", mend=_ELSEWHERE)
        elif not theirs:
            yield Facet("site", against, None, f"{other.id} has no site", mend="declare `site` of both")
        yield _provider(project, repository, other, against)
        yield _account(project, repository, other, against)


_ELSEWHERE = "keep the offsite copy at a site that is not lost together with production"


def _site(project: Project, system: str, repository: Repository) -> Facet:
    own, production = site_of(project, repository), production_sites(project, system)
    against = "production"
    if own is None:
        return Facet("site", against, None, f"{repository.id} has no site", mend="declare `site` of it or of its store")
    if own in production:
        return Facet("site", against, True, f"{own} is a site of production", mend=_ELSEWHERE)
    if not production:
        mend = "declare the sites of production, and `site` of the hosts that the sources are on"
        return Facet("site", against, None, "no site of production is declared", mend=mend)
    return Facet("site", against, False, f"{own}; production is at {', '.join(sorted(production))}")


def _provider(project: Project, repository: Repository, other: Repository, against: str) -> Facet:
    own, theirs = provider_of(project, repository), provider_of(project, other)
    if own is None or theirs is None:
        absent = repository.id if own is None else other.id
        mend = "declare `provider` of both repositories, or of their stores"
        return Facet("provider", against, None, f"the provider of {absent} is not declared", mend=mend)
    mend = "keep one copy with somebody else: one contract, one invoice, one outage must not take both"
    return Facet("provider", against, own.casefold() == theirs.casefold(), f"{own}, {theirs}", mend=mend)


def _account(project: Project, repository: Repository, other: Repository, against: str) -> Facet:
    own, theirs = account_of(project, repository), account_of(project, other)
    if own is not None and theirs is not None:
        mend = "use an account that nobody who administers the other can reach"
        return Facet("account", against, own.casefold() == theirs.casefold(), f"{own}, {theirs}", mend=mend)
    providers = provider_of(project, repository), provider_of(project, other)
    if None not in providers and str(providers[0]).casefold() != str(providers[1]).casefold():
        return Facet("account", against, False, "other provider, so another account")
    absent = repository.id if own is None else other.id
    mend = "declare `account` of both repositories, or of their stores"
    return Facet("account", against, None, f"the account of {absent} is not declared", mend=mend)


def endpoint_of(repository: Repository, store: Store | None) -> str | None:
    """Host and port (or host alone) at which its storage answers; None for a folder, or where it cannot be told."""
    if store is not None and store.endpoint:
        return urlsplit(store.endpoint).netloc.lower()
    if repository.folder is not None:
        return None
    kind, _, rest = repository.location.partition(":")
    if kind == "sftp":
        address = rest.removeprefix("//").rpartition("@")[2]
        return address.partition("/")[0].partition(":")[0].lower() or None
    if kind in {"s3", "rest"}:
        plain = rest if "://" in rest else f"https://{rest}"
        return urlsplit(plain).netloc.rpartition("@")[2].lower() or None
    return None


def bucket_facets(own: BucketFacts, theirs: BucketFacts, against: str) -> Iterator[Facet]:
    """Owner and location, as one service tells them of both buckets. A service need not tell who owns a bucket."""
    if own.owner is not None and theirs.owner is not None:
        mend = "let another account own the offsite bucket: who administers the account administers both"
        same = own.owner == theirs.owner
        yield Facet("bucket owner", against, same, "one account" if same else "two accounts", "measured", mend)
    if own.location is None or theirs.location is None:
        why = (own if own.location is None else theirs).unknown.get("location", "the store did not tell")
        mend = "let the readers do s3:GetBucketLocation"
        yield Facet("bucket location", against, None, why, "measured", mend)
    else:
        mend = "keep the offsite bucket in another region"
        told = f"{own.location}, {theirs.location}"
        yield Facet("bucket location", against, own.location == theirs.location, told, "measured", mend)


def judge_apart(facets: Sequence[Facet]) -> Judgement:
    """Whatever is shared is a miss; whatever is not known is not known."""
    shared = [facet for facet in facets if facet.same]
    unknown = [facet for facet in facets if facet.same is None]
    verdict = combine(
        [Verdict.MISSED] * bool(shared) + [Verdict.INCONCLUSIVE] * bool(unknown) + [Verdict.MET] * bool(facets)
    )
    if shared:
        told = "; ".join(f"the same {facet.what} as {facet.against} ({facet.told})" for facet in shared[:3])
        return Judgement(verdict, f"shared: {told}", mend=next((f.mend for f in shared if f.mend), ""))
    if unknown:
        told = "; ".join(f"{facet.what}: {facet.told}" for facet in unknown[:3])
        return Judgement(verdict, f"not known: {told}", mend=next((f.mend for f in unknown if f.mend), ""))
    if not facets:
        return Judgement(verdict, "nothing was compared")
    whats = ", ".join(dict.fromkeys(facet.what for facet in facets))
    measured = sum(facet.basis == "measured" for facet in facets)
    return Judgement(verdict, f"apart in {whats} ({measured} of {len(facets)} measured, the rest declared)")
