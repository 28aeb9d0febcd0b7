"""What `bench.workers` measures without a broker: closing a window of many pairs, and loading a shard of many users."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import insert

from stream.catalogue import Catalogue
from stream.checkpoint import Checkpoint, Marks, Progress
from stream.closing import PaneCloser
from stream.database import Database, put_rows
from stream.drift.evidence import Side, gather, new_evidence
from stream.drift.jaccard import binomial_table, expected_jaccard
from stream.drift.matching import match_pairs
from stream.ledger import Ledger
from stream.schema import clusters, pane_parts, shards
from stream.sequences import SequenceOptions, UserSegment
from stream.shard import Shard, ShardOptions
from stream.shard_store import ShardStore, join_run
from tidegate.counts import pack_transitions
from tidegate.jit import kernel

N_CLUSTERS, N_SHARDS, TOP_K, MAX_CELLS = 761, 32, 5, 1 << 15
RUN, PANE_MS = "bench", 1_000


def close_windows(n_triples: int) -> dict[str, Any]:
    """Close two panes, each a window, and compare them; the second one is timed: by then kernels are loaded."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder) / "runs.db")
        _fill(database, n_triples)
        closer, ledger = PaneCloser(database, RUN, PANE_MS, 0), Ledger(database, RUN)
        closer.close_next()
        _compare(ledger)
        started = time.perf_counter()
        closer.close_next()
        merged = time.perf_counter()
        n_pairs, n_counts = _compare(ledger)
        ended = time.perf_counter()
        ledger.close()
    return {"seconds": ended - started, "merge": merged - started, "pairs": n_pairs, "triples": n_counts}


def _fill(database: Database, n_triples: int) -> None:
    """Write the parts of two panes as 32 shards would: every pair occurs, its successors follow Zipf's law."""
    rng = np.random.default_rng(7)
    join_run(database, RUN, "bench", "{}", N_SHARDS)
    first = np.repeat(np.arange(N_CLUSTERS), N_CLUSTERS - 1)
    second = (first + np.tile(np.arange(1, N_CLUSTERS), N_CLUSTERS)) % N_CLUSTERS
    marks = Marks(0, 2 * PANE_MS, 2 * PANE_MS, 2 * PANE_MS)._asdict()
    progress = {"owner": "", "epoch": 1, "commit_number": 1, "progress": msgspec.msgpack.encode(Progress())}
    with database.writing() as connection:
        names = [{"run_id": RUN, "code": c, "name": f"interest-{c:03d}", "first_ms": c} for c in range(N_CLUSTERS)]
        connection.execute(insert(clusters), names)
        of_shards = [{"run_id": RUN, "shard": shard, **progress, **marks} for shard in range(N_SHARDS)]
        connection.execute(insert(shards), of_shards)
    n = n_triples // N_SHARDS
    for pane in (0, 1):
        for shard in range(N_SHARDS):
            pair = rng.integers(0, first.shape[0], n)
            successor = (rng.zipf(1.3, n) + 7 * first[pair] + second[pair]) % N_CLUSTERS
            keys = pack_transitions(first[pair], second[pair], successor, rng.integers(0, 64, n))
            distinct, counts = np.unique(keys, return_counts=True)
            columns = {"keys": distinct.tobytes(), "counts": counts.astype(np.int64).tobytes()}
            row = {"run_id": RUN, "pane": pane, "shard": shard, "commit_number": 1, **columns}
            with database.writing() as connection:
                put_rows(connection, pane_parts, [row])


def _compare(ledger: Ledger) -> tuple[int, int]:
    """Read both windows and compute every pair's Jaccard, without permutations."""
    window, reference = ledger.counts(1, 1), ledger.counts(0, 0)
    pairs, sides = match_pairs(window, reference, 1)
    jaccards = np.empty(pairs.shape[0])
    seeds = np.arange(N_CLUSTERS, dtype=np.uint64)
    raw_jaccards(sides[0], sides[1], seeds, binomial_table(N_CLUSTERS, TOP_K), jaccards)
    return int(pairs.shape[0]), int(window.keys.shape[0])


@kernel
def raw_jaccards(
    window: Side,
    reference: Side,
    seeds: NDArray[np.uint64],
    binomials: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Jaccard of the top-5 successors of each pair at full counts: float64[p]. `O(m)`."""
    evidence = new_evidence(MAX_CELLS)
    a, b = np.empty(MAX_CELLS, np.int32), np.empty(MAX_CELLS, np.int32)
    best = np.empty(TOP_K, np.int32)
    for pair in range(out.shape[0]):
        n = gather(window, reference, pair, seeds, evidence)
        for s in range(n):
            a[s] = b[s] = 0
            for e in range(evidence.starts[s], evidence.starts[s + 1]):
                a[s] += evidence.counts[0, e]
                b[s] += evidence.counts[1, e]
        out[pair] = expected_jaccard(a, b, n, best, binomials)


def load_shard(n_users: int) -> dict[str, Any]:
    """Write the state of many users as a worker would, and time a new owner loading it."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder) / "runs.db")
        join_run(database, RUN, "bench", "{}", 1)
        store = ShardStore(database, RUN, 0)
        per_commit = n_users // 10
        for number in range(10):
            store.commit(Checkpoint(progress=Progress(), segment=_segment(number * per_commit, per_commit)))
        options = ShardOptions(SequenceOptions(PANE_MS, 3 * PANE_MS, gap_ms=1_800_000))
        started = time.perf_counter()
        shard = Shard(ShardStore(database, RUN, 0), [0], options, Catalogue(), "bench")
        seconds = time.perf_counter() - started
        database.close()
    assert shard.sequences.n_users == 10 * per_commit
    return {"seconds": seconds}


def _segment(first: int, n: int) -> UserSegment:
    return UserSegment(
        users=np.arange(first, first + n, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15),
        last_ms=np.full(n, 2, np.int64),
        lengths=np.full(n, 2, np.int32),
        clusters=np.tile(np.array([1, 2], np.int32), n),
        times_ms=np.tile(np.array([1, 2], np.int64), n),
        predictions=np.full(2 * n, -1, np.int32),
    )
