"""One table of figures per benchmark: printed, and written to ``bench/out/NAME.json`` as it is printed."""

from __future__ import annotations

from pathlib import Path

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tidegate.files import write_atomically

OUT = Path(__file__).parent / "out"
_PIPED_WIDTH = 160  # rich would fold names at 80 columns where there is no terminal to measure


class Figure(msgspec.Struct, frozen=True):
    """One measured figure.

    Attributes
    ----------
    name : str
    value : float | int | str | None   None where it could not be measured; the conditions say why
    unit : str                         ``events/s``, ``calls``, ``ratio`` …
    goal : str                         what was asked for, as words: ``>= 300,000``; empty for a mere record
    conditions : str                   cores, sizes, versions, medians of how many: what a repetition needs
    """

    name: str
    value: float | int | str | None
    unit: str
    goal: str = ""
    conditions: str = ""


def publish(name: str, figures: list[Figure], *, console: Console | None = None) -> None:
    """Print `figures` as one table and write the same as JSON, replacing an earlier run's."""
    out = console or _console()
    table = Table(title=name, box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("figure")
    table.add_column("value", justify="right", no_wrap=True)
    for heading in ("unit", "goal", "conditions"):
        table.add_column(heading)
    for figure in figures:
        cells = (figure.name, _shown(figure.value), figure.unit, figure.goal, figure.conditions)
        table.add_row(*(Text(cell) for cell in cells))
    out.print(table)
    OUT.mkdir(parents=True, exist_ok=True)
    body = msgspec.json.format(msgspec.json.encode(figures), indent=2)
    write_atomically(OUT / f"{name}.json", body + b"\n")


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=_PIPED_WIDTH)


def _shown(value: float | int | str | None) -> str:
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, int) or abs(value) >= 1_000:
        return f"{value:,.0f}"
    return f"{value:.4g}"
