"""The pytest plug-in as a Python person meets it, on a real repository."""

from __future__ import annotations

import json
import os
import sys
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from tests.support.estate import Estate, ago, make_estate

pytestmark = pytest.mark.usefixtures("restic_needed")


@pytest.fixture
def estate(pytester: pytest.Pytester) -> Estate:
    return make_estate(pytester.path)


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return pytester.run(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments, timeout=120)


def record(estate: Estate) -> Any:
    return json.loads((estate.packs()[-1] / "record.json").read_text())


def verdicts(estate: Estate) -> dict[str, str]:
    return {drill["id"]: drill["verdict"] for drill in record(estate)["drills"]}


def test_collecting_is_offline_and_deterministic(pytester: pytest.Pytester, estate: Estate) -> None:
    (estate.root / "repository").rename(estate.root / "gone")
    outcomes = [run(pytester, "targets", "--collect-only", "-q") for _ in range(2)]
    for outcome in outcomes:
        assert outcome.ret == 0
        outcome.stdout.fnmatch_lines(
            [
                "targets/systems/app.yaml::restore",
                "targets/systems/app.yaml::recovery_points",
                "targets/systems/app.yaml::integrity",
            ]
        )
    assert [line for line in outcomes[0].outlines if "::" in line] == [
        line for line in outcomes[1].outlines if "::" in line
    ]
    assert estate.packs() == []


def test_all_met_passes_and_leaves_a_pack(pytester: pytest.Pytester, estate: Estate) -> None:
    outcome = run(pytester, "targets", "--junitxml=out.xml")
    outcome.assert_outcomes(passed=3)
    assert outcome.ret == 0
    assert verdicts(estate) == {"app::restore": "MET", "app::recovery_points": "MET", "app::integrity": "MET"}
    assert estate.leftovers() == []
    cases = {case.get("name"): case for case in ET.parse(pytester.path / "out.xml").iter("testcase")}  # noqa: S314
    found = {p.get("name"): p.get("value") for p in cases["restore"].iter("property")}
    assert found["verdict"] == "MET"
    assert found["rto_objective_seconds"] == "3600"
    assert float(found["rto_actual_seconds"] or "nan") > 0


def test_a_missed_objective_fails_with_numbers_and_no_traceback(pytester: pytest.Pytester, estate: Estate) -> None:
    estate.produce(marker=ago(days=5))
    estate.backup(ago(minutes=1))
    outcome = run(pytester, "targets", "-k", "restore")
    assert outcome.ret == 1
    text = outcome.stdout.str()
    assert "Traceback" not in text
    assert "items.py" not in text
    outcome.stdout.fnmatch_lines(
        [
            "*MISSED  app::restore*",
            "*RTO  objective 1h (process:teaching), actual*margin*slowest*",
            "*data loss proved*over by*",
        ]
    )
    assert verdicts(estate) == {"app::restore": "MISSED"}


def test_an_infrastructure_fault_is_inconclusive_not_missed(pytester: pytest.Pytester, estate: Estate) -> None:
    (estate.root / "password").write_text("wrong")
    outcome = run(pytester, "targets", "-k", "restore", "-rA", "-v")
    assert outcome.ret == 2
    outcome.stdout.fnmatch_lines(["*app.yaml::restore INCONCLUSIVE*", "*password*"])
    assert verdicts(estate) == {"app::restore": "INCONCLUSIVE"}


def test_markers_and_exitfirst_select_and_stop(pytester: pytest.Pytester, estate: Estate) -> None:
    assert run(pytester, "targets", "-m", "integrity").ret == 0
    assert verdicts(estate) == {"app::integrity": "MET"}
    assert run(pytester, "targets", "-m", "offsite").ret == 5
    (estate.root / "password").write_text("wrong")
    outcome = run(pytester, "targets", "-x")
    assert outcome.ret == 2
    states = {drill["id"]: drill["state"] for drill in record(estate)["drills"]}
    assert states == {"app::restore": "finished", "app::recovery_points": "not run", "app::integrity": "not run"}
    assert set(verdicts(estate).values()) == {"INCONCLUSIVE"}


def test_two_workers_make_one_pack(pytester: pytest.Pytester, estate: Estate) -> None:
    pytest.importorskip("xdist")
    outcome = run(pytester, "targets", "-n", "2")
    outcome.assert_outcomes(passed=3)
    assert outcome.ret == 0
    [pack] = estate.packs()
    assert sorted(path.name for path in (pack / "journal").iterdir()) == ["gw0.jsonl", "gw1.jsonl", "main.jsonl"]
    assert set(verdicts(estate).values()) == {"MET"}
    assert record(estate)["run"]["verdict"] == "MET"


