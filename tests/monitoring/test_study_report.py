from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from monitoring import study_plots as plots
from monitoring.study_report import render_study, write_study
from tests.monitoring.outline import Outline
from tests.monitoring.studies import spread, study, without_scores, without_support

_FIGURES = (
    plots.adjacent_svg,
    plots.trajectories_svg,
    plots.persistence_svg,
    plots.comparison_svg,
    plots.retrieval_svg,
)


def _drawings(summary: dict[str, Any]) -> list[str]:
    return [svg for svg in (draw(summary) for draw in _FIGURES) if svg is not None]


def test_report_opens_with_the_verdict_and_nests() -> None:
    outline = Outline(render_study(study(beyond_noise=spread(0.1, 0.02))))
    assert outline.open == []
    assert outline.seen.count("svg") == 5 and outline.seen.count("h1") == 1
    assert outline.seen.count("caption") == outline.seen.count("table") == 9
    ordered = ["Verdict", "is drift beyond noise", "Adjacent windows", "Mappings held", "What was studied"]
    places = [outline.text.index(words) for words in ordered]
    assert places == sorted(places)


def test_tables_show_what_the_json_holds() -> None:
    text = Outline(render_study(study())).text
    assert "floor: same window 0.500 ± 0.010 0.020 50.0" in text
    assert "2024-01-04 0.550 0.030 0.500 0.510 0.020 30 0 no 700 0.200" in text
    assert "refreshed 0.2000 0.2400 0.600 0.900 3" in text
    assert "same with and without the line 12.0 % (95 % interval 10.0 to 14.0 %)" in text
    assert "dense frequency, shrunk line 4,000 0.1800 ± 0.0100 0.540 ± 0.030 1.000" in text
    assert "thin model − frequency 0.0000 ± 0.0000" in text
    assert "second cluster frequency 3 0.3750 ± 0.0100 1.125 ± 0.030 +0.0750 ± 0.0010" in text
    assert "records negative 345" in text and "model capacity 64" in text


def test_report_without_a_model_leaves_its_figures_out_and_says_why() -> None:
    outline = Outline(render_study(study(with_model=False)))
    assert outline.seen.count("table") == 8 and "Run it with --engine embedded" in outline.text
    assert "model, shrunk line" not in outline.text


@pytest.mark.parametrize("with_model", [True, False])
def test_report_of_a_log_that_shows_nothing_is_whole_all_the_same(with_model: bool) -> None:
    summary = without_scores(without_support(study(with_model=with_model)))
    outline = Outline(render_study(summary))
    assert outline.open == [] and outline.seen.count("svg") == 0
    assert "nothing can be told from noise" in outline.text


def test_report_asks_the_network_for_nothing_and_shows_names_as_text() -> None:
    page = render_study(study(source="</title><script>alert(1)</script>\x1b[2J"))
    outline = Outline(page)
    assert not {"script", "link", "img", "iframe", "object"} & set(outline.seen)
    asking = [value for key, value in outline.attributes if key in ("src", "href", "xlink:href", "srcset")]
    assert all(value is not None and value.startswith("#") for value in asking)
    assert "\x1b" not in page


def test_ids_are_unique_and_every_label_points_to_one() -> None:
    outline = Outline(render_study(study()))
    ids = [value for key, value in outline.attributes if key == "id"]
    assert len(ids) == len(set(ids))
    labels = " ".join(value or "" for key, value in outline.attributes if key == "aria-labelledby")
    assert set(labels.split()) <= set(ids)


def test_same_study_writes_the_same_bytes(tmp_path: Path) -> None:
    write_study(tmp_path / "a" / "one.html", study())
    write_study(tmp_path / "two.html", study())
    assert (tmp_path / "a" / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_every_figure_is_well_formed_and_follows_the_colours_of_the_page() -> None:
    drawings = _drawings(study())
    assert len(drawings) == 5
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)
        assert root.get("role") == "img" and root.get("viewBox")
        assert [child.tag.rpartition("}")[2] for child in root][:2] == ["title", "desc"]
        assert "var(--series-1)" in drawing and not re.search(r"(fill|stroke): (#(?!fff)|black)", drawing)


def test_figures_say_in_words_what_they_draw() -> None:
    drawings = _drawings(study())
    assert "no drift (J0): 3 values from 0.510 to 0.510" in drawings[0]
    assert "refreshed: 9 values" in drawings[1]
    assert "half: halves, first against later: 3 values from 0.597 to 0.597" in drawings[2]
    assert "model: 0.1200 over all pairs." in drawings[3]
    assert "global, trend: 0.130, 0.230, 0.330 for n = [1, 3, 5]." in drawings[4]


def test_one_window_alone_is_drawn_within_days_of_it() -> None:
    drawing = str(plots.adjacent_svg(study(n_windows=2)))
    assert "2024-Jan" in drawing and "2020" not in drawing


def test_groups_without_a_transition_are_not_drawn() -> None:
    summary = study()
    nothing = {"transitions": 0, "coverage": None, "hit_rate": None, "hit_information_bits": None}
    dense = summary["comparison"]["groups"]["dense"]
    dense["ways"] = dict.fromkeys(dense["ways"], nothing)
    drawing = str(plots.comparison_svg(summary))
    assert ">thin<" in drawing and ">dense<" not in drawing
    assert "Dense pairs: no transition in the next windows." in Outline(render_study(summary)).text
