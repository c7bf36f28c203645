"""junit.xml: what CI shows. One suite a drill, as suites are what carries properties; one case a check."""

from __future__ import annotations

import re
from typing import ClassVar

from junit_xml import TestCase, TestSuite, to_xml_report_string

from drtests.model.record import CheckRecord, DrillRecord, Record
from drtests.model.verdict import Verdict

_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 allows in no form."""


class JUnitReporter:
    """MISSED is a failure, INCONCLUSIVE an error."""

    filename: ClassVar[str] = "junit.xml"

    def render(self, record: Record) -> bytes:
        text = to_xml_report_string([_suite(record, drill) for drill in record.drills], prettyprint=True)
        return str(text).encode("utf-8")


def _suite(record: Record, drill: DrillRecord) -> TestSuite:
    cases = [_case(drill, check) for check in drill.checks]
    verdict = TestCase("verdict", _clean(drill.id), elapsed_sec=sum(phase.seconds for phase in drill.phases))
    _judge(verdict, drill.verdict, "; ".join(drill.reasons), "\n".join(drill.advice))
    return TestSuite(
        _clean(drill.id),
        [*cases, verdict],
        hostname=_clean(record.run.environment.get("host", "")),
        id=_clean(record.run.id),
        package=_clean(drill.system),
        timestamp=drill.started_at or record.run.started_at,
        properties={name: _clean(value) for name, value in properties(drill).items()},
    )


def _case(drill: DrillRecord, check: CheckRecord) -> TestCase:
    case = TestCase(_clean(check.title), _clean(drill.id), elapsed_sec=check.seconds)
    _judge(case, check.verdict, check.reason, check.mend)
    return case


def _judge(case: TestCase, verdict: Verdict, why: str, advice: str) -> None:
    if verdict is Verdict.MISSED:
        case.add_failure_info(message=_clean(why), output=_clean(advice), failure_type=str(verdict))
    elif verdict is Verdict.INCONCLUSIVE:
        case.add_error_info(message=_clean(why), output=_clean(advice), error_type=str(verdict))


def properties(drill: DrillRecord) -> dict[str, str]:
    """Objectives, actuals, margins and identities as flat text; seconds as numbers."""
    found = {
        "verdict": str(drill.verdict),
        "state": drill.state,
        "owner": drill.owner,
        "criticality": drill.criticality,
        "controls": " ".join(drill.controls),
    }
    time, loss, point = drill.recovery_time, drill.data_loss, drill.recovery_point
    if drill.rto:
        found["rto_objective_seconds"] = f"{drill.rto.seconds:g}"
        found["rto_bound_by"] = drill.rto.bound_by
    if time and time.total_seconds is not None:
        found["rto_actual_seconds"] = f"{time.total_seconds:.3f}"
        found["rto_measured_seconds"] = f"{time.measured_seconds or 0:.3f}"
        found["rto_declared_seconds"] = f"{time.declared_seconds:g}"
        if drill.rto:
            found["rto_margin_seconds"] = f"{drill.rto.seconds - time.total_seconds:.3f}"
    if drill.rpo:
        found["rpo_objective_seconds"] = f"{drill.rpo.seconds:g}"
        found["rpo_bound_by"] = drill.rpo.bound_by
    for name in ("recovery_point_age", "worst_gap", "worst_case", "proved"):
        value = getattr(loss, f"{name}_seconds") if loss else None
        if value is not None:
            found[f"data_loss_{name}_seconds"] = f"{value:.3f}"
    if point:
        found |= {"recovery_point": point.id, "recovery_point_time": point.time, "repository": point.repository}
    return found


def _clean(text: str) -> str:
    return _ILLEGAL.sub("?", text)
