"""New weights answer all rows anew: what a policy planned, and every other row of the table with it.

Only rows whose key changes are inferred: where the former weights come back, and a line is what it was, the answers are
in the row cache. Like those of the first table, the calls count against no budget: a person has approved the weights.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from refresh.evidence import Ranked
from refresh.policies.plan import Plan, View
from refresh.table import TransitionTable
from tidegate.contracts import Reason, RefreshOrder, RowOrder, Trigger
from tidegate.counts import pack_pairs, unpack_pairs

_REALISED = ("expected_hits", "realised_hits", "exposed_hits", "placed_hits")


def asked_anew(plan: Plan, view: View, top_n: int) -> Plan:
    """Add to a plan all rows that serve, with the lines that are fresh now. Pure.

    Rows that the plan drops stay dropped; rows that it orders keep what is expected of them.

    Parameters
    ----------
    top_n : ranks of a line
    """
    table = view.table
    if table is None:
        return plan
    pairs, retrieved = _with_rows(plan, view, table, top_n)
    c2, backoff_retrieved = _with_backoff(plan, view, table, top_n)
    n_anew = int(np.isin(pairs, table.pairs).sum() + np.isin(c2, _inferred_c2(table)).sum())
    return replace(
        plan,
        order=_order(plan, view, pairs, c2, table),
        pairs=pairs,
        retrieved=retrieved,
        backoff_c2=c2,
        backoff_retrieved=backoff_retrieved,
        inputs={**plan.inputs, "rows_anew": n_anew},
        explanation=f"new weights: all {n_anew} rows are asked anew; else: {plan.explanation}",
        # How far rows came up to what was expected of them was the former weights' doing, and what they knew is theirs.
        state=msgspec.structs.replace(plan.state, lifts=(), **dict.fromkeys(_REALISED, 0.0)),
    )


def _with_rows(plan: Plan, view: View, table: TransitionTable, top_n: int) -> tuple[NDArray[np.int64], Ranked]:
    dropped = _pairs_of(plan.order.retired if plan.order else ())
    more = table.pairs[~np.isin(table.pairs, np.concatenate([plan.pairs, dropped]))]
    pairs = np.concatenate([plan.pairs, more])
    order = np.argsort(pairs, kind="stable")
    return pairs[order], _joined(plan.retrieved, view.lines(more, top_n))[order]


def _with_backoff(plan: Plan, view: View, table: TransitionTable, top_n: int) -> tuple[NDArray[np.int32], Ranked]:
    """Rows of ``c2`` that a model answered are asked, too; those from the counts are fresh without a call."""
    inferred = _inferred_c2(table) if plan.backoff is None else np.zeros(0, np.int32)
    more = inferred[~np.isin(inferred, plan.backoff_c2)]
    c2 = np.concatenate([plan.backoff_c2, more])
    order = np.argsort(c2, kind="stable")
    return c2[order], _joined(plan.backoff_retrieved, view.backoff_lines(more, top_n))[order]


def _inferred_c2(table: TransitionTable) -> NDArray[np.int32]:
    return np.flatnonzero(table.backoff_row_keys.any(axis=1)).astype(np.int32)


def _order(
    plan: Plan, view: View, pairs: NDArray[np.int64], c2: NDArray[np.int32], table: TransitionTable
) -> RefreshOrder:
    planned = plan.order
    is_whole = planned is not None and planned.all_rows
    return RefreshOrder(
        order_id=view.order_id,
        window_end_ms=view.window_end_ms,
        trigger=Trigger.FINE_TUNE,
        rows=() if is_whole else _rows(planned.rows if planned else (), pairs, c2, table),
        all_rows=is_whole,
        retired=planned.retired if planned else (),
    )


def _rows(
    planned: tuple[RowOrder, ...], pairs: NDArray[np.int64], c2: NDArray[np.int32], table: TransitionTable
) -> tuple[RowOrder, ...]:
    """Name every row: pairs first, then those of ``c2``, as a plan has them."""
    expected = {(row.c1, row.c2): row for row in planned}
    at = table.rows_of(pairs)
    answers = table.clusters[at, 0] if table.n_rows else np.full(pairs.shape[0], -1, np.int32)
    firsts, seconds = unpack_pairs(pairs)
    columns = zip(firsts.tolist(), seconds.tolist(), answers.tolist(), (at >= 0).tolist(), strict=True)
    asked = [(first, second, answer if has_row else None) for first, second, answer, has_row in columns]
    has_backoff = set(_inferred_c2(table).tolist())
    asked += [(-1, second, -1 if second in has_backoff else None) for second in c2.tolist()]
    return tuple(_row(first, second, served, expected.get((first, second))) for first, second, served in asked)


def _row(c1: int, c2: int, served: int | None, planned: RowOrder | None) -> RowOrder:
    """One row: asked anew where it serves, else for the reason that it was planned for."""
    if planned is None:
        return RowOrder(c1=c1, c2=c2, reason=Reason.FINE_TUNE, gain_hits=0.0, replaces=-1 if served is None else served)
    return planned if served is None else msgspec.structs.replace(planned, reason=Reason.FINE_TUNE)


def _joined(first: Ranked, second: Ranked) -> Ranked:
    depth = max(first.clusters.shape[1], second.clusters.shape[1])
    return Ranked(
        np.concatenate([_padded(each.clusters, depth, -1) for each in (first, second)]).astype(np.int32),
        np.concatenate([_padded(each.shares, depth, 0) for each in (first, second)]),
    )


def _padded(columns: NDArray[np.generic], depth: int, value: int) -> NDArray[np.generic]:
    return np.pad(columns, ((0, 0), (0, depth - columns.shape[1])), constant_values=value)


def _pairs_of(pairs: tuple[tuple[int, int], ...]) -> NDArray[np.int64]:
    columns = np.array(pairs, np.int64).reshape(-1, 2)
    return pack_pairs(columns[:, 0], columns[:, 1])
