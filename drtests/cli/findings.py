"""What `drtests doctor` finds, thing by thing."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from drtests.errors import DrtestsError


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; `level` is ok, warning or problem."""

    level: str
    subject: str
    text: str
    mend: str = ""

    def data(self) -> dict[str, str]:
        return asdict(self)


def problem(subject: str, error: DrtestsError) -> Finding:
    """What an error says."""
    return Finding("problem", subject, error.what, error.mend)
