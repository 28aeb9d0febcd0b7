from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest

from monitoring.finetune_plots import loss_svg, recall_svg
from monitoring.finetune_report import render_finetune, verdict, write_finetune
from tests.monitoring.outline import Outline
from tidegate.contracts import FineTuneReport, RecallCheck


def report(**changed: Any) -> FineTuneReport:
    whole = FineTuneReport(
        kind="full",
        candidate="abcdef0123456789",
        samples="sample-checksum",
        base="base-fingerprint",
        why_from_nothing=None,
        n_clusters=761,
        n_taught=8_000,
        n_validation=1_500,
        n_test=2_000,
        n_weights=123_456,
        n_trained_weights=123_456,
        device="cpu",
        dtype="float32",
        seed=7,
        recipe={"epochs": 12, "peak_rate": 0.001},
        reading_losses=(),
        losses=tuple(6.0 - 0.05 * step for step in range(60)),
        checks=tuple(
            RecallCheck(step=step, loss=5.0 - step / 30, recall=rate)
            for step, rate in ((0, 0.1), (20, 0.2), (40, 0.25), (60, 0.24))
        ),
        best_step=40,
        ended_by="patience",
        recall=0.242,
        traffic_recall=0.3,
        base_recall=0.11,
        line_recall=0.2,
        popular_recall=0.03,
        chance=1 / 759,
        copy_accuracy=0.998,
        seconds=61.5,
    )
    return msgspec.structs.replace(whole, **changed)


def test_the_page_opens_with_the_verdict_and_nests() -> None:
    outline = Outline(render_finetune(report()))
    assert outline.open == [] and outline.seen.count("svg") == 2
    assert "The new weights answer 24.2% of transitions of users they never saw; the weights before answer 11.0%" in (
        outline.text
    )
    ordered = ["Verdict", "On test users", "Recall of users that were kept", "Loss", "Checks", "What was trained"]
    places = [outline.text.index(words) for words in ordered]
    assert places == sorted(places)


def test_the_page_shows_every_value_of_the_record() -> None:
    text = Outline(render_finetune(report())).text
    for words in ("sample-checksum", "base-fingerprint", "8,000", "123,456", "recipe peak rate 0.001", "61.5"):
        assert words in text
    assert "40 (best) 3.6667 0.2500" in text
    assert "chance 0.0013" in text


def test_the_verdict_says_why_it_began_anew_and_what_ended_it() -> None:
    anew = verdict(report(base=None, base_recall=None, why_from_nothing="no weights serve yet", ended_by="budget"))
    assert "it began from nothing: no weights serve yet" in anew[0]
    assert "it ended as all passes were made. Recall was best at step 40." in anew[2]
    assert "recall no longer rose, and the loss no longer fell" in verdict(report())[2]


@pytest.mark.parametrize("draw", [loss_svg, recall_svg])
def test_figures_are_well_formed_and_say_in_words_what_they_show(draw: Any) -> None:
    svg = draw(report())
    ElementTree.fromstring(svg)
    assert 'role="img"' in svg and "values from" in svg


def test_a_training_without_a_step_has_a_page_all_the_same() -> None:
    outline = Outline(render_finetune(report(losses=(), checks=(), best_step=0)))
    assert outline.open == [] and outline.seen.count("svg") == 0


def test_the_page_escapes_what_it_quotes_and_asks_the_network_for_nothing(tmp_path: Path) -> None:
    page = tmp_path / "made" / "report.html"
    write_finetune(page, report(why_from_nothing="<script>alert(1)</script>", base_recall=None))
    outline = Outline(page.read_text())
    asking = [value for key, value in outline.attributes if key in ("src", "href", "xlink:href", "srcset")]
    assert "script" not in outline.seen and all(str(value).startswith("#") for value in asking)
    assert render_finetune(report()) == render_finetune(report())
