"""The oracle: what the adaptive policy's own moves would have brought at best, known only in hindsight.

At every pane's end a pair may be asked with that pane's context (a call, unless it was asked with it before), may
keep what it has, or may fall back to the fresh backoff. The oracle knows all that is to come and minimises
``price x calls + misses``. Pairs do not touch each other, so each is solved alone: for a set of contexts to pay for, a
dynamic programme over panes finds the best way to hold them; sets are compared exhaustively up to a few contexts per
pair, and beyond those, only the ones that pay best alone are looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refresh.evidence import Ranked
from refresh.evidence.level import locate
from refresh.policies.plan import Plan, View
from refresh.policies.selection import backoff_answers
from tidegate.contracts import Reason, RefreshOrder, RowOrder, Trigger
from tidegate.counts import SuccessorCounts, unpack_pairs
from tidegate.jit import kernel

Int64s = NDArray[np.int64]
Int32s = NDArray[np.int32]

_MOST_SETS_OF = 6  # contexts of a pair whose sets are all compared: 64 of them


@dataclass(frozen=True, slots=True)
class Offer:
    """What could be had at one pane's end.

    Attributes
    ----------
    pairs : int64[n]        ascending: all that the evidence has seen
    contexts : int32[n]     first cluster of the line that each would be asked with
    answers : int32[n]      what the engine answers to it, -1 = nothing valid
    backoff : Ranked        over [C, k]
    """

    pairs: Int64s
    contexts: Int32s
    answers: Int32s
    backoff: Ranked


@dataclass(frozen=True, slots=True)
class Move:
    """What the oracle does at one pane's end: pairs asked with contexts, and pairs whose row is dropped."""

    pairs: Int64s
    contexts: Int32s
    retired: Int64s


def moves_in_hindsight(offers: Sequence[Offer], served: Sequence[SuccessorCounts], price: float) -> list[Move]:
    """Find the moves that would have cost least. `O(pairs x panes x sets)`.

    Parameters
    ----------
    offers : one a decision
    served : the transitions of the pane after each
    price : misses that one call must save
    """
    if not offers:
        return []
    n_panes = len(offers)
    pairs = _union([offer.pairs for offer in offers])
    contexts = np.full((pairs.shape[0], n_panes), -1, np.int32)
    backoff_hits = np.zeros((pairs.shape[0], n_panes), np.int32)
    codes, answers = [], []
    for at, (offer, counts) in enumerate(zip(offers, served, strict=True)):
        rows = np.searchsorted(pairs, offer.pairs)
        usable = offer.answers >= 0
        contexts[rows[usable], at] = offer.contexts[usable]
        is_named = (pairs & 0xFFFF) < offer.backoff.clusters.shape[0]  # c2 may be a cluster of later
        backoff_hits[is_named, at] = _hits(counts, pairs[is_named], backoff_answers(offer.backoff, pairs[is_named]))
        codes.append(offer.pairs[usable] << 16 | offer.contexts[usable])
        answers.append(offer.answers[usable])
    options, first = np.unique(np.concatenate(codes), return_index=True)
    option_answers = np.concatenate(answers)[first]
    option_hits = np.stack([_hits(counts, options >> 16, option_answers) for counts in served], axis=1)
    starts = np.searchsorted(options >> 16, pairs)
    ends = np.searchsorted(options >> 16, pairs, side="right")
    held = np.full((pairs.shape[0], n_panes), -1, np.int32)
    _solve_pairs(
        contexts,
        backoff_hits,
        starts,
        ends,
        (options & 0xFFFF).astype(np.int32),
        np.ascontiguousarray(option_hits),
        float(price),
        held,
    )
    return [_move(pairs, held, at) for at in range(n_panes)]


def _move(pairs: Int64s, held: Int32s, at: int) -> Move:
    before = held[:, at - 1] if at else np.full(pairs.shape[0], -1, np.int32)
    now = held[:, at]
    entered, left = (now >= 0) & (now != before), (now < 0) & (before >= 0)
    return Move(pairs[entered], now[entered], pairs[left])


def _union(all_pairs: list[Int64s]) -> Int64s:
    return np.unique(np.concatenate(all_pairs))


def _hits(counts: SuccessorCounts, pairs: Int64s, answers: Int32s) -> Int32s:
    keys = np.repeat(counts.pairs, np.diff(counts.offsets)) << 16 | counts.successors
    at, is_known = locate(keys, pairs << 16 | np.maximum(answers, 0))
    values = counts.counts[at] if keys.size else np.zeros(pairs.shape[0], np.int64)
    return np.where(is_known & (answers >= 0), values, 0).astype(np.int32)


