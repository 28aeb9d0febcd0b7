from __future__ import annotations

from typing import Any

import pytest

from monitoring import backtest_wording as wording
from tests.monitoring.backtests import all_kinds, backtest, policy, unjudged


def _said(policies: dict[str, dict[str, Any]], **more: Any) -> str:
    return " ".join(wording.verdict(backtest(policies, **more)))


def test_verdict_opens_with_what_was_saved_in_place_of_sparsest_and_strongest_calendar() -> None:
    runs = all_kinds()
    first = wording.verdict(backtest(runs))[0]
    hits = {name: sum(pane["hits_next"] for pane in run["by_pane"]) for name, run in runs.items()}
    assert first == (
        f"On this log adaptive makes 75 incremental LLM calls and hits {hits['adaptive']:,} of 36,000 transitions; in "
        f"its place every:2 makes 5,000 and hits {hits['every:2']:,} (98.5 % of its calls saved), always makes 11,000 "
        f"and hits {hits['always']:,} (99.3 % of its calls saved)."
    )


def test_calls_that_are_not_saved_are_not_called_so() -> None:
    assert "(no call saved)" in _said({"adaptive": policy(calls=[50]), "every:2": policy(calls=[50], first=9)})


def test_each_kind_of_baseline_is_held_against_by_its_strongest() -> None:
    said = _said(all_kinds())
    for words in (
        "Against calendars (the strongest of 2): always reached 0.22",
        "Against detectors and budgets: jaccard:0.3 reached 0.1",
        "Against what costs no call after the first table (the strongest of 4): backoff+own reached 0.21",
        "with no incremental call: adaptive is better by 0.02",
        "Against policies that share our estimator and backoff: always+own reached 0.241",
        "adaptive is not told apart from it",
    ):
        assert words in said


def test_information_has_its_own_interval() -> None:
    assert "bits more (95 % interval +0.0" in _said({"adaptive": policy(0.24), "always": policy(0.20, seed=2)})
    assert "bits less (95 % interval -" in _said({"adaptive": policy(0.20), "always": policy(0.24, seed=2)})
    assert "information not told apart" in _said({"adaptive": policy(0.24), "always": policy(0.24, seed=2)})
    few = _said({"adaptive": policy(0.24, n_panes=3), "always": policy(0.20, n_panes=3)})
    assert "too few to tell that from noise, with +0.0800 bits of information" in few


def test_runs_without_a_common_scored_pane_are_not_compared() -> None:
    elsewhere = policy(0.2, seed=2)
    for pane in elsewhere["by_pane"]:
        pane["scored"] += 1
    assert "cannot be compared" in _said({"adaptive": policy(), "always": elsewhere})
    assert wording.margin_in_words(None) == "–"


def test_where_nothing_beats_the_fresh_backoff_spending_nothing_is_called_right() -> None:
    runs = {"backoff": policy(0.20), "always": policy(0.15, calls=[1_000] * 11, seed=2)}
    nothing = _said(runs | {"adaptive": policy(0.20)})
    assert "Nothing here beats the fresh backoff (backoff), which costs no call" in nothing
    assert "the right decision is to spend nothing, and adaptive spends nothing." in nothing
    nearly = _said(runs | {"adaptive": policy(0.2001, calls=[4], seed=3)})
    assert "adaptive spends nearly nothing: 4 incremental calls." in nearly
    much = _said(runs | {"adaptive": policy(0.2001, calls=[400], seed=3)})
    assert "adaptive spends 400 incremental calls that this log does not show to pay." in much


def test_hits_at_the_price_of_information_do_not_beat_the_backoff() -> None:
    popular = policy(0.23, bits_each=1.2, calls=[9], seed=2)
    assert wording.beats(popular, policy(0.20)) is False
    assert "Nothing here beats" in _said({"adaptive": popular, "backoff": policy(0.20)})


def test_rows_that_pay_are_priced_by_the_call() -> None:
    runs = {"backoff": policy(0.20, noise=0), "adaptive": policy(0.24, calls=[380], first=100, noise=0)}
    assert "480 LLM calls, the first table's among them, brought 1,440 hits more than the fresh backoff" in _said(runs)
    assert "3.0 a call, where a call has to save 0.3." in _said(runs)


def test_others_that_beat_the_backoff_where_adaptive_does_not_are_named() -> None:
    runs = {"backoff": policy(0.20), "always+own": policy(0.24, calls=[9] * 11, seed=2), "adaptive:7": policy(0.20)}
    said = _said(runs)
    assert "always+own beat the fresh backoff (backoff, no call). adaptive:7 does not, at a price of 7 misses" in said


