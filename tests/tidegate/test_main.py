"""The command itself: its subcommands, and what is loaded for them."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from tidegate.cli.main import cli

NAMES = cli.list_commands(click.Context(cli))


@pytest.mark.parametrize("name", NAMES)
def test_a_subcommand_lies_where_the_list_says(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.name == name
    assert command.help


def test_help_says_on_a_line_each_what_subcommands_are_for() -> None:
    listed = CliRunner().invoke(cli, ["--help"]).output.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in listed] == NAMES
    assert all(line.endswith(".") for line in listed)


def test_an_unknown_subcommand_is_refused() -> None:
    refused = CliRunner().invoke(cli, ["runn"])
    assert refused.exit_code == 2
    assert "No such command 'runn'" in refused.output


def loaded_by(*arguments: str) -> set[str]:
    """Modules that a new process has loaded once a command is done."""
    code = (
        "import sys; from tidegate.cli.main import cli\n"
        f"cli({list(arguments)!r}, standalone_mode=False); print('', *sys.modules, sep=chr(10))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(done.stdout.splitlines())


def test_the_list_of_subcommands_loads_none_of_them() -> None:
    loaded = loaded_by("--help")
    assert "click" in loaded
    assert not loaded & {"numpy", "numba", "sqlalchemy", "torch"}


def test_a_worker_loads_nothing_that_only_others_need() -> None:
    loaded = loaded_by("worker", "--help")
    assert "stream.group.worker" in loaded
    assert not loaded & {"matplotlib", "scipy.optimize", "scipy.stats", "torch", "transformers", "vllm"}
