"""Policies side by side over one log: the same panes, the same evidence, the same reports, each its own table.

The first window trains, all scoring is on what comes after: a pane is counted and scored with the table that the pane
before left, and only then anybody looks at it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from refresh.policies import Policy
from refresh.policies.oracle import Offer, OraclePolicy, moves_in_hindsight
from refresh.prompts import RowContexts
from refresh.retrieval import Seen
from stream.watch_log import Watches
from tidegate.cli.contender import Contender
from tidegate.cli.log_panes import LogPanes, PaneFacts
from tidegate.contracts import DriftReport
from tidegate.counts import SuccessorCounts, unpack_pairs
from tidegate.errors import RequestError

OnPane = Callable[[int, int], None]
"""Called with the panes done and how many there are."""

_LOOK_AT_REPORTS = ("adaptive", "jaccard")
# A pair's first two backoff answers may be c1 and c2 themselves.
_BACKOFF_RANKS = 3


@dataclass(slots=True)
class Backtest:
    """Goes over a log with policies.

    Attributes
    ----------
    panes : LogPanes
    price : float       misses that one call must save: what the oracle weighs calls with
    reports : of the windows that have a reference, where a policy looks at them
    """

    panes: LogPanes
    price: float
    on_pane: OnPane = lambda _, __: None
    reports: list[DriftReport] = field(default_factory=list)

    def run(self, policies: Sequence[Policy], *, with_oracle: bool) -> list[Contender]:
        """Go over the log with all `policies`, and once more with the oracle where it is asked for.

        Raises
        ------
        RequestError
            If no pane is left that a first table could serve, or no transition in those that are.
        """
        self._require_panes()
        n_transitions, contenders = 0, list[Contender]()
        offers: list[Offer] = []
        served: list[SuccessorCounts] = []
        with_reports = any(policy.name.startswith(_LOOK_AT_REPORTS) for policy in policies)
        for watches, facts in self.panes.facts(with_reports=with_reports):
            if facts.index == 0:
                contenders = [self._contender(policy, facts) for policy in policies]
            else:
                n_transitions += facts.counts.total
            if facts.report is not None:
                self.reports.append(facts.report)
            if with_oracle:
                if offers:
                    served.append(facts.counts)
                if not facts.is_last:
                    offers.append(self._offer(facts))
            self._step(contenders, watches, facts)
        if not n_transitions:
            raise RequestError(
                "no transition comes after the first window, so there is nothing to score",
                "Give a longer log, or check --gap and --positive",
                place="--source",
            )
        if with_oracle:
            moves = moves_in_hindsight(offers, served, self.price)
            contenders.append(self._play_back(OraclePolicy(moves, offers, self.panes.top_n)))
        return contenders

    def _require_panes(self) -> None:
        n_panes, window_panes = self.panes.log.n_panes, self.panes.sequences.window_panes
        if n_panes <= window_panes:
            raise RequestError(
                f"the log has {n_panes} panes, and the first window takes {window_panes} of them",
                "Give a longer log, or a shorter --window or --pane",
                place="--window",
            )

    def _play_back(self, oracle: OraclePolicy) -> Contender:
        played: list[Contender] = []
        for watches, facts in self.panes.facts(with_reports=False, with_evidence=False):
            if facts.index == 0:
                played = [self._contender(oracle, facts)]
            self._step(played, watches, facts)
        return played[0]

    def _contender(self, policy: Policy, facts: PaneFacts) -> Contender:
        return Contender(policy, facts.engine, self.panes.sequences, self.panes.top_n, self.panes.retrieval)

    def _step(self, contenders: Sequence[Contender], watches: list[Watches], facts: PaneFacts) -> None:
        """Let everybody be scored by what was watched since the last step, and then decide."""
        for contender in contenders:
            contender.watch(watches, facts)
            if not facts.is_last:
                contender.decide(facts)
        self.on_pane(facts.pane - self.panes.log.first_pane + 1, self.panes.log.n_panes)

    def _offer(self, facts: PaneFacts) -> Offer:
        """List what the oracle could have at this pane's end."""
        evidence, engine = facts.evidence, facts.engine
        pairs = evidence.seen_pairs
        retrieval = self.panes.retrieval
        seen = Seen(evidence, facts.window, facts.before, facts.seeds)
        ranked = retrieval.of_pairs(seen, pairs, retrieval.n_retrieved)
        c1, c2 = unpack_pairs(pairs)
        context, capacity = ranked.clusters[:, 0], engine.prompts.codebook.capacity
        usable = np.flatnonzero((c1 < capacity) & (c2 < capacity) & (context >= 0) & (context < capacity))
        answers = np.full(pairs.shape[0], -1, np.int32)
        coded = np.where(ranked.clusters < capacity, ranked.clusters, np.int32(-1))
        contexts = RowContexts(c1[usable], c2[usable], coded[usable])
        answers[usable] = engine.infer(contexts, top_n=self.panes.top_n).clusters[:, 0]
        return Offer(pairs, context, answers, evidence.backoff(max(_BACKOFF_RANKS, self.panes.top_n)))
