"""Small transition tables for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from refresh.table import TransitionTable
from refresh.table_rows import BackoffRows, PairRows
from refresh.table_store import TableStore
from tidegate.contracts import Trigger

NAMES = ("jazz", "rock", "soul", "folk", "ska")
PAIRS = {(0, 1): (2, 3), (1, 2): (0,), (3, 1): (4,)}
OTHER = {**PAIRS, (2, 3): (0, 1)}
BACKOFF = {1: (2, 0), 4: (3,)}


def ranked(answers: Sequence[Sequence[int]], top_n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Clusters, probabilities that fall with the rank, and row keys that follow the answers."""
    clusters = np.full((len(answers), top_n), -1, dtype=np.int32)
    for row, answer in zip(clusters, answers, strict=True):
        row[: len(answer)] = answer
    probabilities = np.where(clusters >= 0, 0.5 ** np.arange(1, top_n + 1), 0).astype(np.float32)
    keys = np.array([(hash(tuple(answer)) & 0xFFFF, 1) for answer in answers], dtype=np.uint64).reshape(-1, 2)
    return clusters, probabilities, keys


def pair_rows(answers: Mapping[tuple[int, int], Sequence[int]], top_n: int = 3, refreshed_ms: int = 1_000) -> PairRows:
    clusters, probabilities, keys = ranked(list(answers.values()), top_n)
    return PairRows(
        pairs=np.array([c1 << 16 | c2 for c1, c2 in answers], dtype=np.int64),
        clusters=clusters,
        probabilities=probabilities,
        row_keys=keys,
        contexts=clusters[:, 0],
        refreshed_ms=np.full(len(answers), refreshed_ms, dtype=np.int64),
    )


def backoff_rows(answers: Mapping[int, Sequence[int]], top_n: int = 3) -> BackoffRows:
    return BackoffRows(np.array(list(answers), dtype=np.int32), *ranked(list(answers.values()), top_n))


def small_table(
    answers: Mapping[tuple[int, int], Sequence[int]] | None = None,
    backoff: Mapping[int, Sequence[int]] | None = None,
    names: tuple[str, ...] = NAMES,
    refreshed_ms: int = 1_000,
) -> TransitionTable:
    """A table of three answers a row; by default `PAIRS` and `BACKOFF`."""
    rows = pair_rows(PAIRS if answers is None else answers, refreshed_ms=refreshed_ms)
    return TransitionTable.empty(names, 3).with_changes(
        rows, backoff=backoff_rows(BACKOFF if backoff is None else backoff)
    )


def publish(store: TableStore, table: TransitionTable, window_end_ms: int = 1_000) -> int:
    return store.publish(
        table,
        window_end_ms=window_end_ms,
        trigger=Trigger.POLICY,
        reasons={"drift": table.n_rows},
        engine_name="frequency",
        engine_fingerprint="abc",
    )


def crash(*_: object) -> None:
    """Die here, as a process does that is told to."""
    raise KeyboardInterrupt
