"""What could not be done on a machine, told so that it can travel.

Like all modules that `drtests.hosts.ssh.boot` names, this one also runs on hosts that are reached over SSH: nothing
but the standard library of Python 3.7.
"""

from __future__ import annotations

FAILED = "failed"
MISSING = "missing"
TIMEOUT = "timeout"
BUSY = "busy"
REFUSED = "refused"


class Failure(Exception):
    """`kind` is one of the above: what the host's caller is told it was."""

    def __init__(self, what: str, mend: str = "", kind: str = FAILED) -> None:
        super().__init__(what)
        self.what = what
        self.mend = mend
        self.kind = kind
