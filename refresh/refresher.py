"""Carries an order out: ask the engine for the rows that are not known, validate, build the next table.

1. Key every row by all that determines it; rows whose key is known are taken from the cache.
2. Ask the engine for the others, in chunks that are kept one by one (`refresh.bulk`), and keep its valid answers in
   the cache before anything is published.
3. Build the next table: new rows in, retired rows out, backoff replaced. A row whose answer is invalid keeps its
   old value, or stays absent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from refresh.bulk import BulkOptions, InferenceReport, finish_order, finished_chunks, infer_rows, sweep_orders
from refresh.engines import Answers, Engine
from refresh.evidence import Ranked
from refresh.gates.answers import Asked
from refresh.policies.plan import Plan
from refresh.prompts import RowContexts
from refresh.row_cache import RowCache, context_codes
from refresh.row_key import row_keys
from refresh.table import TransitionTable
from refresh.table_diff import diff_tables
from refresh.table_rows import BackoffRows, PairRows
from refresh.validation import validate
from tidegate.contracts import RefreshResult, Trigger
from tidegate.counts import pack_pairs, unpack_pairs


@dataclass(frozen=True, slots=True)
class Refreshed:
    """The next table and how it came about; `result.table_version` is still that of the table before.

    Attributes
    ----------
    asked : Asked       what its gates judge the answers by: the same after a crash, when all are in the cache
    """

    table: TransitionTable
    result: RefreshResult
    report: InferenceReport
    asked: Asked


@dataclass(frozen=True, slots=True)
class _Inferred:
    """Answers of all rows of a plan; `is_free[n]` and `is_valid[n]` say which cost no call and which may be served."""

    clusters: NDArray[np.int32]
    probabilities: NDArray[np.float32]
    is_free: NDArray[np.bool_]
    is_valid: NDArray[np.bool_]
    label_mass: NDArray[np.float32]
    report: InferenceReport

    @property
    def asked(self) -> Asked:
        """What was asked for, and how it was answered."""
        answered = self.label_mass[~self.is_free & self.is_valid & np.isfinite(self.label_mass)]
        return Asked(
            n_rows=int((~self.is_free).sum()),
            n_invalid=int((~self.is_valid).sum()),
            faults=self.report.faults,
            label_mass_mean=float(answered.mean(dtype=np.float64)) if answered.size else None,
        )


class Refresher:
    """Turns plans into tables with one engine.

    Parameters
    ----------
    engine : answers rows, grown to the present catalogue
    cache : rows that were inferred before
    top_n : ranked answers kept of each row
    bulk : how many rows are asked for
    """

    def __init__(self, engine: Engine, cache: RowCache, *, top_n: int, bulk: BulkOptions | None = None) -> None:
        self._engine, self._cache, self._top_n, self._bulk = engine, cache, top_n, bulk or BulkOptions()

    def execute(
        self,
        plan: Plan,
        table: TransitionTable,
        *,
        table_version: int,
        pane: int,
        window_end_ms: int,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Refreshed:
        """Carry `plan` out on top of `table`; nothing is published here.

        Parameters
        ----------
        on_progress : called with the rows answered so far and the rows asked for

        Raises
        ------
        EngineError
            If the engine fails; `table` is untouched, and finished chunks are kept.
        OrderError
            If inferred rows cannot be kept; `table` is untouched.
        RequestError
            If an earlier attempt of the order was begun with something else.
        """
        contexts = contexts_of(plan)
        keys = row_keys(contexts, self._engine.prompts, self._engine.fingerprint)  # 1
        inferred = self._inferred(plan, keys, contexts, pane, on_progress)  # 2
        rows, backoff = _rows_of(plan, keys, contexts, inferred, window_end_ms)  # 3
        if plan.backoff is not None:
            backoff = _backoff_rows(plan.backoff, len(table.cluster_names), table.top_n)
        order = plan.order
        retired = _retired_pairs(order.retired if order else ())
        refreshed = table.with_changes(rows, retired, backoff=backoff)
        reuses = inferred.is_free if not plan.replaces_rows else np.zeros(len(contexts), np.bool_)
        usage, n_calls = inferred.report.usage, int((~reuses).sum())
        tells_tokens = usage.n_prompts > 0 or n_calls == 0
        return Refreshed(
            refreshed,
            RefreshResult(
                order_id=order_id_of(plan, pane),
                window_end_ms=window_end_ms,
                trigger=order.trigger if order else Trigger.POLICY,
                outcome="completed" if order else "backoff_only",
                table_version=table_version,
                llm_calls=n_calls,
                reused=int(reuses.sum()),
                rows_changed=diff_tables(refreshed, table).rows_changed,
                rows_invalid=int((~inferred.is_valid).sum()),
                rows_retired=int(np.isin(retired, table.pairs).sum()),
                faults=inferred.report.faults,
                prompt_tokens=usage.n_prompt_tokens if tells_tokens else None,
                cached_tokens=usage.n_cached_tokens if tells_tokens else None,
                output_tokens=usage.n_output_tokens if tells_tokens else None,
            ),
            inferred.report,
            inferred.asked,
        )

    def _inferred(
        self,
        plan: Plan,
        keys: NDArray[np.uint64],
        contexts: RowContexts,
        pane: int,
        on_progress: Callable[[int, int], None] | None,
    ) -> _Inferred:
        """Answer all rows, those that are known from the cache; valid new answers are kept there."""
        order_id, is_by_hand = order_id_of(plan, pane), is_ordered_by_hand(plan)
        folder = None if self._cache.orders is None else self._cache.orders / order_id
        self._cache.catch_up()
        if self._cache.orders is not None:
            self._salvage(self._cache.orders, pane, is_by_hand)
            sweep_orders(self._cache.orders, pane=pane, is_by_hand=is_by_hand)
        # A person pays once: what the run itself asked for at this pane is known, not part of an order that crashed.
        free_before = pane + 1 if is_by_hand else pane
        known = self._cache.find(keys, free_before)
        is_free = known.is_free
        answers, report = None, InferenceReport()
        while answers is None and not known.is_known.all():
            asked = np.flatnonzero(~known.is_known)
            found = infer_rows(
                self._engine,
                keys[asked],
                contexts[asked],
                self._bulk,
                top_n=self._top_n,
                folder=folder,
                pane=pane,
                is_by_hand=is_by_hand,
                on_progress=on_progress,
            )
            if found is None:  # another worker was there, and keeps what it found in the cache
                self._cache.catch_up()
                known = self._cache.find(keys, free_before)
            else:
                answers, report = found
        clusters, probabilities, label_mass = (
            known.clusters.copy(),
            known.probabilities.copy(),
            known.label_mass.copy(),
        )
        is_valid = np.ones(len(contexts), np.bool_)
        if answers is not None:
            n_clusters = len(self._engine.prompts.codebook.names)
            checked = validate(answers, contexts[asked], n_clusters, top_n=self._top_n)
            is_valid[asked], label_mass[asked] = checked.valid, answers.label_mass
            clusters[asked], probabilities[asked] = answers.clusters, answers.probabilities
            self._keep(keys[asked], pane, answers, contexts[asked], checked.valid)
            report = replace(report, faults={str(fault): n for fault, n in checked.faults.items()})
        if folder is not None:
            finish_order(folder)
        self._bulk.on_report(report)
        return _Inferred(clusters, probabilities, is_free, is_valid, label_mass, report)

    def _salvage(self, orders: Path, pane: int, is_by_hand: bool) -> None:
        """Keep what failed orders have finished, as this pane's work: no result has counted its calls yet."""
        n_clusters = len(self._engine.prompts.codebook.names)
        for keys, contexts, answers in finished_chunks(orders, pane=pane, is_by_hand=is_by_hand, top_n=self._top_n):
            valid = validate(answers, contexts, n_clusters, top_n=self._top_n).valid
            self._keep(keys, pane, answers, contexts, valid)

    def _keep(
        self,
        keys: NDArray[np.uint64],
        pane: int,
        answers: Answers,
        contexts: RowContexts,
        is_valid: NDArray[np.bool_],
    ) -> None:
        kept = np.flatnonzero(is_valid)
        self._cache.keep(
            keys[kept],
            pane,
            answers.clusters[kept],
            answers.probabilities[kept],
            _codes(contexts[kept]),
            answers.label_mass[kept],
        )


