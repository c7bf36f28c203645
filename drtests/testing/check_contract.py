"""What every Check must do, and that it can fail.

Subclass `CheckContract` in a test module, set `check` and `cases`, and give it a fixture
`host`. Every kind of check shows at least one case that is MET and one that is not.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import ValidationError

from drtests.errors import DrtestsError
from drtests.model.verdict import Verdict
from drtests.protocols.check import Check, Judgement, Objective, Resources
from drtests.protocols.host import Host
from drtests.testing.host_contract import require

MOMENT = datetime(2026, 3, 1, 4, 0, tzinfo=UTC)
"""When the disaster of the suite struck."""


def _nothing(root: Path) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Case:
    """What is arranged in the restored root, and the verdict; None stands for a DrtestsError."""

    name: str
    options: Mapping[str, Any]
    verdict: Verdict | None
    arrange: Callable[[Path], object] = _nothing
    rpo: timedelta | None = timedelta(hours=24)
    reason: str = ""
    """Must be part of the judgement's reason, or of the exception's text."""
    restored_text: str = ""
    """Restored data that must not be in the observation."""
    environment: Mapping[str, str] = field(default_factory=dict)


class SystemClock:
    """The machine's own."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class CheckContract:
    """The suite."""

    check: ClassVar[type[Check]]
    cases: ClassVar[Sequence[Case]]
    refused: ClassVar[Sequence[Mapping[str, Any]]] = ()
    """Options that are no valid declaration."""

    def resources(self, case: Case, host: Host, root: Path) -> Resources:
        """What the check may look at, when the case is arranged; suites of checks on databases add those."""
        return Resources(host, str(root), SystemClock(), str(root.parent), dict(case.environment))

    def judge(self, case: Case, host: Host, root: Path) -> Judgement:
        """The whole way: declaration, observation (through JSON, as the journal does) and judgement."""
        case.arrange(root)
        check = self.check(self.check.Spec.model_validate(dict(case.options)))
        resources = self.resources(case, host, root)
        before = _listing(root)
        observation = check.observe(resources)
        require(_listing(root) == before, "the check wrote into the restored tree")
        text = json.dumps(observation, allow_nan=False, ensure_ascii=False)
        text.encode()
        require(not case.restored_text or case.restored_text not in text, f"restored data is in {text}")
        objective = Objective(MOMENT, case.rpo)
        judgement = check.judge(json.loads(text), objective)
        require(
            judgement == check.judge(json.loads(text), objective), "the judgement is not a function of what was seen"
        )
        require(bool(judgement.reason) and "\n" not in judgement.reason, f"the reason is no line: {judgement.reason!r}")
        require(bool(check.title) and len(check.title) < 200, "no title")
        require(isinstance(check.proves_data, bool), "proves_data is no truth value")
        return judgement

    def test_case(self, case: Case, host: Host, tmp_path: Path) -> None:
        root = tmp_path / "restored"
        root.mkdir()
        if case.verdict is None:
            with pytest.raises(DrtestsError, match=re.escape(case.reason)):
                self.judge(case, host, root)
            return
        judgement = self.judge(case, host, root)
        require(judgement.verdict is case.verdict, f"{judgement} instead of {case.verdict}")
        require(case.reason in judgement.reason, f"{judgement.reason!r} does not say {case.reason!r}")

    def test_can_be_met_and_can_fail(self) -> None:
        verdicts = {case.verdict for case in self.cases}
        require({Verdict.MET, Verdict.MISSED} <= verdicts, "no case shows that it passes, or none that it fails")

    def test_refused_options(self, refused_options: Mapping[str, Any]) -> None:
        with pytest.raises(ValidationError):
            self.check.Spec.model_validate(dict(refused_options))

    def test_unknown_option_is_refused(self) -> None:
        options = dict(self.cases[0].options)
        self.check.Spec.model_validate(options)
        with pytest.raises(ValidationError):
            self.check.Spec.model_validate(options | {"no_such_option": 1})

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """pytest calls this for each test of a subclass."""
        if "case" in metafunc.fixturenames:
            metafunc.parametrize("case", self.cases, ids=[case.name for case in self.cases])
        if "refused_options" in metafunc.fixturenames:
            metafunc.parametrize("refused_options", self.refused)


def _listing(root: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.lstat().st_mtime_ns) for path in root.rglob("*"))
