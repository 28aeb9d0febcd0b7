from __future__ import annotations

import io
from collections.abc import Callable

from rich.console import Console

from monitoring.terminal import print_backtest, print_comparison, print_run
from tests.monitoring.backtests import all_kinds, backtest, policy
from tests.monitoring.summaries import summary, three_policies


def _printed(printing: Callable[[Console], None], width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    printing(console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_comparison_is_one_row_per_policy_and_the_verdict() -> None:
    printed = _printed(lambda console: print_comparison(console, three_policies()))
    rows = [line.split() for line in printed.splitlines()]
    assert ["every:2d", "0.234", "0.374", "0.470", "0.930", "9", "13,480", "12,000", "0"] in rows
    assert "adaptive is better by" in printed


def test_comparison_fits_eighty_columns_whole() -> None:
    printed = _printed(lambda console: print_comparison(console, three_policies()), width=80)
    assert "…" not in printed and "13,480" in printed


def test_comparison_of_no_run_says_so() -> None:
    assert _printed(lambda console: print_comparison(console, {})) == "No policy was run.\n"


def test_run_is_counts_rates_drift_table_flags_and_what_was_set_aside() -> None:
    printed = " ".join(_printed(lambda console: print_run(console, summary(alarmed=(11,), flagged=(11,)))).split())
    for words in (
        "120,000 read, 80,000 positive",
        "next 0.237, sequence 0.380",
        "1,480: 1,480 for the first table, 0 after it",
        "Drift beyond noise was found in 1 of 15 windows",
        "version 7 serves",
        "1 fine-tune flag raised",
        "20 records (10 malformed, 10 late)",
        "log.csv:17: the time '2022-13-41' is no date. Write ISO 8601",
    ):
        assert words in printed


def test_a_run_says_which_refreshes_were_not_published_and_why() -> None:
    run = summary()
    assert "refused" not in _printed(lambda console: print_run(console, run))
    run["refused"] = [
        {"outcome": "failed", "window_end": "2022-04-28T00:00:00Z", "why": "the server is away"},
        {"outcome": "gate_failed", "window_end": "2022-04-29T00:00:00Z", "why": "coverage: 50.0% are answered"},
    ]
    printed = " ".join(_printed(lambda console: print_run(console, run)).split())
    assert (
        "2 refreshes not published (1 by a gate, 1 by a failure), the table before went on serving; the last" in printed
    )
    assert "for the window ending 2022-04-29: coverage: 50.0% are answered." in printed
    run["refused"].pop()
    printed = " ".join(_printed(lambda console: print_run(console, run)).split())
    assert "1 refresh not published (1 by a failure)" in printed


def test_run_without_a_table_says_so() -> None:
    printed = _printed(lambda console: print_run(console, summary(n_panes=0)))
    assert "none: no full window was closed" in printed and "none: no table served" in printed
    assert "None" not in printed and "no record" in printed


def test_text_of_logs_neither_styles_nor_steers_the_terminal() -> None:
    run = summary()
    run["issues"] = [{"outcome": "malformed", "place": "[red]x[/red]", "found": "\x1b[2J[/]", "mend": "mend"}]
    printed = _printed(lambda console: print_run(console, run))
    assert "[red]x[/red]: \\x1b[2J[/]. mend" in printed and "\x1b" not in printed
    assert "[b]p" in _printed(lambda console: print_comparison(console, {"[b]p": run}))


def test_backtest_is_one_row_per_policy_the_verdict_and_what_limits_it() -> None:
    printed = _printed(lambda console: print_backtest(console, backtest(all_kinds())))
    rows = [line.split() for line in printed.splitlines()]
    made = backtest(all_kinds())["policies"]["always"]
    rates = [f"{made[key]:.4f}" for key in ("hit_rate_next", "hit_rate_sequence", "hit_information_bits")]
    assert ["always", *rates, "2.4000", "11,900", "11,000", f"{made['cost']:.0f}", f"{made['regret']:.0f}"] in rows
    words = " ".join(printed.split())
    assert "On this log adaptive makes 75 incremental LLM calls" in words
    assert "Note: Policies named +own are not the usual ones" in words


def test_backtest_fits_eighty_columns_whole_and_dashes_an_unknown_regret() -> None:
    printed = _printed(lambda console: print_backtest(console, backtest(all_kinds())), width=80)
    assert "…" not in printed
    alone = _printed(lambda console: print_backtest(console, backtest({"adaptive": policy()})))
    assert "–" in alone and "None" not in alone


def test_backtest_neither_styles_nor_steers_the_terminal() -> None:
    printed = _printed(lambda console: print_backtest(console, backtest({"[red]x\x1b[2J": policy()})))
    assert "[red]x\\x1b[2J" in printed and "\x1b" not in printed


def test_backtest_of_no_policy_says_so() -> None:
    assert _printed(lambda console: print_backtest(console, backtest({}))) == "No policy was compared.\n"
