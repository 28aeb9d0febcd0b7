"""File to counts on one core: events a second of each stage and of all of them, and the peak memory.

``python -m bench.counts [--quick]``. The log is Parquet with 761 clusters and 200,000 users in three shapes:

- ``sessions``: visits of minutes, as `stream.worlds` makes them; the gap is half an hour
- ``random``: every event is any user's, so that no two neighbours share a cache line; the gap is a day
- ``heavy``: the same, but users are drawn by Zipf's law and sequences never close: the longest hold all clusters
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.processes import measure, python
from bench.table import Figure, publish

N_CLUSTERS, N_USERS, N_DAYS, FULL_EVENTS = 761, 200_000, 14, 3_000_000
GAPS_MS = {"sessions": 1_800_000, "random": 86_400_000, "heavy": None}
DAY_MS = 86_400_000
RATE_GOAL, PEAK_GOAL = ">= 1,000,000", "<= 1,024"
SEED = 7


def main() -> None:
    """Measure every shape in processes of their own and publish the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.counts", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the events, one repetition")
    parser.add_argument("--stage", nargs=4, metavar=("STAGE", "SHAPE", "LOG", "N"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.stage:
        stage, shape, log, n = given.stage
        print(json.dumps(STAGES[stage](shape, Path(log), int(n))))
        return
    n_events, n_repetitions = (300_000, 1) if given.quick else (FULL_EVENTS, 5)
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        for shape in GAPS_MS:
            figures += _measure_shape(shape, Path(folder) / f"{shape}.parquet", n_events, n_repetitions)
    publish("counts", figures)


def _measure_shape(shape: str, log: Path, n_events: int, n_repetitions: int) -> list[Figure]:
    def run(stage: str, n: int) -> tuple[dict[str, Any], float]:
        measured = measure(python("-m", "bench.counts", "--stage", stage, shape, str(log), str(n)), one_core=True)
        return json.loads(measured.output), measured.peak_mib

    run("write", n_events)
    alone, _ = run("alone", n_repetitions)
    full, peak_mib = run("full", n_repetitions)
    of = f"1 core, {full['n_events']:,} events, {N_CLUSTERS} clusters, {full['n_users']:,} users"
    median = f"median of {n_repetitions}" if n_repetitions > 1 else "one run"
    # With a tenth of the events a pane, the state that each pane's end writes down weighs ten times as much.
    rate_goal = RATE_GOAL if n_events == FULL_EVENTS else ""
    return [
        Figure(f"{shape}: decode", alone["decode"], "events/s", "", f"{of}; alone, {median}"),
        Figure(f"{shape}: sequences", alone["sequences"], "positives/s", "", f"kernel and its shell, {median}"),
        Figure(f"{shape}: counts", alone["counts"], "transitions/s", "", f"sort and count, pane by pane, {median}"),
        Figure(f"{shape}: file to counts", full["rate"], "events/s", rate_goal, f"{of}, store on disk, warm, {median}"),
        Figure(f"{shape}: peak memory", peak_mib, "MiB", PEAK_GOAL, "of the process that does all, imports included"),
    ]


def _write(shape: str, log: Path, n_events: int) -> dict[str, Any]:
    """Make the log; in a process of its own, so that its memory counts for nobody."""
    if shape == "sessions":
        from stream.worlds import World, write_log

        # A session has 5.5 positive watches on average, and noise for every 17 of 20.
        per_day = round(n_events / N_DAYS / (5.5 / 0.85))
        world = World("flat", n_clusters=N_CLUSTERS, n_users=N_USERS, days=N_DAYS, sessions_per_day=per_day, seed=SEED)
        return {"n_events": write_log(world, log)}
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from stream.worlds.draws import pick, zipf_cdf

    rng = np.random.default_rng(SEED)
    users = rng.integers(0, N_USERS, n_events)
    if shape == "heavy":
        users = pick(zipf_cdf(N_USERS), rng.random(n_events))
    clusters = pick(zipf_cdf(N_CLUSTERS), rng.random(n_events))
    names = pa.array([f"interest-{cluster:03d}" for cluster in range(N_CLUSTERS)])
    times = np.sort(rng.integers(0, N_DAYS * DAY_MS // 1_000, n_events)) + 1_704_067_200
    engagement = rng.random(n_events, np.float32) / 2 + np.float32(0.5) * (rng.random(n_events) >= 0.15)
    columns = {"user_id": users, "category": names.take(pa.array(clusters)), "timestamp": times}
    pq.write_table(pa.table({**columns, "engagement": engagement.astype(np.float32)}), log)
    return {"n_events": n_events}


def _source(log: Path) -> Any:
    import pyarrow as pa

    from stream.decoding.columns import DecodeOptions
    from stream.decoding.engagement import PositiveRule
    from stream.sources import open_source
    from tidegate.clock import SystemClock

    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    return open_source(log, DecodeOptions(positive=PositiveRule.parse("engagement >= 0.5")), SystemClock())


def _options(shape: str) -> Any:
    from stream.sequences import SequenceOptions

    return SequenceOptions(DAY_MS, 3 * DAY_MS, gap_ms=GAPS_MS[shape])


def _run_alone(shape: str, log: Path, n_repetitions: int) -> dict[str, Any]:
    """Time decoding, sequencing and counting one after the other, each on what the one before it made."""
    import numpy as np

    from stream.predictions import no_predictions
    from stream.sequences import SequenceState
    from stream.shard import count_keys

    batches = list(_source(log).batches({}))
    n_events = sum(batch.n_records for batch in batches)
    n_positives = sum(batch.users.shape[0] for batch in batches)

    def sequence() -> list[Any]:
        state = SequenceState(_options(shape))
        return [state.extend(b.users, b.clusters, b.times_ms, no_predictions()) for b in batches]

    keys = np.concatenate(sequence())
    panes = np.array_split(keys, N_DAYS)
    return {
        "decode": n_events / _seconds(lambda: list(_source(log).batches({})), n_repetitions),
        "sequences": n_positives / _seconds(sequence, n_repetitions),
        "counts": keys.shape[0] / _seconds(lambda: [count_keys([pane]) for pane in panes], n_repetitions),
    }


def _run_full(shape: str, log: Path, n_repetitions: int) -> dict[str, Any]:
    """Time the stream worker from the file to the committed counts of every pane."""
    workers: list[Any] = []

    def work() -> None:
        workers[:] = [_work(shape, log)]

    work()  # loads kernels, and the file into the page cache
    seconds = _seconds(work, n_repetitions)
    n_events = sum(workers[0].outcomes.values())
    return {"rate": n_events / seconds, "n_events": n_events, "n_users": workers[0].sequences.n_users}


def _work(shape: str, log: Path) -> Any:
    from stream.closing import PaneClosing
    from stream.predictions import Predictions, no_predictions
    from stream.shard import ShardOptions
    from stream.store import RunStore
    from stream.worker import StreamWorker

    with tempfile.TemporaryDirectory(dir=log.parent) as home:
        store = RunStore(Path(home) / "runs.db", str(log), "{}")
        worker = StreamWorker(_source(log), store, ShardOptions(_options(shape)))

        def record(closed: PaneClosing) -> Predictions:
            store.record_pane(closed.pane, b"{}")
            return no_predictions()

        assert worker.run(record, no_predictions())
        store.finish()
        store.close()
    return worker


def _seconds(work: Callable[[], object], n_repetitions: int) -> float:
    def once() -> float:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    return statistics.median(once() for _ in range(n_repetitions))


STAGES: dict[str, Callable[[str, Path, int], dict[str, Any]]] = {
    "write": _write,
    "alone": _run_alone,
    "full": _run_full,
}

if __name__ == "__main__":
    main()
