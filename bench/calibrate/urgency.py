"""An abrupt shift of a twentieth of the traffic: how many panes pass until drift may be the reason of a refresh."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bench.calibrate.streams import WINDOW_PANES
from bench.calibrate.verdicts import Verdict, judged
from bench.calibrate.worlds import SEEDS, Floats, side
from stream.drift.front import measure_front
from stream.drift.options import DriftOptions
from stream.drift.parts import MatchedPairs
from stream.drift.table import table_shift
from stream.drift.window import measure_drift
from tidegate.counts import BucketedCounts

SHARE, SPREAD = 0.05, 0.75
_NEVER = WINDOW_PANES + 1
_N_BOTH = 20  # seeds in which each look goes on after the other has acted: the window costs the most


@dataclass(frozen=True, slots=True)
class _Table:
    """A table: pairs, their median transitions in a window, and the share of seeds that is asked for, if one is."""

    n_pairs: int
    median: float
    n_seeds: int
    goal: float | None


TABLES = (_Table(2_000, 60.0, 100, 0.95), _Table(1_000, 30.0, 40, None))


def urgent_rows() -> list[Verdict]:
    """Share of seeds in which the shift is acted on within one window, and already after its first pane."""
    verdicts: list[Verdict] = []
    for table in TABLES:
        panes = np.array([_panes_until_acted(table, seed) for seed in range(table.n_seeds)])
        both = panes[:_N_BOTH]
        of = (
            f"{table.n_pairs:,} pairs, median {table.median:g} transitions a window of {WINDOW_PANES} panes; 3 of the"
            f" top 5 successors replaced in {SHARE:.0%} of the traffic; {table.n_seeds} seeds. After 1, 2, ... panes:"
            f" {_shares(panes.min(axis=1))}; of the first {_N_BOTH} seeds by the window {_shares(both[:, 0])}, by the"
            f" front {_shares(both[:, 1])}"
        )
        name = f"abrupt shift, {table.n_pairs:,} pairs of {table.median:g}: acted on within one window"
        acted = float((panes.min(axis=1) <= WINDOW_PANES).mean())
        verdicts.append(judged(name, acted, "of seeds", low=table.goal, conditions=of))
    return [*verdicts, _series_row()]


def _shares(panes: Floats) -> str:
    return ", ".join(f"{np.mean(panes <= n):.2f}" for n in range(1, WINDOW_PANES + 1))


def _world(table: _Table, seed: int) -> tuple[np.random.Generator, Floats, Floats]:
    """Generator, mean transitions of each pair in a pane, and which pairs move (1) or not (0)."""
    rng = np.random.default_rng([seed, 0xD3])
    means = table.median / WINDOW_PANES * np.exp(SPREAD * rng.standard_normal(table.n_pairs))
    order = rng.permutation(table.n_pairs)
    moved = np.zeros(table.n_pairs)
    moved[order[np.cumsum(means[order]) <= SHARE * means.sum()]] = 1.0
    return rng, means, moved


def _panes_until_acted(table: _Table, seed: int) -> tuple[int, int]:
    """Panes after the shift until the window, and until the front, alarms with pairs flagged; one more if none does."""
    rng, means, moved = _world(table, seed)
    panes = [side(rng, means, "single") for _ in range(2 * WINDOW_PANES - 1)]
    by_window = by_front = _NEVER
    goes_on, options = seed < _N_BOTH, DriftOptions(seed=seed)
    for n_after in range(1, WINDOW_PANES + 1):
        panes = [*panes, side(rng, means, "single", moved=moved > 0)][-2 * WINDOW_PANES :]
        reference, window = (BucketedCounts.merge(panes[i : i + WINDOW_PANES]) for i in (0, WINDOW_PANES))
        if by_front == _NEVER and _front_acts(panes[-1], reference, options):
            by_front = n_after
        if by_window == _NEVER and (goes_on or by_front == _NEVER) and _window_acts(window, reference, options):
            by_window = n_after
        if not goes_on and min(by_window, by_front) < _NEVER:
            break
    return by_window, by_front


def _front_acts(pane: BucketedCounts, reference: BucketedCounts, options: DriftOptions) -> bool:
    front = measure_front(pane, reference, SEEDS, options, WINDOW_PANES)
    return front is not None and front.alarmed and front.flagged_pairs > 0


def _window_acts(window: BucketedCounts, reference: BucketedCounts, options: DriftOptions) -> bool:
    form = MatchedPairs(window, reference, SEEDS, options).form()
    is_alarmed = table_shift(form, options.seed, options.table_permutations).p_value <= options.alarm_p
    return is_alarmed and bool(measure_drift(window, reference, SEEDS, options).flagged.any())


def _series_row() -> Verdict:
    """How far a full window of the shift stands out of its noise, in the table's z and in the mean effect."""
    table, n_seeds = TABLES[1], 20
    shown: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    options = replace(DriftOptions(), table_permutations=1)
    for seed in range(n_seeds):
        rng, means, moved = _world(table, seed)
        reference = side(rng, WINDOW_PANES * means, "single")
        for is_shifted, values in shown.items():
            window = side(rng, WINDOW_PANES * means, "single", moved=moved * is_shifted > 0)
            drift = measure_drift(window, reference, SEEDS, options)
            values.append((drift.table_z or 0.0, drift.drift_traffic_mean or 0.0))
    quiet, shifted = np.array(shown[False]), np.array(shown[True])
    distances = (shifted.mean(axis=0) - quiet.mean(axis=0)) / quiet.std(axis=0)
    return judged(
        "abrupt shift: distance from the noise, table's z over mean effect",
        float(distances[0] / distances[1]),
        "ratio",
        low=1.0,
        conditions=f"{distances[0]:.1f} and {distances[1]:.1f} deviations; {table.n_pairs:,} pairs of {table.median:g}"
        f" transitions, {n_seeds} seeds: why the course watches z",
    )
