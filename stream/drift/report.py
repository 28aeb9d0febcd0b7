"""The report of a window, as it goes to whoever decides."""

from __future__ import annotations

import numpy as np

from stream.drift.window import WindowDrift
from tidegate.contracts import DriftReport, PairDrift
from tidegate.counts import unpack_pairs

MAX_FLAGGED_LISTED = 1_000


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
        alarmed=drift.alarmed,
        flagged=_heaviest_flagged(drift),
        hit_rate_next=hit_rate_next,
        hit_rate_sequence=hit_rate_sequence,
        coverage=coverage,
    )


def _heaviest_flagged(drift: WindowDrift) -> tuple[PairDrift, ...]:
    flagged = np.flatnonzero(drift.flagged)
    heaviest = flagged[np.lexsort((drift.pairs[flagged], -drift.n_window[flagged]))][:MAX_FLAGGED_LISTED]
    c1, c2 = unpack_pairs(drift.pairs)
    return tuple(
        PairDrift(
            c1=int(c1[i]),
            c2=int(c2[i]),
            n_window=int(drift.n_window[i]),
            n_reference=int(drift.n_reference[i]),
            jaccard=float(drift.jaccard[i]),
            null=float(drift.null[i]),
            drift=float(drift.drift[i]),
            p_value=float(drift.p_value[i]),
            flagged=True,
        )
        for i in heaviest
    )
