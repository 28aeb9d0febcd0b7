"""What was seen of the stack, pane by pane, and whether it is the story that was to be told."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import fmean

from rich.table import Table

from tests.stack.processes import StackError
from tests.stack.scene import PRODUCER, Scene
from tidegate.cli.records import PaneRecord, decode_record

LEAST_DIP = 0.9
"""Share of the hit rate before, below which the drift must have brought it to count as one."""
LEAST_RECOVERY = 0.9
_DAY_MS = 86_400_000


@dataclass(frozen=True)
class Story:
    """What a run of the stack came to.

    Attributes
    ----------
    drift_ms : int                   midnight at which the planted drift sets in
    before, dip, after : float       next-hit rate: mean of the panes before, the lowest since, the last
    n_refreshes, n_rows, n_calls     since the drift: orders carried out, rows changed by them, rows asked for
    version_before, version : int    table versions at the drift and at the end
    """

    drift_ms: int
    before: float
    dip: float
    after: float
    n_refreshes: int
    n_rows: int
    n_calls: int
    version_before: int
    version: int

    @property
    def holds(self) -> bool:
        """Whether drift was felt, answered, and made good."""
        is_felt = self.dip < LEAST_DIP * self.before
        is_answered = self.version > self.version_before and self.n_refreshes > 0
        return is_felt and is_answered and self.after >= LEAST_RECOVERY * self.before


def records_of(scene: Scene) -> list[PaneRecord]:
    """Panes that are recorded so far, in order."""
    return [decode_record(body) for _, body in sorted(scene.ledger.records().items())]


def watch(scene: Scene, seconds: float, tell: Callable[[PaneRecord], None] = lambda _: None) -> list[PaneRecord]:
    """Wait until the producer has ended and every pane that can close is recorded.

    The last day never closes: nothing comes after it.

    Raises
    ------
    StackError
        If a process fails, or it takes longer.
    """
    deadline = time.monotonic() + seconds
    n_told = 0
    while True:
        scene.processes.check()
        records = records_of(scene)
        for record in records[n_told:]:
            tell(record)
        n_told = len(records)
        if scene.processes.has_ended(PRODUCER) and n_told >= scene.pace.days - 1:
            return records
        if time.monotonic() > deadline:
            tails = "\n".join(f"--- {name}\n{scene.processes.log_tail(name)}" for name in ("worker-1", "control"))
            raise StackError(f"{n_told} of {scene.pace.days - 1} panes within {seconds:.0f} s\n{tails}")
        time.sleep(0.25)


def story_of(scene: Scene, records: Sequence[PaneRecord]) -> Story:
    """Sum up what the panes say of the planted drift."""
    drift = json.loads(scene.truth.read_text(encoding="utf-8"))["drifts"][0]
    drift_ms = int(datetime.fromisoformat(drift["start"]).timestamp() * 1_000)
    scored = [(record, record.report.hit_rate_next) for record in records if record.report is not None]
    before = [rate for record, rate in scored if rate is not None and record.window_end_ms <= drift_ms]
    since = [rate for record, rate in scored if rate is not None and record.window_end_ms > drift_ms]
    results = [record.result for record in records if record.result is not None and record.window_end_ms > drift_ms]
    versions = [record.table_version or 0 for record in records if record.window_end_ms <= drift_ms]
    return Story(
        drift_ms,
        fmean(before),
        min(since),
        since[-1],
        sum(result.outcome == "completed" for result in results),
        sum(result.rows_changed for result in results),
        sum(result.llm_calls for result in results),
        versions[-1],
        records[-1].table_version or 0,
    )


def table_of(records: Sequence[PaneRecord], drift_ms: int) -> Table:
    """Lay the panes out, one a line."""
    table = Table(title="What was seen, by day")
    for head in ("day", "next-hit rate", "drift", "flagged pairs", "decided", "calls", "rows changed", "version"):
        table.add_column(head, justify="left" if head in {"day", "decided"} else "right")
    for record in records:
        is_first_drifted = record.window_end_ms == drift_ms + _DAY_MS
        table.add_row(*cells_of(record), style="bold" if is_first_drifted else None)
    return table


def cells_of(record: PaneRecord) -> list[str]:
    """One pane in words."""
    report, result = record.report, record.result
    day = datetime.fromtimestamp(record.window_end_ms / 1_000 - 1, UTC).date().isoformat()
    decided = "nothing" if record.decision is None or record.decision.order is None else "refresh"
    return [
        day,
        "" if report is None or report.hit_rate_next is None else f"{report.hit_rate_next:.3f}",
        "" if report is None or report.drift_traffic_mean is None else f"{report.drift_traffic_mean:.3f}",
        "" if report is None else str(report.flagged_pairs),
        decided if result is None else f"{result.trigger.value}: {result.outcome}",
        "" if result is None else f"{result.llm_calls:,}",
        "" if result is None else f"{result.rows_changed:,}",
        "" if record.table_version is None else str(record.table_version),
    ]
