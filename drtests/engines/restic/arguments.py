"""restic's command lines: one place for what a drill runs and what the recovery kit prints. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from drtests.model.system import Snapshots
from drtests.protocols.capabilities import HandStep


def selection(snapshots: Snapshots) -> list[str]:
    """Options that pick a system's snapshots."""
    found = ["--host", snapshots.host] if snapshots.host else []
    if snapshots.tags:
        found += ["--tag", ",".join(snapshots.tags)]
    for path in snapshots.paths:
        found += ["--path", path]
    return found


def restoring(point: str, destination: str, include: Sequence[str], verify: bool) -> list[str]:
    """The restore of one snapshot."""
    found = ["restore", point, "--target", destination]
    found += [f"--include={path}" for path in include]
    return found + ["--verify"] * verify


def by_hand(
    program: str,
    location: str,
    snapshots: Snapshots,
    point: str,
    destination: str,
    include: Sequence[str],
    verify: bool,
) -> Sequence[HandStep]:
    """What a person types. Without the cache: after a disaster there is none."""
    start = (program, "--repo", location, "--no-lock", "--no-cache")
    picked = selection(snapshots)
    restore = restoring(point, destination, include, verify)
    if point == "latest":
        restore += picked
    return (
        HandStep("List the recovery points", (*start, "snapshots", *picked)),
        HandStep("Restore", (*start, *restore)),
    )
