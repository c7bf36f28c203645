"""The `drtests` command, its exit codes, and the one place where errors become words."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

import click

from drtests import __version__
from drtests.cli.common import report_error
from drtests.cli.kit import kit
from drtests.cli.machine import doctor, gc, seal
from drtests.cli.packs import actions, report, verify
from drtests.cli.project import check, init, plan, schema
from drtests.cli.run import run
from drtests.errors import (
    EXIT_INCONCLUSIVE,
    EXIT_INTERNAL,
    EXIT_MET,
    EXIT_USAGE,
    ConfigurationError,
    DrtestsError,
    SafetyError,
    UsageError,
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="drtests")
def cli() -> None:
    """Prove, on a schedule and with evidence, that you can recover from a disaster.

    \b
    Exit codes: 0 all objectives met, 1 missed, 2 inconclusive or interrupted,
    3 internal error, 4 usage or configuration, 5 nothing ran.
    """


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for SHELL.

    For bash: drtests completion bash > ~/.local/share/bash-completion/completions/drtests
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    if found is None:
        raise UsageError(f"no completion for {shell}")
    click.echo(found(cli, {}, "drtests", "_DRTESTS_COMPLETE").source())


for command in (init, check, plan, run, report, verify, actions, kit, doctor, gc, seal, schema):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits; never shows a traceback for what a user can mend."""
    sys.exit(invoke(arguments))


def invoke(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit code."""
    try:
        code = cli.main(args=list(arguments) if arguments is not None else None, standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return EXIT_INCONCLUSIVE
    except Exception as error:  # noqa: BLE001 - the last place where a fault can be told in words
        return _tell(error)
    return code if isinstance(code, int) else EXIT_MET


def _tell(error: Exception) -> int:
    """Says what is wrong, and returns the exit code for it."""
    match error:
        case click.ClickException():
            error.show()
            return EXIT_USAGE
        case DrtestsError():
            report_error(error)
            configured = isinstance(error, (ConfigurationError, UsageError, SafetyError))
            return EXIT_USAGE if configured else EXIT_INCONCLUSIVE
        case BrokenPipeError():
            # Whoever read us has gone; there is nobody left to tell.
            sys.stderr.close()
            return EXIT_INTERNAL
        case OSError():
            place = f"{error.filename}: " if error.filename else ""
            click.echo(f"error: {place}{error.strerror or error}", err=True)
            return EXIT_USAGE
    # Whatever was measured is in the journal by now; `drtests report` makes the pack from it.
    told = "".join(traceback.format_exception(error))
    click.echo(f"internal error; please report this:\n{told}", err=True)
    return EXIT_INTERNAL


if __name__ == "__main__":
    main()
