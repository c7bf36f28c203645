"""Offsite drills: every clause of every judgement is turned red, one at a time."""

from __future__ import annotations

import gzip
import io
import os
import sqlite3
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from drtests.core import events as e
from drtests.core.events import Event
from drtests.core.fold import drill_record
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
from drtests.core.offsite.hole import Alone, judge_alone
from drtests.core.offsite.lies import key_prefix
from drtests.core.offsite.rule import PARTS
from drtests.core.offsite.score import Digit, Holding, judge_score, score
from drtests.core.plan import OFFSITE, DrillPlan
from drtests.model.connections import Store
from drtests.model.estate import Repository
from drtests.model.verdict import Verdict
from tests.support.journals import AT, check, met_drill, plan

MET, MISSED, INCONCLUSIVE = Verdict.MET, Verdict.MISSED, Verdict.INCONCLUSIVE


# The rule: all parts are demanded, and the worst counts.

PLAN: DrillPlan = plan(kind=OFFSITE)


def journal(**parts: str) -> list[Event]:
    """A drill in which all parts are MET but those that are named, which are left out when they are empty."""
    events = met_drill(PLAN)
    events[0] = Event(e.DRILL_STARTED, AT, 1.0, PLAN.id, {**events[0].data, "parts": list(PARTS)})
    told = []
    for number, kind in enumerate(PARTS):
        verdict = parts.get(kind.removeprefix("offsite."), "MET")
        if verdict:
            data = check(verdict, proves=False, kind=kind, title=kind)
            told.append(Event(e.CHECK_JUDGED, AT, 5000.0 + number, PLAN.id, data))
    return [*events[:-1], *told, events[-1]]


def test_all_parts_met_is_met() -> None:
    record = drill_record(PLAN, journal())
    assert record.verdict is MET, record.reasons
    # The parts come after the recovery, and are no part of its time.
    assert record.recovery_time is not None
    assert record.recovery_time.measured_seconds == pytest.approx(50.0)


@pytest.mark.parametrize("part", [kind.removeprefix("offsite.") for kind in PARTS])
@pytest.mark.parametrize(
    ("verdict", "wanted"), [("MISSED", MISSED), ("INCONCLUSIVE", INCONCLUSIVE), ("", INCONCLUSIVE)]
)
def test_no_part_may_fail_or_be_missing(part: str, verdict: str, wanted: Verdict) -> None:
    assert drill_record(PLAN, journal(**{part: verdict})).verdict is wanted


def test_a_further_part_that_was_announced_may_not_be_missing_either() -> None:
    events = journal()
    events[0] = Event(e.DRILL_STARTED, AT, 1.0, PLAN.id, {**events[0].data, "parts": [*PARTS, "offsite.bucket"]})
    assert drill_record(PLAN, events).verdict is INCONCLUSIVE


def test_a_part_is_no_check_of_the_system() -> None:
    """A system whose own checks never ran has not come back, whatever the parts say."""
    events = [one for one in journal() if one.type != e.CHECK_JUDGED or one.data["kind"].startswith("offsite.")]
    record = drill_record(PLAN, events)
    assert record.verdict is INCONCLUSIVE
    assert record.recovery_time is not None
    assert record.recovery_time.measured_seconds is None


def test_a_recovery_that_took_too_long_is_missed() -> None:
    assert drill_record(plan(kind=OFFSITE, rto=10.0), journal()).verdict is MISSED


# Encryption.


def _tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        entry = tarfile.TarInfo("name")
        entry.size = 4000
        archive.addfile(entry, io.BytesIO(os.urandom(4000)))
    return out.getvalue()


def _sqlite(path: Path) -> bytes:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE t (x)")
    database.close()
    return path.read_bytes()


def test_random_bytes_look_random() -> None:
    """Two thousand samples of every size: none is ever taken for something else."""
    for size in (100, 155, 1279, 1280, 4096, SAMPLE_BYTES):
        for _ in range(2000 if size < 5000 else 100):
            sample = look_at("pack", os.urandom(size), [b"students.csv"])
            assert sample.looks_like == "", sample


