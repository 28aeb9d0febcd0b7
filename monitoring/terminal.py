"""What a run came to, on the terminal: one compact page, or one table of policies."""

from __future__ import annotations

from collections.abc import Mapping

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from monitoring import backtest_wording, wording
from monitoring.backtest_cautions import cautions
from monitoring.wording import Summary, counted, decimal, printable, whole

_FIRST_ISSUES = 3


def print_comparison(console: Console, runs: Mapping[str, Summary]) -> None:
    """Print one row per policy, then the verdict in words; without a run, say so.

    Parameters
    ----------
    console : Console
    runs : mapping of str to summary
        Runs of one log by policy name.
    """
    if not runs:
        console.print("No policy was run.")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("policy", no_wrap=True)
    for heading in (
        "next\nhit",
        "seq.\nhit",
        "hit\nbits",
        "coverage",
        "refreshes",
        "LLM\ncalls",
        "incre-\nmental",
        "flags",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, run in runs.items():
        table.add_row(
            _text(name),
            *(decimal(run[key]) for key in ("hit_rate_next", "hit_rate_sequence", "hit_information_bits", "coverage")),
            *(whole(run[key]) for key in ("refreshes", "llm_calls", "incremental_calls", "finetune_flags")),
        )
    console.print(table)
    for sentence in wording.verdict(runs):
        console.print(_text(sentence))


def print_run(console: Console, summary: Summary) -> None:
    """Print the counts, rates, drift, table, flags and records set aside of one run."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column()
    for heading, words in _lines(summary).items():
        grid.add_row(heading, _text(words))
    console.print(grid)
    for issue in summary["issues"][:_FIRST_ISSUES]:
        line = _text(f"  {issue['place']}: {issue['found']}. {issue['mend']}")
        console.print(line, soft_wrap=True)  # a place stays whole


def _lines(run: Summary) -> dict[str, str]:
    version = run["table_version"]
    return {
        "events": f"{whole(run['events'])} read, {whole(run['positives'])} positive",
        "counted": f"{counted(run['transitions'], 'transition')} of {counted(run['pairs'], 'pair')} "
        f"in {counted(run['sequences'], 'sequence')} and {counted(run['panes'], 'pane')}",
        "hit rate": _rates(run),
        "LLM calls": f"{whole(run['llm_calls'])}: {whole(run['first_table_calls'])} for the first table, "
        f"{whole(run['incremental_calls'])} after it",
        "drift": wording.drift_sentence(run),
        "table": "none: no full window was closed" if version is None else f"version {version} serves",
        **({"refused": wording.refused_sentence(run)} if run.get("refused") else {}),
        "fine-tune": wording.flag_sentence(run),
        "set aside": _set_aside(run),
    }


def _rates(run: Summary) -> str:
    if run["hit_rate_next"] is None:
        return "none: no table served any transition"
    return (
        f"next {decimal(run['hit_rate_next'])}, sequence {decimal(run['hit_rate_sequence'])}, "
        f"{decimal(run['hit_information_bits'])} bits, coverage {decimal(run['coverage'])}, "
        f"over {counted(run['scored'], 'scored transition')}"
    )


def _set_aside(run: Summary) -> str:
    if not wording.set_aside(run):
        return "no record"
    listed = ", ".join(
        f"{n:,} {outcome.replace('_', ' ')}"
        for outcome, n in run["outcomes"].items()
        if n and outcome not in ("counted", "negative")
    )
    return f"{counted(wording.set_aside(run), 'record')} ({listed})"


def _text(words: str) -> Text:
    """Keep square brackets and escape sequences of logs from being read as markup or by the terminal."""
    return Text(printable(words))


def print_backtest(console: Console, summary: Summary) -> None:
    """Print one row per policy of ``tidegate backtest``, then the verdict in words and what limits it."""
    if not summary["policies"]:
        console.print("No policy was compared.")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("policy", no_wrap=True)
    headings = ("next\nhit", "seq.\nhit", "hit\nbits", "served\nbits", "LLM\ncalls", "incre-\nmental", "cost", "regret")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for name, run in summary["policies"].items():
        rates = ("hit_rate_next", "hit_rate_sequence", "hit_information_bits", "entropy_bits")
        table.add_row(
            _text(name),
            *(decimal(run[key], 4) for key in rates),
            *(whole(run[key]) for key in ("llm_calls", "incremental_calls")),
            *(decimal(run[key], 0) for key in ("cost", "regret")),
        )
    console.print(table)
    for sentence in backtest_wording.verdict(summary):
        console.print(_text(sentence))
    own = backtest_wording.own_note(summary)
    for sentence in [*cautions(summary), *([] if own is None else [own])]:
        console.print(_text(f"Note: {sentence}"))
