from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import pytest

from monitoring import backtest_plots as plots
from monitoring.backtest_frontier import COLORS, LABELS, MARKERS, frontier_svg
from monitoring.backtest_kinds import Kind
from tests.monitoring.backtests import all_kinds, backtest, policy, unjudged

_Drawing = Callable[[dict[str, Any]], str | None]
_FIGURES: dict[str, _Drawing] = {
    "frontier": frontier_svg,
    "hits": lambda made: plots.hits_svg(made, "adaptive"),
    "information": lambda made: plots.information_svg(made, "adaptive"),
    "entropy": lambda made: plots.entropy_svg(made, "adaptive"),
    "calls": plots.calls_svg,
    "drift": plots.drift_svg,
    "purchases": lambda made: plots.purchases_svg(made, "adaptive"),
}


def _drawn(name: str, made: dict[str, Any]) -> str:
    svg = _FIGURES[name](made)
    assert svg is not None
    return svg


@pytest.mark.parametrize("name", _FIGURES)
def test_figure_is_well_formed_titled_and_the_same_whatever_the_readers_style(name: str) -> None:
    made = backtest(all_kinds(), alarmed=(5,))
    drawing = _drawn(name, made)
    root = ElementTree.fromstring(drawing)
    assert root.get("role") == "img" and root.get("viewBox") and not root.get("width")
    assert [child.tag.rpartition("}")[2] for child in root][:2] == ["title", "desc"]
    assert not re.search(r"(fill|stroke): (#(?!fff)|black)", drawing)
    with mpl.rc_context({"lines.linewidth": 9, "svg.hashsalt": None}):
        assert _drawn(name, made) == drawing


def test_ids_of_figures_never_meet() -> None:
    made = backtest(all_kinds(), alarmed=(5,))
    ids = [found for name in _FIGURES for found in re.findall(r'\bid="([^"]+)"', _drawn(name, made))]
    assert ids and len(ids) == len(set(ids))


@pytest.mark.parametrize("name", [each for each in _FIGURES if each != "drift"])
def test_names_are_text_and_neither_markup_nor_formula(name: str) -> None:
    attack = "</svg><script>alert(1)</script>$\\frac{1}{0}$"
    reasons = {0: {attack: 3}} if name == "purchases" else {0: {"evidence": 3}}
    runs = {attack: policy(calls=[5]), "adaptive": policy(calls=[4], reasons=reasons)}
    drawing = _drawn(name, backtest(runs))
    ElementTree.fromstring(drawing)
    assert "<script>" not in drawing and "&lt;script&gt;" in drawing and "$\\frac{1}{0}$" in drawing


def test_frontier_joins_the_prices_and_shows_zero() -> None:
    drawing = frontier_svg(backtest(all_kinds()))
    marks = re.findall(r">([\d,]+)</text>", drawing)
    assert "0" in marks and "10,000" in marks
    # With two prices adaptive has a line in both panels and in the legend, with one only markers.
    line = r'<g id="frontier-line2d_\d+">\s*<path d="M[^"]*L[^"]*"[^>]*style="[^"]*stroke: var\(--series-1\)'
    single = {name: run for name, run in all_kinds().items() if name != "adaptive:1"}
    assert len(re.findall(line, drawing)) == len(re.findall(line, frontier_svg(backtest(single)))) + 3


def test_frontier_without_a_single_call_is_drawn() -> None:
    drawing = frontier_svg(backtest({"backoff": policy(), "adaptive": policy(seed=2)}))
    ElementTree.fromstring(drawing)
    assert "backoff: 0 calls" in drawing


def test_every_kind_has_its_look() -> None:
    assert set(LABELS) == set(COLORS) == set(MARKERS) == set(Kind)
    assert len(set(LABELS.values())) == len(set(MARKERS.values())) == len(set(COLORS.values())) == len(Kind)


def test_hits_have_a_panel_for_each_kind_with_the_subject_in_it() -> None:
    drawing = plots.hits_svg(backtest(all_kinds()), "adaptive")
    shown = re.findall(r">([^<>]+)</text>", drawing)
    assert shown.count("adaptive") == 1 + len(Kind)  # in each panel, and once as the heading of its own
    assert shown.count("always") == shown.count("oracle") == shown.count("adaptive:1") == 1


def test_hits_of_one_policy_alone_and_of_none_that_is_adaptive_are_drawn() -> None:
    assert "adaptive: 12 values" in plots.hits_svg(backtest({"adaptive": policy()}), "adaptive")
    assert "never: 12 values" in plots.hits_svg(backtest({"never": policy()}), None)


def test_pane_without_a_scored_transition_breaks_the_lines() -> None:
    run = policy()
    run["by_pane"][4] |= {"scored": 0, "hits_next": 0, "hit_bits": 0.0, "entropy_bits": 0.0}
    made = backtest({"adaptive": run})
    for drawing in (plots.hits_svg(made, "adaptive"), plots.information_svg(made, "adaptive")):
        assert "11 values" in drawing
    assert "adaptive: 11 values" in plots.entropy_svg(made, "adaptive")


def test_entropy_shows_the_subject_and_the_strongest_of_each_kind() -> None:
    drawing = plots.entropy_svg(backtest(all_kinds()), "adaptive")
    shown = set(re.findall(r">([^<>]+)</text>", drawing))
    assert {"adaptive", "backoff+own", "always", "jaccard:0.3", "always+own", "oracle"} <= shown
    assert not {"adaptive:1", "never", "every:2"} & shown


def test_calls_begin_with_those_of_the_first_table_and_leave_out_who_makes_none() -> None:
    drawing = _drawn("calls", backtest(all_kinds()))
    assert "adaptive: 155 calls in all." in drawing and "log scale" in drawing
    assert "backoff" not in drawing
    assert plots.calls_svg(backtest({"backoff": policy()})) is None
    alike = backtest({"never": policy(first=100), "always": policy(first=100, calls=[90] * 3)})
    assert "log scale" not in _drawn("calls", alike)


def test_alarms_are_ringed_where_there_are_any() -> None:
    calm, stirred = _drawn("drift", backtest(all_kinds())), _drawn("drift", backtest(all_kinds(), alarmed=(4, 5)))
    assert "window drifts beyond noise" in stirred and "window drifts beyond noise" not in calm
    assert "2 of 9 windows alarmed." in stirred
    absent = [unjudged()]
    assert plots.drift_svg(backtest(all_kinds(), drift=absent)) is None


def test_purchases_are_told_by_reason() -> None:
    drawing = _drawn("purchases", backtest(all_kinds()))
    assert "adaptive: 38 by first_sight, 22 by evidence, 20 by drift." in drawing
    assert plots.purchases_svg(backtest({"adaptive": policy()}), "adaptive") is None
    assert "evidence" in str(
        plots.purchases_svg(backtest({"adaptive": policy(n_panes=1, reasons={0: {"evidence": 1}})}), "adaptive")
    )
