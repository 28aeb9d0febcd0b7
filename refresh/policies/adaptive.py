"""The adaptive policy: buys the rows whose expected regained hits exceed the price of a call."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from refresh.evidence import Ranked
from refresh.policies.plan import Plan, PolicyState, View
from refresh.policies.realised import observe, realised_share
from refresh.policies.selection import BackoffSelection, Economics, Selection, weigh_backoff, weigh_rows
from tidegate.contracts import DriftReport, Reason, RefreshOrder, RowOrder, Trigger
from tidegate.counts import pack_pairs, unpack_pairs

# A pair's first two backoff answers may be c1 and c2 themselves.
_BACKOFF_RANKS = 3
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class PolicyOptions:
    """The price of a call, and how sure a gain must be.

    Attributes
    ----------
    price : float                  misses that one call must save
    horizon_windows : float        for how many windows a row is expected to serve
    window_panes : int
    confidence_z : float           standard deviations between the estimated gain and its lower bound
    cooldown_panes : int           a row is not bought again so soon, unless its drift is proven
    max_calls : int or None        of one refresh; the rows that gain the most go first
    max_calls_per_day : int or None    of the refreshes of 24 hours of event time, the first table left out
    infers_backoff : bool          rows of ``c2`` are asked of the engine instead of being taken from the counts
    """

    price: float = 0.3
    horizon_windows: float = 4.0
    window_panes: int = 1
    confidence_z: float = 0.25
    cooldown_panes: int = 0
    max_calls: int | None = None
    max_calls_per_day: int | None = None
    infers_backoff: bool = False


class AdaptivePolicy:
    """Buys rows that pay, takes known ones for nothing, drops those that their backoff serves better.

    Rows of ``c2`` (the backoff) are kept fresh from the counts, for free; with ``infers_backoff`` they are asked of
    the engine and bought like any row.
    """

    def __init__(self, options: PolicyOptions | None = None, *, name: str = "adaptive", top_n: int = 5) -> None:
        self._options, self._top_n, self.name = options or PolicyOptions(), top_n, name

    def plan(self, view: View) -> Plan:
        """Weigh all rows, buy those that pay within the budget."""
        options, evidence = self._options, view.evidence
        state = observe(view)
        economics = Economics(
            horizon_panes=options.horizon_windows * options.window_panes,
            confidence_z=options.confidence_z if options.price > 0 else 0.0,  # nothing to be sure of, then
            realised_share=realised_share(state, options.confidence_z),
        )
        backoff = weigh_backoff(evidence, view.table, economics)
        wanted_c2 = (backoff.gain_hits > options.price) & options.infers_backoff
        budget = self._budget(view, state)
        bought_c2 = _dearest(backoff.gain_hits, wanted_c2, budget)  # first: one of them serves many pairs
        level = self._backoff_level(view, backoff.c2[bought_c2])
        lines = None if view.retrieval.is_shrunk else lambda pairs: view.lines(pairs, 1).clusters[:, 0]
        rows = weigh_rows(evidence, view.table, level, economics, lines)
        reasons = _reasons(rows, view)
        # A known row costs nothing, so the better guess will do.
        is_free = view.is_known(rows.pairs, rows.line) & rows.is_new_context & (rows.hits_per_pane > 0)
        pays = (rows.gain_hits > options.price) & rows.is_new_context & ~is_free
        is_cooling = self._cools_down(rows, view) & (reasons != Reason.DRIFT)
        wanted = pays & ~is_cooling
        bought = _dearest(rows.gain_hits, wanted, None if budget is None else budget - int(bought_c2.sum()))
        taken = bought | is_free
        retired = rows.backs_off & ~taken
        ordered = [*_row_orders(rows, reasons, taken), *_backoff_orders(backoff, view, bought_c2)]
        order = _order(view, ordered, rows.pairs[retired])
        n_calls = int(bought.sum() + bought_c2.sum())
        return Plan(
            order=order,
            pairs=rows.pairs[taken],
            retrieved=view.lines(rows.pairs[taken], self._top_n),
            backoff=None if options.infers_backoff else evidence.backoff(self._top_n),
            backoff_c2=backoff.c2[bought_c2],
            backoff_retrieved=view.backoff_lines(backoff.c2[bought_c2], self._top_n),
            replaces_rows=False,
            inputs={
                "price": options.price,
                "horizon_panes": economics.horizon_panes,
                "confidence_z": economics.confidence_z,
                "realised_share": economics.realised_share,
                "memory_panes": int(evidence.spans.lengths[evidence.pair_setting.length]),
                "concentration": evidence.pair_setting.strength,
                "pairs_weighed": int(rows.pairs.shape[0]),
                "rows_that_pay": int(pays.sum()),
                "rows_cooling_down": int((pays & is_cooling).sum()),
                "rows_over_budget": int(wanted.sum() + wanted_c2.sum()) - n_calls,
                "rows_bought": int(bought.sum()),
                "rows_known": int(is_free.sum()),
                "backoff_rows_bought": int(bought_c2.sum()),
                "rows_retired": int(retired.sum()),
                "gain_hits": sum(row.gain_hits for row in ordered),
                **_drift_inputs(view.report),
            },
            explanation=_explain(order, int(is_free.sum())),
            state=msgspec.structs.replace(
                state,
                placed_hits=float(rows.hits_per_pane[taken].sum()),
                calls=(*self._calls_of_day(view, state), *(((view.pane, n_calls),) if view.table is not None else ())),
            ),
        )

    def _budget(self, view: View, state: PolicyState) -> int | None:
        """Rows that may be bought now; None where there is no limit."""
        options = self._options
        limits = [] if options.max_calls is None else [options.max_calls]
        if options.max_calls_per_day is not None and view.table is not None:
            limits.append(options.max_calls_per_day - sum(n for _, n in self._calls_of_day(view, state)))
        return max(0, min(limits)) if limits else None

    def _calls_of_day(self, view: View, state: PolicyState) -> tuple[tuple[int, int], ...]:
        return tuple((pane, n) for pane, n in state.calls if (view.pane - pane) * view.pane_ms < _DAY_MS)

    def _backoff_level(self, view: View, bought_c2: NDArray[np.int32]) -> Ranked:
        """Give what will answer pairs without a row: the counts or, where calls make it, what serves and is bought."""
        fresh = view.evidence.backoff(_BACKOFF_RANKS)
        if not self._options.infers_backoff:
            return fresh
        clusters = np.full_like(fresh.clusters, -1)
        if view.table is not None:
            served = view.table.backoff_clusters[:, :_BACKOFF_RANKS]
            clusters[: served.shape[0], : served.shape[1]] = served
        clusters[bought_c2] = fresh.clusters[bought_c2]
        return Ranked(clusters, fresh.shares)

    def _cools_down(self, rows: Selection, view: View) -> NDArray[np.bool_]:
        if view.table is None or not self._options.cooldown_panes:
            return np.zeros(rows.pairs.shape[0], np.bool_)
        since_ms = view.window_end_ms - self._options.cooldown_panes * view.pane_ms
        recent = view.table.pairs[view.table.refreshed_ms > since_ms]
        return np.isin(rows.pairs, recent, assume_unique=True)


def _dearest(gain_hits: NDArray[np.float64], wanted: NDArray[np.bool_], budget: int | None) -> NDArray[np.bool_]:
    """Of the wanted rows, those that gain the most: bool[n]."""
    chosen = np.flatnonzero(wanted)
    if budget is None or chosen.size <= budget:
        return wanted
    kept = np.zeros_like(wanted)
    kept[chosen[np.argsort(-gain_hits[chosen], kind="stable")[:budget]]] = True
    return kept


def _reasons(rows: Selection, view: View) -> NDArray[np.object_]:
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


def _row_orders(rows: Selection, reasons: NDArray[np.object_], taken: NDArray[np.bool_]) -> Iterator[RowOrder]:
    c1, c2 = unpack_pairs(rows.pairs)
    for i in np.flatnonzero(taken):
        yield RowOrder(
            c1=int(c1[i]),
            c2=int(c2[i]),
            reason=reasons[i],
            gain_hits=float(rows.gain_hits[i]),
            replaces=int(rows.best_free[i]),
        )


def _backoff_orders(backoff: BackoffSelection, view: View, bought: NDArray[np.bool_]) -> Iterator[RowOrder]:
    for i in np.flatnonzero(bought):
        reason = Reason.EVIDENCE if backoff.has_row[i] else Reason.FIRST_SIGHT
        reason = Reason.FIRST_TABLE if view.table is None else reason
        yield RowOrder(c1=-1, c2=int(backoff.c2[i]), reason=reason, gain_hits=float(backoff.gain_hits[i]))


def _order(view: View, rows: list[RowOrder], retired: NDArray[np.int64]) -> RefreshOrder | None:
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


def _drift_inputs(report: DriftReport | None) -> dict[str, float | int | bool | None]:
    if report is None:
        return {}
    return {
        "drift_mean": report.drift_mean,
        "table_z": report.table_z,
        "alarmed": report.alarmed,
        "flagged_pairs": report.flagged_pairs,
    }


def _explain(order: RefreshOrder | None, n_known: int) -> str:
    if order is None:
        return "no row pays: nothing to refresh"
    reasons = [str(row.reason) for row in order.rows]
    listed = ", ".join(f"{reasons.count(reason)} by {reason}" for reason in dict.fromkeys(sorted(reasons))) or "none"
    gain_hits = sum(row.gain_hits for row in order.rows)
    known = f" ({n_known} of them known, no call)" if n_known else ""
    return (
        f"rows taken: {listed}{known}; {len(order.retired)} dropped to backoff; at least {gain_hits:.0f} hits expected"
    )
