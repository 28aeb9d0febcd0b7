"""The report of a window, as it goes to whoever decides."""

from __future__ import annotations

from typing import TypedDict

import numpy as np

from stream.drift import backoff, levels
from stream.drift.rows import MeasuredRows
from stream.drift.window import WindowDrift
from tidegate.contracts import BackoffDrift, BackoffRowDrift, ClusterDrift, DriftReport, LevelDrift, PairDrift
from tidegate.counts import unpack_pairs

MAX_FLAGGED_LISTED = 1_000
MAX_CLUSTERS_LISTED = 25  # of each level


def to_report(
    drift: WindowDrift,
    *,
    run_id: str,
    window_start_ms: int,
    window_end_ms: int,
    pane_ms: int,
    min_support: int,
    transitions: int,
    hit_rate_next: float | None,
    hit_rate_sequence: float | None,
    coverage: float | None,
) -> DriftReport:
    """Write the report of a window; of the flagged pairs it lists the `MAX_FLAGGED_LISTED` with the most traffic."""
    return DriftReport(
        run_id=run_id,
        window_start_ms=window_start_ms,
        window_end_ms=window_end_ms,
        pane_ms=pane_ms,
        min_support=min_support,
        transitions=transitions,
        pairs=drift.pairs.shape[0],
        flagged_pairs=int(drift.flagged.sum()),
        jaccard_mean=drift.jaccard_mean,
        jaccard_variance=drift.jaccard_variance,
        jaccard_matched_mean=drift.matched_mean,
        null_mean=drift.null_mean,
        drift_mean=drift.drift_mean,
        drift_traffic_mean=drift.drift_traffic_mean,
        table_z=drift.table_z,
        table_p=drift.table_p,
        alarmed=drift.alarmed,
        flagged=heaviest_flagged(drift),
        hit_rate_next=hit_rate_next,
        hit_rate_sequence=hit_rate_sequence,
        coverage=coverage,
        rbo_mean=drift.rbo_mean,
        rbo_null_mean=drift.rbo_null_mean,
        rbo_drift_mean=drift.rbo_drift_mean,
        by_c1=_level(drift.by_c1),
        by_c2=_level(drift.by_c2),
        backoff=_backoff(drift.backoff),
    )


def heaviest_flagged(drift: WindowDrift) -> tuple[PairDrift, ...]:
    """List the flagged pairs with the most traffic, the heaviest first, `MAX_FLAGGED_LISTED` at most."""
    flagged = np.flatnonzero(drift.flagged)
    heaviest = flagged[np.lexsort((drift.pairs[flagged], -drift.n_window[flagged]))][:MAX_FLAGGED_LISTED]
    c1, c2 = unpack_pairs(drift.pairs)
    return tuple(
        PairDrift(
            c1=int(c1[i]),
            c2=int(c2[i]),
            **_compared(drift, i),
            flagged=True,
            rbo=float(drift.rbo[i]),
            rbo_null=float(drift.rbo_null[i]),
        )
        for i in heaviest
    )


class _Compared(TypedDict):
    n_window: int
    n_reference: int
    jaccard: float
    null: float
    drift: float
    p_value: float


def _compared(drift: MeasuredRows | levels.LevelDrift, i: int) -> _Compared:
    """Write what was found at position `i`: pairs, clusters and rows of the backoff are compared alike."""
    return _Compared(
        n_window=int(drift.n_window[i]),
        n_reference=int(drift.n_reference[i]),
        jaccard=float(drift.jaccard[i]),
        null=float(drift.null[i]),
        drift=float(drift.drift[i]),
        p_value=float(drift.p_value[i]),
    )


def _level(drift: levels.LevelDrift) -> LevelDrift:
    listed = np.lexsort((drift.clusters, -drift.n_window, drift.p_value))[:MAX_CLUSTERS_LISTED]
    return LevelDrift(
        compared=drift.clusters.shape[0],
        flagged=int(drift.flagged.sum()),
        clusters=tuple(
            ClusterDrift(
                cluster=int(drift.clusters[i]),
                pairs=int(drift.n_pairs[i]),
                **_compared(drift, i),
                z=None if np.isnan(drift.z[i]) else float(drift.z[i]),
                flagged=bool(drift.flagged[i]),
            )
            for i in listed
        ),
    )


def _backoff(drift: backoff.BackoffDrift) -> BackoffDrift:
    flagged = np.flatnonzero(drift.flagged)
    heaviest = flagged[np.lexsort((drift.keys[flagged], -drift.n_window[flagged]))][:MAX_CLUSTERS_LISTED]
    return BackoffDrift(
        rows=drift.keys.shape[0],
        flagged_rows=flagged.shape[0],
        thin_pairs=int(drift.n_thin_pairs.sum()),
        thin_transitions=int(drift.n_thin_window.sum()),
        jaccard_mean=drift.jaccard_mean,
        null_mean=drift.null_mean,
        drift_mean=drift.drift_mean,
        drift_traffic_mean=drift.drift_traffic_mean,
        heaviest=tuple(
            BackoffRowDrift(
                c2=int(drift.keys[i]),
                thin_pairs=int(drift.n_thin_pairs[i]),
                **_compared(drift, i),
                flagged=True,
            )
            for i in heaviest
        ),
    )
