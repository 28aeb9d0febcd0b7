"""What a person sees when a command fails: one message, the right exit code, no traceback unless asked."""

from __future__ import annotations

import traceback
from collections.abc import Sequence

import click

from tidegate.errors import TidegateError


def run_cleanly(command: click.Command, args: Sequence[str] | None = None, *, debug: bool = False) -> int:
    """Run a command; returns its exit code.

    0 done, 1 the work failed, 2 the request was wrong, 130 interrupted. Messages go to standard error.

    Parameters
    ----------
    args : sequence of str, optional
        Default: those of the process.
    debug : bool
        Print the traceback of an error before its message.
    """
    try:
        result = command.main(args=args, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        return 130
    except TidegateError as error:
        _report(str(error), debug=debug)
        return error.exit_code
    except Exception as error:
        _report(f"{type(error).__name__}: {error}. This is a fault of Tidegate: --debug shows where", debug=debug)
        return 1
    return result if isinstance(result, int) else 0


def _report(message: str, *, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    click.echo(f"Error: {message}", err=True)
