"""Carrying a plan out: the engine (trained before, where it has no weights yet), the rows, the new table version.

1. Have the rows inferred and the candidate table built (`refresh.refresher`); valid rows are kept whatever comes.
2. Let the gates judge the candidate (`tidegate.cli.gating`). One that fails is kept aside, and nothing else changes.
3. Publish it.

Where something is away for now, a run that goes on for ever must not end: it records that the order failed, the table
goes on serving, and the policy tries again later (`refresh.policies.holding`). A run with an end stops instead, and is
taken up again by the same command.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

import msgspec

from refresh.bulk import BulkOptions
from refresh.descriptions import DescriptionEngine
from refresh.engines import Engine
from refresh.gates import failed
from refresh.policies.plan import Plan, reason_counts, within_codebook
from refresh.refresher import Refreshed, Refresher, order_id_of
from refresh.row_cache import RowCache
from refresh.table_store import TableStore
from refresh.validation import by_output
from tidegate.cli.deciding import Planned
from tidegate.cli.engine_keeper import EngineKeeper
from tidegate.cli.gating import Gating
from tidegate.cli.measuring import Measuring
from tidegate.cli.records import PaneRecord
from tidegate.clock import Clock
from tidegate.contracts import RefreshResult, Trigger
from tidegate.errors import EngineUnavailableError, OrderError, TableError, TableUnavailableError

_LOG = logging.getLogger(__name__)
OnRows = Callable[[int, int], None]
"""Called with the rows that a refresh has had answered so far, and the rows that it asked for."""
_TURNS, _TURN_SECONDS = 10, 1.0
_FOR_NOW = (EngineUnavailableError, OrderError, TableUnavailableError)


@dataclass(frozen=True, slots=True)
class Refreshing:
    """The engine of a run, what it has answered before, what its tables must show, and where they are published.

    Attributes
    ----------
    outlives_failures : bool     record an order that fails for now as such, and go on
    in_hand : () -> context      held while an order is carried out; may give what is told of its rows
    """

    measuring: Measuring
    engines: EngineKeeper
    cache: RowCache
    tables: TableStore
    clock: Clock
    top_n: int
    keep_versions: int
    bulk: BulkOptions = field(default_factory=BulkOptions)
    gating: Gating = field(default_factory=Gating)
    outlives_failures: bool = False
    in_hand: Callable[[], AbstractContextManager[OnRows | None]] = nullcontext

    def execute(self, record: PaneRecord, planned: Planned, on_rows: OnRows | None = None) -> RefreshResult:
        """Carry `planned` out. Doing it again costs no second call and publishes nothing twice.

        Parameters
        ----------
        on_rows : told in place of what `in_hand` gives

        Raises
        ------
        TidegateError
            Whatever kept the order from being carried out; what serves is untouched.
        """
        started = self.clock.monotonic_seconds()
        with self.in_hand() as told:
            try:
                result = self._carried_out(record, planned, on_rows or told)
            except _FOR_NOW as error:
                if not self.outlives_failures:
                    raise
                result = self._failed(record, planned.plan, error)
        return msgspec.structs.replace(result, duration_seconds=self.clock.monotonic_seconds() - started)

    def _carried_out(self, record: PaneRecord, planned: Planned, on_rows: OnRows | None) -> RefreshResult:
        names, window = self.measuring.reader.cluster_names(), self.measuring.window(record.pane)
        engine = self.engines.engine(names, window, record.pane, record.model)
        plan = within_codebook(planned.plan, engine.prompts.codebook.capacity)
        written = _outputs(engine)
        refreshed = Refresher(engine, self.cache, top_n=self.top_n, bulk=self.bulk).execute(  # 1
            plan,
            planned.table,
            table_version=record.table_version or 0,
            pane=record.pane,
            window_end_ms=record.window_end_ms,
            on_progress=on_rows,
        )
        result = msgspec.structs.replace(
            refreshed.result,
            model=self.engines.model,
            rows_beyond_codebook=int(plan.inputs.get("rows_beyond_codebook") or 0),
            faults=by_output(refreshed.result.faults, _outputs(engine) - written),
        )
        is_first = record.table_version is None
        if not is_first and refreshed.table.content_checksum() == planned.table.content_checksum():
            return result
        verdicts = self.gating.judge(record, planned, plan, refreshed, engine, self.measuring, self.tables)  # 2
        with _room_for_tables(self.tables):
            if failed(verdicts):
                number = self.gating.keep_aside(record, plan, refreshed, engine, self.tables, verdicts)
                return msgspec.structs.replace(result, outcome="gate_failed", gates=verdicts, candidate=number)
            version = self._in_turn(lambda: self._published(record, plan, refreshed, engine))  # 3
        return msgspec.structs.replace(result, table_version=version, gates=verdicts)

    def _in_turn(self, publish: Callable[[], int]) -> int:
        """Publish, after others that do: workers that shared an order are done with it at the same time."""
        for _ in range(_TURNS):
            try:
                return publish()
            except TableError as error:
                if type(error) is not TableError:  # damaged, or away: no other publisher
                    raise
                _LOG.info("%s", error)
            self.clock.sleep(_TURN_SECONDS)
        return publish()

    def _published(self, record: PaneRecord, plan: Plan, refreshed: Refreshed, engine: Engine) -> int:
        version = self.tables.publish(
            refreshed.table,
            window_end_ms=record.window_end_ms,
            trigger=refreshed.result.trigger,
            reasons=reason_counts(plan),
            engine_name=engine.name,
            engine_fingerprint=engine.fingerprint,
            template=engine.prompts.template.stamp,
        )
        self.tables.retain(self.keep_versions)
        return version

    def _failed(self, record: PaneRecord, plan: Plan, error: Exception) -> RefreshResult:
        """Say that an order was not carried out, and why. Rows that were inferred on the way are not lost."""
        order_id = order_id_of(plan, record.pane)
        _LOG.warning("order %s failed, table version %s goes on serving: %s", order_id, record.table_version, error)
        return RefreshResult(
            order_id=order_id,
            window_end_ms=record.window_end_ms,
            trigger=plan.order.trigger if plan.order else Trigger.POLICY,
            outcome="failed",
            table_version=record.table_version or 0,
            llm_calls=0,
            reused=0,
            rows_changed=0,
            rows_invalid=0,
            rows_retired=0,
            model=self.engines.model,
            problem=str(error),
        )


def _outputs(engine: Engine) -> Counter[str]:
    """Texts that were no answers, so far, of an engine that reads free text."""
    return Counter(
        {str(fault): n for fault, n in engine.faults.items()} if isinstance(engine, DescriptionEngine) else {}
    )


@contextmanager
def _room_for_tables(tables: TableStore) -> Iterator[None]:
    """Say what it means where a version cannot be written: its rows are kept, and what serves is untouched."""
    try:
        yield
    except OSError as error:
        raise TableUnavailableError(
            f"the table version cannot be written ({error.strerror or error})",
            "Free space or mend the folder's permissions; its rows are kept, and the table that serves is untouched",
            place=str(error.filename or tables.place),
        ) from error
