"""What a refresh costs beyond the model itself: ``python -m bench.refresh [--quick]``.

A table of all pairs of 761 clusters is refreshed by the embedded engine, through everything that a refresh is made of:
row keys, sorted chunks, a checksummed shard for each, validation, the row cache, the table and its publication. The
floor is the model's own forward pass: the same batches through the bare model, on as many threads. Then a tenth of the
rows get another context, and then nothing changes. Where there is a GPU, decoders of 1.7 and 8 billion random weights
answer prompts of the paper's length under vLLM (`bench.refresh_gpu`).
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.processes import cores
from bench.refresh_gpu import gpu_figures
from bench.table import Figure, publish
from refresh.bulk import BulkOptions
from refresh.engines import Engine
from refresh.engines.embedded import EmbeddedEngine
from refresh.evidence import Ranked
from refresh.policies.plan import Plan
from refresh.prompts import RowContexts, sort_for_prefix
from refresh.refresher import Refresher, contexts_of
from refresh.row_cache import RowCache
from refresh.table import TransitionTable
from refresh.table_store import TableStore
from refresh.training import TrainingBudget, train_model
from tidegate.contracts import RefreshOrder, RefreshResult, Trigger
from tidegate.counts import BucketedCounts, SuccessorCounts, pack_pairs, pack_transitions

FULL_CLUSTERS, QUICK_CLUSTERS = 761, 101
TOP_N, SEED = 5, 7
CHANGED_SHARE = 0.1
_BATCH_ROWS = 512
# The lessons of a model are not what is measured: its size is.
_BRIEF = TrainingBudget(transition_epochs=1, n_samples=2_000, reading_accuracy=0.5)


@dataclass(frozen=True, slots=True)
class Refreshed:
    """One refresh, from the plan to the published version."""

    seconds: float
    result: RefreshResult
    table: TransitionTable


def main() -> None:
    """Measure and publish the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.refresh", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_CLUSTERS} clusters, small decoders")
    given = parser.parse_args()
    n_clusters = QUICK_CLUSTERS if given.quick else FULL_CLUSTERS
    with tempfile.TemporaryDirectory() as folder:
        figures = cpu_figures(Path(folder), n_clusters, is_full=not given.quick)
        figures += gpu_figures(Path(folder), is_full=not given.quick)
    publish("refresh", figures)


def cpu_figures(folder: Path, n_clusters: int, *, is_full: bool) -> list[Figure]:
    """Refresh a whole table, a tenth of it, and nothing."""
    names = [f"interest {cluster}" for cluster in range(n_clusters)]
    engine = briefly_taught(names, folder / "model")
    pairs = all_pairs(n_clusters)
    retrieved = np.random.default_rng(SEED).integers(0, n_clusters, pairs.shape[0]).astype(np.int32)
    is_changed = np.random.default_rng(SEED + 1).random(pairs.shape[0]) < CHANGED_SHARE
    moved = np.where(is_changed, (retrieved + 1) % n_clusters, retrieved).astype(np.int32)
    floor = Floor(engine, contexts_of(plan_of(pairs, retrieved)))
    desk = Desk(folder, engine, tuple(names))
    floors = [floor.seconds()]  # before and after, since a machine's speed drifts
    full = desk.refresh(plan_of(pairs, retrieved), pane=1)
    floors.append(floor.seconds())
    some = desk.refresh(plan_of(pairs[is_changed], moved[is_changed]), pane=2)
    none = desk.refresh(plan_of(pairs, moved), pane=3)
    n, n_some = pairs.shape[0], int(is_changed.sum())
    floor_seconds = min(floors)
    of = f"{n:,} rows of {n_clusters} clusters, model of the default size, {cores()}, chunks of 4,096; one run"
    goals = ("<= 1.3", "<= 0.12") if is_full else ("", "")
    return [
        Figure("full refresh, embedded engine", full.seconds, "s", "", f"{of}; plan to published version"),
        Figure("rows a second", n / full.seconds, "rows/s", "", ""),
        Figure("the model's own forward passes", floor_seconds, "s", "", f"the same batches; {floor.conditions}"),
        Figure("full refresh over forward passes", full.seconds / floor_seconds, "ratio", goals[0], ""),
        Figure("selective refresh", some.seconds, "s", "", f"{n_some:,} rows, on top of the full table"),
        Figure("selective over full refresh", some.seconds / full.seconds, "ratio", goals[1], ""),
        Figure("refresh that changes nothing", none.seconds, "s", "", f"{n:,} rows ordered, all known"),
        Figure("calls of it", none.result.llm_calls, "calls", "0", ""),
        Figure("rows changed by it", none.result.rows_changed, "rows", "0", ""),
    ]


