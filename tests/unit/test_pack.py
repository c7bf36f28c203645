"""Packs: written whole, the same every time; every kind of sabotage is found."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest

from drtests.core.fold import fold
from drtests.errors import PackError
from drtests.evidence.index import write_index
from drtests.evidence.pack import PackReport, packs, read_journals, read_record, verify_pack, write_pack
from drtests.evidence.reporters import REPORTERS
from drtests.model.record import Record
from tests.support.records import RUN, sample_pack


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    return sample_pack(tmp_path)


def verified(pack: Path) -> PackReport:
    return verify_pack(pack, fold)


def tree(pack: Path) -> dict[str, bytes]:
    return {path.relative_to(pack).as_posix(): path.read_bytes() for path in pack.rglob("*") if path.is_file()}


@pytest.mark.parametrize("finished", [True, False])
def test_a_pack_as_written_is_intact_even_of_a_run_that_was_cut_off(tmp_path: Path, finished: bool) -> None:
    report = verified(sample_pack(tmp_path, finished=finished))
    assert report == PackReport((), (), (), ())
    assert report.intact


def test_writing_again_gives_the_same_bytes_and_takes_away_what_a_killed_writer_left(pack: Path) -> None:
    before = tree(pack)
    (pack / ".drtests-new-abc").write_bytes(b"half")
    write_pack(pack, fold(read_journals(pack)), REPORTERS)
    assert tree(pack) == before
    assert read_record(pack).run.id == RUN


def test_everybody_can_check_the_sums_without_this_package(pack: Path) -> None:
    argv = ["sha256sum", "-c", "--strict", "--quiet", "SHA256SUMS"]
    assert subprocess.run(argv, cwd=pack, check=False, timeout=30).returncode == 0
    (pack / "junit.xml").write_bytes(b"other")
    spoiled = subprocess.run(argv, cwd=pack, check=False, timeout=30, capture_output=True)
    assert spoiled.returncode == 1


def change_byte(pack: Path) -> None:
    data = bytearray((pack / "report.html").read_bytes())
    data[len(data) // 2] ^= 1
    (pack / "report.html").write_bytes(data)


def edit_journal(pack: Path) -> None:
    journal = pack / "journal" / "main.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b'"seconds":1911.2', b'"seconds":11.2'))


def replace_by_link(pack: Path) -> None:
    (pack / "junit.xml").rename(pack.parent / "elsewhere")
    (pack / "junit.xml").symlink_to(pack.parent / "elsewhere")


def link_folder(pack: Path) -> None:
    (pack.parent / "other").mkdir()
    (pack / "more").symlink_to(pack.parent / "other")


def edit_record_and_sign_anew(pack: Path) -> None:
    record = pack / "record.json"
    record.write_text(record.read_text(encoding="utf-8").replace("MISSED", "MET"), encoding="utf-8")
    remake(pack)


def cut_journal_and_sign_anew(pack: Path) -> None:
    journal = pack / "journal" / "main.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:5] + lines[6:]))
    write_pack(pack, fold(read_journals(pack)), REPORTERS)


def remake(pack: Path) -> None:
    class Nothing:
        filename: ClassVar[str] = "record.json"

        def render(self, record: Record) -> bytes:
            return (pack / "record.json").read_bytes()

    write_pack(pack, fold(read_journals(pack)), [Nothing()])


def lie_in_sums(pack: Path) -> None:
    sums = pack / "SHA256SUMS"
    sums.write_text(sums.read_text(encoding="utf-8").replace("junit.xml", "junit.xmL"), encoding="utf-8")


def escape(pack: Path) -> None:
    outside = pack.parent / "outside"
    outside.write_bytes(b"x")
    manifest = json.loads((pack / "manifest.json").read_bytes())
    digest = hashlib.sha256(b"x").hexdigest()
    manifest["files"].append({"path": "../outside", "sha256": digest, "bytes": 1})
    (pack / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


@pytest.mark.parametrize(
    ("sabotage", "field", "told"),
    [
        (change_byte, "changed", "report.html"),
        (lambda pack: (pack / "journal" / "extra.txt").write_bytes(b""), "added", "journal/extra.txt"),
        (lambda pack: (pack / "actions.json").unlink(), "missing", "actions.json"),
        (edit_journal, "changed", "journal/main.jsonl"),
        (edit_journal, "problems", "journal/main.jsonl: line"),
        (cut_journal_and_sign_anew, "problems", "journal/main.jsonl: line 6"),
        (replace_by_link, "problems", "junit.xml is a link"),
        (link_folder, "problems", "more is a link"),
        (edit_record_and_sign_anew, "problems", "record.json does not follow from the journals"),
        (lie_in_sums, "problems", "SHA256SUMS does not agree"),
        (lambda pack: (pack / "SHA256SUMS").unlink(), "problems", "SHA256SUMS is missing"),
        (lambda pack: (pack / "manifest.json").unlink(), "problems", "manifest.json is missing"),
        (lambda pack: (pack / "manifest.json").write_text("[]"), "problems", "manifest.json cannot be read"),
        (lambda pack: (pack / "manifest.json").write_bytes(b"\xff"), "problems", "manifest.json cannot be read"),
        (escape, "problems", "../outside, which is not in the pack"),
        (lambda pack: shutil.rmtree(pack / "journal"), "problems", "there is no journal"),
        (lambda pack: (pack / "record.json").unlink(), "missing", "record.json"),
    ],
)
def test_sabotage_is_found(pack: Path, sabotage: Callable[[Path], object], field: str, told: str) -> None:
    sabotage(pack)
    report = verified(pack)
    assert not report.intact
    assert any(told in line for line in getattr(report, field)), report


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "not JSON"),
        ("[]", "no record"),
        ('{"schema_name": "drtests-record", "schema_version": 2}', "schema version 2"),
        ('{"schema_name": "drtests-record", "schema_version": 1}', "damaged at run"),
    ],
)
def test_a_record_that_is_none_is_refused_with_what_to_do(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "record.json").write_text(text, encoding="utf-8")
    with pytest.raises(PackError, match=told) as caught:
        read_record(tmp_path)
    assert caught.value.mend
    assert caught.value.where


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(PackError, match="cannot be read"):
        read_record(tmp_path)
    with pytest.raises(PackError, match="no journal"):
        read_journals(tmp_path)
    with pytest.raises(PackError, match="no such pack"):
        verified(tmp_path / "none")
    assert packs(tmp_path / "none") == []


def test_the_list_of_packs_has_the_newest_first_and_those_that_cannot_be_read(pack: Path) -> None:
    reports = pack.parent
    shutil.copytree(pack, reports / "20260401T030000Z-aaaa")
    (reports / "20260401T030000Z-bbbb" / "journal").mkdir(parents=True)
    (reports / "not-a-pack").mkdir()
    assert [path.name for path in packs(reports)] == [RUN, "20260401T030000Z-aaaa", "20260401T030000Z-bbbb"]
    write_index(reports)
    page = (reports / "index.html").read_text(encoding="utf-8")
    assert page.index("-bbbb") < page.index("-aaaa") < page.index(RUN)
    assert "not readable" in page
    assert "not-a-pack" not in page
