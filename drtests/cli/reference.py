"""`docs/reference/commands.md`, made from the command line itself: `python -m drtests.cli.reference > ...`."""

from __future__ import annotations

import click

from drtests.cli.main import cli

_HEAD = """# Commands

Made from the command line itself; do not edit. `drtests COMMAND --help` says the same.
"""


def render_commands() -> str:
    """Every command with its usage, arguments and options."""
    parts = [_HEAD]
    top = click.Context(cli, info_name="drtests")
    for name in sorted(cli.commands):
        command = cli.commands[name]
        context = click.Context(command, info_name=name, parent=top)
        usage = " ".join(["drtests", name, *command.collect_usage_pieces(context)])
        parts.append(f"\n## {name}\n\n```\n{usage}\n```\n\n{_paragraphs(command.help or '')}\n")
        rows = [row for parameter in command.params if (row := _row(parameter, context))]
        if rows:
            parts.append(
                "\n| option | means |\n|---|---|\n" + "".join(f"| {left} | {right} |\n" for left, right in rows)
            )
    return "".join(parts)


def _paragraphs(text: str) -> str:
    return "\n".join(line.strip() for line in text.replace("\b", "").strip().splitlines())


def _row(parameter: click.Parameter, context: click.Context) -> tuple[str, str] | None:
    if not isinstance(parameter, click.Option) or "--help" in parameter.opts:
        return None
    told = parameter.get_help_record(context)
    if told is None:
        return None
    return f"`{told[0]}`", " ".join(told[1].split()).replace("|", "\\|")


if __name__ == "__main__":
    click.echo(render_commands(), nl=False)
