"""Runs checks: sees first, judges after. A check that raises is INCONCLUSIVE, whatever it raises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from drtests.core import events as e
from drtests.declarations.checks import NamedCheck
from drtests.drill.log import DrillLog
from drtests.errors import DrtestsError
from drtests.model.verdict import Verdict
from drtests.protocols.check import Judgement, Objective, Observation, Resources


def verify(checks: Sequence[NamedCheck], resources: Resources, objective: Objective, log: DrillLog) -> None:
    """Carries out every check, also after one failed: each tells its own."""
    for named in checks:
        began = log.clock.monotonic()
        observation, judgement = _carry_out(named, resources, objective)
        written: dict[str, Any] = {
            "kind": named.kind,
            "title": named.title,
            "proves_data": named.check.proves_data,
            "verdict": judgement.verdict,
            "reason": judgement.reason,
            "mend": judgement.mend,
            "seconds": round(log.clock.monotonic() - began, 6),
            "observation": dict(observation),
            "data_loss_seconds": judgement.data_loss_seconds,
        }
        log.write(e.CHECK_JUDGED, **written)


def _carry_out(named: NamedCheck, resources: Resources, objective: Objective) -> tuple[Observation, Judgement]:
    observation: Observation = {}
    try:
        observation = named.check.observe(resources)
        return observation, named.check.judge(observation, objective)
    except DrtestsError as error:
        return observation, Judgement(Verdict.INCONCLUSIVE, f"could not be carried out: {error.what}", mend=error.mend)
    except Exception as error:  # noqa: BLE001 - any fault of a check means that we do not know
        told = str(error).strip().split("\n")[0][:300]
        reason = f"could not be carried out: {type(error).__name__}{': ' + told if told else ''}"
        return observation, Judgement(Verdict.INCONCLUSIVE, reason)
