"""What a policy sees and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from refresh.evidence import Evidence, Ranked
from refresh.policies.lift import Lift
from refresh.retrieval import Retrieval, Seen
from refresh.table import TransitionTable
from tidegate.contracts import DriftReport, RefreshOrder
from tidegate.counts import SuccessorCounts, unpack_pairs

IsKnown = Callable[[NDArray[np.int64], NDArray[np.int32]], NDArray[np.bool_]]
"""Tells which pairs (int64[n]) were inferred before with which retrieved clusters (int32[n]): asking is no call."""


class PolicyState(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy remembers from pane to pane; it is part of the pane's record.

    ``expected_hits`` and ``realised_hits`` are of rows bought, in the pane after the purchase, older ones fading;
    ``exposed_hits`` are the hits of either answer there, whose number bounds how sure the realised ones are.
    ``placed_hits`` are expected of the rows that were ordered last. ``calls`` are those ordered, by pane, of the last
    day. ``lifts`` is what the weights were seen to add to lines, by class (`refresh.policies.lift`). ``statistic`` and
    ``level`` are what a trigger accumulates and compares with. ``n_failed_orders`` in a row were not published, so that
    no order is placed before ``held_until_pane`` (`refresh.policies.holding`).
    """

    expected_hits: float = 0.0
    realised_hits: float = 0.0
    exposed_hits: float = 0.0
    placed_hits: float = 0.0
    calls: tuple[tuple[int, int], ...] = ()
    lifts: tuple[Lift, ...] = ()
    statistic: float = 0.0
    level: float | None = None
    n_panes_since_refresh: int = 0
    n_failed_orders: int = 0
    held_until_pane: int = 0


@dataclass(frozen=True, slots=True)
class View:
    """All that a policy may look at.

    Attributes
    ----------
    evidence : Evidence         shrunk shares, over the lengths of the past that foretold best
    window : SuccessorCounts    plain counts of the window
    seeds : uint64[C]           of the clusters' names
    report : DriftReport or None
    table : TransitionTable or None    that serves now
    scored, hits : int          transitions of the pane that a table scored, and next-hits among them
    is_known : which rows cost no call
    last_order : RefreshOrder or None    placed at the pane before, and published
    state : PolicyState         that the policy left at the pane before
    retrieval : Retrieval       how lines are retrieved
    before : SuccessorCounts    plain counts of the window before, where trends are retrieved; else nothing
    has_new_weights : bool      other weights answer from this pane on than those whose rows serve
    """

    run_id: str
    pane: int
    pane_ms: int
    panes_since_first_table: int
    evidence: Evidence
    window: SuccessorCounts
    seeds: NDArray[np.uint64]
    report: DriftReport | None
    table: TransitionTable | None
    scored: int = 0
    hits: int = 0
    is_known: IsKnown = lambda pairs, _: np.zeros(pairs.shape[0], np.bool_)
    last_order: RefreshOrder | None = None
    state: PolicyState = field(default_factory=PolicyState)
    retrieval: Retrieval = field(default_factory=Retrieval)
    before: SuccessorCounts = field(default_factory=SuccessorCounts.empty)
    has_new_weights: bool = False

    @property
    def seen(self) -> Seen:
        """What lines are retrieved from."""
        return Seen(self.evidence, self.window, self.before, self.seeds)

    def lines(self, pairs: NDArray[np.int64], depth: int) -> Ranked:
        """Retrieve the lines of pairs: ``Ranked`` over [n, depth], deeper where prompts name more clusters."""
        return self.retrieval.of_pairs(self.seen, pairs, max(depth, self.retrieval.n_retrieved))

    def backoff_lines(self, c2: NDArray[np.int32], depth: int) -> Ranked:
        """Retrieve the lines of rows of ``c2``; see `lines`."""
        return self.retrieval.of_c2(self.seen, c2, max(depth, self.retrieval.n_retrieved))

    @property
    def window_end_ms(self) -> int:
        """End of the pane that was just closed."""
        return (self.pane + 1) * self.pane_ms

    @property
    def order_id(self) -> str:
        """What an order of this pane is known by."""
        return f"{self.run_id}-{self.pane}"


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
    state : PolicyState          to be shown at the next pane
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
    state: PolicyState = field(default_factory=PolicyState)


def within_codebook(plan: Plan, capacity: int) -> Plan:
    """Leave out rows that name a cluster for which the engine has no code: their backoff serves them.

    Where only a further cluster of the line has none, the line goes without it.
    """
    c1, c2 = unpack_pairs(plan.pairs)
    has_code = (c1 < capacity) & (c2 < capacity) & (plan.retrieved.clusters[:, 0] < capacity)
    backoff_has_code = (plan.backoff_c2 < capacity) & (plan.backoff_retrieved.clusters[:, 0] < capacity)
    retrieved, backoff_retrieved = (_coded(lines, capacity) for lines in (plan.retrieved, plan.backoff_retrieved))
    if retrieved is not plan.retrieved or backoff_retrieved is not plan.backoff_retrieved:
        plan = replace(plan, retrieved=retrieved, backoff_retrieved=backoff_retrieved)
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


def _coded(lines: Ranked, capacity: int) -> Ranked:
    """Leave clusters without a code out of lines, but the first: a row without that is left out as a whole."""
    has_code = lines.clusters < capacity
    has_code[:, :1] = True
    if has_code.all():
        return lines
    order = np.argsort(~has_code, axis=1, kind="stable")
    is_kept = np.take_along_axis(has_code, order, axis=1)
    clusters, shares = (np.take_along_axis(each, order, axis=1) for each in (lines.clusters, lines.shares))
    return Ranked(np.where(is_kept, clusters, np.int32(-1)), np.where(is_kept, shares, 0.0))


def reason_counts(plan: Plan) -> dict[str, int]:
    """Count the ordered rows by reason."""
    if plan.order is None:
        return {}
    if plan.order.all_rows:
        return {str(plan.order.trigger): int(plan.pairs.shape[0])}
    reasons = [str(row.reason) for row in plan.order.rows]
    counts = {reason: reasons.count(reason) for reason in dict.fromkeys(reasons)}
    return counts | ({"retired": len(plan.order.retired)} if plan.order.retired else {})
