"""Versions on the terminal and as JSON: what commands on tables and on weights print alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
import msgspec


def show_verified(results: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    """Print what was found, errors to standard error; ends the command with code 1 if a version is damaged.

    Parameters
    ----------
    results : for each version its ``version``, and ``error`` or, where it is known, ``checksum``
    """
    if as_json:
        print_json(results)
    for result in results:
        if "error" in result:
            click.echo(f"Error: {result['error']}", err=True)
        elif not as_json:
            checksum = f" ({result['checksum']})" if "checksum" in result else ""
            click.echo(f"version {result['version']} is sound{checksum}")
    if any("error" in result for result in results):
        click.get_current_context().exit(1)


def print_json(value: Any) -> None:
    """Print a value for programs to read."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
