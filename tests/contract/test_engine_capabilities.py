"""What restic can do besides what every engine must, with every restic there is."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from drtests.engines.restic import parse
from drtests.errors import EngineError, WrongPassword
from drtests.model.system import Snapshots
from drtests.protocols.capabilities import ByHand, Encrypts, Hashing, Listing
from drtests.protocols.engine import RecoveryPoint
from tests.support.restic_lab import PASSWORD, PATIENCE, Lab


def test_all_are_there(sound: Lab) -> None:
    for capability in (Listing, Hashing, ByHand, Encrypts):
        assert isinstance(sound.engine(), capability)


def test_entries_are_those_that_a_restore_brings(sound: Lab, tmp_path: Path) -> None:
    engine = sound.engine()
    first, *_, last = engine.recovery_points(Snapshots())
    before = sound.fingerprint()
    entries = {fact.path: fact for fact in engine.entries(last, PATIENCE)}
    assert engine.fingerprint(first, PATIENCE) != engine.fingerprint(last, PATIENCE)
    assert sound.fingerprint() == before
    engine.restore(last, str(tmp_path), timeout=PATIENCE)
    restored = {f"/{fact.path}": fact for fact in sound.host.scan(str(tmp_path))}
    files = {path for path, fact in entries.items() if fact.kind == "file"}
    assert files == {path for path, fact in restored.items() if fact.kind == "file"}
    for path in files:
        assert entries[path].size == restored[path].size
        assert abs(entries[path].mtime - restored[path].mtime) < 1e-3


def test_a_hash_is_that_of_the_restored_file(sound: Lab, tmp_path: Path) -> None:
    engine = sound.engine()
    last = engine.recovery_points(Snapshots())[-1]
    engine.restore(last, str(tmp_path), timeout=PATIENCE)
    files = [fact for fact in engine.entries(last, PATIENCE) if fact.kind == "file"]
    largest = max(files, key=lambda fact: fact.size)
    for fact in (largest, files[0]):
        told = engine.digest(last, fact.path, PATIENCE)
        assert told == hashlib.sha256((tmp_path / fact.path.lstrip("/")).read_bytes()).hexdigest()
    with pytest.raises(EngineError):
        engine.digest(last, "/no/such/file", PATIENCE)
    with pytest.raises(WrongPassword):
        sound.engine(password="another").digest(last, largest.path, PATIENCE)
    with pytest.raises(EngineError):
        parse.digest_of("")


def test_what_is_not_there_is_told(sound: Lab) -> None:
    point = sound.engine().recovery_points(Snapshots())[-1]
    nowhere = RecoveryPoint("0" * 64, point.time, point.host, point.paths)
    with pytest.raises(EngineError):
        sound.engine().entries(nowhere, PATIENCE)
    with pytest.raises(WrongPassword):
        sound.engine(password="another").entries(point, PATIENCE)
    with pytest.raises(EngineError):
        parse.entry_of("{")
    with pytest.raises(EngineError):
        parse.tree_of("[]")


def test_a_person_who_types_what_is_told_gets_the_same(sound: Lab, tmp_path: Path) -> None:
    engine = sound.engine()
    point = engine.recovery_points(Snapshots())[-1]
    selected = Snapshots(host=point.host, tags=point.tags, paths=point.paths)
    engine.restore(engine.recovery_points(selected)[-1], str(tmp_path / "drill"), timeout=PATIENCE)
    for step in engine.by_hand(selected, "latest", str(tmp_path / "hand"), (), True):
        assert PASSWORD not in " ".join(step.argv)
        environment = {**os.environ, "RESTIC_PASSWORD": PASSWORD}
        subprocess.run(step.argv, env=environment, capture_output=True, timeout=PATIENCE, check=True)
    told = [{fact.path: fact.size for fact in sound.host.scan(str(tmp_path / name))} for name in ("drill", "hand")]
    assert told[0] == told[1]
    assert told[0]
