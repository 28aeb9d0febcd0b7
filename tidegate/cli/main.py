"""``tidegate``: the command and its subcommands."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from tidegate import __version__
from tidegate.cli.errors import run_cleanly

_COMMANDS = {
    "alerts": "tidegate.cli.alerts:alerts_group",
    "backtest": "tidegate.cli.backtest:backtest_command",
    "console": "tidegate.cli.console:console_command",
    "control": "tidegate.cli.control:control_command",
    "decisions": "tidegate.cli.decisions:decisions_group",
    "demo": "tidegate.cli.demo:demo_command",
    "evaluator": "tidegate.cli.evaluator:evaluator_command",
    "finetune": "tidegate.cli.finetune:finetune_group",
    "refresh": "tidegate.cli.refresh:refresh_command",
    "refresh-gate": "tidegate.cli.refresh_gate:refresh_gate_group",
    "refresher": "tidegate.cli.refresher:refresher_command",
    "run": "tidegate.cli.run:run_command",
    "serve": "tidegate.cli.serve:serve_command",
    "study": "tidegate.cli.study:study_command",
    "synth": "tidegate.cli.synth:synth_command",
    "table": "tidegate.cli.table:table_group",
    "weights": "tidegate.cli.weights:weights_group",
    "worker": "tidegate.cli.worker:worker_command",
}


class LazyGroup(click.Group):
    """Imports a subcommand when it is asked for: a worker that comes back after a crash must not load matplotlib."""

    def list_commands(self, _context: click.Context) -> list[str]:
        """Names of all subcommands."""
        return sorted(_COMMANDS)

    def get_command(self, _context: click.Context, cmd_name: str) -> click.Command | None:
        """Load a subcommand; None where there is no such."""
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name].split(":")
        command: click.Command = getattr(import_module(module), name)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tidegate")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Refresh an LLM-powered recommender's interest table when drift makes it worth it.

    Exit codes: 0 done, 1 the work failed, 2 the request was wrong.
    """


def main() -> None:
    """Entry point of the installed program."""
    sys.exit(run_cleanly(cli, debug="--debug" in sys.argv))
