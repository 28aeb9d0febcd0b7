"""One policy on its way over a log in memory: plans, has its rows made, serves the next pane, is scored by it.

Nothing here is its own idea of a hit or of a call: planning, refreshing and scoring are what `tidegate run` does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refresh.engines import Engine
from refresh.policies import Plan, Policy, PolicyState, View
from refresh.policies.plan import within_codebook
from refresh.refresher import Refresher
from refresh.retrieval import Retrieval
from refresh.row_cache import RowCache
from refresh.table import TransitionTable
from stream.predictions import Predictions, index_predictions, no_predictions
from stream.sequence_kernel import HITS_NEXT, SCORED
from stream.sequences import SequenceOptions, SequenceState
from stream.watch_log import Watches
from tidegate.cli.log_panes import PaneFacts
from tidegate.contracts import RefreshOrder, RefreshResult
from tidegate.counts import unpack_pairs


@dataclass(frozen=True, slots=True)
class PaneStep:
    """What a policy did at one pane's end."""

    pane: int
    trigger: str | None
    result: RefreshResult
    reasons: dict[str, int]
    explanation: str


class Contender:
    """A policy with its table, its calls and its score.

    Attributes
    ----------
    policy : Policy
    retrieval : Retrieval         how lines are retrieved
    sequences : SequenceState     figures by pane are in its `stats`
    steps : list of PaneStep
    served : by pane, how often each cluster was the answer: int64[C]
    """

    def __init__(
        self,
        policy: Policy,
        engine: Engine,
        sequences: SequenceOptions,
        top_n: int,
        retrieval: Retrieval | None = None,
    ) -> None:
        self.policy, self._engine, self._top_n = policy, engine, top_n
        self.retrieval = retrieval or Retrieval()
        self.sequences = SequenceState(sequences)
        self.steps: list[PaneStep] = []
        self.served: dict[int, NDArray[np.int64]] = {}
        self._cache = RowCache(None, top_n)
        self._refresher = Refresher(engine, self._cache, top_n=top_n)
        self._table: TransitionTable | None = None
        self._predictions: Predictions = no_predictions()
        self._state = PolicyState()
        self._order: RefreshOrder | None = None
        self._weights_since_pane = 0

    def watch(self, watches: list[Watches], facts: PaneFacts) -> None:
        """Be scored by a pane, with the table that the pane before left."""
        for each in watches:
            self.sequences.extend(each.users, each.clusters, each.times_ms, self._predictions)
        if self._table is not None and facts.counts.pairs.size:
            answers = self._table.predict(*unpack_pairs(facts.counts.pairs))
            answered = answers >= 0
            weights, n_clusters = facts.counts.totals[answered], len(self._table.cluster_names)
            self.served[facts.pane] = np.bincount(answers[answered], weights, n_clusters).astype(np.int64)

    def decide(self, facts: PaneFacts) -> None:
        """Plan at the pane's end, and carry the plan out."""
        view = self._view(facts)
        planned = self.planned(view)
        plan = within_codebook(planned, self._engine.prompts.codebook.capacity)
        table = self._table or TransitionTable.empty(facts.names, self._top_n)
        table = table.with_changes(cluster_names=facts.names)
        refreshed = self._refresher.execute(
            plan, table, table_version=0, pane=facts.pane, window_end_ms=view.window_end_ms
        )
        if plan.replaces_rows:
            self._cache.clear()  # all is asked anew: what was known saves nothing, and grows
        # As in a run's record: the order as it was decided, with the rows that no engine could be asked for.
        self._table, self._state, self._order = refreshed.table, planned.state, planned.order
        self._predictions = index_predictions(
            refreshed.table.pairs,
            refreshed.table.clusters[:, 0],
            refreshed.table.backoff_clusters,
            facts.microbits,
        )
        self.steps.append(_step(facts.pane, plan, refreshed.result))

    def planned(self, view: View) -> Plan:
        """Give the policy's answer to a view."""
        return self.policy.plan(view)

    def take(self, engine: Engine, pane: int) -> None:
        """Let other weights answer from the decision at a pane's end on."""
        self._engine, self._weights_since_pane = engine, pane
        self._refresher = Refresher(engine, self._cache, top_n=self._top_n)

    def _view(self, facts: PaneFacts) -> View:
        figures = self.sequences.stats.of_pane(facts.pane)
        return View(
            run_id="backtest",
            pane=facts.pane,
            pane_ms=facts.pane_ms,
            panes_since_first_table=facts.index,
            evidence=facts.evidence,
            window=facts.window,
            seeds=facts.seeds,
            report=facts.report,
            table=None if self._table is None else self._table.with_changes(cluster_names=facts.names),
            scored=int(figures[SCORED]),
            hits=int(figures[HITS_NEXT]),
            is_known=lambda pairs, retrieved: self._cache.knows(pairs, retrieved, facts.pane, self._weights_since_pane),
            last_order=self._order,
            state=self._state,
            retrieval=self.retrieval,
            before=facts.before,
            has_new_weights=self._weights_since_pane == facts.pane,
        )


def _step(pane: int, plan: Plan, result: RefreshResult) -> PaneStep:
    order = plan.order
    reasons = [str(row.reason) for row in order.rows] if order is not None else []
    return PaneStep(
        pane=pane,
        trigger=str(order.trigger) if order is not None else None,
        result=result,
        reasons={reason: reasons.count(reason) for reason in dict.fromkeys(reasons)},
        explanation=plan.explanation,
    )
