"""What restic really printed (0.14.0, 0.18.0, 0.19.1), read."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from drtests.engines.restic import parse
from drtests.errors import EngineError
from drtests.protocols.engine import Progress, Statistics

CHECK_014 = """\
load indexes
check all packs
check snapshots, trees and blobs
[0:00] 100.00%  1 / 1 snapshots

read group #2 of 2 data packs (out of total 2 packs in 2 groups)
Pack ID does not match, want 0367ca87, got 4d94bdf0
[0:00] 100.00%  2 / 2 packs

"""
CHECK_018 = """\
load indexes
check all packs
check snapshots, trees and blobs
[0:00] 100.00%  1 / 1 snapshots
read group #2 of 1 data packs (out of total 2 packs in 2 groups)
pack 21feb936 contains 2 errors: [blob c2dd96c1: decrypting blob <data/c2dd96c1> from 21feb936 failed: ciphertext \
verification failed unexpected pack id ae659728]
[0:00] 100.00%  1 / 1 packs
"""
ADVICE_018 = """\

The repository contains damaged pack files. These damaged files must be removed to repair the repository. This can be \
done using the following commands. Please read the troubleshooting guide at \
https://restic.readthedocs.io/en/stable/077_troubleshooting.html first.

restic repair packs 21feb936
restic repair snapshots --forget

Damaged pack files can be caused by backend problems, hardware problems or bugs in restic. Please open an issue at \
https://github.com/restic/restic/issues/new/choose for further troubleshooting!
Fatal: repository contains errors
"""
EMPTY_GROUP_014 = """\
load indexes
check all packs
pack cde49342: does not exist
check snapshots, trees and blobs
[0:00] 100.00%  1 / 1 snapshots

read group #1 of 0 data packs (out of total 2 packs in 2 groups)
[0:00]          0 packs

