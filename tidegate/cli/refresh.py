"""``tidegate refresh``: a refresh by hand, estimated before it is begun, resumed when it was interrupted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console

from monitoring.refresh_terminal import print_estimate, print_refresh
from refresh.bulk import BulkOptions
from refresh.policies.by_hand import Rows
from tidegate.cli.by_hand import HandRefresh
from tidegate.cli.engine_keeper import open_keeper
from tidegate.cli.last_window import open_last_window
from tidegate.cli.options import given_flags, settings_options
from tidegate.cli.refresh_bars import RefreshBars
from tidegate.cli.refresh_helpers import helpers
from tidegate.cli.run import require_folders
from tidegate.clock import Clock, SystemClock
from tidegate.config import load_settings
from tidegate.files import write_atomically
from tidegate.group_config import GroupSettings

_LEFT_OUT = (
    *("checkpoint_records", "follow", "serve", "host", "port", "expose"),
    *("group", "instance", "gate", "until_end", "dead_letters", "max_bad_share", "checkpoint_interval", "max_waiting"),
    *("idle_after", "store_patience", "topics", "retention", "drift_parts"),
)
N_PROBE = 1_024
_NOT_SERVED = ("gate_failed", "failed")


@click.command("refresh")
@settings_options(*_LEFT_OUT, kind=GroupSettings)
@click.option("--rows", type=click.Choice(["all", "ordered"]), default="all", show_default=True,
              help="All pairs of the window, or those that --policy would buy now.")  # fmt: skip
@click.option("--run", "run_id", help="Which run is meant, where several counted the source with these flags.")
@click.option("--dry-run", is_flag=True, help="Say what it would take, and write nothing.")
@click.option("--probe", "n_probe", type=click.IntRange(min=0), default=N_PROBE, show_default=True,
              help="Rows that a dry run asks for to measure the rate.")  # fmt: skip
@click.option("--rate", type=click.FloatRange(min=0, min_open=True),
              help="Rows a second to reckon with; the dry run asks for nothing then.")  # fmt: skip
@click.option(
    "--price-per-million-tokens", "token_price", type=click.FloatRange(min=0), help="For the cost of a dry run."
)
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True,
              help="Processes that share the order; each opens the engine for itself.")  # fmt: skip
@click.option("--restart", is_flag=True, help="Give up what an interrupted attempt of the same order has left.")
@click.option("--config", type=click.Path(path_type=Path), help="TOML file with the same keys.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the report, or the estimate, here.")
def refresh_command(
    config: Path | None,
    json_path: Path | None,
    rows: Rows,
    run_id: str | None,
    dry_run: bool,
    n_probe: int,
    rate: float | None,
    token_price: float | None,
    workers: int,
    restart: bool,
    **flags: Any,
) -> int:
    """Refresh the table over the last complete window of a run, or of a log, and publish it.

    Interrupted, the same command goes on where it was; given twice at once, or on hosts that share the home folder,
    the two share the work. Exit code 1 where the table was not published because a gate failed.
    """
    settings = load_settings(given_flags(flags), config, GroupSettings)
    require_folders({"--json": json_path})
    open_keeper(settings, "refresh")  # refuses an engine that there is none of, before the log is read
    clock, bulk = SystemClock(), BulkOptions(chunk_rows=settings.chunk_rows, restarts=restart)
    with RefreshBars(Console(stderr=True)) as bars:
        if dry_run:
            found = estimate(
                settings, clock, bars, rows, bulk, run_id=run_id, n_probe=n_probe, rate=rate, token_price=token_price
            )
        else:
            found = refresh(settings, clock, bars, rows, bulk, run_id=run_id, n_workers=workers)
    if json_path is not None:
        write_atomically(json_path, msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
    (print_estimate if dry_run else print_refresh)(Console(), found)
    return int(found.get("outcome") in _NOT_SERVED)


def estimate(
    settings: GroupSettings,
    clock: Clock,
    bars: RefreshBars,
    rows: Rows,
    bulk: BulkOptions,
    *,
    run_id: str | None = None,
    n_probe: int = N_PROBE,
    rate: float | None = None,
    token_price: float | None = None,
) -> dict[str, Any]:
    """Say what a refresh would take; nothing is written, and no more than the probe is asked for.

    Raises
    ------
    TidegateError
        If the window or the engine cannot be opened.
    """
    with open_last_window(settings, run_id, bars, clock) as window:
        hand = HandRefresh(settings, clock, window, rows, bulk, bars.on_training)
        found = hand.estimate(
            hand.plan(), n_probe=0 if rate else n_probe, rows_per_second=rate, token_price=token_price
        )
    return {"is_dry_run": True, **found}


def refresh(
    settings: GroupSettings,
    clock: Clock,
    bars: RefreshBars,
    rows: Rows,
    bulk: BulkOptions,
    *,
    run_id: str | None = None,
    n_workers: int = 1,
) -> dict[str, Any]:
    """Carry a refresh out; returns the report.

    Raises
    ------
    TidegateError
        If it fails; what serves is untouched.
    """
    with open_last_window(settings, run_id, bars, clock) as window:
        opened: list[tuple[Any, ...]] = []
        with helpers(n_workers - 1, lambda: opened[0]) as start:

            def begin(folder: Path) -> None:
                opened.append(hand.helper_arguments(order))
                start(folder)

            hand = HandRefresh(
                settings, clock, window, rows, replace(bulk, on_begin=begin if n_workers > 1 else bulk.on_begin),
                bars.on_training,
            )  # fmt: skip
            order = hand.plan()
            return {"is_dry_run": False, **hand.execute(order, bars.on_rows)}
