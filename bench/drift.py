"""Drift of a whole table: all pairs of 761 clusters, tested with 200 permutations each.

``python -m bench.drift [--quick]``. Every pair has at least the support that is asked for on both sides; the rest of
the traffic is spread over the pairs by Zipf's law (exponent 0.8), and each pair's successors follow Zipf's law (1.0).
No user repeats himself within a pair: that gives the most cells, and the most work. One pair in fifty drifts. The world
is written by one process and measured by another, which reads it, loads the compiled kernels and compares the window.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from bench.processes import cores, measure, python
from bench.table import Figure, publish
from stream.drift.options import DriftOptions
from stream.drift.parts import MatchedPairs
from stream.drift.window import judge_window
from tidegate.counts import BucketedCounts, pack_transitions
from tidegate.hashing import cluster_seeds

FULL_CLUSTERS, QUICK_CLUSTERS = 761, 101
N_PERMUTATIONS, MIN_SUPPORT, N_BUCKETS = 200, 20, 64
SPREAD_PER_PAIR = 23  # mean transitions of a pair beyond the support that every pair has
SEED = 7


def main() -> None:
    """Measure a window in a process of its own and publish the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.drift", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_CLUSTERS} clusters")
    parser.add_argument("--stage", nargs=3, metavar=("STAGE", "FOLDER", "CLUSTERS"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.stage:
        stage, folder, n_clusters = given.stage
        print(json.dumps({"write": write_world, "compare": compare}[stage](Path(folder), int(n_clusters))))
        return
    n_clusters = QUICK_CLUSTERS if given.quick else FULL_CLUSTERS
    with tempfile.TemporaryDirectory() as folder:
        measure(python("-m", "bench.drift", "--stage", "write", folder, str(n_clusters)))
        measured = measure(python("-m", "bench.drift", "--stage", "compare", folder, str(n_clusters)))
    publish("drift", _figures(json.loads(measured.output), measured.peak_mib, is_full=not given.quick))


def _figures(found: dict[str, Any], peak_mib: float, *, is_full: bool) -> list[Figure]:
    of = (
        f"{found['threads']} threads on {cores()}, {found['pairs']:,} pairs, {found['transitions']:,} transitions"
        f" a side in {found['cells']:,} cells, {N_PERMUTATIONS} permutations, up to 20,000 for small p-values; one run"
    )
    wall_goal, peak_goal = ("<= 30", "<= 2,048") if is_full else ("", "")
    return [
        Figure("drift of all pairs", found["seconds"], "s", wall_goal, f"{of}; counts in memory to report"),
        Figure(
            "processor time of it", found["cpu"], "s", "", "of all threads: what other load on the machine leaves alone"
        ),
        Figure("of which matching", found["matching"], "s", "", "pairs laid out, traffic and clumping measured"),
        Figure("of which measuring", found["measuring"], "s", "", "J, RBO, both nulls, p-values; c1, c2 and table"),
        Figure("of which judging", found["judging"], "s", "", "100,000 masks of the table; Benjamini-Hochberg; means"),
        Figure("peak memory", round(peak_mib), "MiB", peak_goal, "whole process, counts of both sides included"),
        Figure("pairs a second", found["pairs"] / found["seconds"], "pairs/s", "", ""),
    ]


def write_world(folder: Path, n_clusters: int) -> dict[str, Any]:
    """Write the counts of a window and of its reference, cluster by cluster: sorted, without sorting all."""
    for number, side in enumerate(("window", "reference")):
        rng = np.random.default_rng([SEED, number])
        keys: list[NDArray[np.int64]] = []
        counts: list[NDArray[np.int64]] = []
        of_pair = traffic(n_clusters)
        for c1 in range(n_clusters):
            known, times = np.unique(_transitions(rng, c1, of_pair[c1], n_clusters, side), return_counts=True)
            keys.append(known)
            counts.append(times.astype(np.int64))
        np.save(folder / f"{side}.keys.npy", np.concatenate(keys))
        np.save(folder / f"{side}.counts.npy", np.concatenate(counts))
    return {}


def traffic(n_clusters: int) -> NDArray[np.float64]:
    """Mean transitions of each pair beyond its support: float64[n, n], 0 on the diagonal."""
    rng = np.random.default_rng(SEED)
    n_pairs = n_clusters * (n_clusters - 1)
    shares = np.arange(1, n_pairs + 1) ** -0.8
    spread = np.zeros((n_clusters, n_clusters))
    spread[~np.eye(n_clusters, dtype=bool)] = rng.permutation(shares / shares.mean() * SPREAD_PER_PAIR)
    return spread


def _transitions(
    rng: np.random.Generator, c1: int, spread: NDArray[np.float64], n_clusters: int, side: str
) -> NDArray[np.int64]:
    sizes = MIN_SUPPORT + rng.poisson(spread)
    sizes[c1] = 0
    c2 = np.repeat(np.arange(n_clusters), sizes)
    chances = np.cumsum(1.0 / np.arange(1, n_clusters - 1))
    rank = np.searchsorted(chances, rng.random(c2.shape[0]) * chances[-1])
    is_moved = (side == "window") & ((c1 + c2) % 50 == 0) & (rank < 3)
    rank = np.where(is_moved, rank + n_clusters // 2, rank)
    c_next = (rank * 7 + 31 * c1 + c2) % n_clusters
    return pack_transitions(np.full_like(c2, c1), c2, c_next, rng.integers(0, N_BUCKETS, c2.shape[0]))


def compare(folder: Path, n_clusters: int) -> dict[str, Any]:
    """Compare the window with its reference, kernels loaded."""
    window, reference = (
        BucketedCounts(np.load(folder / f"{side}.keys.npy"), np.load(folder / f"{side}.counts.npy"))
        for side in ("window", "reference")
    )
    seeds = cluster_seeds([f"interest {c}" for c in range(n_clusters)])
    options = DriftOptions(min_support=MIN_SUPPORT, n_permutations=N_PERMUTATIONS, n_buckets=N_BUCKETS)
    few = BucketedCounts(window.keys[:2_000], window.counts[:2_000])
    warm = MatchedPairs(few, few, seeds, options)
    judge_window(warm, [warm.measure(0, 1)], options)
    started, cpu_started = time.perf_counter(), time.process_time()
    pairs = MatchedPairs(window, reference, seeds, options)
    matched = time.perf_counter()
    part = pairs.measure(0, 1)
    measured = time.perf_counter()
    judge_window(pairs, [part], options)
    ended = time.perf_counter()
    return {
        "seconds": ended - started,
        "cpu": time.process_time() - cpu_started,
        "matching": matched - started,
        "measuring": measured - matched,
        "judging": ended - measured,
        "pairs": int(pairs.pairs.shape[0]),
        "transitions": window.total,
        "cells": int(window.keys.shape[0]),
        "threads": numba.get_num_threads(),
    }


if __name__ == "__main__":
    main()