"""
GOOD_019 = """\
load indexes
check all packs
check snapshots, trees and blobs
[0:00] 100.00%  1 / 1 snapshots
read group #1 of 1 data packs (out of total 2 packs in 2 groups
[0:00] 100.00%  1 / 1 packs
no errors were found
"""
GOOD_ALL = """\
check snapshots, trees and blobs
[0:00] 100.00%  1 / 1 snapshots
read all data
[0:00] 100.00%  2 / 2 packs
no errors were found
"""


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("restic 0.14.0 compiled with go1.19.8 on linux/amd64\n", (0, 14, 0)),
        ("restic 0.19.1 compiled with go1.26.4 on linux/amd64\n", (0, 19, 1)),
        ("restic 0.18.0-dev (compiled manually) compiled with go1.24\n", (0, 18, 0)),
        ("restic 1.0 compiled", (1, 0, 0)),
        ("rustic 0.9.0", None),
        ("", None),
    ],
)
def test_version(text: str, version: parse.Version | None) -> None:
    assert parse.version_of(text) == version


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-23T17:53:05.685788962Z", datetime(2026, 11, 23, 17, 53, 5, 685788, tzinfo=UTC)),
        ("2026-11-23T17:54:14.91260911Z", datetime(2026, 11, 23, 17, 54, 14, 912609, tzinfo=UTC)),
        ("2026-11-23T17:54:14.5Z", datetime(2026, 11, 23, 17, 54, 14, 500000, tzinfo=UTC)),
        ("2026-11-23T17:54:14Z", datetime(2026, 11, 23, 17, 54, 14, tzinfo=UTC)),
        (
            "2026-06-01T10:00:00.000000001+05:30",
            datetime(2026, 6, 1, 10, tzinfo=timezone(timedelta(hours=5, minutes=30))),
        ),
    ],
)
def test_times(text: str, moment: datetime) -> None:
    assert parse.time_of(text) == moment


def test_points_oldest_first_by_moment_not_by_text() -> None:
    later = {"id": "b" * 64, "time": "2026-06-01T09:00:00Z", "hostname": "h1", "paths": ["/srv"], "tags": ["a", "b"]}
    earlier = {"id": "a" * 64, "time": "2026-06-01T10:00:00.123456789+05:30", "hostname": "h1", "paths": ["/srv"]}
    found = parse.points_of(json.dumps([later, earlier]))
    assert [point.id[0] for point in found] == ["a", "b"]
    assert found[0].tags == ()
    assert found[1].tags == ("a", "b")
    assert found[1].paths == ("/srv",)


def test_no_points() -> None:
    assert parse.points_of("[]") == []
    assert parse.points_of("null") == []


@pytest.mark.parametrize("text", ["", "Fatal", '[{"id": "x"}]', '[{"id": "x", "time": "yesterday"}]', "[1]"])
def test_a_list_that_cannot_be_read(text: str) -> None:
    with pytest.raises(EngineError) as caught:
        parse.points_of(text)
    assert caught.value.mend


def test_statistics() -> None:
    text = '{"total_size":3000100,"total_file_count":3,"snapshots_count":1}\n'
    assert parse.statistics_of(text) == Statistics(3000100, 3)


@pytest.mark.parametrize(
    "text",
    ['{"total_size":0,"total_file_count":0,"snapshots_count":0}', '{"total_size":0,"snapshots_count":0}'],
)
def test_statistics_of_a_snapshot_that_was_skipped(text: str) -> None:
    assert parse.statistics_of(text) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"total_size": "many"}'])
def test_statistics_that_cannot_be_read(text: str) -> None:
    with pytest.raises(EngineError):
        parse.statistics_of(text)


def test_progress() -> None:
    line = '{"message_type":"status","percent_done":0.5,"total_files":3,"total_bytes":200,"bytes_restored":100}'
    assert parse.progress_of(line) == Progress(100, 200, "measured")
    assert parse.progress_of('{"message_type":"status","percent_done":0}') == Progress(0, None, "measured")
    assert parse.progress_of('{"message_type":"summary","total_bytes":200}') is None
    assert parse.progress_of("restoring <Snapshot 95b670e5>") is None
    assert parse.progress_of("{torn") is None


RETRIED = "Load(<data/0367ca8749>, 3000297, 0) returned error, retrying after 552.330144ms: connection refused\n"


@pytest.mark.parametrize(
    ("stdout", "stderr", "wrong"),
    [
        ("", "ignoring error for /src/a: ciphertext verification failed\n", True),
        ("", "Fatal: There were 1 errors\n", True),
        ("", '{"message_type":"error","error":{"message":"x"},"item":"/src/a"}\n', True),
        ('{"message_type":"error","error":{"message":"x"},"item":"/src/a"}\n', "", True),
        ('{"message_type":"status","percent_done":1}\n{"message_type":"summary"}\n', RETRIED, False),
        ("restoring <Snapshot 95b670e5 of [/srv/There were, ignoring error]> to out\n", "", False),
    ],
)
def test_any_error_counts(stdout: str, stderr: str, wrong: bool) -> None:
    assert parse.tells_error(stdout, stderr) is wrong


def test_what_was_tried_again_is_no_damage() -> None:
    last = "Fatal: repository contains errors"
    assert parse.damage_of("", f"{RETRIED}{last}\n") == (last,)


def test_explanation_of_text() -> None:
    said = (
        "ignoring error for /src/a: ciphertext verification failed\n"
        "ignoring error for /src/a: ciphertext verification failed\n"
        "Fatal: There were 2 errors\n\n"
    )
    told = parse.explanation("restoring <Snapshot 95b670e5> to out2\n", said)
    assert told == "There were 2 errors; ignoring error for /src/a: ciphertext verification failed"


def test_explanation_of_json() -> None:
    said = (
        '{"message_type":"error","error":{"message":"ciphertext verification failed"},"item":"/src/a"}\n'
        '{"message_type":"exit_error","code":1,"message":"Fatal: There were 1 errors\\n"}\n'
    )
    assert parse.explanation("", said) == "There were 1 errors; ciphertext verification failed"


def test_explanation_tells_of_a_signal_first() -> None:
    said = (
        "\x1b[2Ksignal terminated received, cleaning up\n"
        '{"message_type":"exit_error","code":130,"message":"context canceled"}\n'
    )
    assert parse.explanation("", "a\nb\nc\nd\n" + said).startswith("signal terminated received; context canceled; a")


def test_explanation_is_one_short_line() -> None:
    said = "Fatal: unable to open config file: stat nope/config\nIs there a repository at the following location?\n"
    told = parse.explanation("", said + "x" * 5000)
    assert "\n" not in told
    assert len(told) <= 600
    assert "Is there a repository" in told
    assert parse.explanation("", "") == ""


@pytest.mark.parametrize(
    ("stdout", "stderr", "problem"),
    [
        (CHECK_014, "Fatal: repository contains errors\n", "Pack ID does not match, want 0367ca87, got 4d94bdf0"),
        (CHECK_018, ADVICE_018, "pack 21feb936 contains 2 errors"),
        ("", CHECK_018 + ADVICE_018, "pack 21feb936 contains 2 errors"),
        (EMPTY_GROUP_014, "Fatal: repository contains errors\n", "pack cde49342: does not exist"),
    ],
)
def test_damage(stdout: str, stderr: str, problem: str) -> None:
    found = parse.damage_of(stdout, stderr)
    assert any(line.startswith(problem) for line in found), found
    text = "\n".join(found)
    assert "restic repair" not in text
    assert "https:" not in text
    assert "load indexes" not in text
    assert "[0:00]" not in text


@pytest.mark.parametrize("text", [GOOD_019, GOOD_ALL])
def test_no_damage(text: str) -> None:
    assert parse.damage_of(text, "") == ()


@pytest.mark.parametrize(
    ("stdout", "total", "packs"),
    [
        (CHECK_014, False, (2, 2)),
        (CHECK_018, False, (1, 2)),
        (GOOD_019, False, (1, 2)),
        (EMPTY_GROUP_014, False, (0, 2)),
        (GOOD_ALL, True, (2, 2)),
        ("load indexes\n", True, (None, None)),
        ("load indexes\n", False, (None, None)),
    ],
)
def test_packs(stdout: str, total: bool, packs: tuple[int | None, int | None]) -> None:
    assert parse.packs_of(stdout, total) == packs
