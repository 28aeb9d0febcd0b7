"""A run over a synthetic world whose clock goes with the events: its metrics as time series, as a scraper sees them.

The pipeline is the one of ``tidegate run``, put together by the same function, with a clock that is moved by hand and a
log that is read some minutes at a time. Every ten minutes of event time the metrics are collected.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from prometheus_client import CollectorRegistry
from rich.console import Console

from monitoring.metrics import Metrics
from monitoring.role_metrics import RoleMetrics
from stream.sources.parquet import ParquetSource
from stream.worker import BatchAccount
from stream.worlds import write_log
from stream.worlds.world import World
from tidegate.cli import assembly
from tidegate.cli.exporting import Pulse
from tidegate.cli.pipeline import Pipeline
from tidegate.cli.watching import Bars, Watcher
from tidegate.clock import ManualClock
from tidegate.config import RunSettings, load_settings

STEP_SECONDS = 600
_FLAGS = {"pane": "1d", "window": "3d", "gap": "30m", "positive": "engagement >= 0.5", "engine": "frequency",
          "max_ahead": "1000d"}  # fmt: skip
_TARGET = {"job": "tidegate-run", "instance": "simulated:9100", "run": "simulated"}


@dataclass(slots=True)
class Recording:
    """Series by name with labels, one value each ``STEP_SECONDS``; None where there was no sample.

    Attributes
    ----------
    start_s : int                first instant, Unix seconds; time stamps are told from it on
    """

    start_s: int
    n_steps: int = 0
    series: dict[str, list[float | None]] = field(default_factory=dict)

    def take(self, registry: CollectorRegistry, names: frozenset[str]) -> None:
        """Add the instant's samples of `names`."""
        for family in registry.restricted_registry(names).collect():
            for sample in family.samples:
                if sample.name not in names:
                    continue
                value = sample.value - self.start_s if sample.name.endswith("_timestamp_seconds") else sample.value
                labels = {**sample.labels, **_TARGET}
                key = sample.name + "{" + ",".join(f'{name}="{text}"' for name, text in labels.items()) + "}"
                values = self.series.setdefault(key, [])
                values += [None] * (self.n_steps - len(values))
                values.append(value)
        self.n_steps += 1


def record_run(world: World, policy: str, names: frozenset[str], batches_a_day: int) -> Recording:
    """Run over a world and record the series of `names`.

    Parameters
    ----------
    batches_a_day : in which its log is read: what is counted leaps by as much, also in hours of few events, and what
        a batch brings about is seen up to a batch too early
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.parquet"
        n_events = write_log(world, log)
        flags = {**_FLAGS, "source": str(log), "home": Path(folder) / "home", "policy": policy}
        clock = ManualClock(world.start_s * 1_000)
        recording = Recording(world.start_s)
        with _read_in_steps(max(1, n_events // (world.days * batches_a_day))):
            _run(flags, clock, recording, names)
    return recording


def _run(flags: Mapping[str, Any], clock: ManualClock, recording: Recording, names: frozenset[str]) -> None:
    settings: RunSettings = load_settings(flags)
    metrics = Metrics(CollectorRegistry(auto_describe=True), clock)
    pulse = Pulse(clock)
    RoleMetrics(metrics.registry, "run", "simulated", pulse.vitals)
    with assembly.assemble(settings, clock) as made, Bars(Console(quiet=True)) as bars:
        watcher = Watcher(made, metrics, bars, pulse)
        pipeline = Pipeline(made.parts, made.last_record, watcher.on_record)

        def on_batch(batch: BatchAccount) -> None:
            watcher.on_batch(batch)
            for _ in _steps_until(batch.watermark_ms, clock):
                recording.take(metrics.registry, names)

        made.parts.worker.run(pipeline.on_pane, pipeline.resume(), on_batch=on_batch)


def _steps_until(watermark_ms: int | None, clock: ManualClock) -> Iterator[None]:
    """Move the clock on to where event time has come, a step at a time."""
    while watermark_ms is not None and clock.now_ms() + STEP_SECONDS * 1_000 <= watermark_ms:
        yield
        clock.advance_ms(STEP_SECONDS * 1_000)


@contextmanager
def _read_in_steps(batch_records: int) -> Iterator[None]:
    """Let runs read logs a few records at a time: a scraper sees counters grow, not leap."""

    def opened(source: str, options: Any, clock: Any, **_: object) -> ParquetSource:
        return ParquetSource(source, options, clock, batch_records=batch_records)

    replaced: Callable[..., ParquetSource] = partial(opened)
    with mock.patch.object(assembly, "open_source", replaced):
        yield
