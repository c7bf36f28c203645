"""The attack with the backup writer's own credentials: on probe objects that it wrote itself, and on nothing else."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol

from drtests.errors import (
    BudgetExceeded,
    ObjectMissing,
    SafetyError,
    StoreDenied,
    StoreError,
    StoreThrottled,
    StoreUnreachable,
)
from drtests.model.connections import Store as Declared
from drtests.model.units import utc_text
from drtests.protocols.store import (
    Action,
    AttackReport,
    Attempt,
    Leftover,
    ObjectState,
    Store,
    TellsState,
)

MOST_REQUESTS = 80
"""An attack asks for less, reads and writes taken together; retries left aside."""
_SHORTENED = timedelta(minutes=5)

Answer = Literal["refused", "accepted", "unknown"]
Effect = Literal["none", "done", "unknown"]


class Weapons(Protocol):
    """What an attacker can do to a bucket. Each raises the StoreError that fits, SafetyError outside the probes."""

    @property
    def declared(self) -> Declared: ...

    def write_probe(self, key: str, data: bytes) -> str | None:
        """Writes as the backup program does: with a retention when one is declared. Returns the version."""

    def remove(self, key: str, version: str | None, *, bypass: bool = False) -> str | None:
        """Returns the delete marker's version, if one was made."""

    def set_retention(self, key: str, version: str, mode: str, until: datetime, *, bypass: bool) -> None: ...

    def release_hold(self, key: str, version: str) -> None: ...

    def set_versioning(self, status: Literal["Enabled", "Suspended"]) -> None: ...


class Looks(Store, TellsState, Protocol):
    """What sees the effects."""


@dataclass(slots=True)
class _Probe:
    key: str
    data: bytes
    version: str | None
    state: ObjectState


@dataclass(slots=True)
class _Attack:
    weapons: Weapons
    reader: Looks
    attempts: list[Attempt] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    made: dict[tuple[str, str | None], bool] = field(default_factory=dict)
    """All keys and versions that were written, in order, and whether each is a delete marker."""
    probe: _Probe | None = None
    first: ObjectState | None = None
    harm: str = ""


def attack(weapons: Weapons, reader: Looks) -> AttackReport:
    """Tries all that applies; whatever happens, cleans up as far as the store lets.

    An error that ends it is told in the report as `failed`, with what was
    left. Raises SafetyError, and what is no DrtestsError, after the clean-up.
    """
    run = _Attack(weapons, reader)
    failed = mend = ""
    versioned: bool | None = None
    left: tuple[Leftover, ...] = ()
    try:
        versioned = _all(run)
    except StoreError as error:
        failed, mend = error.what, error.mend
    finally:
        left = tuple(_clean_up(run))
    return AttackReport(tuple(run.attempts), dict(run.skipped), failed, mend, left, run.first, versioned, run.harm)


def _all(run: _Attack) -> bool:
    versioning = run.reader.versioning()
    probe = _fresh(run)
    run.first = probe.state
    versioned = probe.version is not None
    if (versioning == "enabled" and not versioned) or (versioning == "off" and versioned):
        told = "got a version" if versioned else "got no version"
        raise StoreError(
            f"the store says that versioning is {versioning}, and what was written {told}",
            where=probe.key,
            mend="see which of the two is true before trusting the bucket with backups",
        )
    _overwrite(run)
    _delete(run)
    if versioned:
        _delete_version(run, "delete_version", bypass=False)
        _delete_version(run, "delete_version_bypassing", bypass=True)
        _shorten(run, "shorten_retention", bypass=False)
        _shorten(run, "shorten_retention_bypassing", bypass=True)
        _release(run)
    else:
        why = "the bucket keeps no versions"
        run.skipped |= dict.fromkeys(_OF_VERSIONS, why)
    _versioning(run, versioning)
    return versioned


_OF_VERSIONS: tuple[Action, ...] = (
    "delete_version",
    "delete_version_bypassing",
    "shorten_retention",
    "shorten_retention_bypassing",
    "remove_legal_hold",
)


