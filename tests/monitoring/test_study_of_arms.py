from __future__ import annotations

import io
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from monitoring.study_arm_plots import arms_svg
from monitoring.study_of_arms import arms_section, arms_verdict
from monitoring.study_report import render_study
from monitoring.study_terminal import print_study
from monitoring.study_wording import sections, verdict
from tests.monitoring.arm_studies import RATES, fine_tune, with_arms
from tests.monitoring.outline import Outline
from tests.monitoring.studies import study


def found(summary: dict[str, Any]) -> str:
    section = arms_section(summary)
    assert section is not None
    return " ".join(section.found)


def told(**more: Any) -> str:
    return arms_verdict(with_arms(**more)["arms"])


def test_a_study_without_arms_says_nothing_of_them() -> None:
    assert arms_section(study()) is None and arms_svg(study()) is None
    assert arms_section({**study(), "arms": None}) is None
    assert [section.name for section in sections(study())][-1] == "retrieval" and len(verdict(study())) == 4
    assert verdict(with_arms())[-1] == told() and len(verdict(with_arms())) == 5


def test_each_half_is_judged_by_its_interval_and_beside_its_price() -> None:
    text = told()
    assert "Repeated fine-tunes: +0.0298 of hit rate (hybrid_calendar against rag_only, for 30 s of a GPU)" in text
    assert "Retrieval beside them: +0.0" in text and "(hybrid_calendar+own against fine_tune_only, for no more" in text
    same = told(rates=RATES | {"hybrid_calendar": 0.22})
    assert "Repeated fine-tunes: nothing that is told from noise, so retrieval alone is as good here" in same
    worse = told(rates=RATES | {"hybrid_calendar": 0.15, "hybrid_calendar+own": 0.15})
    assert "so retrieval alone is better here" in worse and "so fine-tunes alone are better here" in worse
    assert "too few panes to tell what they bring" in told(n_panes=4)


def test_hits_without_information_are_called_popularity() -> None:
    summary = with_arms()
    summary["arms"]["parts"]["fine_tunes"]["hit_information_bits"]["mean"] = -0.1
    assert "of hit rate, without more hit information: that is popularity" in arms_verdict(summary["arms"])


@pytest.mark.parametrize(
    ("rate", "words"), [(0.35, "which is better"), (0.24, "which is worse"), (0.28, "not told apart from it")]
)
def test_the_adaptive_arm_is_held_against_the_best_of_the_others(rate: float, words: str) -> None:
    rates = RATES | {"rag_only": 0.1, "hybrid_calendar": 0.1, "hybrid_calendar+own": rate, "fine_tune_only": 0.1}
    text = told(rates=rates)
    assert "hybrid_adaptive hits 0.2800 for 31.5 s of a GPU after the start; the best of the others, " in text
    assert f"hybrid_calendar+own, {rate:.4f} for 31.5 s, {words}" in text


def test_a_calendar_that_never_came_due_is_told() -> None:
    none = {name.replace("+", "_"): [] for name in RATES}
    summary = with_arms(n_panes=5, **none)
    assert "No fine-tune of the calendar came due: it is 5d, and 5 panes were scored" in found(summary)
    assert "No fine-tune came to serve after the start" in verdict(summary)[-1]
    assert "came due" not in found(with_arms())


def test_a_calendar_whose_candidates_are_all_stopped_is_worth_nothing() -> None:
    stopped = [fine_tune(8, outcome="gates_lost"), fine_tune(10, outcome="gates_lost")]
    assert "the gates let none of 2 candidates serve, so retrieval alone is as good here" in told(
        hybrid_calendar=stopped
    )


def test_every_fine_tune_that_did_not_serve_is_told_with_its_reason() -> None:
    stopped = [fine_tune(8, outcome="gates_lost"), fine_tune(13, outcome="too_late")]
    text = found(with_arms(hybrid_calendar=stopped, fine_tune_only=[fine_tune(8, outcome="failed")]))
    assert "hybrid_calendar: 1 fine-tune stopped by gates (2024-01-08: recall)." in text
    assert "hybrid_calendar: 1 fine-tune too late (2024-01-13)." in text
    assert "fine_tune_only: 1 fine-tune failed (2024-01-08: the disk is full)." in text
    assert "Flagged for a fine-tune: 2024-01-08 by drift since fine tune." in text
    assert "Flagged for a fine-tune: never." in found(with_arms(hybrid_adaptive=[]))


def test_few_arms_are_told_to_be_too_few() -> None:
    alone = with_arms(rates={"rag_only": 0.2})
    assert "Too few arms were played" in verdict(alone)[-1]
    assert "hybrid_adaptive hits 0.2000 for 31.5 s of a GPU after the start." in told(rates={"hybrid_adaptive": 0.2})
    assert "Flagged" not in found(alone)


def test_all_that_gpu_seconds_are_reckoned_with_is_said() -> None:
    summary = with_arms()
    assert "of a decoder of 1.7 billion weights on a GPU of 989 TFLOP/s, with prompts of 200 tokens" in found(summary)
    assert "2 operations a weight and token at 0.4 of the peak" in found(summary)
    summary["arms"]["gpu"] |= {"rows_per_second": 1_500.0, "train_tokens_per_second": 25_000.0}
    text = found(summary)
    assert "measured at 1,500 rows a second" in text and "measured at 25,000 trained tokens a second" in text


def test_the_report_has_the_figure_and_all_tables_of_arms() -> None:
    outline = Outline(render_study(with_arms()))
    assert outline.open == [] and outline.seen.count("svg") == 6
    assert outline.seen.count("table") == outline.seen.count("caption") == 13
    assert "rag_only 0.2200 -0.0" in outline.text and "0 of 0" in outline.text
    assert "hybrid_adaptive 2024-01-08 drift since fine tune taken on 7,000 300 0.210 0.100 0.150 30 s" in outline.text
    assert "tokens of a prompt 200" in outline.text


def test_the_figure_says_in_words_what_it_draws_and_bears_arms_without_any_cost() -> None:
    drawing = str(arms_svg(with_arms()))
    assert drawing == arms_svg(with_arms())
    assert ElementTree.fromstring(drawing).get("role") == "img"
    assert "rag_only: 9 values from 0.2" in drawing and "1.5 GPU-seconds after the start" in drawing
    free = with_arms(rates={"rag_only": 0.2})
    free["arms"]["arms"]["rag_only"]["gpu_seconds"]["later"] |= {"inference": 0.0, "total": 0.0}
    free["arms"]["arms"]["rag_only"]["by_pane"][0]["scored"] = 0
    assert "0 GPU-seconds after the start" in str(arms_svg(free))


def test_the_terminal_has_arms_as_tables() -> None:
    console = Console(file=io.StringIO(), width=200)
    print_study(console, with_arms())
    text = console.file.getvalue()
    assert "Fine-tunes, retrieval, and both" in text and "GPU-s, training" in text
    assert text.count("hybrid_calendar+own") > 3
