"""The one tree of errors. Each tells what happened, where, and how to mend it.

`permanent` says whether trying again could help: retry wrappers look at
nothing else. Exit codes are those of a drtests run (see `EXIT_*`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

EXIT_MET = 0
EXIT_MISSED = 1
EXIT_INCONCLUSIVE = 2
EXIT_INTERNAL = 3
EXIT_USAGE = 4
EXIT_NOTHING_RAN = 5


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One thing that is wrong: what, where (`file:line` or a place in words), and the mend."""

    what: str
    where: str = ""
    mend: str = ""

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}\n    mend: {self.mend}" if self.mend else head


class DrtestsError(Exception):
    """Root of all errors this package raises on purpose."""

    permanent = True

    def __init__(self, what: str, *, where: str = "", mend: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.mend = mend

    def diagnostics(self) -> Sequence[Diagnostic]:
        """What happened, where, and how to mend it; at least one."""
        return (Diagnostic(self.what, self.where, self.mend),)


class ConfigurationError(DrtestsError):
    """Declarations or options that cannot be used; carries every problem found, not the first."""

    def __init__(self, problems: Sequence[Diagnostic]) -> None:
        count = len(problems)
        super().__init__(f"{count} problem{'s' if count != 1 else ''} in the declarations")
        self.problems = tuple(problems)

    def diagnostics(self) -> Sequence[Diagnostic]:
        return self.problems


class UsageError(DrtestsError):
    """The command line asks for something that cannot be done."""


class SafetyError(DrtestsError):
    """Going on could harm production; refused before anything was touched."""


class SecretError(DrtestsError):
    """A secret's reference could not be resolved. Never carries the secret."""


class PackError(DrtestsError):
    """An evidence pack is missing, unreadable or not what its manifest says."""


class HostError(DrtestsError):
    """A host did not do what it was asked."""


class CommandNotFound(HostError):
    """The program is not installed on the host."""


class CommandTimeout(HostError):
    """The command did not end in time; its whole process group was killed."""


class HostBusy(HostError):
    """Somebody else holds the lock that was asked for."""


class HostUnreachable(HostError):
    """The host did not answer."""

    permanent = False


class EngineError(DrtestsError):
    """A backup engine failed in a way it did not explain better."""


class EngineMissing(EngineError):
    """The engine's program is not installed on the host."""


class EngineTooOld(EngineError):
    """The engine's program is older than the oldest release that is supported."""


class WrongPassword(EngineError):
    """The repository exists, but no key opens with this password."""


class RepositoryMissing(EngineError):
    """There is no repository at the declared location."""


class RepositoryLocked(EngineError):
    """Another process holds a lock that makes reading unsafe."""

    permanent = False


class RepositoryUnreachable(EngineError):
    """The storage that holds the repository did not answer."""

    permanent = False


class RepositoryDamaged(EngineError):
    """Data is missing from the repository, or does not match its hash."""


class RecoveryPointMissing(EngineError):
    """No recovery point fits the selection."""


class DiskFull(EngineError):
    """The destination has no room for what is restored."""


class EngineTimeout(EngineError):
    """The engine did not end in time and was killed."""


class EngineKilled(EngineError):
    """The engine was ended by a signal that drtests did not send."""


class DatabaseError(DrtestsError):
    """A database did not do what it was asked, in a way it did not explain better."""


class DatabaseMissing(DatabaseError):
    """A program of the database, or of a release that fits the data, is not installed on the host."""


class DatabaseUnreachable(DatabaseError):
    """Nothing answers where the database should be."""

    permanent = False


class DatabaseRefused(DatabaseError):
    """The database answers, and refuses: the login, the right to read, or the right to write."""


class DatabaseDamaged(DatabaseError):
    """What should be a database, a dump or a log of one cannot be read as such."""


class StoreError(DrtestsError):
    """An object store did not do what it was asked, in a way it did not explain better."""


class StoreUnreachable(StoreError):
    """Nothing answers at the store's address, or the answer broke off."""

    permanent = False


class StoreThrottled(StoreError):
    """The store asks to slow down."""

    permanent = False


class StoreDenied(StoreError):
    """The store knows who asks, and refuses; or does not accept the credentials."""


class StoreRefused(StoreDenied):
    """The store knows who asks, and says itself that this is not allowed: by rights, or by an object lock."""


class ObjectMissing(StoreError):
    """There is no such bucket, object or version."""


class ObjectDamaged(StoreError):
    """What was read of an object is not what the store says it holds."""


class StoreUnversioned(StoreError):
    """The bucket keeps no versions, so only its present state can be had."""


class ProbesLeft(StoreError):
    """Probe objects that a drill wrote could not be removed again, and nothing else will remove them."""


class BudgetExceeded(StoreError):
    """Going on would cost more than was declared; stopped before it did."""


class MarkersLeft(DrtestsError):
    """What a drill wrote at the source of a replication could not be removed again."""
