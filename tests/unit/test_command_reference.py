"""The command reference says what the command line says."""

from __future__ import annotations

from pathlib import Path

from drtests.cli.main import cli
from drtests.cli.reference import render_commands

DOCUMENT = Path(__file__).parents[2] / "docs" / "reference" / "commands.md"


def test_the_reference_is_current() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == render_commands(), (
        "make it again: python -m drtests.cli.reference > docs/reference/commands.md"
    )


def test_every_command_and_every_option_has_a_help_text() -> None:
    for name, command in cli.commands.items():
        assert command.help, name
        assert f"## {name}\n" in render_commands()
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert getattr(parameter, "help", None), f"{name} {parameter.name}"