def _fresh(run: _Attack) -> _Probe:
    """A new probe, seen by the reader."""
    key = f"{run.weapons.declared.probe_prefix}{secrets.token_hex(16)}"
    data = secrets.token_bytes(64)
    # Noted first: if the answer is lost, it may still have been written.
    run.made[key, None] = False
    try:
        version = run.weapons.write_probe(key, data)
    except StoreDenied as error:
        del run.made[key, None]
        raise StoreDenied(
            f"the backup writer may not write a probe: {error.what}",
            where=key,
            mend=f"allow it to write below {run.weapons.declared.probe_prefix}, by the same statement of its policy "
            "that lets it write backups",
        ) from None
    if version is not None:
        del run.made[key, None]
        run.made[key, version] = False
    try:
        seen = run.reader.read(key, version)
        state = run.reader.state(key, version)
    except StoreError as error:
        raise type(error)(
            f"the reader cannot see what the writer wrote: {error.what}", where=key, mend=error.mend
        ) from None
    if seen != data:
        raise StoreError(
            "what the reader sees is not what the writer wrote",
            where=key,
            mend="see whether both are given the same bucket, and the store is consistent",
        )
    run.probe = _Probe(key, data, version, state)
    return run.probe


def _intact(run: _Attack) -> _Probe:
    """The probe if it is still there, else a new one."""
    probe = run.probe
    if probe is not None and _there(run, probe)[0] == "none":
        return probe
    return _fresh(run)


def _there(run: _Attack, probe: _Probe) -> tuple[Effect, str]:
    """Whether the probe is still what it was, seen by the reader."""
    what = "the version" if probe.version is not None else "the object"
    try:
        seen = run.reader.read(probe.key, probe.version)
    except ObjectMissing:
        return "done", f"read back afterwards, {what} is gone"
    except StoreError as error:
        return "unknown", f"whether {what} is still there is not known: {error.what}"
    if seen == probe.data:
        return "none", f"read back afterwards, {what} is as it was"
    return "done", f"read back afterwards, {what} is not what was written"


def _try(act: Callable[[], object]) -> tuple[Answer, str]:
    try:
        act()
    except (StoreThrottled, StoreUnreachable) as error:
        return "unknown", error.what
    except BudgetExceeded:
        raise
    except StoreError as error:
        return "refused", error.what
    return "accepted", ""


def _note(
    run: _Attack, action: Action, said: tuple[Answer, str], seen: tuple[Effect, str], probe: _Probe | None
) -> None:
    key, version = (probe.key, probe.version) if probe else ("", None)
    run.attempts.append(Attempt(action, said[0], said[1], seen[0], seen[1], key, version))


def _overwrite(run: _Attack) -> None:
    probe = _intact(run)

    def act() -> None:
        version = run.weapons.write_probe(probe.key, secrets.token_bytes(64))
        run.made[probe.key, version] = False

    said = _try(act)
    _note(run, "overwrite", said, _there(run, probe), probe)


def _delete(run: _Attack) -> None:
    probe = _intact(run)

    def act() -> None:
        marker = run.weapons.remove(probe.key, None)
        if marker is not None:
            run.made[probe.key, marker] = True

    said = _try(act)
    _note(run, "delete", said, _there(run, probe), probe)


def _delete_version(run: _Attack, action: Action, *, bypass: bool) -> None:
    probe = _intact(run)
    if bypass and probe.state.lock_mode is None:
        run.skipped[action] = "objects are written without retention"
        return
    said = _try(lambda: run.weapons.remove(probe.key, probe.version, bypass=bypass))
    _note(run, action, said, _there(run, probe), probe)


def _shorten(run: _Attack, action: Action, *, bypass: bool) -> None:
    probe = _intact(run)
    mode, until, version = probe.state.lock_mode, probe.state.retain_until, probe.version
    if mode is None or until is None or version is None:
        run.skipped[action] = "objects are written without retention"
        return
    left = until - datetime.now(UTC)
    sooner = datetime.now(UTC) + min(_SHORTENED, left / 2)
    said = _try(lambda: run.weapons.set_retention(probe.key, version, mode, sooner, bypass=bypass))
    seen = _seen(run, probe, lambda now: _weaker(now, until, mode))
    _note(run, action, said, seen, probe)
    if seen[0] != "none":
        run.probe = None


def _weaker(now: ObjectState, until: datetime, mode: str) -> str:
    if now.lock_mode != mode:
        return f"its retention is {now.lock_mode or 'gone'} instead of {mode}"
    if now.retain_until is None or now.retain_until < until:
        ends = "nothing" if now.retain_until is None else utc_text(now.retain_until)
        return f"its retention ends at {ends} instead of {utc_text(until)}"
    return ""


def _release(run: _Attack) -> None:
    probe = _intact(run)
    version = probe.version
    if not probe.state.legal_hold or version is None:
        run.skipped["remove_legal_hold"] = "objects are written without a legal hold"
        return
    said = _try(lambda: run.weapons.release_hold(probe.key, version))
    _note(run, "remove_legal_hold", said, _seen(run, probe, _released), probe)


def _released(now: ObjectState) -> str:
    return "" if now.legal_hold else "its legal hold is gone"


