from __future__ import annotations

import pytest

from monitoring import backtest_kinds as kinds
from monitoring.backtest_kinds import Kind
from refresh.policies import PolicyOptions, open_policy
from tests.monitoring.backtests import all_kinds, backtest, policy


def test_kinds_follow_names() -> None:
    named = {
        Kind.ADAPTIVE: ["adaptive", "adaptive:0.1"],
        Kind.FREE: ["never", "popular", "backoff", "backoff+own", "never+own"],
        Kind.CALENDAR: ["every:2", "every:2d", "always"],
        Kind.TRIGGER: ["jaccard:0.3", "cusum", "cara", "cara:0.1", "budget:50"],
        Kind.OWN: ["every:2d+own", "always+own", "cusum+own"],
        Kind.ORACLE: ["oracle"],
    }
    assert {kind: [name for name in names if kinds.kind_of(name) is kind] for kind, names in named.items()} == named
    assert set(kinds.HEADINGS) == set(Kind)


def test_groups_keep_the_order_of_kinds_and_of_names() -> None:
    grouped = kinds.by_kind(["oracle", "every:2", "always", "adaptive"])
    assert list(grouped.items()) == [
        (Kind.ADAPTIVE, ["adaptive"]),
        (Kind.CALENDAR, ["every:2", "always"]),
        (Kind.ORACLE, ["oracle"]),
    ]


def test_report_is_about_the_policy_at_the_backtests_price_or_next_to_it() -> None:
    run = policy()
    assert kinds.subject_of(backtest({"adaptive:0.1": run, "adaptive": run})) == "adaptive"
    assert (
        kinds.subject_of(backtest({"adaptive:0.01": run, "adaptive:0.25": run, "adaptive:2": run})) == "adaptive:0.25"
    )
    assert kinds.subject_of(backtest({"never": run, "always": run})) is None


@pytest.mark.parametrize("name", [*all_kinds(), "every:2d", "cusum+own", "cara:0.1", "budget:50"])
def test_every_policy_that_can_be_asked_for_is_described(name: str) -> None:
    if name != "oracle":
        assert open_policy(name, 86_400_000, PolicyOptions()).name == name
    said = kinds.described(name)
    assert "no words" not in said and "{" not in said
    assert ("our estimator" in said) == name.endswith("+own")


def test_descriptions_carry_the_argument() -> None:
    assert "every 2 panes" in kinds.described("every:2") and "every 2d" in kinds.described("every:2d")
    assert "every pane" in kinds.described("every:1")
    assert "0.1 misses" in kinds.described("adaptive:0.1") and "the price of the backtest" in kinds.described(
        "adaptive"
    )
    assert "no words" in kinds.described("{x}:{y}")
