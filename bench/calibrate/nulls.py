"""No drift: what is then measured of single pairs, and how often a whole window alarms."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import product

import numpy as np

from bench.calibrate.streams import alarms
from bench.calibrate.verdicts import Verdict, judged
from bench.calibrate.worlds import KINDS, SEEDS, Growth, side
from stream.drift.options import DriftOptions
from stream.drift.window import WindowDrift, measure_drift

N_PAIRS = {10: 80_000, 20: 60_000, 50: 36_000, 200: 8_000, 1_000: 3_000}
SINGLE_SHARE = 0.7  # of that many where users do not repeat themselves: means are as well known then
GROWTHS = {"": Growth(), "x3 users": Growth(users=3.0), "x3 transitions": Growth(transitions=3.0)}
CYCLE = 3.0  # between the busiest and the quietest hour
OPTIONS = DriftOptions(max_permutations=200, table_permutations=1_000)


@dataclass(frozen=True, slots=True)
class Null:
    """What a condition shows at one size: the mean of drift and its standard error, and false positives at 0.05."""

    n: int
    drift_mean: float
    error: float
    unweighted_mean: float
    rbo_drift_mean: float
    positives: float


def rows() -> list[Verdict]:
    """Bias and false positives of pairs by condition, then the alarms of whole windows."""
    verdicts: list[Verdict] = []
    for users, growth, is_diurnal in product(KINDS, GROWTHS, (False, True)):
        if users == "single" and growth == "x3 transitions":
            continue  # who makes one transition of a pair makes three of several: the same as three times the users
        verdicts += _of_condition(users, growth, is_diurnal)
    return verdicts + alarms()


def _of_condition(users: str, growth: str, is_diurnal: bool) -> list[Verdict]:
    name = ", ".join(part for part in (f"{users} users", growth or "equal traffic", "diurnal" * is_diurnal) if part)
    nulls = [_null(n, users, GROWTHS[growth], is_diurnal) for n in N_PAIRS]
    print(f"{name}: {', '.join(f'{null.drift_mean:+.4f}' for null in nulls)}", file=sys.stderr, flush=True)
    worst = max(nulls, key=lambda null: abs(null.drift_mean))
    by_size = "; ".join(f"{null.drift_mean:+.4f} ± {null.error:.4f} at {null.n:,}" for null in nulls)
    positives = ", ".join(f"{null.positives:.3f} at {null.n:,}" for null in nulls)
    furthest = max(nulls, key=lambda null: abs(null.positives - 0.05))
    others = ", ".join(f"{null.unweighted_mean:+.3f}/{null.rbo_drift_mean:+.3f}" for null in nulls)
    return [
        judged(f"no drift, {name}: |mean of 1 - J/J0|", abs(worst.drift_mean), "", high=0.01, conditions=by_size),
        judged(
            f"no drift, {name}: false positives at 0.05",
            furthest.positives,
            "ratio",
            low=0.03,
            high=0.07,
            conditions=f"{positives}; unweighted mean of drift / of RBO: {others}",
        ),
    ]


def _null(n: int, users: str, growth: Growth, is_diurnal: bool) -> Null:
    rng = np.random.default_rng([n, KINDS.index(users), round(10 * growth.users + growth.transitions), is_diurnal])
    n_pairs = round(N_PAIRS[n] * (SINGLE_SHARE if users == "single" else 1.0))
    cycle = CYCLE ** np.sin(2 * np.pi * rng.random(n_pairs)) if is_diurnal else np.ones(n_pairs)
    window = side(rng, n * np.maximum(cycle, 1.0), users, growth)
    reference = side(rng, n * np.maximum(1.0 / cycle, 1.0), users)
    options = DriftOptions(
        min_support=n // 2,
        max_permutations=OPTIONS.max_permutations,
        table_permutations=OPTIONS.table_permutations,
    )
    drift = measure_drift(window, reference, SEEDS, options)
    assert drift.drift_mean is not None
    assert drift.rbo_drift_mean is not None
    return Null(
        n,
        drift.drift_mean,
        _error(drift),
        float(drift.drift.mean()),
        drift.rbo_drift_mean,
        float((drift.p_value <= 0.05).mean()),
    )


def _error(drift: WindowDrift) -> float:
    """Standard error of the mean of drift, pairs being independent of each other."""
    spread = (drift.matched - drift.null * (1.0 - drift.drift.mean())).std()
    return float(spread / np.sqrt(drift.pairs.shape[0]) / drift.null.mean())
