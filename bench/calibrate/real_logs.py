"""Real logs: what adaptive reaches at which calls, against every baseline; skipped without `TIDEGATE_DATA`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.calibrate.backtests import Standings, standings
from bench.calibrate.economics import BASELINES
from bench.calibrate.verdicts import Verdict, judged
from bench.table import Figure

PRICES = ("0", "0.02", "0.05", "0.1", "0.2", "0.5", "1", "3", "100")
SWEEP = [f"adaptive:{price}" for price in PRICES]
FIGURES = {"next-hit rate": "hit_rate_next", "information": "hit_information_bits"}


@dataclass(frozen=True, slots=True)
class Log:
    """A log, its flags, and whether it is known to drift."""

    folder: str
    flags: dict[str, Any]
    drifts: bool


LOGS = (
    Log("kuairand_pure", {"pane": "1d", "window": "3d", "gap": "1d", "positive": "engagement >= 0.5"}, drifts=False),
    Log("foursquare_nyc", {"pane": "7d", "window": "28d", "gap": "1d"}, drifts=False),
    Log("movietweetings", {"pane": "7d", "window": "28d", "gap": "none"}, drifts=True),
)


def rows() -> list[Verdict]:
    """Compare on each log."""
    data = os.environ.get("TIDEGATE_DATA")
    if data is None:
        return [Verdict(Figure("real logs", None, "", "", "skipped: TIDEGATE_DATA names no folder of them"), None)]
    return [verdict for log in LOGS for verdict in _of_log(log, Path(data))]


def _of_log(log: Log, data: Path) -> list[Verdict]:
    run = standings(data / log.folder / "events.csv.gz", [*BASELINES, "adaptive", *SWEEP], **log.flags)
    policies: Standings = run["policies"]
    verdicts = [
        verdict for what, figure in FIGURES.items() for verdict in _of_figure(log.folder, what, figure, policies)
    ]
    every, adaptive = policies["every:2"]["incremental_calls"], policies["adaptive"]["incremental_calls"]
    by_drift = [
        pane["pane_end"]
        for name in ("adaptive", *SWEEP)
        for pane in policies[name]["by_pane"]
        if "drift" in pane["reasons"]
    ]
    verdicts.append(
        judged(
            f"{log.folder}: incremental calls / every:2",
            adaptive / every,
            "ratio",
            high=0.03,
            conditions=f"{adaptive:,} / {every:,}, default price",
        )
    )
    # Only of the logs without drift it is known how many there should be.
    verdicts.append(
        judged(
            f"{log.folder}: panes with rows bought by drift",
            len(by_drift),
            "",
            high=None if log.drifts else 0,
            conditions=f"{run['windows_alarmed']} of {run['windows']} windows alarmed, {len(SWEEP) + 1} prices",
        )
    )
    return verdicts


def _of_figure(log: str, what: str, figure: str, policies: Standings) -> list[Verdict]:
    def value(name: str) -> float:
        return float(policies[name][figure])

    calls = {name: int(policies[name]["incremental_calls"]) for name in policies}
    best_name = max(("always+own", "backoff"), key=value)
    affordable = [name for name in ("adaptive", *SWEEP) if calls[name] <= 0.15 * calls["every:2"]]
    best_affordable = max(affordable, key=value)
    return [
        *(
            judged(
                f"{log}: {what} / {baseline}",
                value("adaptive") / value(baseline),
                "ratio",
                low=low,
                conditions=f"{value('adaptive'):.4f} / {value(baseline):.4f}",
            )
            for baseline, low in (("every:2", 1.1), ("popular", 1.0), ("backoff", 0.99))
        ),
        judged(
            f"{log}: {what} / the better of always+own and backoff, at 15 % of every:2's calls",
            value(best_affordable) / value(best_name),
            "ratio",
            low=0.97,
            conditions=f"{best_affordable} at {calls[best_affordable]:,} / {best_name} at {calls[best_name]:,}",
        ),
        *(_above_curve(f"{log}: {what}", figure, calls, policies) for calls in ("incremental_calls", "llm_calls")),
    ]


def _above_curve(name: str, figure: str, calls: str, policies: Standings) -> Verdict:
    """Count the baselines that lie above what adaptive reaches at some price with as many calls."""
    curve = [policies[each] for each in ("adaptive", *SWEEP)]
    above = [
        f"{each} ({policies[each][figure]:.4f} at {policies[each][calls]:,})"
        for each in BASELINES
        if policies[each][figure]
        > max((point[figure] for point in curve if point[calls] <= policies[each][calls]), default=0.0)
    ]
    return judged(
        f"{name}: baselines above adaptive's curve over {calls.replace('_', ' ').replace('llm', 'all')}",
        len(above),
        "",
        high=0,
        conditions="; ".join(above) or f"{len(BASELINES)} baselines, {len(SWEEP) + 1} prices",
    )
