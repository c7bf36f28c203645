"""Which error it is when restic fails: by exit code where releases have them (0.17 on), else by what it says."""

from __future__ import annotations

import re
from collections.abc import Iterable

from drtests.engines.restic.parse import SIGNAL
from drtests.errors import (
    DiskFull,
    EngineError,
    EngineKilled,
    RecoveryPointMissing,
    RepositoryDamaged,
    RepositoryLocked,
    RepositoryMissing,
    RepositoryUnreachable,
    WrongPassword,
)

Rule = tuple[type[EngineError], str, str, str]

_RULES: tuple[Rule, ...] = (
    (
        DiskFull,
        r"no space left on device|disk quota exceeded|file too large",
        "there is no room for what is restored",
        "make room in the staging, or move it to a larger disk; `drtests doctor` says how much is needed",
    ),
    (
        WrongPassword,
        r"wrong password or no key found|no key could be found",
        "no key of the repository opens with this password",
        "see that the reference under `password:` leads to the password of this repository",
    ),
    (
        RepositoryLocked,
        r"already locked|unable to create lock",
        "the repository is locked by somebody else",
        "wait until the other process is done; if it is gone, whoever owns the repository runs `restic unlock`",
    ),
    (
        RecoveryPointMissing,
        r"no matching id found|no snapshot found|failed to find snapshot",
        "there is no such recovery point",
        "see `drtests plan` for those there are",
    ),
    (
        RepositoryUnreachable,
        r"connection refused|no such host|i/o timeout|network is unreachable|no route to host|connection reset"
        r"|connection timed out|deadline exceeded|tls handshake|x509:|server misbehaving|broken pipe|slow ?down"
        r"|service unavailable|bad gateway|gateway time-?out|internal server error|500 internal"
        r"|(?<!readfull: )unexpected eof",
        "the storage that holds the repository does not answer",
        "see that it is up and can be reached from this host, then run again",
    ),
    (
        RepositoryUnreachable,
        r"access denied|accessdenied|forbidden|invalidaccesskeyid|signaturedoesnotmatch|access key id you provided"
        r"|open config file:.*permission denied"
        r"|/(keys|index|snapshots|data/[0-9a-f]{2})(/[0-9a-f]{64})?: permission denied",
        "the storage refuses access to the repository",
        "see the keys under `environment:`, and the rights of the user that runs drtests",
    ),
    (
        RepositoryDamaged,
        r"ciphertext verification failed|does not match|invalid data returned|blob not found"
        r"|not found in (index|repository)|file is too short|readfull: unexpected eof"
        r"|load.*data/.*no such file|readfull.*no such file|streampack.*no such file|unable to load tree"
        r"|data/.*(does not exist|no such file)|index/.*no such file|snapshots/.*no such file",
        "data is missing from the repository, or is damaged",
        "do not rely on this repository: read it back with `restic check --read-data`, and restore from another copy",
    ),
    (
        RepositoryMissing,
        r"repository does not exist|is there a repository at the following location|unable to open config file",
        "there is no repository at the declared location",
        "see `location:`, and that what it is stored on is mounted",
    ),
)

_INTERRUPTED = 130
"""How restic ends when it is asked to by SIGINT, newer releases also by SIGTERM, and nothing failed before."""

_CODES: dict[int, type[EngineError]] = {10: RepositoryMissing, 11: RepositoryLocked, 12: WrongPassword}


def failure(exit_code: int, told: str, where: str, doing: str) -> EngineError:
    """The error that fits. `told` is restic's own explanation, already on one line."""
    if exit_code < 0:
        return EngineKilled(
            f"restic was killed by signal {-exit_code} while {doing}",
            where=where,
            mend="see who did that: a person, or the kernel when memory ran out (`dmesg`); then run again",
        )
    if exit_code == _INTERRUPTED or SIGNAL.match(told):
        return EngineKilled(
            f"restic was told to stop while {doing} ({told or 'by a signal'})",
            where=where,
            mend="see who did that: a person, or a machine that shuts down; then run again",
        )
    coded = _CODES.get(exit_code)
    for kind, pattern, what, mend in _RULES:
        # A missing repository behind a refused connection is an unreachable one, whatever the code says.
        if re.search(pattern, told, re.IGNORECASE) and (coded in (None, kind) or kind is RepositoryUnreachable):
            return kind(f"{what} ({told})", where=where, mend=mend)
    if coded is not None:
        what, mend = next((rule[2], rule[3]) for rule in _RULES if rule[0] is coded)
        return coded(f"{what} ({told})", where=where, mend=mend)
    return EngineError(
        f"restic failed with exit code {exit_code} while {doing}: {told or 'it said nothing'}",
        where=where,
        mend="run the command, which the report shows, by hand",
    )


def unread(problems: Iterable[str]) -> tuple[str, ...]:
    """Of what a check complains about, what tells of storage that did not hand out data, when none tells of damage.

    restic calls both an error in the repository; only one of them is.
    """
    told = tuple(problems)
    if any(_tells(RepositoryDamaged, one) for one in told):
        return ()
    return tuple(one for one in told if _tells(RepositoryUnreachable, one))


def _tells(kind: type[EngineError], text: str) -> bool:
    return any(rule[0] is kind and re.search(rule[1], text, re.IGNORECASE) for rule in _RULES)
