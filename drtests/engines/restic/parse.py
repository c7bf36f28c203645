"""What restic prints, as values. Text of 0.14 and JSON of newer releases; pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from drtests.errors import EngineError
from drtests.protocols.engine import Progress, RecoveryPoint, Statistics
from drtests.protocols.host import FileFact

Version = tuple[int, int, int]

_VERSION = re.compile(r"^restic (\d+)\.(\d+)(?:\.(\d+))?")
_SHA256 = re.compile(r"[0-9a-f]{64}\b")
_FRACTION = re.compile(r"\.(\d{1,6})\d*")
SIGNAL = re.compile(r"signal \w+ received")
"""What restic says when it is told to stop; whatever else it says from then on came of that."""
_GROUP = re.compile(r"read group #\d+ of (\d+) data packs \(out of total (\d+) packs")
_ALL = re.compile(r"(\d+) / (\d+) packs")
_DAMAGE = re.compile(
    r"error|does not match|does not exist|not found|damaged|missing|invalid|failed|corrupt|not referenced|contains"
    r"|unexpected",
    re.IGNORECASE,
)
_HARMLESS = re.compile(r"no errors were found|^\[\d|^check |^load |^read |^using temporary|^create ", re.IGNORECASE)
_ADVICE = re.compile(
    r"restic repair|damaged pack files can be caused|these damaged files|https?://|returned error, retrying",
    re.IGNORECASE,
)


def version_of(text: str) -> Version | None:
    """(major, minor, patch) from `restic version`."""
    match = _VERSION.match(text.strip())
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else None


def time_of(text: str) -> datetime:
    """restic writes nanoseconds, Python reads microseconds."""
    return datetime.fromisoformat(_FRACTION.sub(lambda found: "." + found[1].ljust(6, "0"), text, count=1))


def points_of(text: str) -> list[RecoveryPoint]:
    """From `restic snapshots --json`, oldest first. Raises EngineError when it cannot be read."""
    try:
        found = [
            RecoveryPoint(
                id=str(one["id"]),
                time=time_of(one["time"]),
                host=str(one.get("hostname", "")),
                paths=tuple(one.get("paths") or ()),
                tags=tuple(one.get("tags") or ()),
            )
            for one in json.loads(text) or ()
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise EngineError(
            "restic's list of snapshots cannot be read", mend="report this with `restic version`"
        ) from error
    return sorted(found, key=lambda point: (point.time, point.id))


def tree_of(text: str) -> str | None:
    """The hash of a snapshot's tree, from `restic cat snapshot`. Raises EngineError when it cannot be read."""
    try:
        return str(json.loads(text)["tree"])
    except (ValueError, KeyError, TypeError) as error:
        raise EngineError("restic's snapshot cannot be read", mend="report this with `restic version`") from error


def digest_of(text: str) -> str:
    """From `sha256sum` of its standard input. Raises EngineError when it cannot be read."""
    found = _SHA256.match(text)
    if found is None:
        raise EngineError("no hash came of a file of the snapshot", mend="see that `sha256sum` is installed there")
    return found[0]


_KINDS = {"file": "file", "dir": "directory", "symlink": "link"}


def entry_of(line: str) -> FileFact | None:
    """One line of `restic ls --json`; None for what is nothing in a snapshot. Raises EngineError."""
    if not line.strip():
        return None
    try:
        found = json.loads(line)
        if found.get("struct_type", found.get("message_type")) != "node":
            return None
        kind = _KINDS.get(found["type"], "other")
        size = int(found.get("size", 0)) if kind == "file" else 0
        target = str(found.get("linktarget", ""))
        return FileFact(str(found["path"]), kind, size, time_of(found["mtime"]).timestamp(), target)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineError("restic's list of files cannot be read", mend="report this with `restic version`") from error


def statistics_of(text: str) -> Statistics | None:
    """From `restic stats --mode restore-size --json`; None when it is of no snapshot. Raises EngineError."""
    try:
        data = json.loads(text)
        if data.get("snapshots_count") == 0:
            return None
        return Statistics(int(data["total_size"]), int(data["total_file_count"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineError("restic's statistics cannot be read", mend="report this with `restic version`") from error


def stored_size_of(text: str) -> int:
    """From `restic stats --mode raw-data --json`. Raises EngineError."""
    try:
        return int(json.loads(text)["total_size"])
    except (ValueError, KeyError, TypeError) as error:
        raise EngineError("restic's statistics cannot be read", mend="report this with `restic version`") from error


def messages(text: str) -> Iterator[Mapping[str, Any]]:
    """The JSON messages among the lines that restic printed."""
    for line in text.splitlines():
        message = message_of(line)
        if message is not None:
            yield message


def message_of(line: str) -> Mapping[str, Any] | None:
    """One line as a JSON message; None when it is none."""
    if not line.startswith("{"):
        return None
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and "message_type" in found else None


def progress_of(line: str) -> Progress | None:
    """From a status line of `restore --json`."""
    message = message_of(line)
    if message is None or message["message_type"] != "status":
        return None
    total = message.get("total_bytes")
    return Progress(int(message.get("bytes_restored", 0)), int(total) if total else None, "measured")


def explanation(stdout: str, stderr: str) -> str:
    """What restic said went wrong: a signal or its last word first, then what led to it; one line."""
    fatal: list[str] = []
    errors: list[str] = []
    for message in [*messages(stdout), *messages(stderr)]:
        if message["message_type"] == "exit_error":
            fatal.append(str(message.get("message", "")))
        elif message["message_type"] == "error":
            errors.append(str((message.get("error") or {}).get("message", "")))
    for line in stderr.splitlines():
        if message_of(line) is None and line.strip():
            (fatal if line.startswith("Fatal:") else errors).append(line.strip())
    signal = SIGNAL.search(stderr)
    told = [signal[0]] if signal else []
    told += [" ".join(text.split()).removeprefix("Fatal: ") for text in [*fatal[-1:], *errors[:3]]]
    return "; ".join(dict.fromkeys(text for text in told if text))[:600]


def tells_error(stdout: str, stderr: str) -> bool:
    """Whether anything went wrong with any file, whatever the exit code. What went well at last did not."""
    text = any(line.startswith(("ignoring error", "Fatal:")) for line in stderr.splitlines())
    return text or any(one["message_type"] in {"error", "exit_error"} for one in [*messages(stdout), *messages(stderr)])


def damage_of(stdout: str, stderr: str) -> tuple[str, ...]:
    """Lines of `restic check` that tell of damage, without its advice on what to do and without what it tried again."""
    lines = [line.strip() for line in f"{stdout}\n{stderr}".splitlines()]
    return tuple(
        dict.fromkeys(
            line[:300]
            for line in lines
            if line and _DAMAGE.search(line) and not _HARMLESS.search(line) and not _ADVICE.search(line)
        )
    )


def packs_of(stdout: str, total: bool) -> tuple[int | None, int | None]:
    """(packs read, packs there are) as `restic check` tells; `total` when all were asked for."""
    counts = _ALL.findall(stdout)
    group = _GROUP.search(stdout)
    if group:
        # 0.14 names the group's number of packs wrongly when it is empty, so what it counted is believed.
        return (int(counts[-1][0]) if counts else 0), int(group[2])
    if total and counts:
        return int(counts[-1][0]), int(counts[-1][1])
    return None, None
