"""Check: what is seen in the restored system, and what to think of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar, Protocol, runtime_checkable

from pydantic import BaseModel

from drtests.model.system import System
from drtests.model.verdict import Verdict
from drtests.protocols.clock import Clock
from drtests.protocols.database import Scratch
from drtests.protocols.host import Host
from drtests.protocols.reach import Reach


@dataclass(frozen=True, slots=True)
class Resources:
    """What a check may look at. `root` is the restored tree on `host`; `project_root` is where targets/ is."""

    host: Host
    root: str
    clock: Clock
    project_root: str
    environment: Mapping[str, str] = field(default_factory=dict)
    databases: Mapping[str, Scratch] = field(default_factory=dict)
    """Restored databases that run, by the ids that the system's declaration gives them."""
    live: Mapping[str, str] = field(default_factory=dict)
    """Ids of the live databases that those are backups of, where declared."""
    reach: Reach | None = None
    """Opens what is declared elsewhere; None where checks are carried out without a project."""


@dataclass(frozen=True, slots=True)
class Objective:
    """What a check is held against. `moment` is when the disaster struck, `rpo` how much may be lost."""

    moment: datetime
    rpo: timedelta | None


Observation = Mapping[str, Any]
"""What was seen: JSON values only, no restored data beyond counts, hashes, names and times."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict and why, in one line a manager can read."""

    verdict: Verdict
    reason: str
    data_loss_seconds: float | None = None
    """Set by checks that prove how old the newest restored data is."""
    mend: str = ""
    """What to do, when it is not MET."""


@dataclass(frozen=True, slots=True)
class Unfit:
    """Options that do not go with the rest of a system's declaration. `path` is where in the options."""

    path: tuple[str | int, ...]
    what: str
    mend: str


class Check(Protocol):
    """One kind of check. Built as `Check(spec)` with an instance of its own `Spec`.

    `observe` does all I/O and judges nothing; `judge` is pure. An exception
    from either is INCONCLUSIVE, never MISSED and never MET.
    Every adapter passes `drtests.testing.check_contract`.
    """

    Spec: ClassVar[type[BaseModel]]

    def __init__(self, spec: Any) -> None: ...

    @property
    def title(self) -> str:
        """What is checked, in a few words."""

    @property
    def proves_data(self) -> bool:
        """Whether passing says anything of the data's content, not only that something is there."""

    def observe(self, resources: Resources) -> Observation: ...

    def judge(self, observation: Observation, objective: Objective) -> Judgement: ...


@runtime_checkable
class KnowsSystem(Protocol):
    """A check that can tell from the declarations alone that it could never be carried out."""

    def unfit(self, system: System) -> Iterable[Unfit]:
        """Empty when all is well. Ids that nothing declares are found without it."""