@pytest.mark.parametrize("name", ["text", "small text", "gzip", "gzip without magic", "tar", "sqlite", "pdf", "name"])
def test_what_is_not_encrypted_is_seen(name: str, tmp_path: Path) -> None:
    text = b"".join(b"student %06d, group %d\n" % (number, number % 7) for number in range(20000))
    packed = gzip.compress(text)
    data = {
        "text": text,
        "small text": text[:200],
        "gzip": packed,
        "gzip without magic": packed[10:],
        "tar": _tar(),
        "sqlite": _sqlite(tmp_path / "db"),
        "pdf": b"%PDF-1.7\n" + os.urandom(4000),
        "name": os.urandom(2000) + b"students.csv" + os.urandom(2000),
    }[name]
    assert look_at("pack", data[:SAMPLE_BYTES], [b"students.csv"]).looks_like, name


RANDOM = Sample("data/aa/1", 60000, 250.0, 0.37)
SEALED = Encryption(cipher="AES", wrong_password=REFUSED, samples=(RANDOM,))


@pytest.mark.parametrize(
    ("seen", "wanted"),
    [
        (SEALED, MET),
        (replace(SEALED, wrong_password=OPENED), MISSED),
        (replace(SEALED, cipher=""), MISSED),
        (replace(SEALED, samples=(RANDOM, replace(RANDOM, looks_like="gzip"))), MISSED),
        (replace(SEALED, wrong_password="no answer"), INCONCLUSIVE),
        (replace(SEALED, samples=(), unsampled="no way"), INCONCLUSIVE),
        (replace(SEALED, samples=(replace(RANDOM, chi_square=None, bytes=100),)), INCONCLUSIVE),
        # Encryption by the bucket is no proof.
        (Encryption(cipher="", wrong_password=REFUSED, samples=(RANDOM,), bucket="AES256"), MISSED),
    ],
)
def test_encryption(seen: Encryption, wanted: Verdict) -> None:
    judged = judge_encryption(seen)
    assert judged.verdict is wanted
    assert not seen.bucket or "no proof" in judged.reason


def test_plaintext_to_look_for_is_too_long_to_come_up_by_chance() -> None:
    assert known_plaintext(["/srv/a/students.csv", "/x/y"]) == (b"students.csv",)


# The restore.

ALONE = Alone(
    isolated=True, kit="away", program="kit", program_as_listed=True, keys="kit", checks=2, passed=2, seconds=10.0
)


@pytest.mark.parametrize(
    ("changed", "wanted"),
    [
        ({}, MET),
        ({"program": "host"}, INCONCLUSIVE),
        ({"unkept": ("password",)}, INCONCLUSIVE),
        ({"refused": "it was changed", "passed": 0}, MISSED),
        ({"refused": "it was changed", "passed": 0, "isolated": False}, MISSED),
        ({"isolated": False, "not_isolated": "no namespaces"}, INCONCLUSIVE),
        ({"missed": 1, "passed": 1}, MISSED),
        ({"passed": 1}, INCONCLUSIVE),
        ({"checks": 0, "passed": 0}, INCONCLUSIVE),
        ({"stopped": "wrong password"}, INCONCLUSIVE),
        ({"program_as_listed": False}, MISSED),
        ({"program_as_listed": None}, INCONCLUSIVE),
        ({"kit": ""}, INCONCLUSIVE),
        ({"keys": "declarations"}, INCONCLUSIVE),
    ],
)
def test_restore(changed: dict[str, Any], wanted: Verdict) -> None:
    assert judge_alone(replace(ALONE, **changed)).verdict is wanted


# The bucket that was attacked is the one that the repository lies in.


@pytest.mark.parametrize(
    ("location", "endpoint", "prefix", "found"),
    [
        ("s3:http://127.0.0.1:9000/backup/restic", "http://127.0.0.1:9000", "", "restic/"),
        ("s3:http://127.0.0.1:9000/backup", "http://127.0.0.1:9000", "", ""),
        ("s3:http://127.0.0.1:9000/backup/restic", "http://127.0.0.1:9000", "restic/", "restic/"),
        ("s3:http://127.0.0.1:9000/backup/restic", "http://127.0.0.1:9000", "other/", None),
        ("s3:http://127.0.0.1:9000/another", "http://127.0.0.1:9000", "", None),
        ("s3:http://127.0.0.1:9001/backup", "http://127.0.0.1:9000", "", None),
        ("s3:s3.eu-central-1.amazonaws.com/backup/x", None, "", "x/"),
        ("s3:https://s3.example/backup", None, "", None),
        ("/srv/restic", None, "", None),
    ],
)
def test_where_in_the_bucket_a_repository_lies(
    location: str, endpoint: str | None, prefix: str, found: str | None
) -> None:
    keys: Any = {"access_key": "env:A", "secret_key": "env:B"}
    store = Store(id="v", endpoint=endpoint, bucket="backup", prefix=prefix, reader=keys)
    assert key_prefix(Repository(id="r", location=location, password="env:A"), store) == found


