"""``tidegate evaluator``: closes complete panes and reports their drift."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from prometheus_client import CollectorRegistry

from monitoring.pane_metrics import PaneMetrics
from stream.closing import PaneCloser
from stream.drift_board import DriftBoard
from tidegate.cli.evaluating import Evaluator
from tidegate.cli.history import reach_panes
from tidegate.cli.observing import PaneWatch
from tidegate.cli.options import given_flags, settings_options
from tidegate.cli.roles import Role, advance_until_over, open_role, show_log
from tidegate.cli.stopping import stop_signal
from tidegate.clock import SystemClock
from tidegate.config import load_settings
from tidegate.group_config import GroupSettings


@click.command("evaluator")
@settings_options(kind=GroupSettings)
@click.option("--config", type=click.Path(path_type=Path), help="TOML file with the same keys.")
def evaluator_command(config: Path | None, **flags: Any) -> None:
    """Close panes once all workers have counted them, and report their drift, one report a window.

    Any number may run; each pane is closed and reported once. With --drift-parts they measure a window together. Ends
    when a run that has an end is reported.
    """
    settings = load_settings(given_flags(flags), config, GroupSettings)
    show_log()
    with stop_signal() as stop, open_role(settings, SystemClock(), stop.is_set) as role:
        role.topics.create()
        evaluator = evaluator_of(role)
        metrics = PaneMetrics(CollectorRegistry(), role.clock)
        metrics.show_lengths(role.sequences.pane_ms, role.sequences.window_panes)
        watch = PaneWatch(metrics, role.ledger, role.sequences.pane_ms)
        with role.exporting(metrics.registry, "evaluator"):
            advance_until_over(
                role, stop, evaluator.advance, lambda: role.ledger.state().has_ended, observe=watch.of_evaluator
            )


def evaluator_of(role: Role) -> Evaluator:
    """Put the evaluator together."""
    retention_ms = role.settings.duration_ms("retention")
    closer = PaneCloser(role.database, role.run_id, role.sequences.pane_ms, role.lateness_ms)
    # What the evidence looks back on (window and reference are in it), and a window to spare for whoever lags behind.
    least = reach_panes(role.sequences.window_panes) + role.sequences.window_panes
    retained = None if retention_ms is None else max(least, -(-retention_ms // role.sequences.pane_ms))
    return Evaluator(
        role.ledger,
        closer,
        role.measuring,
        DriftBoard(role.database, role.run_id, role.owner),
        role.clock,
        role.topics.announce,
        role.settings.drift_parts,
        retained,
    )
