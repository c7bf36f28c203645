"""Packs of older releases are read, verified and folded by this one."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from drtests.core.fold import fold
from drtests.evidence.pack import read_journals, read_record, verify_pack

PACKS = sorted(path for path in (Path(__file__).parents[1] / "packs").iterdir() if path.is_dir())


def test_there_are_some() -> None:
    assert {json.loads((pack / "record.json").read_bytes())["schema_version"] for pack in PACKS} == {1}


@pytest.mark.parametrize("pack", PACKS, ids=lambda path: path.name)
def test_a_frozen_pack_is_intact(pack: Path) -> None:
    found = verify_pack(pack, fold)
    assert found.intact, found
    assert fold(read_journals(pack)).run.verdict == read_record(pack).run.verdict


@pytest.mark.parametrize("pack", PACKS, ids=lambda path: path.name)
def test_stock_tools_agree(pack: Path) -> None:
    done = subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=pack, check=False, timeout=60)
    assert done.returncode == 0
