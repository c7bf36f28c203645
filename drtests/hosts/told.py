"""What a machine could not do, as the errors that everybody knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from drtests.errors import CommandNotFound, CommandTimeout, HostBusy, HostError
from drtests.hosts.failure import BUSY, MISSING, Failure
from drtests.model.units import format_duration

_KINDS: Mapping[str, type[HostError]] = {MISSING: CommandNotFound, BUSY: HostBusy}


def as_told(failure: Failure, host: str) -> HostError:
    """The HostError that fits."""
    return _KINDS.get(failure.kind, HostError)(failure.what, where=f"host {host}", mend=failure.mend)


def timed_out(argv: Sequence[str], timeout: float, host: str) -> CommandTimeout:
    """A command that was ended because it took too long."""
    return CommandTimeout(
        f"{argv[0]} did not end within {format_duration(timeout)} and was killed",
        where=f"host {host}",
        mend="see whether it hangs (storage, network, a question it asks); else declare a longer timeout",
    )
