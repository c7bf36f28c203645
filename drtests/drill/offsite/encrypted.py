"""The part `encryption`: a wrong password, and a look at stored bytes."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from itertools import islice

from drtests import registry
from drtests.core.offsite.apart import store_of
from drtests.core.offsite.encrypted import (
    OPENED,
    REFUSED,
    SAMPLE_BYTES,
    Encryption,
    Sample,
    judge_encryption,
    known_plaintext,
    look_at,
)
from drtests.core.offsite.lies import key_prefix
from drtests.drill.offsite.case import Case, Seen
from drtests.errors import DrtestsError, WrongPassword
from drtests.model.system import Snapshots
from drtests.protocols.capabilities import Encrypts, ShowsStored
from drtests.protocols.engine import Engine

_LISTED = 500
"""Names that are looked at of each folder, to choose from."""
_EACH = 4
"""Files of each folder that are looked into."""

Read = Callable[[str], bytes]


def see_encryption(case: Case) -> Seen:
    """Reads a few stored files as a thief would: without any key of the repository."""
    engine = case.reach.engine(case.repository.id)
    cipher, parts = (engine.CIPHER, engine.ENCRYPTED) if isinstance(engine, Encrypts) else ("", ("",))
    samples, unsampled = _samples(case, engine, parts)
    seen = Encryption(
        cipher=cipher,
        wrong_password=_wrong_password(case, registry.engine(case.repository.engine).PASSWORD_VARIABLE),
        samples=samples,
        unsampled=unsampled,
        bucket=_bucket_default(case),
    )
    told = asdict(seen)
    told["samples"] = len(seen.samples)
    looks = {one.name: {k: v for k, v in asdict(one).items() if k != "name"} for one in seen.samples}
    return told | looks, judge_encryption(seen)


def _wrong_password(case: Case, variable: str) -> str:
    if not variable:
        return "the engine knows no password"
    host = case.reach.host(case.repository.host)
    wrong = case.reach.engine_on(case.repository, host, None, {variable: secrets.token_hex(16)})
    try:
        wrong.recovery_points(Snapshots())
    except WrongPassword:
        return REFUSED
    except DrtestsError as error:
        return error.what
    return OPENED


def _bucket_default(case: Case) -> str:
    if case.repository.store is None:
        return ""
    try:
        found = case.facts(case.repository.store).encryption
    except DrtestsError:
        return ""
    return found if found and found != "none" else ""


def _samples(case: Case, engine: Engine, parts: tuple[str, ...]) -> tuple[tuple[Sample, ...], str]:
    """Samples, or why there are none."""
    known = known_plaintext(case.names)
    try:
        chosen = list(_chosen(case, engine, parts))
        return tuple(look_at(name, read(name), known) for name, read in chosen), ""
    except DrtestsError as error:
        return (), error.what


def _chosen(case: Case, engine: Engine, parts: tuple[str, ...]) -> Iterator[tuple[str, Read]]:
    listing, read = _storage(case, engine)
    # The same files are looked at when a run is repeated with its seed.
    dice = random.Random(case.context.options.seed or case.context.run)  # noqa: S311 - a sample, not a secret
    for part in parts:
        names = sorted(islice(listing(part), _LISTED))
        for name in dice.sample(names, min(_EACH, len(names))):
            yield name, read


def _storage(case: Case, engine: Engine) -> tuple[Callable[[str], Iterable[str]], Read]:
    """How stored files are listed and read, by their names below the repository. Raises DrtestsError."""
    folder = case.repository.folder
    if case.repository.store is not None:
        store = case.reach.store(case.repository.store)
        declared = store_of(case.project, case.repository)
        prefix = key_prefix(case.repository, declared) if declared else None
        if prefix is None:
            what = f"store {case.repository.store!r} is not the bucket that the repository lies in"
            raise DrtestsError(what, mend="correct `store` of the repository, or the store's endpoint and bucket")
        start = prefix
        return (
            lambda part: (fact.key.removeprefix(start) for fact in store.objects(start + part) if fact.size),
            lambda name: store.read(start + name, limit=SAMPLE_BYTES),
        )
    if folder is not None:
        host, root = case.reach.host(case.repository.host), str(case.project.path(folder))

        def listed(part: str) -> Iterator[str]:
            if part and not part.endswith("/"):
                yield from [part] if host.exists(f"{root}/{part}") else []
            elif host.exists(f"{root}/{part}"):
                facts = host.scan(f"{root}/{part}")
                yield from (part + fact.path for fact in facts if fact.kind == "file" and fact.size)

        return listed, lambda name: host.read(f"{root}/{name}", SAMPLE_BYTES)
    if isinstance(engine, ShowsStored):
        return engine.stored, lambda name: engine.stored_bytes(name, SAMPLE_BYTES)
    raise DrtestsError(
        "what is stored cannot be looked at from here",
        mend="declare the bucket under `stores`, and name it as `store` of the repository",
    )
