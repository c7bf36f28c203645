"""All forms of the evidence."""

from __future__ import annotations

from drtests.evidence.html_reporter import HtmlReporter
from drtests.evidence.json_reporter import ActionsReporter, JsonReporter
from drtests.evidence.junit_reporter import JUnitReporter
from drtests.protocols.reporter import Reporter

REPORTERS: tuple[Reporter, ...] = (JsonReporter(), ActionsReporter(), JUnitReporter(), HtmlReporter())
"""In the order in which they are written."""
