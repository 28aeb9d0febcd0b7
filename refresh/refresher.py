"""Carries an order out: ask the engine for the rows that are not known, validate, build the next table.

1. Key every row by all that determines it; rows whose key is known are taken from the cache.
2. Ask the engine for the others, and keep its valid answers in the cache before anything is published.
3. Build the next table: new rows in, retired rows out, backoff replaced. A row whose answer is invalid keeps its
   old value, or stays absent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refresh.engines import Engine
from refresh.evidence import Ranked
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
    """The next table and how it came about; `result.table_version` is still that of the table before."""

    table: TransitionTable
    result: RefreshResult


class Refresher:
    """Turns plans into tables with one engine.

    Parameters
    ----------
    engine : answers rows, grown to the present catalogue
    cache : rows that were inferred before
    top_n : ranked answers kept of each row
    """

    def __init__(self, engine: Engine, cache: RowCache, *, top_n: int) -> None:
        self._engine, self._cache, self._top_n = engine, cache, top_n

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
            If the engine fails; `table` is untouched.
        """
        contexts, n_pairs = _contexts(plan), plan.pairs.shape[0]
        keys = row_keys(contexts, self._engine.prompts, self._engine.fingerprint)  # 1
        known = self._cache.find(keys, pane)
        reuses = known.is_free if not plan.replaces_rows else np.zeros(len(contexts), np.bool_)
        clusters, probabilities = known.clusters.copy(), known.probabilities.copy()
        asked = np.flatnonzero(~known.is_known)
        is_valid = np.ones(len(contexts), np.bool_)
        if asked.size:  # 2
            answers = self._engine.infer(
                contexts[asked],
                top_n=self._top_n,
                on_progress=on_progress and (lambda n_done: on_progress(n_done, asked.size)),
            )
            n_clusters = len(self._engine.prompts.codebook.names)
            is_valid[asked] = validate(answers, contexts[asked], n_clusters).valid
            clusters[asked], probabilities[asked] = answers.clusters, answers.probabilities
            kept = asked[is_valid[asked]]
            self._cache.keep(keys[kept], pane, clusters[kept], probabilities[kept], _codes(contexts[kept]))
        of_pair = np.flatnonzero(is_valid[:n_pairs])  # 3
        rows = PairRows(
            pairs=plan.pairs[of_pair],
            clusters=clusters[of_pair],
            probabilities=probabilities[of_pair],
            row_keys=keys[of_pair],
            contexts=contexts.retrieved[of_pair, 0],
            refreshed_ms=np.full(of_pair.shape[0], window_end_ms, np.int64),
        )
        of_c2 = n_pairs + np.flatnonzero(is_valid[n_pairs:])
        backoff = BackoffRows(contexts.c2[of_c2], clusters[of_c2], probabilities[of_c2], keys[of_c2])
        if plan.backoff is not None:
            backoff = _backoff_rows(plan.backoff, len(table.cluster_names), table.top_n)
        order = plan.order
        retired = _retired_pairs(order.retired if order else ())
        refreshed = table.with_changes(rows, retired, backoff=backoff)
        return Refreshed(
            refreshed,
            RefreshResult(
                order_id=order.order_id if order else f"backoff-{pane}",
                window_end_ms=window_end_ms,
                trigger=order.trigger if order else Trigger.POLICY,
                outcome="completed" if order else "backoff_only",
                table_version=table_version,
                llm_calls=int((~reuses).sum()),
                reused=int(reuses.sum()),
                rows_changed=diff_tables(refreshed, table).rows_changed,
                rows_invalid=int((~is_valid).sum()),
                rows_retired=int(np.isin(retired, table.pairs).sum()),
            ),
        )


def _contexts(plan: Plan) -> RowContexts:
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
