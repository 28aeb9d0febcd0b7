"""What sets two table versions apart, in names: for the command line and for the console."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from refresh.table import TransitionTable
from refresh.table_diff import diff_tables
from tidegate.counts import unpack_pairs

ANY = "*"
"""Stands for c1 on the backoff level."""


@dataclass(frozen=True, slots=True)
class NamedChanges:
    """Rows that differ.

    Attributes
    ----------
    counts : dict              rows by kind: added, removed, changed
    n_reweighted : int         rows with other probabilities only
    rows : list of dict        the first ones of each kind: change, c1, c2, and the ranked answers of old and new
    """

    counts: dict[str, int]
    n_reweighted: int
    rows: list[dict[str, Any]]


def changes_between(before: TransitionTable, after: TransitionTable, limit: int) -> NamedChanges:
    """Compare two versions.

    Parameters
    ----------
    limit : rows of each kind to name

    Raises
    ------
    TableError
        If they do not share a catalogue.
    """
    changes = diff_tables(after, before)
    kinds = {
        "added": (changes.added, changes.backoff_added),
        "removed": (changes.removed, changes.backoff_removed),
        "changed": (changes.reranked, changes.backoff_reranked),
    }
    return NamedChanges(
        {kind: int(pairs.size + backoff.size) for kind, (pairs, backoff) in kinds.items()},
        changes.rows_reweighted,
        [
            _changed_row(kind, before, after, c1, c2)
            for kind, (pairs, backoff) in kinds.items()
            for c1, c2 in _contexts(pairs, backoff, limit)
        ],
    )


def ranked(table: TransitionTable, clusters: Any, weights: Any) -> list[dict[str, Any]]:
    """Name the ranked answers of a row."""
    found = zip(clusters.tolist(), weights.tolist(), strict=True)
    return [{"name": table.cluster_names[c], "probability": weight} for c, weight in found if c >= 0]


def _contexts(pairs: Any, backoff: Any, limit: int) -> Iterator[tuple[int, int]]:
    """First contexts of both levels; c1 is -1 on the backoff level."""
    c1, c2 = unpack_pairs(pairs[:limit])
    yield from zip(c1.tolist(), c2.tolist(), strict=True)
    yield from ((-1, c2) for c2 in backoff[: limit - c1.shape[0]].tolist())


def _changed_row(kind: str, old: TransitionTable, new: TransitionTable, c1: int, c2: int) -> dict[str, Any]:
    names = max(old.cluster_names, new.cluster_names, key=len)
    context = {"c1": names[c1] if c1 >= 0 else ANY, "c2": names[c2]}
    return {"change": kind, **context, "old": _answers_of(old, c1, c2), "new": _answers_of(new, c1, c2)}


def _answers_of(table: TransitionTable, c1: int, c2: int) -> list[dict[str, Any]]:
    """Ranked answers of one row; none where the table does not have it."""
    if c1 < 0:
        is_known = c2 < len(table.cluster_names)
        return ranked(table, table.backoff_clusters[c2], table.backoff_probabilities[c2]) if is_known else []
    at = int(table.rows_of(np.array([c1 << 16 | c2]))[0])
    return ranked(table, table.clusters[at], table.probabilities[at]) if at >= 0 else []
