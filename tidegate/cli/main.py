"""``tidegate``: the command and its subcommands."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from tidegate import __version__
from tidegate.cli.errors import run_cleanly

_COMMANDS = {
    "alerts": ("tidegate.cli.alerts:alerts_group", "Take Alertmanager's alerts: each new one asks for one refresh."),
    "backtest": ("tidegate.cli.backtest:backtest_command", "Go over a log with several policies and compare them."),
    "console": ("tidegate.cli.console:console_command", "Show a run to people in a browser, and let them act."),
    "control": ("tidegate.cli.control:control_command", "Decide what drift is worth, and place orders."),
    "decisions": ("tidegate.cli.decisions:decisions_group", "List, show and replay what was decided."),
    "demo": ("tidegate.cli.demo:demo_command", "Show the whole story on a synthetic world."),
    "evaluator": (
        "tidegate.cli.evaluator:evaluator_command",
        "Close panes that all workers counted; report their drift.",
    ),
    "finetune": ("tidegate.cli.finetune:finetune_group", "Show, run and decide on fine-tunes."),
    "refresh": ("tidegate.cli.refresh:refresh_command", "Refresh the table over the last complete window."),
    "refresh-gate": (
        "tidegate.cli.refresh_gate:refresh_gate_group",
        "Show tables that did not pass their gates; serve one still.",
    ),
    "refresher": ("tidegate.cli.refresher:refresher_command", "Carry orders out: infer rows, publish table versions."),
    "run": ("tidegate.cli.run:run_command", "Keep the transition table fresh from a log or topic."),
    "serve": ("tidegate.cli.serve:serve_command", "Answer look-ups over HTTP from the table that serves."),
    "study": ("tidegate.cli.study:study_command", "Repeat the paper's studies on a log."),
    "synth": ("tidegate.cli.synth:synth_command", "Write a synthetic log with planted interest drift."),
    "table": ("tidegate.cli.table:table_group", "List, show, compare, verify and roll back table versions."),
    "weights": ("tidegate.cli.weights:weights_group", "List, verify and roll back the weights that answer."),
    "worker": ("tidegate.cli.worker:worker_command", "Count partitions of a topic together with other workers."),
}
"""Where each subcommand lies, and what it is for: said here, so that the list of them loads none."""


class LazyGroup(click.Group):
    """Imports a subcommand when it is asked for: a worker that comes back after a crash must not load matplotlib."""

    def list_commands(self, _context: click.Context) -> list[str]:
        """Names of all subcommands."""
        return sorted(_COMMANDS)

    def get_command(self, _context: click.Context, cmd_name: str) -> click.Command | None:
        """Load a subcommand; None where there is no such."""
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name][0].split(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def format_commands(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        """List what subcommands are for, without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, purpose) for name, (_, purpose) in sorted(_COMMANDS.items())])


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
