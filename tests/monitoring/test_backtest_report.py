from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from monitoring.backtest_report import render_backtest_report, write_backtest_report
from tests.monitoring.backtests import all_kinds, backtest, policy, unjudged
from tests.monitoring.outline import Outline
from tidegate.errors import RequestError


def _outline(policies: dict[str, dict[str, Any]], **more: Any) -> Outline:
    return Outline(render_backtest_report(backtest(policies, **more)))


def test_report_opens_with_the_verdict_and_nests() -> None:
    outline = _outline(all_kinds(), alarmed=(5,))
    assert outline.open == []
    assert outline.seen.count("svg") == 7 and outline.seen.count("h1") == 1
    assert outline.seen.count("caption") == outline.seen.count("table") == 3
    ordered = ["Verdict", "On this log adaptive makes", "Keep in mind", "Policies", "Over time", "How to read this"]
    places = [outline.text.index(words) for words in ordered]
    assert places == sorted(places)


def test_table_shows_what_the_json_holds() -> None:
    runs = all_kinds()
    text = _outline(runs).text
    run = backtest(runs)["policies"]["always"]
    row = (
        f"always {run['hit_rate_next']:.4f} {run['hit_rate_sequence']:.4f} {run['hit_information_bits']:.4f} "
        f"2.400 0.900 900 11,000 12 {round(run['cost']):,} {round(run['regret']):,}"
    )
    assert row in text
    assert "On a calendar, plain counts every:2" in text
    assert "Policies named +own are not the usual ones" in text


def test_differences_carry_their_interval_and_their_price() -> None:
    text = _outline({"adaptive": policy(0.24, calls=[5], noise=0), "always": policy(0.20, calls=[90], noise=0)}).text
    assert "always +0.0400 ± 0.0000 +0.0800 ± 0.0000 -85 -1,466" in text


def test_regret_without_the_oracle_is_a_dash_that_is_explained() -> None:
    text = _outline({"adaptive": policy(0.24, noise=0)}).text
    assert "27,360 –" in text and "Regret is a dash because the oracle did not take part" in text
    assert "Regret is a dash" not in _outline(all_kinds()).text


def test_report_asks_the_network_for_nothing() -> None:
    outline = _outline(all_kinds())
    assert not {"script", "link", "img", "iframe", "object"} & set(outline.seen)
    asking = [value for key, value in outline.attributes if key in ("src", "href", "xlink:href", "srcset")]
    assert all(value is not None and value.startswith("#") for value in asking)
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in outline.attributes


def test_ids_are_unique_and_every_label_points_to_one() -> None:
    attributes = _outline(all_kinds(), alarmed=(5,)).attributes
    ids = [value for key, value in attributes if key == "id"]
    labels = {one for key, value in attributes if key == "aria-labelledby" for one in str(value).split()}
    assert len(ids) == len(set(ids)) and labels <= set(ids)


def test_same_input_writes_the_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "new" / "a.html", tmp_path / "b.html"
    write_backtest_report(first, backtest(all_kinds()))
    write_backtest_report(second, backtest(all_kinds()))
    assert first.read_bytes() == second.read_bytes()


def test_text_of_logs_is_never_markup() -> None:
    attack = '"><script>alert(1)</script>\x1b[2J{{ 7 * 7 }}'
    run = policy(calls=[5], reasons={0: {attack: 3}})
    run["by_pane"][0] |= {"explanation": attack, "trigger": attack}
    made = backtest({"adaptive": run, attack: policy(seed=2)}, source=attack, outcomes={attack: 5, "counted": 5})
    page = render_backtest_report(made)
    outline = Outline(page)
    assert "script" not in outline.seen and outline.open == []
    assert "\x1b" not in page and "\\x1b[2J{{ 7 * 7 }}" in page


def test_report_says_what_it_has_no_figure_for() -> None:
    text = _outline({"adaptive": policy()}, drift=[]).text
    assert "It took no row after the first table." in text and "No policy made a call." in text
    assert "No window was compared with one before it, so there is no drift to draw." in text
    window = unjudged()
    assert "No window had a pair with enough transitions" in _outline({"adaptive": policy()}, drift=[window]).text


def test_report_without_an_adaptive_policy_compares_the_others() -> None:
    outline = _outline({"never": policy(), "always": policy(calls=[5], seed=2)})
    assert (
        outline.open == []
        and "What adaptive took" not in outline.text
        and "pane by pane, with half" not in outline.text
    )


@pytest.mark.parametrize("n_panes", [1, 2, 5])
def test_short_backtest_is_reported(n_panes: int) -> None:
    outline = _outline({"adaptive": policy(n_panes=n_panes), "always": policy(n_panes=n_panes, calls=[3], seed=2)})
    assert outline.open == [] and "nan" not in outline.text.split() and "None" not in outline.text


def test_report_of_no_policy_is_refused() -> None:
    with pytest.raises(RequestError, match=r"^--policies: no policy was compared\. Name one or more"):
        render_backtest_report(backtest({}))