def order_id_of(plan: Plan, pane: int) -> str:
    """Name a plan's order; where there is none, that of the rows that the backoff level takes."""
    return plan.order.order_id if plan.order else f"backoff-{pane}"


def is_ordered_by_hand(plan: Plan) -> bool:
    """Whether a person or an alert asked, not the run's policy."""
    return plan.order is not None and plan.order.trigger.is_apart


def contexts_of(plan: Plan) -> RowContexts:
    """Contexts of all rows to ask for: those of pairs, then those of ``c2`` alone."""
    c1, c2 = unpack_pairs(plan.pairs)
    retrieved = np.concatenate([plan.retrieved.clusters, plan.backoff_retrieved.clusters])
    shares = np.concatenate([plan.retrieved.shares, plan.backoff_retrieved.shares])
    return RowContexts(
        np.concatenate([c1, np.full(plan.backoff_c2.shape[0], -1, np.int32)]),
        np.concatenate([c2, plan.backoff_c2]),
        retrieved,
        shares.astype(np.float32),
    )


def _rows_of(
    plan: Plan, keys: NDArray[np.uint64], contexts: RowContexts, inferred: _Inferred, window_end_ms: int
) -> tuple[PairRows, BackoffRows]:
    """Rows of the table from valid answers: those of pairs, and those of ``c2`` alone that were asked for."""
    n_pairs = plan.pairs.shape[0]
    of_pair = np.flatnonzero(inferred.is_valid[:n_pairs])
    rows = PairRows(
        pairs=plan.pairs[of_pair],
        clusters=inferred.clusters[of_pair],
        probabilities=inferred.probabilities[of_pair],
        row_keys=keys[of_pair],
        contexts=contexts.retrieved[of_pair, 0],
        refreshed_ms=np.full(of_pair.shape[0], window_end_ms, np.int64),
    )
    of_c2 = n_pairs + np.flatnonzero(inferred.is_valid[n_pairs:])
    return rows, BackoffRows(contexts.c2[of_c2], inferred.clusters[of_c2], inferred.probabilities[of_c2], keys[of_c2])


