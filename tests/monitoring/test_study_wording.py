from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from monitoring.study_phrases import judged
from monitoring.study_terminal import print_study
from monitoring.study_wording import sections, verdict
from tests.monitoring.studies import estimate, spread, study, without_scores, without_support


def _found(name: str, summary: dict[str, Any]) -> str:
    return " ".join(next(section for section in sections(summary) if section.name == name).found)


def test_every_section_says_what_it_found_what_the_paper_reports_and_what_that_rests_on() -> None:
    told = sections(study())
    assert [section.name for section in told] == [
        "adjacent",
        "trajectories",
        "persistence",
        "repetition",
        "comparison",
        "retrieval",
    ]
    for section in told:
        assert section.found and all(sentence.endswith((".", "%.")) for sentence in section.found), section.name
        assert section.paper and section.certainty
    papers = " ".join(section.paper for section in told)
    assert all(figure in papers for figure in ("0.17", "0.07", "7.8 %", "37.5 %"))


def test_adjacent_windows_stand_beside_their_null() -> None:
    text = _found("adjacent", study())
    assert "a Jaccard of 0.550 (variance 0.030) over 90 comparisons of a pair with at least 20 transitions" in text
    assert "At matched counts it is 0.500, and no drift at all would show 0.510" in text
    assert "0 of 3 windows drift as a whole" in text


@pytest.mark.parametrize(
    ("beyond", "words"),
    [
        (spread(0.003, 0.007), "the difference of +0.003 ± 0.007 is no drift beyond noise"),
        (spread(0.1, 0.03), "+0.100 ± 0.030 is drift beyond noise"),
        (spread(-0.05, 0.01), "-0.050 ± 0.010, less than none"),
    ],
)
def test_halves_are_judged_by_their_spread(beyond: dict[str, float], words: str) -> None:
    assert words in _found("adjacent", study(beyond_noise=beyond))
    assert words in verdict(study(beyond_noise=beyond))[0]


def test_drift_of_the_top_is_told_from_noise() -> None:
    assert "That is what traffic alone shows" in _found("persistence", study())
    assert "Part of that is drift" in _found("persistence", study(beyond_noise=spread(0.2, 0.02)))
    few = study()
    few["persistence"]["windows"][-1]["all_users"]["pairs"] = 3.0
    assert "too few pairs" in _found("persistence", few) and "too few pairs" not in _found("persistence", study())


def test_a_refresh_is_judged_pane_by_pane_and_beside_what_costs_nothing() -> None:
    text = _found("trajectories", study())
    assert "refreshed every 2d it hits 0.200: the refresh is better (+0.1000, 95 % interval" in text
    assert "the better of the two free answers carries more than a refreshed mapping" in text
    assert "the better of the two free answers carries no more" in _found("trajectories", study(refreshed=0.3))
    short = study(n_windows=2)
    assert "from too few panes to tell that from noise" in _found("trajectories", short)


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        (0.0, "The model adds nothing to the line it reads: with the plain line its hit rate is exactly the same"),
        (0.0004, "The model adds next to nothing to the line it reads"),
        (0.02, "The model adds to the line it reads"),
        (-0.02, "The model takes away from the line it reads"),
    ],
)
def test_what_the_model_adds_is_said_as_it_is(gain: float, words: str) -> None:
    assert words in verdict(study(model_gain=gain))[2]
    assert "98.0 % of its rows with the line" in verdict(study(model_gain=gain))[2]


def test_each_group_of_pairs_has_its_sentence() -> None:
    text = _found("comparison", study(model_gain=0.02))
    for group in ("Dense", "Thin", "Unseen"):
        assert (
            f"{group} pairs (1,000 rows, 4,000 transitions): against frequency with the same line the model is" in text
        )
    assert "Most information: model, shrunk line, 0.600" in text


