"""``tidegate``: the command and its subcommands."""

from __future__ import annotations

import sys

import click

from tidegate import __version__
from tidegate.cli.control import control_command
from tidegate.cli.demo import demo_command
from tidegate.cli.errors import run_cleanly
from tidegate.cli.evaluator import evaluator_command
from tidegate.cli.refresher import refresher_command
from tidegate.cli.run import run_command
from tidegate.cli.synth import synth_command
from tidegate.cli.table import table_group
from tidegate.cli.worker import worker_command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tidegate")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Refresh an LLM-powered recommender's interest table when drift makes it worth it.

    Exit codes: 0 done, 1 the work failed, 2 the request was wrong.
    """


cli.add_command(control_command)
cli.add_command(demo_command)
cli.add_command(evaluator_command)
cli.add_command(refresher_command)
cli.add_command(run_command)
cli.add_command(synth_command)
cli.add_command(table_group)
cli.add_command(worker_command)


def main() -> None:
    """Entry point of the installed program."""
    sys.exit(run_cleanly(cli, debug="--debug" in sys.argv))
