"""``tidegate study``: what the paper measured on its log, measured on yours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np
from rich.console import Console

from monitoring.study_terminal import print_study
from stream.study.windows import StudiedLog
from tidegate.cli.arm_options import ArmRequest, arm_options, arm_request, take_arm_flags
from tidegate.cli.engine_keeper import open_keeper
from tidegate.cli.log_reading import read_log
from tidegate.cli.options import given_flags, settings_options
from tidegate.cli.run import require_folders
from tidegate.cli.stream_settings import drift_options, sequence_options
from tidegate.cli.studying import Study
from tidegate.cli.watching import Bars
from tidegate.config import RunSettings, load_settings
from tidegate.counts import pair_of_key
from tidegate.files import write_atomically

_LEFT_OUT = (
    *("home", "policy", "horizon_windows", "confidence_z", "cooldown_panes", "max_calls", "max_calls_per_day"),
    *("backoff", "top_n", "keep_versions", "tables", "publish_topic", "checkpoint_records", "chunk_rows", "detector"),
    *("follow", "from_earliest", "serve", "host", "port", "expose"),
)
_SHOWN = ("engine", "pane", "window", "gap", "positive", "dedup", "allow_return", "min_support", "seed")


@click.command("study")
@settings_options(*_LEFT_OUT)
@arm_options
@click.option("--config", type=click.Path(path_type=Path), help="TOML file with the same keys.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write all figures here.")
@click.option("--html", "html_path", type=click.Path(path_type=Path), help="Write a report with plots here.")
def study_command(config: Path | None, json_path: Path | None, html_path: Path | None, **flags: Any) -> None:
    """Repeat the paper's studies on a log: how fast interests drift, what refreshes bring, what the model adds.

    Nothing is kept but the files that are asked for; a model is trained on the first window unless one is given. With
    --arms, fine-tunes, retrieval and both are played over the log, with what they cost in seconds of a GPU.
    """
    of_arms = take_arm_flags(flags)
    settings: RunSettings = load_settings(given_flags(flags), config)
    arms = arm_request(of_arms)
    require_folders({"--json": json_path, "--html": html_path})
    with Bars(Console(stderr=True)) as bars:
        summary = study(settings, bars, arms)
    if json_path is not None:
        write_atomically(json_path, msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n")
    if html_path is not None:
        from monitoring.study_report import write_study  # loads matplotlib

        write_study(html_path, summary)
    print_study(Console(), summary)


def study(settings: RunSettings, bars: Bars, arms: ArmRequest | None = None) -> dict[str, Any]:
    """Study a log; returns what ``--json`` writes.

    Parameters
    ----------
    arms : ArmRequest, optional    to be played; None plays none

    Raises
    ------
    RequestError
        If the log is too short for two windows, or holds no transition, or arms cannot be played with such settings.
    SourceError
        If the log cannot be read, or holds no positive watch.
    EngineError
        If the model cannot be trained or opened.
    """
    sequences = sequence_options(settings)
    if arms is not None:
        arms.require_possible(settings, sequences.pane_ms)
    open_keeper(settings, "study")  # refuses an engine that there is none of, before the log is read
    log, source = read_log(settings, bars)
    studied = StudiedLog.of_log(log, sequences)
    keys = np.concatenate([pane.keys for pane in studied.panes])
    about = {name: getattr(settings, name) for name in _SHOWN}
    return {
        "source": source,
        **about,
        "events": sum(log.outcomes.values()),
        "outcomes": {str(outcome): n for outcome, n in log.outcomes.items()},
        "clusters": len(log.cluster_names),
        "transitions": sum(pane.total for pane in studied.panes),
        "pairs": int(np.unique(pair_of_key(keys)).shape[0]),
        "panes": log.n_panes,
        "windows": len(studied.windows),
        **Study(studied, drift_options(settings), settings, arms).figures(bars.on_training, bars.on_panes),
    }
