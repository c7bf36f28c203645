"""All forms of the evidence."""

from __future__ import annotations

from drtests.evidence.json_reporter import ActionsReporter, JsonReporter
from drtests.evidence.junit_reporter import JUnitReporter
from drtests.protocols.reporter import Reporter

REPORTERS: tuple[Reporter, ...] = (JsonReporter(), ActionsReporter(), JUnitReporter())
"""In the order in which they are written."""
