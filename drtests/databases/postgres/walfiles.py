"""The archived write-ahead log: how the scratch server fetches it, and whether it was read to its end."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from drtests.errors import DatabaseDamaged

# $1: name of the file that the server wants; $2: where to. A file that is there and cannot be had ends the recovery
# (exit codes above 125); one that is not there is the end of the log.
FETCH = """from=$DRTESTS_WAL/$1
if [ -f "$from" ]; then
    cp -- "$from" "$2" || exit 126
    exit 0
fi
for pair in gz:gzip zst:zstd lz4:lz4 bz2:bzip2 xz:xz; do
    file=$from.${pair%%:*}
    program=${pair#*:}
    [ -f "$file" ] || continue
    command -v "$program" >/dev/null || { echo "drtests: $program is not installed" >&2; exit 127; }
    "$program" -dc -- "$file" >"$2" || exit 126
    exit 0
done
if [ -f "$from.partial" ]; then
    cp -- "$from.partial" "$2" || exit 126
    exit 0
fi
exit 1
"""
COMMAND = 'sh "$DRTESTS_FETCH" %f "%p"'
"""restore_command: paths travel in the environment, where nothing has to be quoted."""

_SEGMENT = re.compile(r"([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})(?:\.(?:gz|zst|lz4|bz2|xz))?")
_SWITCH = re.compile(r"^(\d+)\t([0-9A-F]+)/([0-9A-F]+)\t(.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class End:
    """Where a recovery ended: on which timeline, at which position, and why, in the server's words."""

    timeline: int
    position: int
    why: str

    @staticmethod
    def of(history: str) -> End | None:
        """From the history file of the timeline that the recovery began; None when it tells nothing."""
        lines = _SWITCH.findall(history)
        if not lines:
            return None
        timeline, high, low, why = lines[-1]
        return End(int(timeline), (int(high, 16) << 32) + int(low, 16), why.strip())


def whole(end: End, names: Iterable[str], segment: int, where: str, *, newest: bool = True) -> None:
    """Raises DatabaseDamaged when the log goes on behind the place where the server could read no further.

    `segment` is the size in bytes of a file of the log. `newest`: the server was to follow the newest timeline,
    which it finds by its history file alone.
    """
    behind = []
    for name in names:
        found = _SEGMENT.fullmatch(name)
        if found is None:
            continue
        timeline = int(found[1], 16)
        if newest and timeline > end.timeline:
            raise DatabaseDamaged(
                f"the archived log goes on along timeline {timeline} ({name}), and recovery ended on {end.timeline}: "
                f"{timeline:08X}.history is missing or does not fit",
                where=where,
                mend="see that history files are archived and backed up with the log; without them what was done since "
                "the last failover is lost",
            )
        if timeline != end.timeline:
            continue
        start = (int(found[2], 16) << 32) + int(found[3], 16) * segment
        if start >= end.position:
            behind.append(name)
    if behind:
        raise DatabaseDamaged(
            f"the archived log breaks off at {position_text(end.position)}, though it goes on up to {max(behind)}: "
            "a file of it is missing or damaged",
            where=where,
            mend="look at the server's archive_command, and at what is backed up; everything behind the gap is lost",
        )


def position_text(position: int) -> str:
    """As PostgreSQL writes it."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"
