"""What a worker exports, put together whenever it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry

from monitoring.worker_metrics import WorkerMetrics, WorkerState
from stream.events import Outcome
from stream.group.worker import GroupWorker
from stream.sequence_kernel import HITS_NEXT, HITS_SEQUENCE, SCORED, SEQUENCES, TRANSITIONS
from stream.sources.kafka_group import KafkaGroup
from tidegate.cli.roles import Role


class CommitDurations:
    """Passes on how long commits took, once there is someone to tell."""

    def __init__(self) -> None:
        self.metrics: WorkerMetrics | None = None

    def __call__(self, seconds: float) -> None:
        """Take one commit's time."""
        if self.metrics is not None:
            self.metrics.commit_duration.observe(seconds)


@contextmanager
def exporting_worker(role: Role, worker: GroupWorker, group: KafkaGroup, commits: CommitDurations) -> Iterator[None]:
    """Export a worker's metrics while it works, where its settings ask for it."""
    registry = CollectorRegistry()
    commits.metrics = WorkerMetrics(registry, lambda: worker_state(worker, group, role.clock.now_ms()))
    role.pulse.patiences.append(worker.patience)
    with role.exporting(registry, "worker"):
        yield


def worker_state(worker: GroupWorker, group: KafkaGroup, now_ms: int) -> WorkerState:
    """Put together where a worker stands; asked by the thread that answers a scrape."""
    figures, standing = worker.figures, worker.standing()
    stats = figures.stats.tolist()
    behind_ms = standing.behind_ms
    return WorkerState(
        outcomes=dict.fromkeys(map(str, Outcome), 0) | figures.outcomes,
        transitions=stats[TRANSITIONS],
        sequences=stats[SEQUENCES],
        scored=stats[SCORED],
        hits={"next": stats[HITS_NEXT], "sequence": stats[HITS_SEQUENCE]},
        batches=figures.n_batches,
        commits=figures.n_commits,
        fenced=figures.n_fenced,
        takeovers=figures.n_takeovers,
        dead_letters=figures.n_dead_letters,
        partitions=len(standing.positions),
        paused=standing.n_paused,
        idle=standing.n_idle,
        n_waiting=standing.n_waiting,
        checkpoint_seconds=standing.uncommitted_seconds,
        lag_records=group.lag_records(standing.positions),
        lag_seconds=0.0 if behind_ms is None else max(0.0, (now_ms - behind_ms) / 1_000),
        watermark_ms=standing.watermark_ms,
        now_ms=now_ms,
    )
