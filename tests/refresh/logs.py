"""Logs written as dictionaries, and what policies are shown of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from refresh.evidence import Evidence, Memory, PaneSpans
from refresh.policies import View
from refresh.table import TransitionTable
from refresh.table_rows import BackoffRows, PairRows
from tidegate.contracts import DriftReport, PairDrift
from tidegate.counts import SuccessorCounts
from tidegate.hashing import cluster_seeds

DAY_MS = 86_400_000
N_CLUSTERS = 8
NAMES = tuple(f"interest-{i}" for i in range(N_CLUSTERS))
Log = dict[tuple[int, int, int], int]

# (0, 1) goes to 2 although everyone else who comes to 1 goes on to 3: a row of its own pays.
LOG: Log = {(0, 1, 2): 60, (0, 1, 3): 5, (4, 1, 3): 60, (5, 1, 3): 60, (6, 1, 3): 60}
OWN = 0 << 16 | 1

triples = st.tuples(*[st.integers(0, N_CLUSTERS - 1)] * 3).filter(lambda t: len(set(t)) == 3)
logs = st.dictionaries(triples, st.integers(1, 30), min_size=1, max_size=40)


def counts_of(transitions: Log) -> SuccessorCounts:
    ordered = sorted(transitions.items())
    keys = np.array([(a << 16 | b) << 16 | c for (a, b, c), _ in ordered], np.int64)
    return SuccessorCounts.from_triples(keys, np.array([n for _, n in ordered], np.int64))


def seeds(n: int = N_CLUSTERS) -> np.ndarray:
    return cluster_seeds([f"interest-{i}" for i in range(n)])


def evidence_of(
    panes: Sequence[Log], lengths: Sequence[int] = (1, 2, 4), memory: Memory | None = None, window_panes: int = 1
) -> Evidence:
    spans = PaneSpans.of_panes([counts_of(pane) for pane in panes], lengths)
    return Evidence(spans, seeds(), memory, window_panes)


def table_with(pair: int, cluster: int, *, refreshed_ms: int = 0, context: int | None = None) -> TransitionTable:
    rows = PairRows(
        pairs=np.array([pair]),
        clusters=np.array([[cluster, -1]], np.int32),
        probabilities=np.array([[0.5, 0.0]], np.float32),
        row_keys=np.ones((1, 2), np.uint64),
        contexts=np.array([cluster if context is None else context], np.int32),
        refreshed_ms=np.array([refreshed_ms]),
    )
    return TransitionTable.empty(NAMES, top_n=2).with_changes(rows)


def table_with_backoff(cluster: int) -> TransitionTable:
    rows = BackoffRows(
        np.array([1], np.int32),
        np.array([[cluster, -1]], np.int32),
        np.array([[0.5, 0.0]], np.float32),
        np.ones((1, 2), np.uint64),
    )
    return TransitionTable.empty(NAMES, top_n=2).with_changes(backoff=rows)


def view(log: Log, table: TransitionTable | None, **parts: Any) -> View:
    """What a policy sees where `log` was the only pane so far, or `evidence` is given."""
    known: dict[str, Any] = {
        "run_id": "run",
        "pane": 9,
        "pane_ms": DAY_MS,
        "panes_since_first_table": 5,
        "evidence": Evidence.of_counts(counts_of(log), seeds()),
        "window": counts_of(log),
        "seeds": seeds(),
        "report": None,
        "table": table,
    }
    return View(**(known | parts))


def report(*, alarmed: bool, flagged: tuple[tuple[int, int], ...], jaccard_mean: float = 0.4) -> DriftReport:
    return DriftReport(
        run_id="run",
        window_start_ms=0,
        window_end_ms=10 * DAY_MS,
        pane_ms=DAY_MS,
        min_support=20,
        transitions=100,
        pairs=5,
        flagged_pairs=len(flagged),
        jaccard_mean=jaccard_mean,
        jaccard_variance=0.1,
        null_mean=0.5,
        drift_mean=0.2,
        drift_traffic_mean=0.2,
        table_z=8.0 if alarmed else 0.0,
        alarmed=alarmed,
        flagged=tuple(
            PairDrift(
                c1=c1, c2=c2, n_window=65, n_reference=65, jaccard=0.1, null=0.5, drift=0.8, p_value=1e-4, flagged=True
            )
            for c1, c2 in flagged
        ),
    )
