"""Rows that a verdict names: what was asked, answered and wanted, in the catalogue's words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from refresh.catalogue_text import tame
from refresh.prompts import RowContexts

N_NAMED = 3
_TEXT_CHARACTERS = 40


def named(rows: Iterable[str], n_rows: int) -> str:
    """Write the first few of some rows: nothing where there are none.

    Examples
    --------
    >>> named(["a after b", "c after d"], 5)
    '; first: a after b, c after d, … (3 more)'
    """
    first = [row for row, _ in zip(rows, range(N_NAMED), strict=False)]
    if not first:
        return ""
    more = f", … ({n_rows - len(first):,} more)" if n_rows > len(first) else ""
    return f"; first: {', '.join(first)}{more}"


def context_name(contexts: RowContexts, row: int, names: Sequence[str]) -> str:
    """Name what a row was asked about."""
    c1, c2 = int(contexts.c1[row]), int(contexts.c2[row])
    return f"after {cluster_name(c2, names)}" + (f" (before it {cluster_name(c1, names)})" if c1 >= 0 else "")


def cluster_name(cluster: int, names: Sequence[str]) -> str:
    """Name a cluster; ids outside the catalogue stay ids."""
    return quoted(names[cluster]) if 0 <= cluster < len(names) else f"cluster {cluster}"


def quoted(text: str) -> str:
    r"""Quote what a model or a catalogue says: on one line, short, with nothing that a terminal would obey.

    Examples
    --------
    >>> quoted("jazz\n\x1b[31m")
    "'jazz (31m'"
    """
    return f"'{tame(text, _TEXT_CHARACTERS)}'"
