"""A refresh by hand: the rows a person orders over the last complete window, estimated or carried out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from refresh.bulk import BulkOptions, InferenceReport
from refresh.bulk.estimate import Estimate, Probe, estimate_order, probe_rows
from refresh.engines import Engine
from refresh.engines.model_files import MANIFEST
from refresh.policies.by_hand import Rows, open_by_hand
from refresh.policies.plan import Plan, within_codebook
from refresh.refresher import contexts_of, order_id_of
from refresh.row_cache import RowCache
from refresh.row_key import row_keys
from refresh.table import TransitionTable
from refresh.table_diff import share_catalogue
from refresh.table_place import open_tables
from refresh.table_store import TableStore
from tidegate.cli.assembly import deciding_of, policy_options
from tidegate.cli.deciding import Planned
from tidegate.cli.engine_keeper import EngineKeeper, OnTraining, open_keeper
from tidegate.cli.gating import gating_of
from tidegate.cli.last_window import LastWindow
from tidegate.cli.records import PaneRecord
from tidegate.cli.refreshing import Refreshing
from tidegate.cli.scoring import serving_version
from tidegate.cli.stream_settings import sequence_options
from tidegate.clock import Clock, iso_utc
from tidegate.config import RunSettings
from tidegate.contracts import RefreshResult
from tidegate.errors import TableError

_TRAINED = ("embedded", "vllm")  # engines whose model the project trains where none is given


@dataclass(frozen=True, slots=True)
class HandOrder:
    """An order that is planned.

    Attributes
    ----------
    record : PaneRecord     of the window's last pane, with the table that serves now
    planned : Planned
    """

    record: PaneRecord
    planned: Planned


class HandRefresh:
    """Plans, estimates and carries out what a person orders.

    Parameters
    ----------
    settings, clock
    window : LastWindow
    rows : which rows are ordered
    bulk : how they are asked for
    on_training : told how the training of a model goes, should it need one
    """

    def __init__(
        self,
        settings: RunSettings,
        clock: Clock,
        window: LastWindow,
        rows: Rows,
        bulk: BulkOptions,
        on_training: OnTraining | None = None,
    ) -> None:
        self._settings, self._clock, self._window, self._rows = settings, clock, window, rows
        self._reports: list[InferenceReport] = []
        self._bulk = replace(bulk, on_report=self._reports.append)
        self.cache = RowCache(settings.home / "rows" / window.run_id, settings.top_n)
        self.tables = open_tables(settings.home, settings.tables, clock)
        self._keeper: EngineKeeper = open_keeper(settings, window.run_id, on_training)
        self._models = settings.home / "models" / window.run_id

    @property
    def model(self) -> str | None:
        """Model folder that is at hand: fine-tuned weights, those asked for, the run's, or an earlier refresh's."""
        if self._window.record.weights is not None:  # they took the place of those that the run was given
            return self._window.record.model
        if self._settings.model is not None:
            return str(self._settings.model)
        if self._settings.engine not in _TRAINED:
            return None
        if self._window.record.model is not None:
            return self._window.record.model
        trained = sorted(self._models.glob(f"pane-*/{MANIFEST}"), key=lambda path: int(path.parent.name[5:]))
        return str(trained[-1].parent) if trained else None

    def plan(self) -> HandOrder:
        """Plan on what serves now; nothing is asked for.

        Raises
        ------
        RequestError
            If there is no such policy.
        TableError
            If the table that serves cannot be read.
        """
        settings, window = self._settings, self._window
        sequences = sequence_options(settings)
        policy = open_by_hand(
            self._rows, settings.policy, sequences.pane_ms, policy_options(settings, sequences), settings.top_n
        )
        deciding = deciding_of(settings, window.measuring, self.tables, sequences, self.cache)
        names = window.measuring.reader.cluster_names()
        record = msgspec.structs.replace(
            window.record,
            n_clusters=len(names),
            table_version=base_version(self.tables, window.record, tuple(names)),
            model=self.model,
            decision=None,
            result=None,
        )
        planned = replace(deciding, policy=policy).plan(window.closing, record, window.before)
        return HandOrder(record, planned)

    def estimate(
        self, order: HandOrder, *, n_probe: int, rows_per_second: float | None, token_price: float | None
    ) -> dict[str, Any]:
        """Say what carrying `order` out takes; asks for a probe of its rows only where no rate is given."""
        about = self._about(order)
        n_planned = len(contexts_of(order.planned.plan))
        if self._would_train:
            unknown = estimate_order(
                n_planned, self._bulk, rows_per_second=rows_per_second, price_per_million_tokens=token_price
            )
            return {**about, "needs_training": True, "rows": n_planned, "rows_known": 0, **_estimated(unknown, None)}
        engine = self._engine(order.record)
        plan = within_codebook(order.planned.plan, engine.prompts.codebook.capacity)
        contexts = contexts_of(plan)
        keys = row_keys(contexts, engine.prompts, engine.fingerprint)
        asked = contexts[np.flatnonzero(~self.cache.find(keys, order.record.pane + 1).is_known)]
        probe = probe_rows(engine, asked, self._bulk, top_n=self._settings.top_n, n_rows=n_probe)
        found = estimate_order(
            len(asked),
            self._bulk,
            folder=self._folder(plan, order.record.pane),
            probe=probe,
            rows_per_second=rows_per_second,
            price_per_million_tokens=token_price,
        )
        return {
            **about,
            "model": self._keeper.model,
            "needs_training": False,
            "rows": len(contexts),
            "rows_known": len(contexts) - len(asked),
            "rows_beyond_codebook": int(plan.inputs.get("rows_beyond_codebook") or 0),
            **_estimated(found, probe),
        }

    def execute(self, order: HandOrder, on_rows: Callable[[int, int], None] | None = None) -> dict[str, Any]:
        """Carry `order` out and publish the table; returns the report.

        Raises
        ------
        EngineError, OrderError, TableError
            If it fails; what serves is untouched, and the same command goes on where it was.
        """
        settings = self._settings
        refreshing = Refreshing(
            self._window.measuring,
            self._keeper,
            self.cache,
            self.tables,
            self._clock,
            settings.top_n,
            settings.keep_versions,
            self._bulk,
            gating_of(settings),
        )
        result = refreshing.execute(order.record, order.planned, on_rows)
        report = self._reports[-1] if self._reports else InferenceReport()
        return {**self._about(order), **_carried_out(result, report, order.record)}

    def helper_arguments(self, order: HandOrder) -> tuple[Any, ...]:
        """Give what another process needs to open the same engine."""
        names = self._window.measuring.reader.cluster_names()
        return self._settings, self._window.run_id, names, order.record.pane, self._keeper.model

    @property
    def _would_train(self) -> bool:
        return self._settings.engine in _TRAINED and self.model is None

    def _engine(self, record: PaneRecord) -> Engine:
        measuring = self._window.measuring
        names, counts = measuring.reader.cluster_names(), measuring.window(record.pane)
        return self._keeper.engine(names, counts, record.pane, record.model)

    def _folder(self, plan: Plan, pane: int) -> Path | None:
        return None if self.cache.orders is None else self.cache.orders / order_id_of(plan, pane)

    def _about(self, order: HandOrder) -> dict[str, Any]:
        window_ms = self._window.measuring.window_panes * self._window.measuring.pane_ms
        return {
            "run_id": self._window.run_id,
            "source": self._window.source,
            "is_of_run": self._window.is_of_run,
            "window_start": iso_utc(order.record.window_end_ms - window_ms),
            "window_end": iso_utc(order.record.window_end_ms),
            "engine": self._settings.engine,
            "ordered": self._rows,
            "explanation": order.planned.plan.explanation,
            "table_version_before": order.record.table_version,
        }


def base_version(tables: TableStore, record: PaneRecord, names: tuple[str, ...]) -> int | None:
    """Find what a refresh by hand changes: what serves the run or, where nothing did, what is of its catalogue."""
    if record.table_version is not None:
        return serving_version(tables, record)
    try:
        current = tables.current()
        known = None if current is None else tables.load(current)
    except TableError:
        return None  # another run's, or damaged: nothing to build on
    is_of_catalogue = known is not None and share_catalogue(known, TransitionTable.empty(names, known.top_n))
    return current if is_of_catalogue else None


def _estimated(found: Estimate, probe: Probe | None) -> dict[str, Any]:
    return {
        "llm_calls": found.n_calls,
        "chunks": found.n_chunks,
        "chunks_finished": found.n_chunks_finished,
        "prompt_tokens": found.prompt_tokens,
        "cached_share": found.cached_share,
        "rows_per_second": found.rows_per_second,
        "seconds": found.seconds,
        "cost": found.cost,
        "probe_rows": 0 if probe is None else probe.n_rows,
    }


def _carried_out(result: RefreshResult, report: InferenceReport, record: PaneRecord) -> dict[str, Any]:
    usage = report.usage
    n_answered = report.n_rows - report.n_rows_resumed
    return {
        "outcome": result.outcome,
        "gates": msgspec.to_builtins(result.gates),
        "candidate": result.candidate,
        "table_version": result.table_version or None,
        "is_published": (result.table_version or None) != record.table_version,
        "model": result.model,
        "rows": result.llm_calls + result.reused,
        "rows_known": result.reused,
        "llm_calls": result.llm_calls,
        "rows_changed": result.rows_changed,
        "rows_invalid": result.rows_invalid,
        "faults": report.faults,
        "rows_retired": result.rows_retired,
        "rows_beyond_codebook": result.rows_beyond_codebook,
        "chunks": report.n_chunks,
        "chunks_resumed": report.n_resumed,
        "chunks_inferred": report.n_inferred,
        "chunks_of_others": report.n_of_others,
        "chunks_damaged": report.n_damaged,
        "prompts": usage.n_prompts,
        "prompt_tokens": usage.n_prompt_tokens,
        "cached_tokens": usage.n_cached_tokens,
        "cached_share": usage.n_cached_tokens / usage.n_prompt_tokens if usage.n_prompt_tokens else None,
        "output_tokens": usage.n_output_tokens,
        "seconds": result.duration_seconds,
        "inference_seconds": report.seconds,
        "rows_per_second": n_answered / report.seconds if report.seconds else None,
    }