def _codes(contexts: RowContexts) -> NDArray[np.int64]:
    """Context codes of the rows that have a pair."""
    has_pair = contexts.c1 >= 0
    pairs = pack_pairs(contexts.c1[has_pair], contexts.c2[has_pair])
    return context_codes(pairs, contexts.retrieved[has_pair, 0])


def _retired_pairs(retired: tuple[tuple[int, int], ...]) -> NDArray[np.int64]:
    columns = np.array(retired, np.int64).reshape(-1, 2)
    return pack_pairs(columns[:, 0], columns[:, 1])


def _backoff_rows(ranked: Ranked, n_clusters: int, top_n: int) -> BackoffRows:
    """All rows of the backoff level, straight from the counts (so without a row key)."""
    clusters = np.full((n_clusters, top_n), -1, np.int32)
    probabilities = np.zeros((n_clusters, top_n), np.float32)
    depth = min(top_n, ranked.clusters.shape[1])
    clusters[:, :depth], probabilities[:, :depth] = ranked.clusters[:, :depth], ranked.shares[:, :depth]
    return BackoffRows(
        c2=np.arange(n_clusters, dtype=np.int32),
        clusters=clusters,
        probabilities=probabilities,
        row_keys=np.zeros((n_clusters, 2), np.uint64),
    )