def test_rows_beyond_the_codebook_are_told() -> None:
    summary = study()
    summary["repetition"]["rows_beyond_codebook"] = 7
    summary["comparison"]["groups"]["all"]["rows_beyond_codebook"] = 1_200
    assert "7 rows beyond the codebook" in _found("repetition", summary)
    assert "1,200 rows beyond the codebook" in _found("comparison", summary)
    summary["repetition"] |= {"rows": 0, "repeats_line": None}
    assert "No row of the last window could be asked" in _found("repetition", summary)


def test_a_model_that_repeats_its_line_is_called_one() -> None:
    summary = study()
    assert "repeats what it reads" not in _found("repetition", summary)
    summary["repetition"]["repeats_line"]["share"] = 0.99
    assert "repeats what it reads" in _found("repetition", summary)


def test_what_takes_a_model_is_said_to_be_missing_without_one() -> None:
    summary = study(with_model=False)
    for name in ("repetition", "comparison"):
        assert "this study ran with --engine frequency. Run it with --engine embedded" in _found(name, summary)
    assert "frequency 0.1200 ± 0.0100" in _found("comparison", summary)
    assert "model" not in _found("retrieval", summary)


def test_the_best_line_is_named_and_the_papers_axes_are_judged() -> None:
    text = _found("retrieval", study())
    assert "The single line that carries most information is second cluster, frequency" in text
    assert "Global level instead of instance level: hit rate worse (-0.0300" in text
    assert "Trend instead of frequency: hit rate worse (-0.0200" in text
    assert "at 1: 0.1800 ± 0.0100, 3: 0.3000 ± 0.0100, 5: 0.4200 ± 0.0100" in text
    short = study()
    short["retrieval"] |= {
        "has_trend": False,
        "ways": [way for way in short["retrieval"]["ways"] if way["kind"] == "frequency" and way["level"] != "c2"],
    }
    text = _found("retrieval", short)
    assert "Trends take three full windows" in text and "Of all single lines the paper's choice" in text


def test_nothing_is_claimed_where_nothing_could_be_compared_or_scored() -> None:
    summary = without_scores(without_support(study()))
    assert "No pair has at least 20 transitions on both sides of two adjacent windows" in _found("adjacent", summary)
    assert "floor and half cannot be compared" in _found("adjacent", summary)
    assert "No pair has 20 transitions in the first window" in _found("persistence", summary)
    assert _found("trajectories", summary) == "No transition came after the first window, so no mapping was scored."
    assert "No transition of the next windows could be scored" in _found("comparison", summary)
    assert "could not be compared with the counts" in _found("comparison", summary)
    assert "there was nothing to retrieve for" in _found("retrieval", summary)
    assert len(verdict(summary)) == 4


def test_no_null_is_claimed_where_halves_are_too_thin_for_one() -> None:
    summary = study()
    for window in summary["persistence"]["windows"]:
        window |= {"beyond_noise": None, "beyond_noise_spread": None}
    assert "there is no null to hold that against" in _found("persistence", summary)


def test_a_difference_is_judged_by_its_interval() -> None:
    assert judged(estimate(0.02, 0.01)) == "better (+0.0200, 95 % interval +0.0100 to +0.0300)"
    assert judged(estimate(-0.02, 0.01)).startswith("worse")
    assert judged(estimate(0.02, 0.03)).startswith("not told apart")
    assert judged(estimate(0.0, 0.0)) == "exactly the same"
    assert judged(estimate(0.02, None)) == "+0.0200, from too few users to tell that from noise"
    assert judged(None) == "not compared"


def test_the_terminal_shows_every_section_and_no_control_character_of_the_log() -> None:
    console = Console(file=io.StringIO(), width=200)
    print_study(console, study(source="\x1b[2Jevil[bold].csv"))
    text = console.file.getvalue()
    assert "\\x1b[2Jevil[bold].csv" in text and "\x1b[2J" not in text
    assert all(section.heading in text for section in sections(study()))
    assert text.count("Paper: ") == text.count("Rests on: ") == 6
