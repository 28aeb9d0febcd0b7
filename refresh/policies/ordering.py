"""From rows that were chosen to an order: why each of them, what is dropped, and a sentence for people."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from refresh.policies.plan import View
from refresh.policies.selection import BackoffSelection, Selection
from tidegate.contracts import DriftReport, Reason, RefreshOrder, RowOrder, Trigger
from tidegate.counts import pack_pairs, unpack_pairs


def reasons_of(rows: Selection, view: View) -> NDArray[np.object_]:
    """Reason of each row, should it be bought. Drift is one only for flagged pairs of what drifts as a whole.

    That is the window against its reference or, sooner after an abrupt shift, its newest pane alone (the front).
    """
    reasons = np.where(rows.has_row, Reason.EVIDENCE, Reason.FIRST_SIGHT).astype(object)
    if view.table is None:
        reasons[:] = Reason.FIRST_TABLE
    elif view.report is not None:
        is_flagged = np.isin(rows.pairs, _drifted_pairs(view.report))
        reasons[is_flagged & rows.has_row] = Reason.DRIFT
    return reasons


def _drifted_pairs(report: DriftReport) -> NDArray[np.int64]:
    flagged = list(report.flagged) if report.alarmed else []
    if report.front is not None and report.front.alarmed:
        flagged += report.front.flagged
    columns = np.array([(pair.c1, pair.c2) for pair in flagged], np.int64).reshape(-1, 2)
    return pack_pairs(columns[:, 0], columns[:, 1])


def row_orders(rows: Selection, reasons: NDArray[np.object_], taken: NDArray[np.bool_]) -> Iterator[RowOrder]:
    """Order the rows of pairs that are taken."""
    c1, c2 = unpack_pairs(rows.pairs)
    for i in np.flatnonzero(taken):
        yield RowOrder(
            c1=int(c1[i]),
            c2=int(c2[i]),
            reason=reasons[i],
            gain_hits=float(rows.gain_hits[i]),
            replaces=int(rows.best_free[i]),
        )


def backoff_orders(backoff: BackoffSelection, view: View, bought: NDArray[np.bool_]) -> Iterator[RowOrder]:
    """Order the rows of ``c2`` that are bought."""
    for i in np.flatnonzero(bought):
        reason = Reason.EVIDENCE if backoff.has_row[i] else Reason.FIRST_SIGHT
        reason = Reason.FIRST_TABLE if view.table is None else reason
        yield RowOrder(c1=-1, c2=int(backoff.c2[i]), reason=reason, gain_hits=float(backoff.gain_hits[i]))


def order_of(view: View, rows: list[RowOrder], retired: NDArray[np.int64]) -> RefreshOrder | None:
    """Put the order together; None where there is nothing to do and a table serves."""
    if view.table is not None and not rows and not retired.size:
        return None
    c1, c2 = unpack_pairs(retired)
    return RefreshOrder(
        order_id=view.order_id,
        window_end_ms=view.window_end_ms,
        trigger=Trigger.FIRST_TABLE if view.table is None else Trigger.POLICY,
        rows=tuple(rows),
        retired=tuple(zip(c1.tolist(), c2.tolist(), strict=True)),
    )


def drift_inputs(report: DriftReport | None) -> dict[str, float | int | bool | None]:
    """Give the figures of the drift report that a decision had before it."""
    if report is None:
        return {}
    return {
        "drift_mean": report.drift_mean,
        "table_z": report.table_z,
        "alarmed": report.alarmed,
        "flagged_pairs": report.flagged_pairs,
    }


def explained(order: RefreshOrder | None, n_known: int) -> str:
    """Say in one sentence what is ordered, and why."""
    if order is None:
        return "no row pays: nothing to refresh"
    reasons = [str(row.reason) for row in order.rows]
    listed = ", ".join(f"{reasons.count(reason)} by {reason}" for reason in dict.fromkeys(sorted(reasons))) or "none"
    gain_hits = sum(row.gain_hits for row in order.rows)
    known = f" ({n_known} of them known, no call)" if n_known else ""
    return (
        f"rows taken: {listed}{known}; {len(order.retired)} dropped to backoff; at least {gain_hits:.0f} hits expected"
    )
