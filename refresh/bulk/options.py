"""How bulk inference is done; nothing here changes an answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from refresh.bulk.report import InferenceReport
from tidegate.clock import Clock, SystemClock

CHUNK_ROWS = 4_096


@dataclass(frozen=True, slots=True)
class BulkOptions:
    """Chunks, leases, and who is told.

    Attributes
    ----------
    chunk_rows : int          rows of a shard: what a crash may cost at most, for each worker
    lease_seconds : float     after which the chunk of a worker that died is anybody's; renewed while it works
    poll_seconds : float      between looks at chunks that others work on
    owner : str               this worker, for people who look into the leases
    restarts : bool           give up what an earlier attempt of the order has left
    clock : of leases; workers on several hosts need theirs to agree within a fraction of the lease
    on_begin : called with the folder of an order, once other workers may join in
    on_report : called with what an order's inference took
    """

    chunk_rows: int = CHUNK_ROWS
    lease_seconds: float = 60.0
    poll_seconds: float = 0.5
    owner: str = ""
    restarts: bool = False
    clock: Clock = field(default_factory=SystemClock)
    on_begin: Callable[[Path], None] = lambda _: None
    on_report: Callable[[InferenceReport], None] = lambda _: None
