"""What to do at a pane's end: refresh (which rows), flag a fine-tune, or nothing.

A policy is pure: the same view gives the same plan. `adaptive` buys rows where they pay; `never` holds the first
table; `every` refreshes every row on a calendar, as the paper does, with the window's plain top-1 as context.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from refresh.evidence import Ranked
from refresh.plan import Plan, View
from refresh.selection import BackoffSelection, Selection, weigh_backoff, weigh_rows
from tidegate.contracts import DriftReport, Reason, RefreshOrder, RowOrder, Trigger
from tidegate.counts import pack_pairs, unpack_pairs
from tidegate.durations import parse_duration
from tidegate.errors import RequestError

# A pair's first two backoff answers may be c1 and c2 themselves.
_BACKOFF_RANKS = 3


@dataclass(frozen=True, slots=True)
class PolicyOptions:
    """The price of a call, and how sure a gain must be.

    Attributes
    ----------
    price : float             misses that one call must save
    horizon_windows : float   for how many windows a row is expected to serve
    confidence_z : float      standard deviations between the estimated gain and its lower bound
    cooldown_panes : int      a row is not bought again so soon, unless its drift is proven
    infers_backoff : bool     rows of ``c2`` are asked of the engine instead of being taken from the counts
    """

    price: float = 1.0
    horizon_windows: float = 4.0
    confidence_z: float = 0.5
    cooldown_panes: int = 2
    infers_backoff: bool = False


class Policy(Protocol):
    """Decides at every pane's end from the first full window on."""

    @property
    def name(self) -> str:
        """The name that it is asked for by."""
        ...

    def plan(self, view: View) -> Plan:
        """Answer a view; pure."""
        ...


class AdaptivePolicy:
    """Buys the rows whose expected regained hits exceed the price of a call.

    Rows of ``c2`` (the backoff) are kept fresh from the counts, for free; with ``infers_backoff`` they are asked of
    the engine and bought like any row.
    """

    name = "adaptive"

    def __init__(self, options: PolicyOptions | None = None, *, top_n: int = 5) -> None:
        self._options = options or PolicyOptions()
        self._top_n = top_n

    def plan(self, view: View) -> Plan:
        """Weigh all rows, buy those that pay, drop those that their backoff serves better."""
        options, evidence = self._options, view.evidence
        economics = {"horizon_windows": options.horizon_windows, "confidence_z": options.confidence_z}
        backoff = weigh_backoff(evidence, view.table, **economics)
        bought_c2 = (backoff.gain_hits > options.price) & options.infers_backoff
        level = self._backoff_level(view, backoff.c2[bought_c2])
        rows = weigh_rows(evidence, view.table, level, **economics)
        reasons = _reasons(rows, view)
        pays = (rows.gain_hits > options.price) & rows.is_new_context
        is_cooling = self._cools_down(rows, view) & (reasons != Reason.DRIFT)
        bought = pays & ~is_cooling
        retired = rows.backs_off & ~bought
        ordered = [*_row_orders(rows, reasons, bought), *_backoff_orders(backoff, view, bought_c2)]
        order = _order(view, ordered, rows.pairs[retired])
        return Plan(
            order=order,
            pairs=rows.pairs[bought],
            retrieved=evidence.rank(rows.pairs[bought], self._top_n),
            backoff=None if options.infers_backoff else evidence.backoff(self._top_n),
            backoff_c2=backoff.c2[bought_c2],
            backoff_retrieved=evidence.backoff(self._top_n)[backoff.c2[bought_c2]],
            replaces_rows=False,
            inputs={
                "price": options.price,
                **economics,
                "concentration": evidence.concentration,
                "pairs_weighed": int(rows.pairs.shape[0]),
                "rows_that_pay": int(pays.sum()),
                "rows_cooling_down": int((pays & is_cooling).sum()),
                "rows_bought": int(bought.sum()),
                "backoff_rows_bought": int(bought_c2.sum()),
                "rows_retired": int(retired.sum()),
                "gain_hits": sum(row.gain_hits for row in ordered),
                **_drift_inputs(view.report),
            },
            explanation=_explain(order),
        )

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
        if view.table is None:
            return np.zeros(rows.pairs.shape[0], np.bool_)
        since_ms = view.window_end_ms - self._options.cooldown_panes * view.pane_ms
        recent = view.table.pairs[view.table.refreshed_ms > since_ms]
        return np.isin(rows.pairs, recent, assume_unique=True)


