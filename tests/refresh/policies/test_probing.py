"""Which rows are asked to learn what the weights know."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from refresh.policies.lift import CLASSES, Lift
from refresh.policies.probing import HOPE, Prospects, probes
from tests.refresh.logs import seeds

N = 40
PRICE, HORIZON = 0.3, 8.0
DEFAULTS: dict[str, Any] = {"price": PRICE, "horizon_panes": HORIZON, "budget": None, "is_new": False}


def prospects(**parts: Any) -> Prospects:
    """Forty pairs of the class with the fewest own transitions, of more and more traffic, and one that has it all."""
    made = Prospects(
        pairs=np.array([at // 7 << 16 | at % 7 + 1 for at in range(N)], np.int64),
        classes=np.zeros(N, np.int64),
        traffic=np.arange(N) + 1.0,
        gain_hits=np.zeros(N),
        serves=np.zeros(N, np.bool_),
        may=np.ones(N, np.bool_),
    )
    made = replace(made, **parts)
    last = {"pairs": 6 << 16 | 0, "classes": len(CLASSES) - 1, "traffic": 1e5, "gain_hits": 0.0, "serves": True}
    columns = {name: np.append(getattr(made, name), value) for name, value in (last | {"may": False}).items()}
    return Prospects(**columns)


def chosen(of: Prospects, lifts: tuple[Lift, ...] = (), **options: Any) -> list[int]:
    return np.flatnonzero(probes(of, lifts, seeds(), **(DEFAULTS | options))).tolist()


def known(n: float) -> tuple[Lift, ...]:
    return (Lift(n=n),) * len(CLASSES)


def test_pairs_of_most_traffic_go_first_until_enough_transitions_are_expected():
    assert chosen(prospects()) == list(range(28, N))  # 40 + 39 + … + 29 is the first sum above 400


def test_what_serves_already_shows_its_transitions_without_a_probe():
    serves = np.arange(N) >= 30
    assert chosen(prospects(serves=serves, may=~serves)) == [28, 29]  # 355 + 30 + 29
    assert chosen(prospects(serves=np.ones(N, np.bool_), may=np.zeros(N, np.bool_))) == []


def test_weights_that_nobody_approved_are_tried_on_a_twentieth_of_the_traffic():
    classes = np.arange(N) % 2
    alone = replace(prospects(classes=classes), traffic=np.append(np.full(N, 4.0), 240.0))  # a twentieth of 400 is 20
    assert [sum(each % 2 == at for each in chosen(alone)) for at in (0, 1)] == [5, 5]
    assert chosen(replace(alone, serves=np.arange(N + 1) >= 30, may=np.arange(N + 1) < 30)) == []


def test_a_class_that_is_known_is_not_probed_and_one_that_was_forgotten_is():
    assert chosen(prospects(), known(400.0)) == chosen(prospects(), known(100.0)) == []
    assert chosen(prospects(), known(99.0)) == list(range(31, N))


def test_new_weights_are_tried_on_all_that_may_pay():
    assert chosen(prospects(), is_new=True) == list(range(N))
    thin = prospects(traffic=np.full(N, PRICE / (HOPE * HORIZON)))
    assert chosen(thin, is_new=True) == []


def test_no_probe_is_placed_where_it_would_not_pay_if_the_hope_came_true():
    assert chosen(prospects(), price=1e6) == []
    assert chosen(prospects(), price=HOPE * 39.5 * HORIZON) == []  # one would pay, but not for its chance


def test_probes_cost_no_more_than_what_is_hoped_for_is_worth():
    price = HOPE * HORIZON * 20.0
    most = int(0.5 * sum(HOPE * HORIZON * n - price for n in range(21, N + 1)) / price)
    assert chosen(prospects(), price=price, is_new=True) == list(range(N - most, N))
    assert 0 < most < 20


def test_no_price_is_no_bound():
    assert chosen(prospects(), price=0.0, is_new=True) == list(range(N))


@pytest.mark.parametrize("budget", [0, 1, 5])
def test_a_budget_holds_over_all_classes(budget: int):
    classes = np.arange(N) % len(CLASSES)
    found = chosen(prospects(classes=classes), budget=budget, is_new=True)
    assert len(found) == budget


def test_rows_that_may_not_be_asked_are_not():
    may = np.arange(N) % 2 == 0
    assert set(chosen(prospects(may=may), is_new=True)) == set(np.flatnonzero(may).tolist())


def test_ties_go_by_names_and_not_by_numbers():
    whole = prospects(traffic=np.full(N, 100.0))
    tied = Prospects(**{name: getattr(whole, name)[:N] for name in Prospects.__slots__})
    before = {int(tied.pairs[at]) for at in chosen(tied)}
    assert len(before) == 2
    new = np.array([5, 3, 7, 1, 0, 2, 6, 4])
    c1, c2 = tied.pairs >> 16, tied.pairs & 0xFFFF
    moved = new[c1] << 16 | new[c2]
    order = np.argsort(moved)
    renamed_seeds = np.empty(8, np.uint64)
    renamed_seeds[new] = seeds()
    again = replace(tied, pairs=moved[order])
    picks = np.flatnonzero(probes(again, (), renamed_seeds, **DEFAULTS))
    assert {int(moved[order][at]) for at in picks} == {
        int(new[pair >> 16] << 16 | new[pair & 0xFFFF]) for pair in before
    }
