"""The relation that every measured lag has to keep, however busy the machine is."""

from __future__ import annotations

import time

from drtests.protocols.replication import Behind, Replication


def lags_since(replication: Replication, looked: float, lost: float) -> Behind:
    """Asserts that lag is as long as something is missing, or up to one interval between looks longer.

    `looked`: before the last look that found nothing missing; `lost`: after the source
    committed what is missing first. Both by `time.monotonic()`.
    """
    asked = time.monotonic()
    behind = replication.behind()
    assert behind.seconds is not None
    assert asked - lost <= behind.seconds <= time.monotonic() - looked
    assert behind.basis == "measured"
    return behind
