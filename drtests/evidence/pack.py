"""The evidence pack: a folder with journals, what follows from them, and a manifest of hashes over it all."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drtests.core.events import Journal, decode
from drtests.errors import PackError
from drtests.evidence.json_reporter import JsonReporter, parse_record
from drtests.model.record import Record
from drtests.protocols.reporter import Reporter

JOURNALS = "journal"
RECORD = JsonReporter.filename
MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"
_TEMPORARY = ".drtests-new-"


def packs(reports: Path) -> list[Path]:
    """All packs below `reports`, oldest first: folders that hold journals or a record."""
    if not reports.is_dir():
        return []
    return sorted(path for path in reports.iterdir() if (path / JOURNALS).is_dir() or (path / RECORD).is_file())


def read_journals(folder: Path) -> list[Journal]:
    """The pack's journals, in order of name. Raises PackError when there is none, or one cannot be read."""
    files = sorted(file for file in (folder / JOURNALS).glob("*.jsonl") if file.is_file())
    if not files:
        raise PackError("there is no journal", where=str(folder), mend="give the folder of a run, below reports/")
    try:
        return [decode(f"{JOURNALS}/{file.name}", file.read_bytes().splitlines(keepends=True)) for file in files]
    except OSError as error:
        raise PackError(f"a journal cannot be read: {error.strerror}", where=str(error.filename)) from error


def read_record(folder: Path) -> Record:
    """The pack's record. Raises PackError when it is missing, not a record, or of a version not known here."""
    file = folder / RECORD
    try:
        data = file.read_bytes()
    except OSError as error:
        raise PackError(
            f"the record cannot be read: {error.strerror}",
            where=str(file),
            mend="`drtests report` makes it from the journals",
        ) from error
    return parse_record(data, str(file))


def write_pack(folder: Path, record: Record, reporters: Iterable[Reporter]) -> None:
    """Writes every artefact, then the manifest, then the sums; each whole or not at all, the same bytes every time."""
    for stale in folder.glob(f"{_TEMPORARY}*"):
        stale.unlink()
    for reporter in reporters:
        write_atomically(folder / reporter.filename, reporter.render(record))
    entries = [_entry(folder, path) for path in _files(folder) if path not in (MANIFEST, SUMS)]
    manifest = {"schema": "drtests-manifest", "schema_version": 1, "run": record.run.id, "files": entries}
    write_atomically(folder / MANIFEST, _json(manifest))
    sums = [*((entry["sha256"], entry["path"]) for entry in entries)]
    sums.append((_entry(folder, MANIFEST)["sha256"], MANIFEST))
    write_atomically(
        folder / SUMS, "".join(f"{digest}  {path}\n" for digest, path in sorted(sums, key=_by_path)).encode()
    )


def _by_path(pair: tuple[str, str]) -> str:
    return pair[1]


def write_atomically(path: Path, data: bytes) -> None:
    """Through a file next to it, on disk before it takes the name."""
    handle, name = tempfile.mkstemp(prefix=_TEMPORARY, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@dataclass(frozen=True, slots=True)
class PackReport:
    """What `verify_pack` found. Paths are relative to the pack."""

    changed: tuple[str, ...]
    added: tuple[str, ...]
    missing: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def intact(self) -> bool:
        return not (self.changed or self.added or self.missing or self.problems)


def verify_pack(folder: Path, fold: Callable[[Sequence[Journal]], Record]) -> PackReport:
    """Compares a pack with its manifest, its journals with their chains, and its record with what they tell.

    Raises PackError only when there is no folder to look at.
    """
    if not folder.is_dir():
        raise PackError("there is no such pack", where=str(folder))
    listed, problems = _listed(folder)
    there = set(_files(folder))
    links = sorted(path for path in there if _through_link(folder, path))
    problems += [f"{path} is a link, or lies behind one: a pack holds files only" for path in links]
    there -= set(links)
    known = set(listed)
    changed = sorted(path for path in known & there if _entry(folder, path) != listed[path])
    if not problems and (folder / SUMS).is_file():
        problems += _sums_problems(folder, listed)
    elif SUMS not in there:
        problems.append(f"{SUMS} is missing")
    problems += _journal_problems(folder, fold)
    return PackReport(
        changed=tuple(changed),
        added=tuple(sorted(there - known - {MANIFEST, SUMS})),
        missing=tuple(sorted(known - there - set(links))),
        problems=tuple(problems),
    )


def _listed(folder: Path) -> tuple[dict[str, dict[str, Any]], list[str]]:
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        if (manifest["schema"], manifest["schema_version"]) != ("drtests-manifest", 1):
            return {}, [f"{MANIFEST} is of a version that is not known here"]
        listed = {str(entry["path"]): {k: entry[k] for k in ("path", "sha256", "bytes")} for entry in manifest["files"]}
    except FileNotFoundError:
        return {}, [f"{MANIFEST} is missing"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}, [f"{MANIFEST} cannot be read"]
    outside = [path for path in listed if Path(path).is_absolute() or ".." in Path(path).parts]
    for path in outside:
        del listed[path]
    return listed, [f"{MANIFEST} names {path}, which is not in the pack" for path in outside]


def _sums_problems(folder: Path, listed: dict[str, dict[str, Any]]) -> list[str]:
    wanted = {path: entry["sha256"] for path, entry in listed.items()}
    wanted[MANIFEST] = _entry(folder, MANIFEST)["sha256"]
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
        found = {path: digest for digest, path in (line.split("  ", 1) for line in lines)}
    except (OSError, ValueError):
        return [f"{SUMS} cannot be read"]
    return [] if found == wanted else [f"{SUMS} does not agree with {MANIFEST}"]


def _journal_problems(folder: Path, fold: Callable[[Sequence[Journal]], Record]) -> list[str]:
    try:
        journals = read_journals(folder)
        problems = [f"{journal.name}: {journal.problem}" for journal in journals if not journal.intact]
        kept, told = read_record(folder), fold(journals)
        if not _agrees(kept.model_dump(mode="json", exclude_unset=True), told.model_dump(mode="json")):
            problems.append(f"{RECORD} does not follow from the journals")
    except PackError as error:
        return [error.what]
    return problems


_WORDING = {"reasons", "advice", "weakness", "remediation", "problem"}
"""How a later release words the same finding may change; verdicts, numbers, names and times may not."""


def _agrees(kept: Any, told: Any) -> bool:
    """Whether what a pack holds is what its journals tell: in all it holds, as older packs hold fewer fields."""
    if isinstance(kept, dict) and isinstance(told, dict):
        return all(name in _WORDING or (name in told and _agrees(value, told[name])) for name, value in kept.items())
    if isinstance(kept, list) and isinstance(told, list):
        return len(kept) == len(told) and all(map(_agrees, kept, told))
    return bool(kept == told)


def _files(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink() or path.is_file()
    )


def _through_link(folder: Path, path: str) -> bool:
    full = folder / path
    return full.is_symlink() or any(
        parent.is_symlink() for parent in full.parents if parent != folder and folder in parent.parents
    )


def _entry(folder: Path, path: str) -> dict[str, Any]:
    with (folder / path).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"path": path, "sha256": digest, "bytes": (folder / path).stat().st_size}


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