class Desk:
    """Where refreshes are carried out, one on top of the other, as a run does."""

    def __init__(self, folder: Path, engine: Engine, names: tuple[str, ...]) -> None:
        self._engine, self._tables = engine, TableStore(folder / "tables")
        self._cache = RowCache(folder / "rows", TOP_N)
        self._table = TransitionTable.empty(names, TOP_N)

    def refresh(self, plan: Plan, *, pane: int) -> Refreshed:
        """Carry a plan out and publish."""
        started = time.perf_counter()
        refreshed = Refresher(self._engine, self._cache, top_n=TOP_N, bulk=BulkOptions()).execute(
            plan, self._table, table_version=0, pane=pane, window_end_ms=pane
        )
        self._tables.publish(
            refreshed.table,
            window_end_ms=pane,
            trigger=Trigger.SCHEDULE,
            reasons={},
            engine_name=self._engine.name,
            engine_fingerprint=self._engine.fingerprint,
        )
        self._table = refreshed.table
        return Refreshed(time.perf_counter() - started, refreshed.result, refreshed.table)


class Floor:
    """The bare model over the batches of a refresh: tokens made before, nothing kept after.

    Parameters
    ----------
    engine : EmbeddedEngine
    contexts : of all rows
    every : of how many batches one is timed; the time of all is reckoned from it
    """

    def __init__(self, engine: EmbeddedEngine, contexts: RowContexts, every: int = 8) -> None:
        import torch

        ordered = contexts[sort_for_prefix(contexts)]
        starts = range(0, len(ordered), _BATCH_ROWS)
        self._model = engine._model
        self._batches = [
            torch.from_numpy(engine.prompts.token_ids(ordered[_padded(start, len(ordered))], engine._vocabulary))
            for start in starts[::every]
        ]
        self._share = len(self._batches) / len(starts)
        self.conditions = f"every {every}th of {len(starts):,} timed, before and after: the better; as many threads"

    def seconds(self) -> float:
        """Time of all batches."""
        import torch

        def forward(tokens: torch.Tensor) -> None:
            with torch.inference_mode():
                self._model(input_ids=tokens, use_cache=False, logits_to_keep=1)

        n_cores = len(os.sched_getaffinity(0))
        with ThreadPoolExecutor(n_cores, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            list(pool.map(forward, self._batches[:4]))
            started = time.perf_counter()
            list(pool.map(forward, self._batches))
            return (time.perf_counter() - started) / self._share


def briefly_taught(names: list[str], folder: Path) -> EmbeddedEngine:
    """Train a model of the default size, not for long, and open it."""
    generator, n = np.random.default_rng(SEED), 20_000
    c1, c2, c_next = generator.integers(0, len(names), (3, n))
    is_triple = (c1 != c2) & (c_next != c1) & (c_next != c2)
    keys = pack_transitions(c1, c2, c_next, np.zeros(n, np.int64))[is_triple]
    counts: SuccessorCounts = BucketedCounts(*np.unique(keys, return_counts=True)).without_buckets()
    train_model(names, counts, counts, folder, seed=SEED, budget=_BRIEF)
    return EmbeddedEngine(folder, names)


def all_pairs(n_clusters: int) -> NDArray[np.int64]:
    """Keys of all pairs of distinct clusters, ascending: int64[n (n - 1)]."""
    c1, c2 = np.divmod(np.arange(n_clusters * n_clusters), n_clusters)
    return pack_pairs(c1, c2)[c1 != c2]


def plan_of(pairs: NDArray[np.int64], retrieved: NDArray[np.int32]) -> Plan:
    """Order rows with one retrieved cluster each."""
    none = Ranked.nothing(0, 1)
    return Plan(
        order=RefreshOrder(order_id="bench", window_end_ms=0, trigger=Trigger.SCHEDULE, all_rows=True),
        pairs=pairs,
        retrieved=Ranked(retrieved[:, None], np.ones((retrieved.shape[0], 1))),
        backoff=None,
        backoff_c2=np.zeros(0, np.int32),
        backoff_retrieved=none,
        replaces_rows=False,
        inputs={},
        explanation="",
    )


def _padded(start: int, n_rows: int) -> NDArray[np.int64]:
    """Rows of a batch of the fixed shape, as the engine makes it."""
    return np.resize(np.arange(start, min(start + _BATCH_ROWS, n_rows)), _BATCH_ROWS)


if __name__ == "__main__":
    main()
