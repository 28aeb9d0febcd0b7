from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from monitoring import wording
from tests.monitoring.summaries import summary, three_policies


def _run(hits: list[int], scored: int = 100, *, calls: int = 0, bits: float = 0.4) -> dict[str, Any]:
    panes = [
        {"pane_end": f"2022-04-{i + 1:02}T00:00:00Z", "hits_next": n, "scored": scored} for i, n in enumerate(hits)
    ]
    made = summary(bits=bits) | {"by_pane": panes, "incremental_calls": calls}
    return made | {"hit_rate_next": sum(hits) / (scored * len(hits))}


def test_report_is_about_the_adaptive_run_wherever_it_stands_else_about_the_first() -> None:
    run = summary()
    assert wording.subject_of({"never": run, "adaptive:2": run}) == "adaptive:2"
    assert wording.subject_of({"never": run, "always": run}) == "never"


def test_margin_is_the_t_interval_of_paired_pane_differences() -> None:
    ours, theirs = [30, 24, 28, 27, 31, 26], [25, 25, 24, 22, 26, 25]
    found = wording.difference(_run(ours), _run(theirs))
    differences = (np.array(ours) - np.array(theirs)) / 100
    assert found is not None and found.margin is not None
    assert math.isclose(found.mean, differences.mean())
    assert math.isclose(found.margin, 2.570581836 * differences.std(ddof=1) / math.sqrt(6), rel_tol=1e-8)


def test_better_and_worse_are_said_only_where_the_interval_leaves_zero_out() -> None:
    better, level = [30, 31, 30, 31, 30, 31], [25, 25, 26, 25, 24, 25]
    noisy = [40, 12, 35, 14, 38, 13]
    assert "adaptive is better by 0.05" in _compared(_run(better), _run(level))
    assert "adaptive is worse by 0.05" in _compared(_run(level), _run(better))
    assert "adaptive is not told apart from it" in _compared(_run(noisy), _run(level))
    assert "not told apart" in _compared(_run(level), _run(level))


def test_few_panes_are_too_few_to_tell() -> None:
    assert "adaptive is 0.0500 higher over 2 panes, too few" in _compared(_run([30, 30]), _run([25, 25]))
    assert "adaptive is the same over 1 pane, too few" in _compared(_run([30]), _run([30]))


def test_runs_without_a_common_scored_pane_are_not_compared() -> None:
    assert "cannot be compared" in _compared(summary(n_panes=0), summary())


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        (1_203, 13_420, "at 9.0 % of the calls"),
        (0, 5, "for no calls at all"),
        (5, 5, "at the same number of calls"),
        (6, 5, "for 1 call more"),
    ],
)
def test_spending_is_said_either_way(ours: int, theirs: int, said: str) -> None:
    assert said in _compared(_run([30] * 6, calls=ours), _run([30] * 6, calls=theirs))


def test_hits_bought_with_popularity_are_called_so() -> None:
    popular, informative = _run([31] * 6, bits=0.3), _run([30] * 6, bits=0.4)
    said = "less hit information than other: part of its hits are popularity"
    assert "adaptive hits more often but carries " + said in _compared(popular, informative)
    assert "other hits more often" in _compared(informative, popular)
    assert "popularity" not in _compared(_run([31] * 6, bits=0.4), _run([30] * 6, bits=0.4))


def _compared(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    return wording.comparison_sentence("other", {"adaptive": ours, "other": theirs})


def test_drift_is_said_with_its_windows() -> None:
    assert wording.drift_sentence(summary(alarmed=(11, 12))).startswith(
        "Drift beyond noise was found in 2 of 15 windows: the first ending 2022-05-06, the last 2022-05-07; mean drift"
    )
    assert "1 of 15 windows: that ending 2022-05-06" in wording.drift_sentence(summary(alarmed=(11,)))


def test_no_drift_is_said_with_the_jaccard_and_its_null() -> None:
    said = wording.drift_sentence(summary())
    assert said.startswith("No drift beyond noise was found in 15 windows; the Jaccard averaged 0.4")


def test_windows_that_could_not_be_judged_are_not_called_calm() -> None:
    run = summary(n_panes=8)
    assert "not measured" in wording.drift_sentence(summary(n_panes=3))
    bare = run["reports"][0] | {
        "pairs": 0,
        "jaccard_mean": None,
        "jaccard_matched_mean": None,
        "null_mean": None,
        "drift_mean": None,
    }
    assert "could not be judged in 3 windows" in wording.drift_sentence(run | {"reports": [bare] * 3})
    assert "in 3 windows (1 more had no pair" in wording.drift_sentence(run | {"reports": [bare, *run["reports"]]})


def test_means_that_are_absent_leave_their_clause_out() -> None:
    run = summary(n_panes=6)
    bare = run["reports"][0] | {
        "jaccard_mean": None,
        "jaccard_matched_mean": None,
        "null_mean": None,
        "drift_mean": None,
    }
    assert wording.drift_sentence(run | {"reports": [bare]}) == "No drift beyond noise was found in 1 window."
    alarmed = wording.drift_sentence(run | {"reports": [bare | {"alarmed": True}]})
    assert alarmed == "Drift beyond noise was found in 1 of 1 window: that ending 2022-04-30."


def test_flags_are_named_up_to_three() -> None:
    assert wording.flag_sentence(summary()) == "No fine-tune was flagged."
    assert wording.flag_sentence(summary(flagged=(9,))).endswith(": drift since fine tune, window ending 2022-05-04.")
    assert wording.flag_sentence(summary(flagged=(8, 9, 10, 11, 12))).endswith("; and 2 more.")


def test_verdict_of_three_policies_reads_as_it_should() -> None:
    first, never, every, drift, flag = wording.verdict(three_policies())
    assert first.startswith("adaptive reached a next-hit rate of 0.238 (0.480 bits of hit information) with 1,190")
    assert never.startswith("never reached 0.203") and never.endswith("for 1,190 calls more.")
    assert every.startswith("every:2d reached 0.234 (0.470 bits) with 12,000 incremental calls: adaptive is better by")
    assert drift.startswith("Drift beyond noise") and flag.startswith("1 fine-tune flag")


def test_run_that_scored_nothing_says_so() -> None:
    assert "adaptive scored nothing" in wording.result_sentence("adaptive", summary(n_panes=2))


def test_direction_marks_and_escapes_are_shown_not_obeyed() -> None:
    assert wording.printable("a\u202eb\x00\ud800\u00a0c") == "a\\u202eb\\x00\\ud800\\xa0c"
