"""Real logs through sources, worker and store, against a recount that reads the file with Python's csv module."""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from stream.closing import PaneClosing
from stream.decoding.columns import DecodeOptions
from stream.decoding.engagement import PositiveRule
from stream.events import Outcome
from stream.predictions import Predictions, no_predictions
from stream.sequence_kernel import SEQUENCES, TRANSITIONS
from stream.sequences import SequenceOptions
from stream.shard import ShardOptions
from stream.sources import open_source
from stream.store import RunStore
from stream.worker import StreamWorker
from tests.reference import Recount, Rules, Watch, recount
from tidegate.clock import SystemClock
from tidegate.counts import pair_of_key, successor_of_key, unpack_pairs

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Log:
    """A log and the flags that it is read with."""

    name: str
    n_events: int
    rules: Rules
    least_engagement: float | None = None


LOGS = (
    Log("kuairand_pure", 226_277, Rules(DAY_MS, 3 * DAY_MS, gap_ms=DAY_MS), least_engagement=0.5),
    Log("foursquare_nyc", 113_344, Rules(7 * DAY_MS, 28 * DAY_MS, gap_ms=DAY_MS)),
    Log("movietweetings", 141_632, Rules(7 * DAY_MS, 28 * DAY_MS)),
)


def _by_csv_module(log: Log, path: Path) -> tuple[Recount[str], int]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        watches = [
            Watch(row["user_id"], row["category"], 1_000 * int(row["timestamp"]))
            for row in csv.DictReader(file)
            if log.least_engagement is None or float(row["engagement"] or "nan") >= log.least_engagement
        ]
    watches.sort(key=lambda watch: watch.time_ms)
    return recount(watches, log.rules), len(watches)


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.name)
def test_a_real_log_is_counted_to_the_last_transition(real_logs: Path, tmp_path: Path, log: Log) -> None:
    path = real_logs / log.name / "events.csv.gz"
    positive = None if log.least_engagement is None else f"engagement >= {log.least_engagement}"
    options = DecodeOptions(positive=PositiveRule.parse(positive) if positive else None)
    sequences = SequenceOptions(log.rules.pane_ms, log.rules.window_ms, gap_ms=log.rules.gap_ms)
    store = RunStore(tmp_path / "store.db", str(path), "{}")
    # Small enough that some commits fall within panes.
    worker = StreamWorker(
        open_source(path, options, SystemClock()), store, ShardOptions(sequences), checkpoint_records=10_000
    )
    closed: list[PaneClosing] = []

    def record(pane: PaneClosing) -> Predictions:
        closed.append(pane)
        store.record_pane(pane.pane, b"")
        return no_predictions()

    assert worker.run(record, no_predictions())
    expected, n_positive = _by_csv_module(log, path)
    assert sum(worker.outcomes.values()) == log.n_events
    assert worker.outcomes.get(Outcome.COUNTED) == n_positive
    assert worker.outcomes.get(Outcome.NEGATIVE, 0) == log.n_events - n_positive
    assert [pane.is_last for pane in closed] == [False] * (len(closed) - 1) + [True]
    names = store.cluster_names()
    counts: Counter[tuple[int, str, str, str]] = Counter()
    for pane in closed:
        part = store.counts(pane.pane, pane.pane)
        c1, c2 = unpack_pairs(pair_of_key(part.keys))
        columns = (c1, c2, successor_of_key(part.keys), part.counts)
        for a, b, c, n in zip(*(column.tolist() for column in columns), strict=True):
            counts[pane.pane, names[a], names[b], names[c]] += n
    assert counts == expected.counts
    for figure in (TRANSITIONS, SEQUENCES):
        stored = {pane: int(row[figure]) for pane, row in store.stats().items() if row[figure]}
        assert stored == {pane: row[figure] for pane, row in expected.figures.items() if row[figure]}
    store.close()