class CalendarPolicy:
    """Refreshes every row of the window each so many panes, asked with the window's plain top-1; 0 panes: never."""

    def __init__(self, every_panes: int, *, name: str, top_n: int = 5) -> None:
        self._every_panes = every_panes
        self._top_n = top_n
        self.name = name

    def plan(self, view: View) -> Plan:
        """Answer what the calendar says; the evidence only supplies the context."""
        since = view.panes_since_first_table
        is_due = view.table is None or (self._every_panes > 0 and since % self._every_panes == 0)
        ranked = view.evidence.plain_rank(self._top_n)
        pairs = view.evidence.counts.pairs
        trigger = Trigger.FIRST_TABLE if view.table is None else Trigger.SCHEDULE
        order = RefreshOrder(order_id=_order_id(view), window_end_ms=view.window_end_ms, trigger=trigger, all_rows=True)
        return Plan(
            order=order if is_due else None,
            pairs=pairs if is_due else pairs[:0],
            retrieved=ranked if is_due else ranked[:0],
            backoff=None,
            backoff_c2=np.zeros(0, np.int32),
            backoff_retrieved=ranked[:0],
            replaces_rows=True,
            inputs={"every_panes": self._every_panes, "panes_since_first_table": since, **_drift_inputs(view.report)},
            explanation=f"{trigger}: all {pairs.shape[0]} pairs of the window" if is_due else "not due",
        )


def open_policy(text: str, pane_ms: int, options: PolicyOptions, top_n: int = 5) -> Policy:
    """Make the policy that `text` names: ``adaptive``, ``never``, ``always``, ``every:2`` (panes) or ``every:2d``.

    Raises
    ------
    RequestError
        If the name is unknown or the period is not a whole number of panes.

    Examples
    --------
    >>> open_policy("every:2d", 86_400_000, PolicyOptions()).name
    'every:2d'
    """
    name, _, argument = text.partition(":")
    if name == "adaptive" and not argument:
        return AdaptivePolicy(options, top_n=top_n)
    if name in ("never", "always") and not argument:
        return CalendarPolicy(0 if name == "never" else 1, name=text, top_n=top_n)
    if name == "every" and argument:
        return CalendarPolicy(_panes(argument, pane_ms, text), name=text, top_n=top_n)
    raise RequestError(
        f"there is no policy {text!r}", "Choose adaptive, never, always, every:N (panes) or every:2d", place="--policy"
    )


def _panes(argument: str, pane_ms: int, text: str) -> int:
    period_ms = int(argument) * pane_ms if argument.isdecimal() else parse_duration(argument, name="--policy")
    if period_ms < pane_ms or period_ms % pane_ms:
        raise RequestError(
            f"{text!r} is not a whole number of panes", "Choose a multiple of --pane, at least one", place="--policy"
        )
    return period_ms // pane_ms


def _reasons(rows: Selection, view: View) -> NDArray[np.object_]:
    """Reason of each row, should it be bought. Drift is one only for flagged pairs of a window that drifts itself."""
    reasons = np.where(rows.has_row, Reason.EVIDENCE, Reason.FIRST_SIGHT).astype(object)
    if view.table is None:
        reasons[:] = Reason.FIRST_TABLE
    elif view.report is not None and view.report.alarmed:
        flagged = np.array([(pair.c1, pair.c2) for pair in view.report.flagged], np.int64).reshape(-1, 2)
        is_flagged = np.isin(rows.pairs, pack_pairs(flagged[:, 0], flagged[:, 1]))
        reasons[is_flagged & rows.has_row] = Reason.DRIFT
    return reasons


def _row_orders(rows: Selection, reasons: NDArray[np.object_], bought: NDArray[np.bool_]) -> Iterator[RowOrder]:
    c1, c2 = unpack_pairs(rows.pairs)
    for i in np.flatnonzero(bought):
        yield RowOrder(c1=int(c1[i]), c2=int(c2[i]), reason=reasons[i], gain_hits=float(rows.gain_hits[i]))


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
        order_id=_order_id(view),
        window_end_ms=view.window_end_ms,
        trigger=Trigger.FIRST_TABLE if view.table is None else Trigger.POLICY,
        rows=tuple(rows),
        retired=tuple(zip(c1.tolist(), c2.tolist(), strict=True)),
    )


def _order_id(view: View) -> str:
    return f"{view.run_id}-{view.pane}"


def _drift_inputs(report: DriftReport | None) -> dict[str, float | int | bool | None]:
    if report is None:
        return {}
    return {
        "drift_mean": report.drift_mean,
        "table_z": report.table_z,
        "alarmed": report.alarmed,
        "flagged_pairs": report.flagged_pairs,
    }


def _explain(order: RefreshOrder | None) -> str:
    if order is None:
        return "no row pays: nothing to refresh"
    reasons = [str(row.reason) for row in order.rows]
    listed = ", ".join(f"{reasons.count(reason)} by {reason}" for reason in dict.fromkeys(sorted(reasons))) or "none"
    gain_hits = sum(row.gain_hits for row in order.rows)
    return f"rows bought: {listed}; {len(order.retired)} dropped to backoff; at least {gain_hits:.0f} hits expected"
