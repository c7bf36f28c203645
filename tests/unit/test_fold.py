"""The fold from journals to a record: MET has to be earned, and nothing that happens to a journal earns it."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from drtests.core import events as e
from drtests.core.events import Event, decode
from drtests.core.fold import fold
from drtests.errors import PackError
from drtests.model.record import Record
from drtests.model.verdict import Verdict
from tests.support.journals import AT, check, journal_of, lines_of, met_drill, plan, run_started, whole_run

GOOD = whole_run(plan())


def folded(events: list[Event]) -> Record:
    return fold([journal_of(events)])


def verdict_of(events: list[Event]) -> Verdict:
    return folded(events).drills[0].verdict


def test_a_drill_that_went_well_is_met() -> None:
    record = folded(GOOD)
    assert record.run.verdict is Verdict.MET
    assert record.run.state == "finished"
    [drill] = record.drills
    assert drill.verdict is Verdict.MET
    assert drill.recovery_time is not None
    # Five phases of ten seconds; clean up is no part of the recovery.
    assert drill.recovery_time.measured_seconds == pytest.approx(50.0)
    assert record.actions == ()


@given(st.integers(min_value=0, max_value=len(GOOD) - 1))
def test_a_truncated_journal_never_makes_the_run_met(kept: int) -> None:
    cut = GOOD[:kept]
    if not cut:
        with pytest.raises(PackError):
            folded(cut)
        return
    record = folded(cut)
    assert record.run.verdict is not Verdict.MET
    assert record.run.state == "interrupted"
    finished = any(event.type == e.DRILL_FINISHED for event in cut)
    assert all(drill.verdict is not Verdict.MET for drill in record.drills) or finished


@given(st.integers(min_value=1, max_value=len(b"".join(lines_of(GOOD))) - 1))
def test_a_journal_cut_off_at_any_byte_never_makes_the_run_met(size: int) -> None:
    data = b"".join(lines_of(GOOD))[:size]
    journal = decode("main.jsonl", data.splitlines(keepends=True))
    if not journal.events:
        with pytest.raises(PackError):
            fold([journal])
        return
    assert fold([journal]).run.verdict is not Verdict.MET


@given(st.permutations(range(len(GOOD))))
def test_a_reordered_journal_never_yields_met(order: list[int]) -> None:
    assume(order != sorted(order))
    lines = lines_of(GOOD)
    _never_met([lines[i] for i in order])


@given(st.integers(0, len(GOOD) - 1), st.integers(0, len(GOOD)))
def test_a_repeated_line_never_yields_met(which: int, where: int) -> None:
    lines = lines_of(GOOD)
    _never_met([*lines[:where], lines[which], *lines[where:]])


@given(st.integers(0, len(GOOD) - 1))
def test_a_line_that_is_gone_never_yields_met(which: int) -> None:
    lines = lines_of(GOOD)
    _never_met(lines[:which] + lines[which + 1 :], last_is_truncation=which == len(lines) - 1)


@given(st.data())
def test_a_changed_byte_never_yields_met(data: st.DataObject) -> None:
    lines = lines_of(GOOD)
    # The last line is covered by the pack's manifest only: nothing follows it in the chain.
    which = data.draw(st.integers(0, len(lines) - 2))
    place = data.draw(st.integers(0, len(lines[which]) - 2))
    old = lines[which][place]
    new = data.draw(st.integers(32, 126).filter(lambda byte: byte != old))
    lines[which] = lines[which][:place] + bytes([new]) + lines[which][place + 1 :]
    _never_met(lines)


def _never_met(lines: list[bytes], last_is_truncation: bool = False) -> None:
    journal = decode("main.jsonl", lines)
    if not any(event.type == e.RUN_STARTED for event in journal.events):
        with pytest.raises(PackError):
            fold([journal])
        return
    record = fold([journal])
    assert record.run.verdict is not Verdict.MET
    if not last_is_truncation:
        assert all(drill.verdict is not Verdict.MET for drill in record.drills)


@given(st.lists(st.sampled_from(range(3, len(GOOD) - 3)), min_size=1, unique=True))
def test_events_left_out_before_the_chain_was_made_never_yield_met_but_for_telling_less(gone: list[int]) -> None:
    """A writer that forgot events (a fault of ours, not a broken chain) must not look better for it."""
    told = [event for number, event in enumerate(GOOD) if number not in gone]
    lost = {GOOD[i].type for i in gone} | {GOOD[i].data.get("phase") for i in gone}
    needed = {e.DRILL_STARTED, e.CHECK_JUDGED, e.PHASE_FINISHED, e.DRILL_FINISHED, e.FACT}
    if lost & needed:
        assert verdict_of(told) is not Verdict.MET


def _with(change: dict[str, object], kind: str) -> list[Event]:
    return [
        dataclasses.replace(event, data={**event.data, **change}) if event.type == kind else event for event in GOOD
    ]


@pytest.mark.parametrize(
    ("change", "kind", "verdict", "reason"),
    [
        ({"outcome": "failed"}, e.DRILL_FINISHED, Verdict.INCONCLUSIVE, "could not be completed"),
        ({"outcome": "interrupted"}, e.DRILL_FINISHED, Verdict.INCONCLUSIVE, "interrupted"),
        ({"checks": 2}, e.DRILL_STARTED, Verdict.INCONCLUSIVE, "1 of 2 checks"),
        (check("MISSED"), e.CHECK_JUDGED, Verdict.MISSED, "1 file changed"),
        (check("INCONCLUSIVE"), e.CHECK_JUDGED, Verdict.INCONCLUSIVE, "1 file changed"),
        (check(proves=False), e.CHECK_JUDGED, Verdict.INCONCLUSIVE, "no check looked at the data"),
        ({"value": 86401.0}, e.FACT, Verdict.MISSED, "too old"),
        ({"value": -3600.0}, e.FACT, Verdict.INCONCLUSIVE, "future"),
        ({"manual": [{"name": "decide", "seconds": 3600}]}, e.DRILL_STARTED, Verdict.MISSED, "too long"),
    ],
)
def test_each_clause_can_turn_a_drill_red(change: dict[str, object], kind: str, verdict: Verdict, reason: str) -> None:
    [drill] = folded(_with(change, kind)).drills
    assert drill.verdict is verdict
    assert any(reason in told for told in drill.reasons), drill.reasons
    assert drill.advice


def test_time_spent_waiting_for_a_lock_is_no_recovery_time() -> None:
    [drill] = folded(_with({"seconds": 9.0}, e.LOCK_WAITED)).drills
    assert drill.recovery_time is not None
    assert drill.recovery_time.measured_seconds == pytest.approx(41.0)
    assert drill.recovery_time.lock_wait_seconds == pytest.approx(9.0)


def test_declared_time_is_kept_apart_and_named_when_it_is_the_slowest() -> None:
    [drill] = folded(_with({"manual": [{"name": "order hardware", "seconds": 3600}]}, e.DRILL_STARTED)).drills
    time = drill.recovery_time
    assert time is not None
    assert (time.measured_seconds, time.declared_seconds, time.total_seconds) == (50.0, 3600.0, 3650.0)
    assert time.slowest_phase == "order hardware (declared)"
    assert "of which 1h declared" in drill.reasons[0]


def test_data_that_is_too_old_misses_the_rpo_and_leaves_the_recovery_time_known() -> None:
    [drill] = folded(_with(check("MISSED", loss=90000.0), e.CHECK_JUDGED)).drills
    assert drill.verdict is Verdict.MISSED
    assert drill.recovery_time is not None
    assert drill.recovery_time.total_seconds == pytest.approx(50.0)
    assert drill.data_loss is not None
    assert drill.data_loss.proved_seconds == 90000.0
    assert any("what feeds it does not" in advice for advice in drill.advice)


def test_no_objective_at_all_is_inconclusive() -> None:
    bare = plan(rto=None, rpo=None)
    assert verdict_of(whole_run(bare, drills=met_drill(bare))) is Verdict.INCONCLUSIVE


def test_a_problem_that_was_left_behind_keeps_a_drill_from_being_met() -> None:
    leftover = Event(e.PROBLEM, AT, 60.0, "app::restore", {"what": "a process was left", "where": "", "mend": "see"})
    events = [*GOOD[:-3], leftover, *GOOD[-3:]]
    [drill] = folded(events).drills
    assert drill.verdict is Verdict.INCONCLUSIVE
    assert drill.reasons == ("a process was left",)


def test_no_check_is_inconclusive() -> None:
    events = [event for event in GOOD if event.type != e.CHECK_JUDGED]
    [drill] = folded(events).drills
    assert drill.verdict is Verdict.INCONCLUSIVE
    assert drill.recovery_time is not None
    assert drill.recovery_time.total_seconds is None


def test_a_planned_drill_that_never_ran_is_inconclusive_and_becomes_an_action() -> None:
    two = [plan("app"), plan("files")]
    record = folded(whole_run(*two, drills=met_drill(two[0])))
    assert [(d.id, d.verdict, d.state) for d in record.drills] == [
        ("app::restore", Verdict.MET, "finished"),
        ("files::restore", Verdict.INCONCLUSIVE, "not run"),
    ]
    assert record.run.verdict is Verdict.INCONCLUSIVE
    assert [item.drill for item in record.actions] == ["files::restore"]


def test_a_run_without_drills_is_inconclusive() -> None:
    assert folded(whole_run()).run.verdict is Verdict.INCONCLUSIVE


def test_of_several_attempts_the_worst_counts() -> None:
    of = plan()
    missed = [
        dataclasses.replace(event, data=check("MISSED")) if event.type == e.CHECK_JUDGED else event
        for event in met_drill(of)
    ]
    record = folded(whole_run(of, drills=[*missed, *met_drill(of, start=100.0)]))
    assert record.drills[0].verdict is Verdict.MISSED
    assert "2 times" in record.drills[0].reasons[-1]


def test_a_lost_worker_leaves_its_drill_inconclusive_and_the_others_as_they_are() -> None:
    two = [plan("app"), plan("files")]
    planned = [event for event in whole_run(*two, drills=[]) if event.type.startswith("run.")][:3]
    one = [*planned, *met_drill(two[0]), Event(e.JOURNAL_CLOSED, AT, 99.0)]
    lost = [*planned, *met_drill(two[1])[:7]]
    main = [run_started(), Event(e.RUN_FINISHED, AT, 99.0, None, {"seconds": 99.0}), Event(e.JOURNAL_CLOSED, AT, 99.1)]
    record = fold([journal_of(one, "gw0"), journal_of(lost, "gw1"), journal_of(main, "main")])
    assert [(d.verdict, d.state) for d in record.drills] == [
        (Verdict.MET, "finished"),
        (Verdict.INCONCLUSIVE, "interrupted"),
    ]
    assert record.run.verdict is Verdict.INCONCLUSIVE
    assert record.run.state == "interrupted"


def test_folding_is_the_same_whatever_the_order_of_the_journals() -> None:
    two = [plan("app"), plan("files")]
    planned = [event for event in whole_run(*two, drills=[]) if event.type.startswith("run.")][:3]
    parts = [
        journal_of([*planned, *met_drill(p), Event(e.JOURNAL_CLOSED, AT, 99.0)], f"gw{n}") for n, p in enumerate(two)
    ]
    assert fold(parts) == fold(parts[::-1])


def test_a_line_added_after_the_end_breaks_the_journal() -> None:
    journal = journal_of([*GOOD, Event(e.FACT, AT, 101.0, "app::restore", {"name": "x", "value": 1})])
    assert not journal.intact
    assert "after the journal was closed" in journal.problem
