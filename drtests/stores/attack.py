"""The attack with the backup writer's own credentials: on probe objects that it wrote itself, and on nothing else."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from drtests.errors import ObjectMissing, SafetyError, StoreError
from drtests.model.units import utc_text
from drtests.protocols.store import Action, AttackReport, Attempt, Leftover, ObjectState
from drtests.stores.probes import Attack, Effect, Looks, Probe, Weapons, clean_up, fresh, intact, note, there, tried

MOST_REQUESTS = 80
"""An attack asks for less, reads and writes taken together; retries left aside."""
_SHORTENED = timedelta(minutes=5)


def attack(weapons: Weapons, reader: Looks) -> AttackReport:
    """Tries all that applies; whatever happens, cleans up as far as the store lets.

    An error that ends it is told in the report as `failed`, with what was
    left. Raises SafetyError, and what is no DrtestsError, after the clean-up.
    """
    run = Attack(weapons, reader)
    failed = mend = ""
    versioned: bool | None = None
    proved = False
    left: tuple[Leftover, ...] = ()
    try:
        versioned = _all(run)
        _control(run)
        proved = True
    except StoreError as error:
        failed, mend = error.what, error.mend
    finally:
        left = tuple(clean_up(run))
    attempts = tuple(run.attempts if proved else map(_unproved, run.attempts))
    return AttackReport(attempts, dict(run.skipped), failed, mend, left, run.first, versioned, run.harm)


def _control(run: Attack) -> None:
    """Writes one more probe. Raises StoreError when the writer cannot any more: since when, nobody knows."""
    try:
        fresh(run)
    except StoreError as error:
        raise type(error)(
            f"at the end the writer was not able to write any more: {error.what}", where=error.where, mend=error.mend
        ) from None


def _unproved(one: Attempt) -> Attempt:
    if one.answer != "refused":
        return one
    return replace(one, answer="unknown", told=f"{one.told}; afterwards the writer did not work: this proves nothing")


def _all(run: Attack) -> bool:
    versioning = run.reader.versioning()
    probe = fresh(run)
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


def _overwrite(run: Attack) -> None:
    probe = intact(run)

    def act() -> None:
        version = run.weapons.write_probe(probe.key, secrets.token_bytes(64))
        run.made[probe.key, version] = False

    said = tried(act)
    note(run, "overwrite", said, there(run, probe), probe)


def _delete(run: Attack) -> None:
    probe = intact(run)

    def act() -> None:
        marker = run.weapons.remove(probe.key, None)
        if marker is not None:
            run.made[probe.key, marker] = True

    said = tried(act)
    note(run, "delete", said, there(run, probe), probe)


def _delete_version(run: Attack, action: Action, *, bypass: bool) -> None:
    probe = intact(run)
    if bypass and probe.state.lock_mode is None:
        run.skipped[action] = "objects are written without retention"
        return
    said = tried(lambda: run.weapons.remove(probe.key, probe.version, bypass=bypass))
    note(run, action, said, there(run, probe), probe)


def _shorten(run: Attack, action: Action, *, bypass: bool) -> None:
    probe = intact(run)
    mode, until, version = probe.state.lock_mode, probe.state.retain_until, probe.version
    if mode is None or until is None or version is None:
        run.skipped[action] = "objects are written without retention"
        return
    left = until - datetime.now(UTC)
    sooner = datetime.now(UTC) + min(_SHORTENED, left / 2)
    said = tried(lambda: run.weapons.set_retention(probe.key, version, mode, sooner, bypass=bypass))
    seen = _seen(run, probe, lambda now: _weaker(now, until, mode))
    note(run, action, said, seen, probe)
    if seen[0] != "none":
        run.probe = None


def _weaker(now: ObjectState, until: datetime, mode: str) -> str:
    if now.lock_mode != mode:
        return f"its retention is {now.lock_mode or 'gone'} instead of {mode}"
    if now.retain_until is None or now.retain_until < until:
        ends = "nothing" if now.retain_until is None else utc_text(now.retain_until)
        return f"its retention ends at {ends} instead of {utc_text(until)}"
    return ""


def _release(run: Attack) -> None:
    probe = intact(run)
    version = probe.version
    if not probe.state.legal_hold or version is None:
        run.skipped["remove_legal_hold"] = "objects are written without a legal hold"
        return
    said = tried(lambda: run.weapons.release_hold(probe.key, version))
    note(run, "remove_legal_hold", said, _seen(run, probe, _released), probe)


def _released(now: ObjectState) -> str:
    return "" if now.legal_hold else "its legal hold is gone"


def _seen(run: Attack, probe: Probe, weaker: Callable[[ObjectState], str]) -> tuple[Effect, str]:
    try:
        now = run.reader.state(probe.key, probe.version)
    except ObjectMissing:
        return "done", "looked at afterwards, the version is gone"
    except StoreError as error:
        return "unknown", f"what protects the version now is not known: {error.what}"
    told = weaker(now)
    return ("done", f"looked at afterwards, {told}") if told else ("none", "looked at afterwards, it is as it was")


def _versioning(run: Attack, status: str) -> None:
    if status == "off":
        run.skipped |= dict.fromkeys(("set_versioning", "suspend_versioning"), "the bucket keeps no versions")
        return
    # What it is set to already: nothing changes, and it shows whether the right is there.
    said = tried(lambda: run.weapons.set_versioning("Enabled" if status == "enabled" else "Suspended"))
    if said[0] == "accepted":
        seen: tuple[Effect, str] = ("done", f"it was set to {status}, which it is already: nothing was changed")
    elif said[0] == "refused":
        seen = ("none", "nothing was changed")
    else:
        seen = ("unknown", "whether the right is there is not known")
    note(run, "set_versioning", said, seen, None)
    if not run.weapons.declared.attack_versioning:
        run.skipped["suspend_versioning"] = "not declared: `attack_versioning` is off"
    elif status != "enabled" or said[0] != "accepted":
        run.skipped["suspend_versioning"] = "there is nothing to suspend, or no right to do so"
    else:
        _suspend(run)


def _suspend(run: Attack) -> None:
    """Suspends versioning, and enables it again whatever happens."""
    try:
        said = tried(lambda: run.weapons.set_versioning("Suspended"))
        try:
            now = run.reader.versioning()
            seen: tuple[Effect, str] = ("none", "versioning stays enabled")
            if now != "enabled":
                seen = ("done", f"versioning was {now} for a moment, and was enabled again")
        except StoreError as error:
            seen = ("unknown", f"whether versioning was suspended is not known: {error.what}")
    finally:
        run.harm = _enabled(run)
    note(run, "suspend_versioning", said, seen, None)


def _enabled(run: Attack) -> str:
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
