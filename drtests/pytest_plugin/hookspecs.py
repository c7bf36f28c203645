"""Hooks that drtests adds to pytest, for whoever shows what goes on. None of them can change a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest


def pytest_drtests_planned(config: pytest.Config, drills: list[str]) -> None:
    """The drills of this run are known. Called in the process that runs them."""


def pytest_drtests_phase(config: pytest.Config, drill: str, phase: str) -> None:
    """A drill enters a phase. Not called for drills in other processes (`-n`)."""


def pytest_drtests_progress(config: pytest.Config, drill: str, progress: Mapping[str, Any]) -> None:
    """A restore goes on: `done_bytes`, `total_bytes` (or None), `basis`. Not called for drills in other processes."""
