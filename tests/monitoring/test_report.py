from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from monitoring.report import render_report, write_report
from tests.monitoring.outline import Outline
from tests.monitoring.summaries import summary, three_policies
from tidegate.errors import RequestError


def test_report_of_three_policies_opens_with_the_verdict_and_nests() -> None:
    outline = Outline(render_report("Demo", three_policies(), story=["A drift was planted on day 12."]))
    assert outline.open == []
    assert outline.seen.count("svg") == 3 and outline.seen.count("h1") == 1
    assert outline.seen.count("caption") == outline.seen.count("table") == 7
    ordered = ["Verdict", "adaptive reached", "A drift was planted", "Policies", "Decisions", "How to read this"]
    places = [outline.text.index(words) for words in ordered]
    assert places == sorted(places)


def test_report_asks_the_network_for_nothing() -> None:
    outline = Outline(render_report("Demo", three_policies()))
    assert not {"script", "link", "img", "iframe", "object"} & set(outline.seen)
    asking = [value for key, value in outline.attributes if key in ("src", "href", "xlink:href", "srcset")]
    assert all(value is not None and value.startswith("#") for value in asking)
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in outline.attributes


def test_ids_are_unique_and_every_label_points_to_one() -> None:
    attributes = Outline(render_report("Demo", three_policies())).attributes
    ids = [value for key, value in attributes if key == "id"]
    labels = {one for key, value in attributes if key == "aria-labelledby" for one in str(value).split()}
    assert len(ids) == len(set(ids)) and labels <= set(ids)


def test_same_input_writes_the_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "new" / "a.html", tmp_path / "b.html"
    write_report(first, "Demo", three_policies())
    write_report(second, "Demo", three_policies())
    assert first.read_bytes() == second.read_bytes()


def test_text_of_logs_is_never_markup() -> None:
    attack = '"><script>alert(1)</script>\x1b[2J{{ 7 * 7 }}'
    run: dict[str, Any] = summary(calls_every=1, calls_each=9, flagged=(9,)) | {"source": attack}
    run["by_pane"][5] |= {"explanation": attack, "flag": attack, "reasons": {attack: 3}}
    run["issues"] = [dict.fromkeys(("outcome", "place", "found", "mend"), attack)]
    run["outcomes"] = {attack: 5}
    run["flags"][0]["reason"] = attack
    page = render_report(attack, {attack: run, "never": summary()}, story=[attack])
    outline = Outline(page)
    assert "script" not in outline.seen and outline.open == []
    assert "\x1b" not in page and "\\x1b[2J{{ 7 * 7 }}" in page


@pytest.mark.parametrize("n_panes", [0, 2, 4, 7])
def test_short_run_is_reported_with_dashes_for_what_it_has_not(n_panes: int) -> None:
    outline = Outline(render_report("Short", {"adaptive": summary(n_panes=n_panes)}))
    assert outline.open == [] and "None" not in outline.text and "nan" not in outline.text.split()
    assert ("No pane was closed" in outline.text) == (n_panes == 0)
    assert ("No pane was scored" in outline.text) == (n_panes <= 2)


def test_windows_without_figures_are_dashes() -> None:
    run = summary(n_panes=7)
    absent = dict.fromkeys(
        ("jaccard_mean", "jaccard_matched_mean", "null_mean", "drift_mean", "drift_traffic_mean", "table_z")
    )
    run["reports"] = [report | absent | {"pairs": 0} for report in run["reports"]]
    outline = Outline(render_report("Thin", {"adaptive": run}))
    assert "there is no drift to draw" in outline.text and "could not be judged" in outline.text


def test_decisions_show_reasons_or_else_the_trigger() -> None:
    run = summary(calls_every=1, calls_each=70)
    run["by_pane"][6] |= {"reasons": {}, "trigger": "schedule"}
    text = Outline(render_report("Demo", {"adaptive": run})).text
    assert "evidence (62), drift (8)" in text and " schedule " in text


def test_report_of_no_run_is_refused() -> None:
    with pytest.raises(RequestError, match=r"^runs: no run was given, a report is of one or more\. Give the summary"):
        render_report("Nothing", {})
