"""Cuts the host of the restore off from everything but where the offsite repository is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from drtests.drill.offsite.case import Case
from drtests.protocols.host import Host


@dataclass(frozen=True, slots=True)
class CutOff:
    """The host to restore on. `why_not` says why it is not cut off; empty when it is."""

    host: Host
    why_not: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@contextmanager
def cut_off(case: Case, host: Host) -> Iterator[CutOff]:
    """Never raises because of isolation: where it cannot be had, that is told."""
    yield CutOff(host, "this host cannot be isolated")
