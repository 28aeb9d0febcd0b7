"""What a backtest's figures are made of, by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from stream.sequences import PaneStats
from tidegate.cli.contender import PaneStep
from tidegate.cli.standings import entropy_bits, standing, with_regret
from tidegate.contracts import RefreshResult, Trigger


@dataclass
class Sequences:
    stats: PaneStats


@dataclass
class Ended:
    """As much of a contender as is added up."""

    steps: list[PaneStep]
    served: dict[int, np.ndarray]
    sequences: Any = field(default=None)


def result(calls: int, reused: int = 0) -> RefreshResult:
    return RefreshResult(
        order_id="o",
        window_end_ms=0,
        trigger=Trigger.POLICY,
        outcome="completed",
        table_version=0,
        llm_calls=calls,
        reused=reused,
        rows_changed=calls,
        rows_invalid=0,
        rows_retired=0,
    )


def step(pane: int, calls: int, reused: int = 0, trigger: str | None = "policy") -> PaneStep:
    return PaneStep(pane, trigger, result(calls, reused), {"evidence": calls} if calls else {}, f"pane {pane}")


@pytest.fixture
def ended() -> Any:
    figures = {4: [10, 2, 10, 8, 3, 5, 6_000_000], 5: [20, 3, 20, 20, 9, 10, 24_000_000]}
    stats = PaneStats()
    for pane, values in figures.items():
        stats.set_pane(pane, np.array(values, np.int64))
    steps = [step(3, 7, trigger="first_table"), step(4, 0, reused=2)]
    return Ended(steps, {4: np.array([4, 4]), 5: np.array([0, 10, 10])}, Sequences(stats))


def test_panes_add_up_to_rates_calls_and_cost(ended: Any):
    total = standing(ended, [4, 5], 3_600_000, price=0.5)
    assert total["scored"] == 30
    assert total["hit_rate_next"] == 12 / 30
    assert total["hit_rate_sequence"] == 15 / 30
    assert total["coverage"] == 28 / 30
    assert total["hit_information_bits"] == 30 / 30
    assert (total["llm_calls"], total["first_table_calls"], total["incremental_calls"]) == (7, 7, 0)
    assert total["refreshes"] == 2  # known rows are a refresh, too
    assert total["cost"] == 0.5 * 7 + 30 - 12
    assert total["regret"] is None


def test_a_pane_shows_what_was_scored_in_it_and_then_decided(ended: Any):
    first, last = standing(ended, [4, 5], 3_600_000, price=0.5)["by_pane"]
    assert first["pane_end"] == "1970-01-01T05:00:00Z"
    assert (first["hits_next"], first["llm_calls"], first["reused"], first["explanation"]) == (3, 0, 2, "pane 4")
    assert first["entropy_bits"] == 1.0
    assert (last["hits_next"], last["trigger"], last["llm_calls"], last["explanation"]) == (9, None, 0, None)


def test_entropy_is_that_of_all_answers_together():
    assert entropy_bits([]) == 0.0
    assert entropy_bits([np.zeros(3, np.int64)]) == 0.0
    assert entropy_bits([np.array([5]), np.array([7])]) == 0.0
    assert entropy_bits([np.array([1, 1]), np.array([1, 1, 0, 4])]) == pytest.approx(1.5)


def test_regret_is_what_was_paid_beyond_the_oracle():
    costs = {"never": {"cost": 9.0, "regret": None}, "oracle": {"cost": 4.0, "regret": None}}
    assert {name: each["regret"] for name, each in with_regret(costs).items()} == {"never": 5.0, "oracle": 0.0}
    alone = {"never": {"cost": 9.0, "regret": None}}
    assert with_regret(alone) == alone
