"""The forms of the evidence: they hold what the record holds and need nothing from outside."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from drtests.evidence.html_reporter import HtmlReporter
from drtests.evidence.json_reporter import ActionsReporter
from drtests.evidence.junit_reporter import JUnitReporter
from drtests.evidence.reference import render_reference
from drtests.evidence.reporters import REPORTERS
from drtests.model.record import Record
from tests.support.records import CLOSES, EARLIER, RUN, SCRIPT, sample_record

ROOT = Path(__file__).parents[2]


class Page(HTMLParser):
    """Tags with their attributes, and all text outside style."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def html(record: Record) -> str:
    return HtmlReporter().render(record).decode()


def suites(record: Record) -> dict[str, ET.Element]:
    root = ET.fromstring(JUnitReporter().render(record))  # noqa: S314 - made right here
    return {suite.attrib["name"]: suite for suite in root.iter("testsuite")}


def properties(suite: ET.Element) -> dict[str, str]:
    return {item.attrib["name"]: item.attrib["value"] for item in suite.iter("property")}


@pytest.mark.parametrize("finished", [True, False])
def test_the_same_record_gives_the_same_bytes(finished: bool) -> None:
    for reporter in REPORTERS:
        assert reporter.render(sample_record(finished=finished)) == reporter.render(sample_record(finished=finished))


def test_the_page_asks_nothing_of_anybody_and_runs_nothing() -> None:
    source = html(sample_record())
    page = Page(source)
    assert not {"script", "link", "img", "iframe", "form"} & {tag for tag, _ in page.tags}
    assert not re.search(r"https?://|@import|url\((?!#)", source)
    assert not [attrs for _, attrs in page.tags for name in attrs if name.startswith("on")]
    for tag, attrs in page.tags:
        if tag == "a":
            assert (attrs["href"] or "").startswith("#")
    policy = [attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy[0] is not None
    assert policy[0].startswith("default-src 'none'")


def test_names_from_outside_are_text_and_never_markup() -> None:
    source = html(sample_record())
    assert SCRIPT not in source
    assert SCRIPT in Page(source).text


def test_the_summary_comes_before_the_details_and_links_lead_somewhere() -> None:
    page = Page(html(sample_record()))
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    order = ["summary", "findings", "untested", "drills", "drill-1", "actions", "environment", "verify"]
    assert [name for name in ids if name in order] == order
    assert {attrs["href"] for tag, attrs in page.tags if tag == "a"} <= {f"#{name}" for name in ids}


def test_numbers_name_their_basis_and_times_their_zone() -> None:
    text = Page(html(sample_record())).text
    assert "1h2m: 37m39s measured + 25m declared" in text
    assert "2026-03-01 04:00:00 CET" in text
    assert "2026-03-01 03:00:00 UTC" in text
    assert "45.0 GiB (measured)" in text
    assert "218,334 (measured)" in text
    assert "4m, measured; not part of the recovery time" in text
    assert "not proved: no marker was read" in text


def test_actions_are_open_overdue_or_closed_as_of_the_end_of_the_run() -> None:
    text = Page(html(sample_record())).text
    late, opened = text.index("Overdue (1)"), text.index("Open (4)")
    closed, before = text.index("Closed by this run (1)"), text.index("Closed by earlier runs (1)")
    assert late < text.index("mail::restore") < opened < closed < before
    assert f"by run {RUN}" in text[closed:before]
    assert CLOSES in text[closed:before]
    assert f"found 2026-02-01 04:00:00 CET by run {EARLIER}" in text[opened:closed]
    assert "recurring: seen in 2 runs" in text[opened:closed]


def test_what_was_not_tested_is_said() -> None:
    text = Page(html(sample_record(finished=False))).text
    assert "This run was interrupted." in text
    part = text[text.index("What was not tested") : text.index("Every drill")]
    assert re.search(r"Mail: not selected for this run", part)
    assert re.search(r"Library: restore: planned, but never started", part)
    assert re.search(r"Timetable: restore: interrupted before its end", part)
    assert "This run was interrupted." not in Page(html(sample_record())).text


def test_every_chart_can_be_read_aloud_and_stays_within_its_frame() -> None:
    source = html(sample_record())
    charts = re.findall(r'<svg class="chart".*?</svg>', source, re.DOTALL)
    assert len(charts) >= len(sample_record().drills)
    for chart in charts:
        root = ET.fromstring(chart)  # noqa: S314 - made right here
        assert root.findtext("title")
        assert root.findtext("desc")
        for rect in root.iter("rect"):
            x, width = (float(rect.attrib[name].rstrip("%")) for name in ("x", "width"))
            assert 0 <= x <= x + width <= 100.01


def test_junit_holds_a_suite_a_drill_with_its_numbers() -> None:
    record = sample_record()
    found = suites(record)
    assert list(found) == [drill.id for drill in record.drills]
    told = properties(found["file-share::restore"])
    assert told["verdict"] == "MISSED"
    assert (told["rto_objective_seconds"], told["rto_actual_seconds"]) == ("3600", "5589.000")
    assert told["rto_margin_seconds"] == "-1989.000"
    assert (told["owner"], told["controls"]) == ("mee", "BC.02 BC.03")
    assert told["data_loss_recovery_point_age_seconds"] == "18000.000"
    assert told["recovery_point"].startswith("9c41e07b")
    assert properties(found["student-records::restore"])["data_loss_proved_seconds"] == "18480.000"


def test_junit_tells_a_miss_from_not_knowing_and_both_from_success() -> None:
    found = suites(sample_record())

    def verdict(drill: str) -> list[str]:
        return [part.tag for case in found[drill].iter("testcase") if case.attrib["name"] == "verdict" for part in case]

    assert verdict("file-share::restore") == ["failure"]
    assert verdict("website::restore") == ["error"]
    assert verdict("student-records::restore") == []
    assert len(list(found["student-records::restore"].iter("testcase"))) == 3


def test_junit_survives_what_xml_cannot_hold() -> None:
    record = sample_record()
    drill = record.drills[0].model_copy(update={"reasons": ("bell \x07, half \ud800, end \uffff",), "id": "a\x00b"})
    found = suites(record.model_copy(update={"drills": (drill,)}))
    assert list(found) == ["a?b"]
    failure = next(found["a?b"].iter("failure"))
    assert failure.attrib["message"] == "bell ?, half ?, end ?"


def test_actions_json_holds_every_action() -> None:
    record = sample_record()
    found = json.loads(ActionsReporter().render(record))
    assert (found["schema"], found["schema_version"], found["run"]) == ("drtests-actions", 1, RUN)
    assert [item["id"] for item in found["actions"]] == [item.id for item in record.actions]
    assert {item["status"] for item in found["actions"]} == {"open", "closed"}


def test_an_unknown_time_zone_leaves_utc() -> None:
    record = sample_record()
    text = Page(html(record.model_copy(update={"run": record.run.model_copy(update={"timezone": "No/Where"})}))).text
    assert "2026-03-01 03:00:00 UTC" in text


def test_a_run_of_nothing_proves_nothing() -> None:
    text = Page(html(sample_record().model_copy(update={"drills": (), "actions": ()}))).text
    assert "it proves nothing" in text


def test_the_reference_is_current_and_describes_every_field() -> None:
    page = (ROOT / "docs" / "reference" / "record.md").read_text(encoding="utf-8")
    assert page == render_reference(), "run: python -m drtests.evidence.reference docs/reference/record.md"
    assert not re.search(r"\|\s*\|$", page, re.MULTILINE)
