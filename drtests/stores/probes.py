"""The probes of an attack: written, looked at, and cleaned up. Nothing else is ever touched."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

from drtests.errors import BudgetExceeded, ObjectMissing, StoreDenied, StoreError, StoreRefused
from drtests.model.connections import Store as Declared
from drtests.protocols.store import Action, Attempt, Leftover, ObjectState, Store, TellsState

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
class Probe:
    key: str
    data: bytes
    version: str | None
    state: ObjectState


@dataclass(slots=True)
class Attack:
    weapons: Weapons
    reader: Looks
    attempts: list[Attempt] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    made: dict[tuple[str, str | None], bool] = field(default_factory=dict)
    """All keys and versions that were written, in order, and whether each is a delete marker."""
    probe: Probe | None = None
    first: ObjectState | None = None
    harm: str = ""


def fresh(run: Attack) -> Probe:
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
    run.probe = Probe(key, data, version, state)
    return run.probe


def intact(run: Attack) -> Probe:
    """The probe if it is still there, else a new one."""
    probe = run.probe
    if probe is not None and there(run, probe)[0] == "none":
        return probe
    return fresh(run)


def there(run: Attack, probe: Probe) -> tuple[Effect, str]:
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


def tried(act: Callable[[], object]) -> tuple[Answer, str]:
    """Refused is only what the store itself refuses: expired credentials or a proxy's page would look as safe."""
    try:
        act()
    except BudgetExceeded:
        raise
    except StoreRefused as error:
        return "refused", error.what
    except StoreError as error:
        return "unknown", error.what
    return "accepted", ""


def note(run: Attack, action: Action, said: tuple[Answer, str], seen: tuple[Effect, str], probe: Probe | None) -> None:
    key, version = (probe.key, probe.version) if probe else ("", None)
    run.attempts.append(Attempt(action, said[0], said[1], seen[0], seen[1], key, version))


def clean_up(run: Attack) -> Iterator[Leftover]:
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


def _removed(run: Attack, key: str, version: str | None, *, marker: bool) -> Iterator[Leftover]:
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