def test_a_bucket_that_is_the_repository_lies_where_its_store_is() -> None:
    """As the how-to declares it, its location is for people."""
    keys: Any = {"access_key": "env:A", "secret_key": "env:B"}
    store = Store(id="v", endpoint="https://s3.example", bucket="uploads", prefix="live/", reader=keys)
    assert key_prefix(Repository(id="r", location="s3://uploads", engine="bucket"), store) == "live/"


# 3-2-1-1-0.

HELD = [Holding("nas", "disk", True), Holding("vault", "object", True)]


def digits(**changed: Any) -> tuple[Digit, ...]:
    given: dict[str, Any] = {
        "holdings": HELD,
        "separation": MET,
        "immutability": MET,
        "errors": {"restore": MET, "copy": MET},
    }
    return score(**given | changed)


@pytest.mark.parametrize(
    ("changed", "wanted", "met"),
    [
        ({}, MET, [True, True, True, True, True]),
        ({"holdings": HELD[1:]}, MISSED, [False, True, True, True, True]),
        ({"holdings": [replace(HELD[0], read=False), HELD[1]]}, MISSED, [False, True, True, True, True]),
        # What was only declared is not known.
        ({"holdings": [replace(HELD[0], read=None), HELD[1]]}, INCONCLUSIVE, [None, True, True, True, True]),
        ({"holdings": [HELD[0], replace(HELD[1], read=None)]}, INCONCLUSIVE, [None, None, True, True, True]),
        ({"holdings": [HELD[0], replace(HELD[1], media="disk")]}, MISSED, [True, False, True, True, True]),
        ({"holdings": [HELD[0], replace(HELD[1], media=None)]}, INCONCLUSIVE, [True, None, True, True, True]),
        ({"separation": MISSED}, MISSED, [True, True, False, True, True]),
        ({"separation": INCONCLUSIVE}, INCONCLUSIVE, [True, True, None, True, True]),
        ({"separation": None}, INCONCLUSIVE, [True, True, None, True, True]),
        ({"immutability": MISSED}, MISSED, [True, True, True, False, True]),
        ({"immutability": INCONCLUSIVE}, INCONCLUSIVE, [True, True, True, None, True]),
        ({"errors": {"restore": MISSED, "copy": MET}}, MISSED, [True, True, True, True, False]),
        ({"errors": {"restore": INCONCLUSIVE, "copy": MET}}, INCONCLUSIVE, [True, True, True, True, None]),
        ({"errors": {}}, INCONCLUSIVE, [True, True, True, True, None]),
    ],
)
def test_score(changed: dict[str, Any], wanted: Verdict, met: list[bool | None]) -> None:
    found = digits(**changed)
    assert [digit.met for digit in found] == met
    assert all(digit.evidence for digit in found)
    judged = judge_score(found)
    assert judged.verdict is wanted
    assert judged.reason


@pytest.mark.parametrize(
    ("changed", "basis"),
    [
        ({}, ["measured", "measured", "declared", "measured", "measured"]),
        ({"holdings": [HELD[0], replace(HELD[1], media="tape", media_declared=True)]},
         ["measured", "declared", "declared", "measured", "measured"]),
        ({"holdings": [replace(HELD[0], read=None), HELD[1]]},
         ["declared", "measured", "declared", "measured", "measured"]),
    ],
)  # fmt: skip
def test_each_digit_says_whether_it_is_measured_or_declared(changed: dict[str, Any], basis: list[str]) -> None:
    found = digits(**changed)
    assert [digit.data()["basis"] for digit in found] == basis
    assert "(measured: access keys; declared: the rest)" in digits(apart=("access keys",))[2].evidence