@kernel
def _hold(
    contexts: Int32s,
    backoff_hits: Int32s,
    clusters: Int32s,
    hits: Int32s,
    chosen: Int64s,
    n_chosen: int,
    came_from: Int64s,
    path: Int64s,
) -> int:
    """Most hits with the chosen contexts paid for; fills `path` with what is held after each pane (-1: backoff).

    `came_from` is int64[panes, chosen + 1] scratch: state 0 is the backoff, state i the i-th of the chosen contexts.
    """
    n_panes = contexts.shape[0]
    best = np.full(n_chosen + 1, -1, np.int64)
    best[0] = 0
    for t in range(n_panes):
        top = 0
        for state in range(n_chosen + 1):
            if best[state] > best[top]:
                top = state
        most = best[top]
        for state in range(n_chosen + 1):
            previous, value = state, best[state]
            may_enter = state == 0 or contexts[t] == clusters[chosen[state - 1]]
            if may_enter and most > value:
                previous, value = top, most
            came_from[t, state] = previous
            if value >= 0:
                value += backoff_hits[t] if state == 0 else hits[chosen[state - 1], t]
            path[state] = value
        for state in range(n_chosen + 1):
            best[state] = path[state]
    state = 0
    for other in range(n_chosen + 1):
        if best[other] > best[state]:
            state = other
    total = best[state]
    for t in range(n_panes - 1, -1, -1):
        held = -1 if state == 0 else clusters[chosen[state - 1]]
        state = came_from[t, state]
        path[t] = held
    return int(total)


@kernel
def _solve_pairs(
    contexts: Int32s,
    backoff_hits: Int32s,
    starts: Int64s,
    ends: Int64s,
    option_clusters: Int32s,
    option_hits: Int32s,
    price: float,
    held: Int32s,
) -> None:
    """Solve every pair alone; fills `held`, int32[pairs, panes], with the context whose row serves (-1: backoff)."""
    n_panes = contexts.shape[1]
    came_from = np.empty((n_panes, _MOST_SETS_OF + 1), np.int64)
    path = np.empty(max(n_panes, _MOST_SETS_OF + 1), np.int64)
    chosen = np.empty(_MOST_SETS_OF, np.int64)
    for pair in range(contexts.shape[0]):
        clusters, hits = option_clusters[starts[pair] : ends[pair]], option_hits[starts[pair] : ends[pair]]
        alone = np.zeros(clusters.shape[0])
        floor = 0
        for t in range(n_panes):
            floor += backoff_hits[pair, t]
        for option in range(clusters.shape[0]):
            chosen[0] = option
            alone[option] = _hold(contexts[pair], backoff_hits[pair], clusters, hits, chosen, 1, came_from, path)
        order = np.argsort(-alone, kind="mergesort")
        n_worth = 0  # a context that does not pay alone pays less beside others
        while n_worth < min(clusters.shape[0], _MOST_SETS_OF) and alone[order[n_worth]] - price > floor:
            n_worth += 1
        best_set, best_value = 0, float(floor)
        for members in range(1, 1 << n_worth):
            n_chosen = 0
            for option in range(n_worth):
                if members >> option & 1:
                    chosen[n_chosen] = order[option]
                    n_chosen += 1
            total = _hold(contexts[pair], backoff_hits[pair], clusters, hits, chosen, n_chosen, came_from, path)
            if total - price * n_chosen > best_value:
                best_set, best_value = members, total - price * n_chosen
        if best_set == 0:
            continue
        n_chosen = 0
        for option in range(n_worth):
            if best_set >> option & 1:
                chosen[n_chosen] = order[option]
                n_chosen += 1
        _hold(contexts[pair], backoff_hits[pair], clusters, hits, chosen, n_chosen, came_from, path)
        for t in range(n_panes):
            held[pair, t] = path[t]


class OraclePolicy:
    """Plays back the oracle's moves, so that they are carried out and scored like everybody's.

    Parameters
    ----------
    moves : one a decision, in order
    offers : what they were made of
    """

    name = "oracle"

    def __init__(self, moves: Sequence[Move], offers: Sequence[Offer], top_n: int) -> None:
        self._moves, self._offers, self._top_n = moves, offers, top_n

    def plan(self, view: View) -> Plan:
        """Do what hindsight says."""
        move, offer = self._moves[view.panes_since_first_table], self._offers[view.panes_since_first_table]
        c1, c2 = unpack_pairs(move.pairs)
        reason = Reason.FIRST_TABLE if view.table is None else Reason.EVIDENCE
        retired = tuple(zip(*(each.tolist() for each in unpack_pairs(move.retired)), strict=True))
        order = RefreshOrder(
            order_id=view.order_id,
            window_end_ms=view.window_end_ms,
            trigger=Trigger.FIRST_TABLE if view.table is None else Trigger.POLICY,
            rows=tuple(
                RowOrder(c1=int(a), c2=int(b), reason=reason, gain_hits=0.0) for a, b in zip(c1, c2, strict=True)
            ),
            retired=retired,
        )
        context = Ranked(move.contexts[:, None], np.ones((move.contexts.shape[0], 1)))
        backoff = Ranked(offer.backoff.clusters[:, : self._top_n], offer.backoff.shares[:, : self._top_n])
        return Plan(
            order=order if view.table is None or order.rows or order.retired else None,
            pairs=move.pairs,
            retrieved=context,
            backoff=backoff,
            backoff_c2=np.zeros(0, np.int32),
            backoff_retrieved=Ranked.nothing(0, 1),
            replaces_rows=False,
            inputs={},
            explanation=f"in hindsight: {c1.shape[0]} rows taken, {len(retired)} dropped to backoff",
        )
