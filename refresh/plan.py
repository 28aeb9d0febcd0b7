"""What a policy sees and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from refresh.evidence import Evidence, Ranked
from refresh.table import TransitionTable
from tidegate.contracts import DriftReport, RefreshOrder
from tidegate.counts import unpack_pairs


@dataclass(frozen=True, slots=True)
class View:
    """All that a policy may look at."""

    run_id: str
    pane: int
    pane_ms: int
    panes_since_first_table: int
    evidence: Evidence
    report: DriftReport | None
    table: TransitionTable | None

    @property
    def window_end_ms(self) -> int:
        """End of the pane that was just closed."""
        return (self.pane + 1) * self.pane_ms


@dataclass(frozen=True, slots=True)
class Plan:
    """A policy's answer: the order, the context of each of its rows, and what was looked at.

    Attributes
    ----------
    order : RefreshOrder | None
    pairs : int64[n]             rows to ask for, ascending
    retrieved : Ranked           retrieved line of each, with the evidence behind it: [n, k]
    backoff : Ranked | None      rows of ``c2`` taken from the counts, no call; None leaves them as they are
    backoff_c2 : int32[k]        rows of ``c2`` to ask for, ascending; empty where they come from the counts
    backoff_retrieved : Ranked   retrieved line of each: [k, depth]
    replaces_rows : bool         infer all rows anew, known keys or not (the paper's frame)
    inputs                       numbers for the decision's record
    explanation                  one sentence for people
    """

    order: RefreshOrder | None
    pairs: NDArray[np.int64]
    retrieved: Ranked
    backoff: Ranked | None
    backoff_c2: NDArray[np.int32]
    backoff_retrieved: Ranked
    replaces_rows: bool
    inputs: dict[str, float | int | bool | None]
    explanation: str


def within_codebook(plan: Plan, capacity: int) -> Plan:
    """Leave out rows that name a cluster for which the engine has no code: their backoff serves them."""
    c1, c2 = unpack_pairs(plan.pairs)
    has_code = (c1 < capacity) & (c2 < capacity) & (plan.retrieved.clusters[:, 0] < capacity)
    backoff_has_code = (plan.backoff_c2 < capacity) & (plan.backoff_retrieved.clusters[:, 0] < capacity)
    all_have = np.concatenate([has_code, backoff_has_code])
    if all_have.all():
        return plan
    order = plan.order
    if order is not None and order.rows:
        kept = tuple(row for row, is_kept in zip(order.rows, all_have, strict=True) if is_kept)
        order = msgspec.structs.replace(order, rows=kept)
    return replace(
        plan,
        order=order,
        pairs=plan.pairs[has_code],
        retrieved=plan.retrieved[has_code],
        backoff_c2=plan.backoff_c2[backoff_has_code],
        backoff_retrieved=plan.backoff_retrieved[backoff_has_code],
        inputs={**plan.inputs, "rows_beyond_codebook": int((~all_have).sum())},
    )


def reason_counts(plan: Plan) -> dict[str, int]:
    """Count the ordered rows by reason."""
    if plan.order is None:
        return {}
    if plan.order.all_rows:
        return {str(plan.order.trigger): int(plan.pairs.shape[0])}
    reasons = [str(row.reason) for row in plan.order.rows]
    counts = {reason: reasons.count(reason) for reason in dict.fromkeys(reasons)}
    return counts | ({"retired": len(plan.order.retired)} if plan.order.retired else {})
