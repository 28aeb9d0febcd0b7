"""``tidegate backtest``: what each policy would have brought and cost on a log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console

from monitoring.terminal import print_backtest
from refresh.policies import open_policy
from tidegate.cli.assembly import policy_options
from tidegate.cli.backtesting import Backtest
from tidegate.cli.engine_keeper import open_keeper
from tidegate.cli.engine_settings import retrieval_of
from tidegate.cli.log_panes import LogPanes
from tidegate.cli.log_reading import read_log
from tidegate.cli.options import given_flags, settings_options
from tidegate.cli.run import require_folders
from tidegate.cli.standings import standing, with_regret
from tidegate.cli.stream_settings import course_options, drift_options, sequence_options
from tidegate.cli.watching import Bars
from tidegate.clock import iso_utc
from tidegate.config import RunSettings, load_settings
from tidegate.errors import RequestError
from tidegate.files import write_atomically

DEFAULT_POLICIES = "never,popular,backoff,every:2,always,adaptive,oracle"
_LEFT_OUT = (
    "policy",
    "follow",
    "from_earliest",
    "serve",
    "host",
    "port",
    "expose",
    "checkpoint_records",
    "keep_versions",
    "tables",
    "publish_topic",
    "chunk_rows",
)


@click.command("backtest")
@settings_options(*_LEFT_OUT)
@click.option("--policies", default=DEFAULT_POLICIES, show_default=True, help="What to compare, parted by commas.")
@click.option("--config", type=click.Path(path_type=Path), help="TOML file with the same keys.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write all figures here.")
@click.option("--html", "html_path", type=click.Path(path_type=Path), help="Write a report with plots here.")
def backtest_command(
    policies: str, config: Path | None, json_path: Path | None, html_path: Path | None, **flags: Any
) -> None:
    """Go over a log with several policies: hit rates, information, calls and cost of each, and regret to the oracle.

    The first window trains; everything is scored on what comes after it.
    """
    settings: RunSettings = load_settings(given_flags(flags), config)
    require_folders({"--json": json_path, "--html": html_path})
    names = policy_names(policies)
    console = Console(stderr=True)
    with Bars(console) as bars:
        summary = backtest(settings, names, bars)
    if json_path is not None:
        write_atomically(json_path, msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n")
    if html_path is not None:
        from monitoring.backtest_report import write_backtest_report  # loads matplotlib

        write_backtest_report(html_path, summary)
    print_backtest(Console(), summary)


def policy_names(text: str) -> list[str]:
    """Split ``--policies``.

    Raises
    ------
    RequestError
        If none is named, or one twice.

    Examples
    --------
    >>> policy_names("never, every:2,oracle")
    ['never', 'every:2', 'oracle']
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or len(set(names)) != len(names):
        found = "no policy is named" if not names else f"a policy is named twice in {text!r}"
        raise RequestError(found, "Give names parted by commas, each once", place="--policies")
    return names


def backtest(settings: RunSettings, names: list[str], bars: Bars) -> dict[str, Any]:
    """Run a backtest; returns what ``--json`` writes.

    Raises
    ------
    RequestError
        If a policy is unknown or the log is too short.
    SourceError
        If the log cannot be read.
    """
    sequences = sequence_options(settings)
    options = policy_options(settings, sequences)
    policies = [open_policy(name, sequences.pane_ms, options, settings.top_n) for name in names if name != "oracle"]
    log, source = read_log(settings, bars)
    keeper = open_keeper(settings, "backtest", bars.on_training)
    course = course_options(settings, sequences)
    panes = LogPanes(log, sequences, drift_options(settings), course, keeper, settings.top_n, retrieval_of(settings))
    running = Backtest(panes, settings.price, bars.on_panes)
    contenders = running.run(policies, with_oracle="oracle" in names)
    scored = range(log.first_pane + sequences.window_panes, log.last_pane + 1)
    standings = {each.policy.name: standing(each, scored, sequences.pane_ms, settings.price) for each in contenders}
    return {
        "source": source,
        "engine": settings.engine,
        "pane": settings.pane,
        "window": settings.window,
        "gap": settings.gap,
        "positive": settings.positive,
        "price": settings.price,
        "seed": settings.seed,
        "events": sum(log.outcomes.values()),
        "outcomes": {str(outcome): n for outcome, n in log.outcomes.items()},
        "clusters": len(log.cluster_names),
        "transitions": panes.transitions // (2 if "oracle" in names else 1),
        "panes": log.n_panes,
        "windows": len(running.reports),
        "windows_alarmed": sum(report.alarmed for report in running.reports),
        "drift": [
            {
                "window_end": iso_utc(report.window_end_ms),
                "drift_mean": report.drift_mean,
                "pairs": report.pairs,
                "flagged_pairs": report.flagged_pairs,
                "alarmed": report.alarmed,
            }
            for report in running.reports
        ],
        "policies": with_regret({name: standings[name] for name in names}),
    }
