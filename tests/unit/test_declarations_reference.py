"""The reference pages on declarations and checks say what the models say."""

from __future__ import annotations

from pathlib import Path

from drtests import registry
from drtests.declarations.reference import render_checks, render_declarations

FOLDER = Path(__file__).parents[2] / "docs" / "reference"
AGAIN = "make them again: python -m drtests.declarations.reference docs/reference"


def test_declarations_are_current() -> None:
    assert (FOLDER / "declarations.md").read_text(encoding="utf-8") == render_declarations(), AGAIN


def test_checks_are_current_and_complete() -> None:
    page = (FOLDER / "checks.md").read_text(encoding="utf-8")
    assert page == render_checks(), AGAIN
    assert [line[3:] for line in page.splitlines() if line.startswith("## ")] == list(registry.check_kinds())
