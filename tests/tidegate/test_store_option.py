from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tidegate.cli.options import store_option
from tidegate.errors import ConfigError


@click.command()
@store_option("Store.")
def show(store: str | None) -> None:
    click.echo(store)


def shown(*flags: str, **environment: str) -> str:
    return CliRunner().invoke(show, flags, env=environment, catch_exceptions=False).output.strip()


def test_a_store_comes_from_the_flag_then_the_environment_then_the_file(tmp_path: Path):
    file = tmp_path / "store"
    file.write_text("postgresql://in-file\n")
    assert shown() == ""
    assert shown(TIDEGATE_STORE_FILE=str(file)) == "postgresql://in-file"
    assert shown(TIDEGATE_STORE_FILE=str(file), TIDEGATE_STORE="postgresql://said") == "postgresql://said"
    assert shown("--store", "runs.db", TIDEGATE_STORE_FILE=str(file)) == "runs.db"


def test_a_store_whose_file_cannot_be_read_is_said_with_the_variable(tmp_path: Path):
    with pytest.raises(ConfigError, match="TIDEGATE_STORE_FILE: the store's address cannot be read"):
        shown(TIDEGATE_STORE_FILE=str(tmp_path / "nothing"))
