"""Power: drift of single pairs that is found, and what is found besides."""

from __future__ import annotations

import numpy as np

from bench.calibrate.verdicts import Verdict, judged
from bench.calibrate.worlds import N_CLUSTERS, SEEDS, side
from stream.drift.options import DriftOptions
from stream.drift.window import measure_drift
from tidegate.counts import unpack_pairs

N_PAIRS, MEDIAN, SPREAD, DRIFTED_SHARE, N_SEEDS = 5_000, 60.0, 0.75, 0.05, 10
DENSE = 100


def rows() -> list[Verdict]:
    """False discoveries and recall over seeds, flagged at the default false discovery rate."""
    found = np.array([_of_seed(seed) for seed in range(N_SEEDS)])
    n_drifted, n_flagged, n_true, n_dense, n_dense_true, alarmed = found.sum(axis=0)
    fdr = DriftOptions().fdr
    of = (
        f"{N_PAIRS:,} pairs, lognormal traffic of median {MEDIAN:g} a side (sigma {SPREAD:g}, mean at least 20),"
        f" 1 in 20 with 3 of its top 5 successors replaced, Benjamini-Hochberg at {fdr:g}; {N_SEEDS} seeds"
    )
    by_seed = (found[:, 1] - found[:, 2]) / np.maximum(found[:, 1], 1)
    return [
        judged("power: false discoveries", float(by_seed.mean()), "ratio", high=0.10, conditions=of),
        judged(
            "power: recall",
            n_true / n_drifted,
            "ratio",
            low=0.55,
            conditions=f"of {n_drifted:,.0f} drifted pairs, those below support among them",
        ),
        judged(
            f"power: recall at {DENSE} transitions a side and more",
            n_dense_true / n_dense,
            "ratio",
            low=0.90,
            conditions=f"of {n_dense:,.0f} such pairs that drifted",
        ),
        judged("power: windows that alarm", alarmed / N_SEEDS, "ratio", low=0.95, conditions="the same windows"),
        judged("power: flagged pairs a window", n_flagged / N_SEEDS, "pairs"),
    ]


def _of_seed(seed: int) -> tuple[int, int, int, int, int, bool]:
    rng = np.random.default_rng([seed, 0xB0])
    means = np.maximum(MEDIAN * np.exp(SPREAD * rng.standard_normal(N_PAIRS)), 20.0)
    moved = np.arange(N_PAIRS) < DRIFTED_SHARE * N_PAIRS
    window, reference = side(rng, means, "single", moved=moved), side(rng, means, "single")
    drift = measure_drift(window, reference, SEEDS, DriftOptions(seed=seed))
    c1, c2 = unpack_pairs(drift.pairs)
    is_moved = moved[c1 + N_CLUSTERS * c2.astype(np.int64)]
    is_dense = np.minimum(drift.n_window, drift.n_reference) >= DENSE
    return (
        int(moved.sum()),
        int(drift.flagged.sum()),
        int((drift.flagged & is_moved).sum()),
        int((is_moved & is_dense).sum()),
        int((drift.flagged & is_moved & is_dense).sum()),
        drift.alarmed,
    )
