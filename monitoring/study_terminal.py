"""A study on the terminal: its sections in words, and its arms as tables."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from monitoring.study_arm_tables import cost, reached
from monitoring.study_table import Table
from monitoring.study_wording import sections, size_sentence
from monitoring.wording import Summary, printable


def print_study(console: Console, study: Summary) -> None:
    """Print what each section found, what the paper reports, and what the figures rest on."""
    console.print(_text(f"{study['source']}: {size_sentence(study)}"))
    for section in sections(study):
        console.print()
        console.print(Text(section.heading, style="bold"))
        for sentence in section.found:
            console.print(_text(sentence))
        if section.name == "arms":
            for table in (reached(study["arms"]), cost(study["arms"])):
                console.print(_grid(table))
        console.print(Text(f"Paper: {section.paper}", style="dim"))
        console.print(Text(f"Rests on: {section.certainty}", style="dim"))


def _grid(table: Table) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for at, heading in enumerate(table.head):
        grid.add_column(heading, justify="left" if at < table.n_names else "right", no_wrap=at < table.n_names)
    for row in table.rows:
        grid.add_row(*map(_text, row))
    return grid


def _text(words: str) -> Text:
    """Keep square brackets and escape sequences of logs from being read as markup or by the terminal."""
    return Text(printable(words))