def test_few_panes_leave_open_whether_calls_pay() -> None:
    runs = {"backoff": policy(0.20, n_panes=4), "adaptive": policy(0.24, n_panes=4)}
    assert "Whether calls pay at all cannot be said" in _said(runs)


def test_popularity_that_hits_more_is_called_so() -> None:
    runs = {"popular": policy(0.30, bits_each=0.5), "backoff": policy(0.2), "adaptive": policy(0.24)}
    assert "what is popular (popular) hits more often here, and carries less information." in _said(runs)
    runs["popular"] = policy(0.30)
    assert "carries no less information" in _said(runs)
    assert "what is popular" not in _said(all_kinds())


def test_oracle_is_what_the_cost_is_held_against() -> None:
    runs = {"adaptive": policy(0.20, noise=0), "oracle": policy(0.25, calls=[30], noise=0)}
    said = _said(runs)
    assert "could have brought is 0.250 (0.500 bits) with 30 incremental calls, at a cost of 27,009" in said
    assert "adaptive came to 28,800 (6.6 % above it)." in said


def test_cheapest_policy_is_named_without_the_oracle() -> None:
    assert "misses a call, always+own costs least" in _said(
        {"always+own": policy(0.25), "adaptive": policy(0.24), "oracle": policy(0.3)}
    )
    assert "costs least" not in _said({"adaptive": policy(0.24), "oracle": policy(0.3)})


def test_sweep_of_prices_says_what_lies_above_its_curve() -> None:
    curve = {"adaptive:1": policy(0.22, calls=[10], noise=0), "adaptive:0.1": policy(0.24, calls=[100], noise=0)}
    below = {"always": policy(0.23, calls=[100] * 11, noise=0), "backoff": policy(0.2, noise=0)}
    said = _said(curve | below)
    assert "From a price of 1 to 0.1 misses a call, adaptive goes from 10 calls and 0.220 (0.440 bits) to 100" in said
    assert "no baseline lies above that curve." in said
    free = {"backoff": policy(0.23, noise=0)}
    assert "above that curve: backoff." in _said(curve | free)
    noisy = {"backoff": policy(0.223, seed=3, noise=0.02)}
    assert "above that curve: backoff (within the noise of panes)." in _said(curve | noisy)
    assert "that curve" not in _said({"adaptive": policy()})


def test_no_drift_and_no_decision_by_drift_are_both_said() -> None:
    said = _said({"adaptive": policy(reasons={2: {"evidence": 4}})})
    assert "No drift beyond noise was found in 9 windows. No decision of adaptive was reasoned with drift." in said


def test_drift_is_said_with_its_windows_and_what_was_taken_for_it() -> None:
    runs = {"adaptive": policy(reasons={5: {"drift": 20, "evidence": 1}, 6: {"drift": 1}})}
    several = _said(runs, alarmed=(5, 6))
    assert (
        "found in 2 of 9 windows: the first ending 2022-05-03, the last 2022-05-04; mean drift reached 0.120."
        in several
    )
    assert "adaptive took 21 rows by reason of drift, in 2 panes." in several
    assert "1 of 9 windows: that ending 2022-05-03;" in _said(runs, alarmed=(5,))


def test_windows_that_were_not_judged_are_not_called_calm() -> None:
    runs = {"adaptive": policy()}
    assert "Drift was not measured" in _said(runs, drift=[])
    window = unjudged()
    assert "could not be judged in 2 windows" in _said(runs, drift=[window, window])
    judged = window | {"drift_mean": 0.01, "pairs": 40}
    assert "found in 1 window (1 more had no pair that was seen often enough)." in _said(runs, drift=[judged, window])


def test_backtest_without_adaptive_names_the_cheapest() -> None:
    said = wording.verdict(backtest({"never": policy(0.2), "always": policy(0.3, calls=[10])}))
    assert said[0].startswith("At 0.3 misses a call, always costs least") and len(said) == 2
    assert "Only the oracle took part" in wording.verdict(backtest({"oracle": policy()}))[0]


def test_shared_estimator_is_said_where_it_appears() -> None:
    note = wording.own_note(backtest(all_kinds()))
    assert note is not None and "share our estimator and backoff" in note
    assert wording.own_note(backtest({"always": policy()})) is None


@pytest.mark.parametrize("bits", [1.0, 3.0])
def test_beating_is_symmetric_only_in_doubt(bits: float) -> None:
    ours, theirs = policy(0.24, bits_each=bits), policy(0.20, bits_each=bits, seed=2)
    assert wording.beats(ours, theirs) is True and wording.beats(theirs, ours) is False