def _seen(run: _Attack, probe: _Probe, weaker: Callable[[ObjectState], str]) -> tuple[Effect, str]:
    try:
        now = run.reader.state(probe.key, probe.version)
    except ObjectMissing:
        return "done", "looked at afterwards, the version is gone"
    except StoreError as error:
        return "unknown", f"what protects the version now is not known: {error.what}"
    told = weaker(now)
    return ("done", f"looked at afterwards, {told}") if told else ("none", "looked at afterwards, it is as it was")


def _versioning(run: _Attack, status: str) -> None:
    if status == "off":
        run.skipped |= dict.fromkeys(("set_versioning", "suspend_versioning"), "the bucket keeps no versions")
        return
    # What it is set to already: nothing changes, and it shows whether the right is there.
    said = _try(lambda: run.weapons.set_versioning("Enabled" if status == "enabled" else "Suspended"))
    if said[0] == "accepted":
        seen: tuple[Effect, str] = ("done", f"it was set to {status}, which it is already: nothing was changed")
    elif said[0] == "refused":
        seen = ("none", "nothing was changed")
    else:
        seen = ("unknown", "whether the right is there is not known")
    _note(run, "set_versioning", said, seen, None)
    if not run.weapons.declared.attack_versioning:
        run.skipped["suspend_versioning"] = "not declared: `attack_versioning` is off"
    elif status != "enabled" or said[0] != "accepted":
        run.skipped["suspend_versioning"] = "there is nothing to suspend, or no right to do so"
    else:
        _suspend(run)


def _suspend(run: _Attack) -> None:
    """Suspends versioning, and enables it again whatever happens."""
    try:
        said = _try(lambda: run.weapons.set_versioning("Suspended"))
        try:
            now = run.reader.versioning()
            seen: tuple[Effect, str] = ("none", "versioning stays enabled")
            if now != "enabled":
                seen = ("done", f"versioning was {now} for a moment, and was enabled again")
        except StoreError as error:
            seen = ("unknown", f"whether versioning was suspended is not known: {error.what}")
    finally:
        run.harm = _enabled(run)
    _note(run, "suspend_versioning", said, seen, None)


def _enabled(run: _Attack) -> str:
    """Why versioning is not certainly enabled again; empty when it is. An interruption waits until then."""
    why = "it was not tried"
    interrupted: BaseException | None = None
    for _ in range(3):
        try:
            run.weapons.set_versioning("Enabled")
            why = "" if run.reader.versioning() == "enabled" else "the store accepted it, and did not do it"
        except StoreError as error:
            why = error.what
        except BaseException as error:  # noqa: BLE001 - raised below: first the bucket is put right
            interrupted, why = error, why or "it was interrupted"
        if not why:
            break
    bucket = run.weapons.declared.bucket
    harm = f"versioning of bucket {bucket} was suspended by this attack and is not certainly enabled again: {why}"
    if interrupted is not None:
        if why:
            raise SafetyError(harm, where=bucket, mend="enable it by hand now") from interrupted
        raise interrupted
    return harm if why else ""


def _clean_up(run: _Attack) -> Iterator[Leftover]:
    """Removes what was written, newest first, without bypassing anything; tells what stays, and why."""
    keys = dict.fromkeys(key for key, _ in run.made)
    for (key, version), marker in reversed(run.made.items()):
        if version is not None:
            yield from _removed(run, key, version, marker=marker)
    told = {key for key, version in run.made if version is not None}
    for key in keys:
        # Where no version is kept, and where an answer was lost: then it is not known which version was written.
        try:
            version = run.reader.state(key).version
        except ObjectMissing:
            continue
        except StoreError as error:
            if key not in told:
                yield Leftover(key, None, f"whether it was written is not known: {error.what}")
            continue
        if (key, version) not in run.made or version is None:
            yield from _removed(run, key, version, marker=False)


def _removed(run: _Attack, key: str, version: str | None, *, marker: bool) -> Iterator[Leftover]:
    why = ""
    try:
        run.weapons.remove(key, version)
    except ObjectMissing:
        return
    except StoreError as error:
        why = error.what
    if marker:
        # Nobody can look at a delete marker.
        if why:
            yield Leftover(key, version, f"a delete marker; {why}")
        return
    try:
        state = run.reader.state(key, version)
    except ObjectMissing:
        return
    except StoreError as error:
        yield Leftover(key, version, f"{why or 'its removal was accepted'}; whether it is gone: {error.what}")
        return
    stays = why or "its removal was accepted, and it is still there"
    yield Leftover(key, version, f"{stays}; under legal hold" if state.legal_hold else stays, state.retain_until)
