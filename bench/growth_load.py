"""One load of `bench.growth`: a worker over a broker in memory."""

from __future__ import annotations

import re
import resource
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.growth_input import Load
from stream.bad_share import BadShare
from stream.broker import Assignee, Fetched, NoDeadLetters, PartitionRecords
from stream.database import Database
from stream.decoding.columns import DecodeOptions
from stream.decoding.engagement import PositiveRule
from stream.decoding.messages import MessageDecoder
from stream.gate import PatientGate
from stream.group.options import GroupOptions
from stream.group.worker import GroupWorker
from stream.pane_merge import parts_of
from stream.predictions import Predictions, no_predictions
from stream.sequences import SequenceOptions
from stream.shard import Shard, ShardOptions
from stream.shard_store import ShardStore, join_run
from stream.shared_codes import ShardCodes, SharedCodes
from stream.sources.collection import collection_paused
from stream.warm_up import load_kernels
from stream.worlds.draws import pick, zipf_cdf
from tidegate.allocation import return_large_blocks
from tidegate.clock import SystemClock
from tidegate.counts import bucket_of_key

RUN, TOPIC, N_DAYS, SEED, BATCH, FETCH = "bench", "watches", 5, 7, 50_000, 10_000
DAY_MS, FIRST_SECONDS, LAG_SECONDS = 86_400_000, 1_704_067_200, 3_600


class MemoryBroker:
    """Makes messages as they are asked for, and keeps account of the time that takes."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._rng = np.random.default_rng(SEED)
        self._cdf = zipf_cdf(load.n_clusters)
        self._next = np.zeros(load.n_partitions, np.int64)
        self.n_made, self._turn = 0, 0
        self.seconds = 0.0

    @property
    def ends(self) -> dict[int, int]:
        """Where each partition ends."""
        share = -(-self._load.n_events // self._load.n_partitions)
        return dict.fromkeys(range(self._load.n_partitions), share)

    def poll(self, assignee: Assignee) -> Fetched:
        """Hand out partitions at first, then of some of them what the client fetches at once: about a megabyte each."""
        started = time.perf_counter()
        if not self.n_made:
            assignee.on_assigned(range(self._load.n_partitions))
        fetched = []
        for _ in range(min(BATCH // FETCH, self._load.n_partitions)):
            partition = self._turn = (self._turn + 1) % self._load.n_partitions
            n = min(FETCH if self._load.n_partitions > 1 else BATCH, self.ends[0] - int(self._next[partition]))
            fetched += [self._records(partition, n)] if n else []
            self.n_made += n
        self.seconds += time.perf_counter() - started
        return Fetched(fetched)

    def _records(self, partition: int, n: int) -> PartitionRecords:
        load, first = self._load, int(self._next[partition])
        self._next[partition] += n
        users = self._rng.integers(0, load.n_users, n) // load.n_partitions * load.n_partitions + partition
        clusters = pick(self._cdf, self._rng.random(n))
        times = FIRST_SECONDS + (first + np.arange(n)) * (N_DAYS * 86_400) // self.ends[partition]
        times -= LAG_SECONDS * (self._rng.random(n) < load.late_share)
        engagement = self._rng.integers(350, 1_000, n)
        message = b'{"user_id": "u%07d", "category": "interest-%03d", "timestamp": %d, "engagement": 0.%03d}'
        columns = (column.tolist() for column in (users, clusters, times, engagement))
        values = [message % record for record in zip(*columns, strict=True)]
        return PartitionRecords(partition, values, np.arange(first, first + n))

    def start_of(self, partition: int, stored: int | None) -> int:
        """Begin where the store says."""
        return stored or 0

    def pause(self, partitions: Iterable[int]) -> None:
        """Nothing is paused: there is no gate."""

    def resume(self, partitions: Iterable[int]) -> None:
        """Nothing was paused."""

    def mirror(self, offsets: Mapping[int, int]) -> None:
        """Nobody looks."""

    def close(self, assignee: Assignee) -> None:
        """Give everything back."""
        assignee.on_revoked(range(self._load.n_partitions))


class _NothingServes:
    def first_pane(self) -> int | None:
        return None

    def after(self, _pane: int) -> Predictions | None:
        return None

    def latest(self) -> Predictions:
        return no_predictions()


def count_load(load: Load) -> dict[str, Any]:
    """Count a load to its end; returns its rate, the store's size, and how many distinct triples it held."""
    return_large_blocks()  # as `tidegate worker` does
    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder) / "runs.db")
        broker = MemoryBroker(load)
        worker = _worker(load, database, broker)
        written_before = _written_bytes()
        started = time.perf_counter()
        with collection_paused():
            while not worker.has_ended:
                worker.step()
        seconds = time.perf_counter() - started - broker.seconds
        worker.close()
        written_bytes = _written_bytes() - written_before
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024
        triples = _n_triples(database)
        database.close()
        store_bytes = sum(path.stat().st_size for path in Path(folder).iterdir())
    rate = broker.n_made / seconds
    sizes = {"store_bytes": store_bytes, "written_bytes": written_bytes, "triples": triples}
    return {"rate": rate, "peak_mib": peak_mib, **sizes}


def _written_bytes() -> int:
    """Bytes that this process has written so far, to files, that is."""
    return int(re.findall(r"wchar: (\d+)", Path("/proc/self/io").read_text())[0])


def _worker(load: Load, database: Database, broker: MemoryBroker) -> GroupWorker:
    join_run(database, RUN, TOPIC, "{}", load.n_partitions)
    clock, codes = SystemClock(), SharedCodes(database, RUN)
    sequences = SequenceOptions(pane_ms=DAY_MS, window_ms=3 * DAY_MS, gap_ms=DAY_MS)
    options = ShardOptions(sequences, lateness_ms=300_000)
    rule = PositiveRule.parse("engagement >= 0.5")
    decoding = DecodeOptions("user_id", None, "category", "timestamp", positive=rule)
    load_kernels(MessageDecoder(decoding, clock).decode, decoding, sequences)
    return GroupWorker(
        broker,
        lambda partition: Shard(ShardStore(database, RUN, partition), [partition], options, ShardCodes(codes), TOPIC),
        MessageDecoder(decoding, clock, explains_all=True),
        PatientGate(_NothingServes(), clock, 0.0),
        NoDeadLetters(),
        BadShare(1.0),
        lambda: None,
        clock,
        GroupOptions(TOPIC, until_end=broker.ends),
    )


def _n_triples(database: Database) -> int:
    """Count distinct transitions over all panes, whoever made them."""
    first = FIRST_SECONDS * 1_000 // DAY_MS
    with database.reading() as connection:
        keys = [parts_of(connection, RUN, pane).keys for pane in range(first, first + N_DAYS)]
    return int(np.unique(np.concatenate([of_pane - bucket_of_key(of_pane) for of_pane in keys])).shape[0])
