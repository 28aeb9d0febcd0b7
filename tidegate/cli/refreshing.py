"""Carrying a plan out: the engine (trained before, where it has no weights yet), the rows, the new table version."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from refresh.bulk import BulkOptions
from refresh.policies.plan import reason_counts, within_codebook
from refresh.refresher import Refresher
from refresh.row_cache import RowCache
from refresh.table_store import TableStore
from tidegate.cli.deciding import Planned
from tidegate.cli.engine_keeper import EngineKeeper
from tidegate.cli.measuring import Measuring
from tidegate.cli.records import PaneRecord
from tidegate.clock import Clock
from tidegate.contracts import RefreshResult


@dataclass(frozen=True, slots=True)
class Refreshing:
    """The engine of a run, what it has answered before, and where tables are published."""

    measuring: Measuring
    engines: EngineKeeper
    cache: RowCache
    tables: TableStore
    clock: Clock
    top_n: int
    keep_versions: int
    bulk: BulkOptions = field(default_factory=BulkOptions)

    def execute(
        self, record: PaneRecord, planned: Planned, on_rows: Callable[[int, int], None] | None = None
    ) -> RefreshResult:
        """Carry `planned` out. Doing it again costs no second call and publishes nothing twice.

        Parameters
        ----------
        on_rows : called with the rows that were answered so far, and the rows that were asked for
        """
        started, version = self.clock.monotonic_seconds(), record.table_version
        names, window = self.measuring.reader.cluster_names(), self.measuring.window(record.pane)
        engine = self.engines.engine(names, window, record.pane, record.model)
        plan = within_codebook(planned.plan, engine.prompts.codebook.capacity)
        refreshed = Refresher(engine, self.cache, top_n=self.top_n, bulk=self.bulk).execute(
            plan,
            planned.table,
            table_version=version or 0,
            pane=record.pane,
            window_end_ms=record.window_end_ms,
            on_progress=on_rows,
        )
        if version is None or refreshed.table.content_checksum() != planned.table.content_checksum():
            version = self.tables.publish(
                refreshed.table,
                window_end_ms=record.window_end_ms,
                trigger=refreshed.result.trigger,
                reasons=reason_counts(plan),
                engine_name=engine.name,
                engine_fingerprint=engine.fingerprint,
            )
            self.tables.retain(self.keep_versions)
        return msgspec.structs.replace(
            refreshed.result,
            table_version=version,
            model=self.engines.model,
            rows_beyond_codebook=int(plan.inputs.get("rows_beyond_codebook") or 0),
            duration_seconds=self.clock.monotonic_seconds() - started,
        )
