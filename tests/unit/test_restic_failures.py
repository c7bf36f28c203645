"""Which error it is: texts and exit codes that restic 0.14.0, 0.18.0 and 0.19.1 really ended with."""

from __future__ import annotations

import pytest

from drtests.engines.restic.failures import failure, unread
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

NO_CONFIG = "unable to open config file: stat nope/config: no such file or directory"
ASKS = "Is there a repository at the following location?"

CASES = [
    (1, "wrong password or no key found", WrongPassword),
    (12, "wrong password or no key found", WrongPassword),
    (12, "", WrongPassword),
    (1, f"{NO_CONFIG}; {ASKS}; nope", RepositoryMissing),
    (10, f"repository does not exist: {NO_CONFIG} {ASKS} nope", RepositoryMissing),
    (10, "something nobody has seen yet", RepositoryMissing),
    (11, "unable to create lock in backend: repository is already locked by PID 1", RepositoryLocked),
    (1, "unable to create lock in backend: repository is already locked exclusively by PID 1", RepositoryLocked),
    (1, 'invalid id "deadbeef12345678": no matching ID found for prefix "deadbeef12345678"', RecoveryPointMissing),
    (
        1,
        'failed to find snapshot: no matching ID found for prefix "deadbeef12345678"',
        RecoveryPointMissing,
    ),
    (1, "There were 1 errors; ignoring error for /src/a: ciphertext verification failed", RepositoryDamaged),
    (
        1,
        "There were 1 errors; decrypting blob <data/c2dd96c1> from 21feb936 failed: ciphertext verification failed",
        RepositoryDamaged,
    ),
    (
        1,
        "There were 5 errors; ReadFull(<data/5d88800c30>): open repo/data/5d/5d8880: no such file or directory",
        RepositoryDamaged,
    ),
    (
        1,
        "There were 4 errors; Load(<data/0367ca8749>, 3000297, 0) returned error, retrying after 552.330144ms: "
        "open repo/data/03/0367ca: no such file or directory",
        RepositoryDamaged,
    ),
    (1, "There were 5 errors; ReadFull(<data/d0e19b0457>): file is too short", RepositoryDamaged),
    (
        1,
        "There were 1 errors; Load(<data/09b0657d53>, 5243173, 0) returned error, retrying after 552.330144ms: "
        "ReadFull: unexpected EOF",
        RepositoryDamaged,
    ),
    (1, 'Get "https://s3.example.nl/b/data": unexpected EOF', RepositoryUnreachable),
    (1, "open /repo/keys: permission denied", RepositoryUnreachable),
    (1, "There were 1 errors; open /staging/etc/config: permission denied", EngineError),
    (1, "There were 2 errors; ignoring error for /: id 6fc3c3 not found in repository", RepositoryDamaged),
    (1, "There were 1 errors; write /small/big.bin: no space left on device", DiskFull),
    (1, "There were 1 errors; write /small/big.bin: disk quota exceeded", DiskFull),
    (
        1,
        f'unable to open config file: Stat: Head "http://127.0.0.1:1/b/": dial tcp 127.0.0.1:1: connect: connection '
        f"refused; {ASKS}",
        RepositoryUnreachable,
    ),
    (
        10,
        'repository does not exist: unable to open config file: Get "http://nas/": dial tcp: lookup nas: no such host',
        RepositoryUnreachable,
    ),
    (1, "unable to open config file: Stat: Access Denied.", RepositoryUnreachable),
    (1, "Load(<key/5d88800c30>, 0, 0): unexpected HTTP response (503): 503 Service Unavailable", RepositoryUnreachable),
    (1, "Load(<data/5d88800c30>, 1503 , 0): ciphertext verification failed", RepositoryDamaged),
    (130, "context canceled; signal terminated received, cleaning up", EngineKilled),
    (130, "", EngineKilled),
    (1, "signal terminated received; There were 5 errors; ReadFull(<data/677d>): file is too short", EngineKilled),
    (1, "unable to open config file: stat /srv/nas/config: permission denied", RepositoryUnreachable),
]


@pytest.mark.parametrize(("code", "told", "kind"), CASES)
def test_kind(code: int, told: str, kind: type[EngineError]) -> None:
    error = failure(code, told, "repository 'nas' (/srv/nas)", "restoring")
    assert type(error) is kind, error
    assert told in error.what
    assert "signal" in error.what or type(error) is not EngineKilled
    assert error.where == "repository 'nas' (/srv/nas)"
    assert error.mend


def test_every_kind_is_told_apart() -> None:
    """A table that gave all the same answer would be no table."""
    assert len({kind for _, _, kind in CASES}) == 9


def test_signal() -> None:
    error = failure(-9, "no space left on device", "repository", "restoring")
    assert type(error) is EngineKilled
    assert "signal 9 while restoring" in error.what


def test_what_nobody_has_seen_yet() -> None:
    error = failure(3, "the moon is full", "repository", "restoring")
    assert type(error) is EngineError
    assert "exit code 3" in error.what
    assert "the moon is full" in error.what
    assert "it said nothing" in failure(3, "", "repository", "restoring").what


def test_permanent_or_worth_another_try() -> None:
    assert not failure(1, "connection refused", "", "listing").permanent
    assert not failure(11, "", "", "listing").permanent
    assert failure(12, "", "", "listing").permanent


REFUSED_014 = (
    f"pack b2ac4d2a failed to download: StreamPack: open c/data/b2/{'b2ac4d2a' * 8}: permission denied",
    "Fatal: repository contains errors",
)
GONE_018 = (
    'download error: Get "http://127.0.0.1:9/data/63": dial tcp 127.0.0.1:9: connect: connection refused',
    "Fatal: repository contains errors",
)
BROKEN_018 = ("pack 21feb936 contains 2 errors: [blob c2dd96c1: ciphertext verification failed]",)


@pytest.mark.parametrize(("problems", "held_back"), [(REFUSED_014, 1), (GONE_018, 1), (BROKEN_018, 0), ((), 0)])
def test_storage_that_hands_nothing_out_is_not_damage(problems: tuple[str, ...], held_back: int) -> None:
    assert unread(problems) == problems[:held_back]


def test_proved_damage_is_damage_whatever_else_went_wrong() -> None:
    assert unread([*GONE_018, *BROKEN_018]) == ()
