"""One table of a study's report."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text; the first `n_names` columns name a row, the others hold figures."""

    caption: str
    head: list[str]
    rows: list[list[str]]
    n_names: int = 1
