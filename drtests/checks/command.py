"""command: a program run in the restored tree, judged by its exit code and output."""

from __future__ import annotations

import hashlib
import re
import signal
from datetime import timedelta
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, Field

from drtests.checks.places import RelativePath, place
from drtests.model.base import Declaration, Flag, Text
from drtests.model.units import Duration
from drtests.model.verdict import Verdict
from drtests.protocols.check import Judgement, Objective, Observation, Resources

_NOT_ITS_OWN_END = {-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP}
_SHELL_CANNOT_RUN = {126, 127}


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
    return pattern


Pattern = Annotated[str, Field(min_length=1), AfterValidator(_compiles)]
"""A regular expression of Python, searched for; `^` and `$` match at every line."""


class CommandSpec(Declaration):
    """Options of `command`."""

    run: tuple[Text, ...] = Field(min_length=1)
    """The program and its arguments, never a shell string."""
    cwd: RelativePath = "."
    environment: dict[str, Text] = Field(default_factory=dict)
    exit_code: int = Field(default=0, ge=0, le=255)
    stdout: Pattern | None = None
    """Must be found in the last MiB of what it prints."""
    timeout: Duration = timedelta(minutes=1)
    proves_data: Flag = False
    """The author's word that the program fails when the data's content is wrong."""


class CommandCheck:
    """Runs one program. That it cannot be run, or does not end, says nothing of the restored data."""

    Spec: ClassVar[type[BaseModel]] = CommandSpec

    def __init__(self, spec: CommandSpec) -> None:
        self._spec = spec

    @property
    def title(self) -> str:
        return f"command {self._spec.run[0].rpartition('/')[2]}"

    @property
    def proves_data(self) -> bool:
        return self._spec.proves_data

    def observe(self, resources: Resources) -> Observation:
        spec = self._spec
        result = resources.host.run(
            spec.run,
            timeout=spec.timeout.total_seconds(),
            env={**resources.environment, **spec.environment},
            cwd=place(resources, spec.cwd),
        )
        found = None if spec.stdout is None else re.search(spec.stdout, result.stdout, re.MULTILINE) is not None
        output = result.stdout.encode("utf-8", errors="replace")
        return {
            "exit_code": result.exit_code,
            "seconds": round(result.seconds, 3),
            "stdout_found": found,
            "stdout_bytes": len(output),
            "stdout_sha256": hashlib.sha256(output).hexdigest(),
        }

    def judge(self, observation: Observation, objective: Objective) -> Judgement:
        code = int(observation["exit_code"])
        if code != self._spec.exit_code:
            if code in _NOT_ITS_OWN_END:
                return Judgement(Verdict.INCONCLUSIVE, f"ended from outside, by {signal.Signals(-code).name}")
            if code in _SHELL_CANNOT_RUN:
                return Judgement(Verdict.INCONCLUSIVE, f"exit code {code}: a program that it needs cannot be run")
            return Judgement(Verdict.MISSED, f"exit code {code}, {self._spec.exit_code} expected")
        if observation["stdout_found"] is False:
            return Judgement(Verdict.MISSED, "its output does not hold what is expected")
        return Judgement(Verdict.MET, f"exit code {code}, in {float(observation['seconds']):.1f} s")
