"""The oracle against every sequence of moves that there is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refresh.evidence import Ranked
from refresh.policies import oracle
from refresh.policies.oracle import Move, Offer, moves_in_hindsight
from tests.refresh.logs import Log, counts_of
from tidegate.jit import is_compiled

N_CLUSTERS, C2 = 8, 1
BACKOFF = tuple(range(2, 6))


@dataclass(frozen=True)
class Pane:
    """A decision: the line that each pair would be asked with, what the engine says to it, and the backoff's answer.

    Then the pane that follows: how often each pair went where.
    """

    contexts: dict[int, int]  # by c1; pairs are (c1, C2)
    backoff: int
    served: Log


clusters = st.integers(2, 4)
pane = st.builds(
    Pane,
    st.dictionaries(st.sampled_from([0, 5, 6]), clusters, min_size=1),
    st.sampled_from([2, 3, 7]),
    st.dictionaries(
        st.tuples(st.sampled_from([0, 5, 6]), st.just(C2), st.integers(2, 4)), st.integers(1, 4), max_size=5
    ),
)


def answer(context: int) -> int:
    """An engine that does not always repeat its line: it swaps 3 and 4."""
    return {3: 4, 4: 3}.get(context, context)


def offer(pane: Pane, *, is_valid: bool = True) -> Offer:
    ascending = sorted(pane.contexts)
    contexts = np.array([pane.contexts[c1] for c1 in ascending], np.int32)
    backoff = np.full((N_CLUSTERS, 2), -1, np.int32)
    backoff[C2, 0] = pane.backoff
    answers = np.array([answer(int(c)) if is_valid else -1 for c in contexts], np.int32)
    return Offer(
        np.array([c1 << 16 | C2 for c1 in ascending], np.int64), contexts, answers, Ranked(backoff, np.zeros((8, 2)))
    )


def solved(panes: list[Pane], price: float) -> list[Move]:
    return moves_in_hindsight([offer(each) for each in panes], [counts_of(each.served) for each in panes], price)


def carried_out(panes: list[Pane], moves: list[Move]) -> tuple[int, int]:
    """Calls and hits of moves, each checked to be one that could be made."""
    held: dict[int, int] = {}
    asked: set[tuple[int, int]] = set()
    hits = 0
    for each, move in zip(panes, moves, strict=True):
        for pair, context in zip(move.pairs.tolist(), move.contexts.tolist(), strict=True):
            assert each.contexts[pair >> 16] == context, "no such line could be asked with then"
            held[pair >> 16] = context
            asked.add((pair, context))
        for pair in move.retired.tolist():
            assert pair >> 16 in held
            del held[pair >> 16]
        for (c1, _, c), n in each.served.items():
            hits += n * ((answer(held[c1]) if c1 in held else each.backoff) == c)
    return len(asked), hits


def least_cost(panes: list[Pane], price: float) -> float:
    """Try everything for each pair: keep, fall back, or ask with the pane's line."""

    @cache
    def best(c1: int, at: int, held: int, asked: frozenset[int]) -> float:
        if at == len(panes):
            return 0.0
        now = panes[at]
        options = {held: 0.0, -1: 0.0}
        if c1 in now.contexts:
            context = now.contexts[c1]
            options[context] = min(options.get(context, price), 0.0 if context in asked else price)
        costs = []
        for context, paid in options.items():
            answered = now.backoff if context < 0 else answer(context)
            missed = sum(n for (a, _, c), n in now.served.items() if a == c1 and c != answered)
            known = asked if context < 0 else asked | {context}
            costs.append(paid + missed + best(c1, at + 1, context, known))
        return min(costs)

    pairs = {c1 for each in panes for c1 in each.contexts}
    never_offered = sum(
        n for each in panes for (c1, _, c), n in each.served.items() if c1 not in pairs and c != each.backoff
    )
    return never_offered + sum(best(c1, 0, -1, frozenset()) for c1 in pairs)


@settings(max_examples=150, deadline=None)
@given(st.lists(pane, min_size=1, max_size=5), st.sampled_from([0.0, 0.3, 1.0, 2.5, 6.0]))
def test_no_sequence_of_moves_costs_less_than_the_oracles(panes: list[Pane], price: float) -> None:
    n_calls, n_hits = carried_out(panes, solved(panes, price))
    n_served = sum(sum(each.served.values()) for each in panes)
    assert price * n_calls + n_served - n_hits == pytest.approx(least_cost(panes, price))
    assert is_compiled(oracle._solve_pairs)  # and with it what it calls


def test_a_row_may_be_left_and_taken_up_again_for_nothing() -> None:
    here, there = {(0, C2, 2): 9}, {(0, C2, 7): 9}
    panes = [Pane({0: 2}, 7, here), Pane({0: 3}, 7, there), Pane({0: 2}, 7, here)]
    moves = solved(panes, 1.0)
    assert [move.contexts.tolist() for move in moves] == [[2], [], [2]]
    assert [move.retired.size for move in moves] == [0, 1, 0]
    assert carried_out(panes, moves) == (1, 27)


def test_a_line_is_asked_with_only_when_it_is_current() -> None:
    panes = [Pane({0: 3}, 7, {(0, C2, 2): 9}), Pane({0: 2}, 7, {(0, C2, 2): 9})]
    moves = solved(panes, 1.0)
    assert [move.contexts.tolist() for move in moves] == [[], [2]]


def test_lines_that_the_engine_has_no_valid_answer_to_are_no_moves() -> None:
    panes = [Pane({0: 2}, 7, {(0, C2, 2): 9})]
    (move,) = moves_in_hindsight([offer(panes[0], is_valid=False)], [counts_of(panes[0].served)], 0.5)
    assert move.pairs.size == 0


def test_a_cluster_that_is_named_later_has_no_backoff_before() -> None:
    early = Offer(
        np.array([0 << 16 | 1]), np.array([2], np.int32), np.array([2], np.int32),
        Ranked(np.full((3, 1), -1, np.int32), np.zeros((3, 1))),
    )  # fmt: skip
    late = Offer(
        np.array([0 << 16 | 7]), np.array([2], np.int32), np.array([2], np.int32),
        Ranked(np.full((8, 1), 3, np.int32), np.zeros((8, 1))),
    )  # fmt: skip
    served = [counts_of({(0, 1, 2): 5, (0, 7, 2): 5}), counts_of({(0, 7, 2): 5})]
    first, second = moves_in_hindsight([early, late], served, 1.0)
    assert first.pairs.tolist() == [0 << 16 | 1]
    assert second.pairs.tolist() == [0 << 16 | 7]


def test_without_panes_there_are_no_moves() -> None:
    assert moves_in_hindsight([], [], 1.0) == []


def test_beyond_the_sets_that_are_all_compared_the_lines_that_pay_best_alone_are_bought() -> None:
    """Nine lines of one pair, each right for a pane; the later, the more often."""
    backoff = Ranked(np.full((40, 1), 39, np.int32), np.zeros((40, 1)))
    lines = [np.array([20 + at], np.int32) for at in range(9)]
    offers = [Offer(np.array([1]), line, line, backoff) for line in lines]
    served = [counts_of({(0, 1, 20 + at): 3 + at}) for at in range(9)]
    bought = [int(c) - 20 for move in moves_in_hindsight(offers, served, 1.0) for c in move.contexts]
    assert bought[-6:] == [3, 4, 5, 6, 7, 8]