def test_a_lost_worker_is_inconclusive(pytester: pytest.Pytester, estate: Estate) -> None:
    pytest.importorskip("xdist")
    pytester.makepyfile(
        **{
            "targets/test_kill": """
            import os, signal, pytest

            @pytest.mark.recovery("app")
            def test_kill(recovery):
                os.kill(os.getpid(), signal.SIGKILL)
            """
        }
    )
    outcome = run(pytester, "targets", "-n", "1", "-k", "kill")
    assert outcome.ret != 0
    assert verdicts(estate) == {"app::test_kill": "INCONCLUSIVE"}
    assert record(estate)["run"]["state"] == "interrupted"


PYTHON_TESTS = """
import pytest

@pytest.mark.recovery("app")
def test_good(recovery):
    found = list(recovery.path("{restored}").rglob("*.txt"))
    recovery.measure("texts", len(found))
    recovery.fact("looked", True)
    assert recovery.run(["true"]).exit_code == 0
    assert len(found) == 20

@pytest.mark.recovery("app")
def test_wrong(recovery):
    assert list(recovery.path("{restored}").rglob("*.doc")), "no documents"

@pytest.mark.recovery("app")
def test_broken(recovery):
    recovery.path("{restored}/nothing").read_text()

@pytest.mark.recovery("app")
def test_skips(recovery):
    pytest.skip("not today")

@pytest.mark.skip(reason="never")
@pytest.mark.recovery("app")
def test_marked_skip(recovery):
    pass

@pytest.mark.recovery("app", point="random:30d", checks=False)
def test_random(recovery):
    assert recovery.path("{restored}").is_dir()

@pytest.mark.recovery("app", checks=False)
def test_looks_at_nothing(recovery):
    pass
"""


def test_python_tests_walk_the_same_phases(pytester: pytest.Pytester, estate: Estate) -> None:
    pytester.makepyfile(**{"targets/test_app": PYTHON_TESTS.replace("{restored}", estate.restored)})
    outcome = run(pytester, "targets/test_app.py", "-v")
    assert outcome.ret == 1
    assert verdicts(estate) == {
        "app::test_good": "MET",
        "app::test_wrong": "MISSED",
        "app::test_broken": "INCONCLUSIVE",
        "app::test_skips": "INCONCLUSIVE",
        "app::test_marked_skip": "INCONCLUSIVE",
        "app::test_random": "MET",
        "app::test_looks_at_nothing": "INCONCLUSIVE",
    }
    drills = {drill["id"]: drill for drill in record(estate)["drills"]}
    good = drills["app::test_good"]
    assert [phase["name"] for phase in good["phases"]] == [
        "locate", "provision", "restore", "start", "verify", "clean up",
    ]  # fmt: skip
    assert good["measures"]["texts"] == {"value": 20.0, "unit": "count", "basis": "measured"}
    assert [check["kind"] for check in good["checks"]] == ["tree", "marker", "python"]
    assert any("no documents" in reason and "test_app.py:" in reason for reason in drills["app::test_wrong"]["reasons"])
    assert drills["app::test_random"]["data_loss"]["moment_basis"] == "recovery point"
    assert estate.leftovers() == []


def test_a_marker_that_names_no_system_is_a_usage_error(pytester: pytest.Pytester, estate: Estate) -> None:
    pytester.makepyfile(
        **{"targets/test_typo": "import pytest\n@pytest.mark.recovery('ap')\ndef test_x(recovery): pass\n"}
    )
    outcome = run(pytester, "targets/test_typo.py")
    assert outcome.ret == 4
    outcome.stderr.fnmatch_lines(["*names system 'ap'*"])
    assert estate.packs() == []


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_wrong_declarations_end_the_session_with_every_problem(
    pytester: pytest.Pytester, estate: Estate, workers: tuple[str, ...]
) -> None:
    estate.bia["processes"][0]["rto"] = 4
    estate.systems["app"]["restore"] = {"stagging": "scratch"}
    estate.write()
    outcome = run(pytester, "targets", *workers)
    assert outcome.ret == 4
    text = outcome.stderr.str() + outcome.stdout.str()
    assert "bia.yaml:" in text
    assert "app.yaml:" in text
    assert "did you mean" in text
    assert estate.packs() == []


def test_other_tests_are_left_alone(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_a(): pass\ndef test_b(): assert 0")
    outcome = run(pytester)
    outcome.assert_outcomes(passed=1, failed=1)
    assert outcome.ret == 1
    # pytester itself writes stdout and stderr.
    assert not {"reports", "journal", ".drtests"} & set(os.listdir(pytester.path))


def test_a_system_without_logs_cannot_be_recovered_to_a_moment(pytester: pytest.Pytester, estate: Estate) -> None:
    run(pytester, "targets", "-k", "restore", f"--drtests-point=at:{ago(minutes=1).isoformat()}")
    [drill] = record(estate)["drills"]
    assert drill["verdict"] == "INCONCLUSIVE"
    assert "recovered to a point in time" in " ".join(drill["reasons"])
    assert "before:TIME" in " ".join(drill["advice"])
