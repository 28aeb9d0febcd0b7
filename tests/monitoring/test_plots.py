from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import pytest

from monitoring import plots
from tests.monitoring.summaries import summary, three_policies


def _drawings(runs: Mapping[str, dict[str, Any]]) -> list[str]:
    drawn = [plots.hit_rate_svg(runs), plots.calls_svg(runs), plots.drift_svg(next(iter(runs.values())))]
    return [svg for svg in drawn if svg is not None]


def test_every_figure_is_well_formed_labelled_and_titled() -> None:
    drawings = _drawings(three_policies())
    assert len(drawings) == 3
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)
        assert root.get("role") == "img" and root.get("viewBox") and not root.get("width")
        assert [child.tag.rpartition("}")[2] for child in root][:2] == ["title", "desc"]
        assert "(UTC)" in drawing


def test_same_run_draws_the_same_bytes_whatever_the_readers_style() -> None:
    with mpl.rc_context({"lines.linewidth": 9, "svg.hashsalt": None}):
        styled = _drawings(three_policies())
    assert styled == _drawings(three_policies())
    assert mpl.rcParams["svg.hashsalt"] is None


def test_colours_follow_the_page() -> None:
    for drawing in _drawings(three_policies()):
        assert "var(--ink)" in drawing and "var(--series-1)" in drawing
        assert not re.search(r"(fill|stroke): (#(?!fff)|black)", drawing)


def test_ids_of_figures_never_meet_and_no_reference_dangles() -> None:
    drawings = _drawings(three_policies())
    ids = [found for drawing in drawings for found in re.findall(r'\bid="([^"]+)"', drawing)]
    asked = [found for drawing in drawings for found in re.findall(r'(?:href="#|url\(#)([^")]+)', drawing)]
    assert len(ids) == len(set(ids)) and set(asked) <= set(ids) and asked


def test_policy_names_are_text_and_neither_markup_nor_formula() -> None:
    name = "</svg><script>alert(1)</script>$\\frac{1}{0}$"
    for drawing in _drawings({name: summary()})[:2]:
        ElementTree.fromstring(drawing)
        assert "<script>" not in drawing and "&lt;script&gt;" in drawing and "$\\frac{1}{0}$" in drawing


def test_name_beyond_the_measuring_font_draws_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "適応" in str(plots.hit_rate_svg({"適応": summary(n_panes=5)}))


@pytest.mark.parametrize("n_panes", [0, 1, 2])
def test_run_without_scores_or_windows_draws_only_what_it_has(n_panes: int) -> None:
    run = summary(n_panes=n_panes)
    assert plots.hit_rate_svg({"adaptive": run}) is None
    assert plots.drift_svg(run) is None
    assert (plots.calls_svg({"adaptive": run}) is None) == (n_panes == 0)


def test_window_without_compared_pairs_breaks_the_line() -> None:
    run = summary(alarmed=(9,))
    absent = dict.fromkeys(("jaccard_mean", "jaccard_matched_mean", "null_mean", "drift_mean", "drift_traffic_mean"))
    run["reports"][4] |= absent | {"alarmed": True}
    assert "14 values" in str(plots.drift_svg(run))
    run["reports"] = [report | absent for report in run["reports"]]
    assert plots.drift_svg(run) is None


def test_alarms_and_flags_are_marked_where_there_are_any() -> None:
    calm, stirred = str(plots.drift_svg(summary())), str(plots.drift_svg(summary(alarmed=(9,), flagged=(9,))))
    for label in ("window drifts beyond noise", "fine-tune flag</text>"):
        assert label in stirred and label not in calm


def test_calls_take_a_log_scale_only_where_totals_are_far_apart() -> None:
    close, far = summary(), summary(calls_every=1, calls_each=9_000)
    assert "log scale" not in str(plots.calls_svg({"never": close}))
    assert "log scale" in str(plots.calls_svg({"never": close, "always": far}))
    marks = re.findall(r">([\d,]+)</text>", str(plots.calls_svg({"never": close, "always": far})))
    assert [mark for mark in marks if mark == "0" or "," in mark] == ["0", "1,000", "10,000", "100,000"]
    free = summary(n_panes=4)
    for pane in free["by_pane"]:
        pane["llm_calls"] = 0
    assert "backoff: 0 calls in all." in str(plots.calls_svg({"backoff": free, "always": far}))
    assert "log scale" not in str(plots.calls_svg({"backoff": free}))


def test_long_runs_are_drawn_without_markers() -> None:
    assert len(str(plots.hit_rate_svg({"adaptive": summary(n_panes=300)}))) < 40_000
