"""A study on the terminal: its sections in words."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

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
        console.print(Text(f"Paper: {section.paper}", style="dim"))
        console.print(Text(f"Rests on: {section.certainty}", style="dim"))


def _text(words: str) -> Text:
    """Keep square brackets and escape sequences of logs from being read as markup or by the terminal."""
    return Text(printable(words))
