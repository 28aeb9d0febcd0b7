"""The adaptive policy: buys the rows whose expected regained hits exceed the price of a call."""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from refresh.evidence import Ranked
from refresh.policies.lift import Lift, Lifts, classes_of, lift_inputs, observed
from refresh.policies.ordering import backoff_orders, drift_inputs, explained, order_of, reasons_of, row_orders
from refresh.policies.plan import Plan, PolicyState, View
from refresh.policies.probing import Prospects, pair_hashes, probes
from refresh.policies.realised import observe, realised_share
from refresh.policies.selection import Economics, Selection, weigh_backoff, weigh_rows
from tidegate.contracts import Reason

# A pair's first two backoff answers may be c1 and c2 themselves.
_BACKOFF_RANKS = 3
_DAY_MS = 86_400_000
_LIFT_HALF_LIFE_WINDOWS = 2.0  # as of what the evidence remembers of earlier panes

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class PolicyOptions:
    """The price of a call, and how sure a gain must be.

    Attributes
    ----------
    price : float                  misses that one call must save
    horizon_windows : float        for how many windows a row is expected to serve
    window_panes : int
    confidence_z : float           standard deviations between the estimated gain and its lower bound
    cooldown_panes : int           a row is not bought again so soon, unless its drift is proven
    max_calls : int or None        of one refresh; the rows that gain the most go first
    max_calls_per_day : int or None    of the refreshes of 24 hours of event time, the first table left out
    asks_model : bool              rows are answered by a model, which may know more than the counts: what it adds to
                                   lines is learned, and counts
    probes : bool                  rows may be asked to learn that
    infers_backoff : bool          rows of ``c2`` are asked of the engine instead of being taken from the counts
    """

    price: float = 0.3
    horizon_windows: float = 4.0
    window_panes: int = 1
    confidence_z: float = 0.25
    cooldown_panes: int = 0
    max_calls: int | None = None
    max_calls_per_day: int | None = None
    asks_model: bool = False
    probes: bool = True
    infers_backoff: bool = False


class AdaptivePolicy:
    """Buys rows that pay, takes known ones for nothing, drops those that their backoff serves better.

    Rows of ``c2`` (the backoff) are kept fresh from the counts, for free; with ``infers_backoff`` they are asked of
    the engine and bought like any row.
    """

    def __init__(self, options: PolicyOptions | None = None, *, name: str = "adaptive", top_n: int = 5) -> None:
        self._options, self._top_n, self.name = options or PolicyOptions(), top_n, name

    def plan(self, view: View) -> Plan:
        """Weigh all rows, buy those that pay within the budget, and probe where little is known of the weights."""
        options, evidence = self._options, view.evidence
        state = self._observed(view)
        economics = Economics(
            horizon_panes=options.horizon_windows * options.window_panes,
            confidence_z=options.confidence_z if options.price > 0 else 0.0,  # nothing to be sure of, then
            realised_share=realised_share(state, options.confidence_z),
        )
        backoff = weigh_backoff(evidence, view.table, economics)
        wanted_c2 = (backoff.gain_hits > options.price) & options.infers_backoff
        budget = self._budget(view, state)
        bought_c2 = _dearest(backoff.gain_hits, wanted_c2, budget)  # first: one of them serves many pairs
        n_bought_c2 = int(bought_c2.sum())
        left = None if budget is None else budget - n_bought_c2
        chosen = self._chosen(view, state, economics, backoff.c2[bought_c2], left)
        taken, retired = chosen.taken, chosen.retired
        ordered = [*row_orders(chosen.rows, chosen.reasons, taken), *backoff_orders(backoff, view, bought_c2)]
        order = order_of(view, ordered, chosen.rows.pairs[retired])
        numbers = {
            **chosen.numbers,
            "rows_over_budget": chosen.n_over_budget + int(wanted_c2.sum()) - n_bought_c2,
            "backoff_rows_bought": n_bought_c2,
            "gain_hits": sum(row.gain_hits for row in ordered),
        }
        calls = ((view.pane, chosen.n_calls + n_bought_c2),) if view.table is not None else ()
        return Plan(
            order=order,
            pairs=chosen.rows.pairs[taken],
            retrieved=view.lines(chosen.rows.pairs[taken], self._top_n),
            backoff=None if options.infers_backoff else evidence.backoff(self._top_n),
            backoff_c2=backoff.c2[bought_c2],
            backoff_retrieved=view.backoff_lines(backoff.c2[bought_c2], self._top_n),
            replaces_rows=False,
            inputs={**self._terms(view, economics), **numbers, **drift_inputs(view.report)},
            explanation=explained(order, int(chosen.is_free.sum())),
            state=msgspec.structs.replace(
                state,
                placed_hits=_placed_hits(chosen.rows, chosen.bought, chosen.is_free),
                calls=(*self._calls_of_day(view, state), *calls),
            ),
        )

    def _chosen(
        self,
        view: View,
        state: PolicyState,
        economics: Economics,
        bought_c2: NDArray[np.int32],
        budget: int | None,
    ) -> _Choice:
        """Choose among the rows of pairs, once it is known which rows of ``c2`` are bought."""
        lifts = self._lifts(view, state, economics.confidence_z)
        rows, is_known = self._weighed(view, bought_c2, economics, lifts)
        reasons = reasons_of(rows, view)
        # A known row costs nothing, so the better guess will do.
        is_free = is_known & rows.is_new_context & (rows.hits_per_pane > 0)
        pays = (rows.gain_hits > self._options.price) & rows.is_new_context & ~is_free
        is_cooling = self._cools_down(rows, view) & (reasons != Reason.DRIFT)
        wanted = pays & ~is_cooling
        # Lifts of pairs that are seen as often are equal, where the counts' gains hardly ever are.
        ties = None if lifts is None else pair_hashes(rows.pairs, view.seeds)
        bought = _dearest(rows.gain_hits, wanted, budget, ties)
        left = None if budget is None else budget - int(bought.sum())
        probed = self._probed(view, state, rows, bought | is_free, is_known, left)
        reasons[probed] = Reason.PROBE
        known = {} if lifts is None else lift_inputs(self._asked(view, state), lifts)
        return _Choice(rows, reasons, pays, is_cooling, is_free, bought, probed, known)

    def _terms(self, view: View, economics: Economics) -> dict[str, float | int | bool | None]:
        """Say what rows are weighed by."""
        setting = view.evidence.pair_setting
        return {
            "price": self._options.price,
            "horizon_panes": economics.horizon_panes,
            "confidence_z": economics.confidence_z,
            "realised_share": economics.realised_share,
            "memory_panes": int(view.evidence.spans.lengths[setting.length]),
            "concentration": setting.strength,
        }

    def _weighed(
        self, view: View, bought_c2: NDArray[np.int32], economics: Economics, lifts: Lifts | None
    ) -> tuple[Selection, Bools]:
        """Weigh all rows; and tell which were asked before, with the line that they would be asked with now."""
        level = self._backoff_level(view, bought_c2)
        lines = None if view.retrieval.is_shrunk else lambda pairs: view.lines(pairs, 1).clusters[:, 0]
        rows = weigh_rows(view.evidence, view.table, level, economics, lines, lifts)
        is_known = view.is_known(rows.pairs, rows.line)
        return (rows if lifts is None else _lifted(rows, is_known, economics.horizon_panes)), is_known

    def _observed(self, view: View) -> PolicyState:
        """State with what the newest pane showed: of gains that were expected, and of what the weights know."""
        options, state = self._options, observe(view)
        if not options.asks_model:
            return state
        lifts = observed(state.lifts, view.table, view.evidence, _LIFT_HALF_LIFE_WINDOWS * options.window_panes)
        return msgspec.structs.replace(state, lifts=lifts)

    def _lifts(self, view: View, state: PolicyState, confidence_z: float) -> Lifts | None:
        """Bounds of what the weights know; None where no model answers."""
        return Lifts.of(self._asked(view, state), state.lifts, confidence_z) if self._options.asks_model else None

    @staticmethod
    def _asked(view: View, state: PolicyState) -> tuple[Lift, ...]:
        """Give what is known of the weights that are asked: nothing where they are new."""
        return () if view.has_new_weights else state.lifts

    def _probed(
        self,
        view: View,
        state: PolicyState,
        rows: Selection,
        taken: Bools,
        is_known: Bools,
        budget: int | None,
    ) -> Bools:
        """Choose rows to probe beside those that are taken."""
        options = self._options
        if not (options.asks_model and options.probes):
            return np.zeros_like(taken)
        serves = taken | (rows.has_row & ~rows.backs_off)
        prospects = Prospects(
            pairs=rows.pairs,
            classes=classes_of(rows.own),
            traffic=view.evidence.traffic(rows.pairs),
            gain_hits=rows.gain_hits,
            serves=serves,
            may=~serves & ~rows.has_row & ~is_known,
        )
        return probes(
            prospects,
            self._asked(view, state),
            view.seeds,
            price=options.price,
            horizon_panes=options.horizon_windows * options.window_panes,
            budget=budget,
            is_new=view.has_new_weights,
        )

    def _budget(self, view: View, state: PolicyState) -> int | None:
        """Rows that may be bought now; None where there is no limit."""
        options = self._options
        limits = [] if options.max_calls is None else [options.max_calls]
        if options.max_calls_per_day is not None and view.table is not None:
            limits.append(options.max_calls_per_day - sum(n for _, n in self._calls_of_day(view, state)))
        return max(0, min(limits)) if limits else None

    def _calls_of_day(self, view: View, state: PolicyState) -> tuple[tuple[int, int], ...]:
        return tuple((pane, n) for pane, n in state.calls if (view.pane - pane) * view.pane_ms < _DAY_MS)

    def _backoff_level(self, view: View, bought_c2: NDArray[np.int32]) -> Ranked:
        """Give what will answer pairs without a row: the counts or, where calls make it, what serves and is bought."""
        fresh = view.evidence.backoff(_BACKOFF_RANKS)
        if not self._options.infers_backoff:
            return fresh
        clusters = np.full_like(fresh.clusters, -1)
        if view.table is not None:
            served = view.table.backoff_clusters[:, :_BACKOFF_RANKS]
            clusters[: served.shape[0], : served.shape[1]] = served
        clusters[bought_c2] = fresh.clusters[bought_c2]
        return Ranked(clusters, fresh.shares)

    def _cools_down(self, rows: Selection, view: View) -> Bools:
        if view.table is None or not self._options.cooldown_panes:
            return np.zeros(rows.pairs.shape[0], np.bool_)
        since_ms = view.window_end_ms - self._options.cooldown_panes * view.pane_ms
        recent = view.table.pairs[view.table.refreshed_ms > since_ms]
        return np.isin(rows.pairs, recent, assume_unique=True)


def _lifted(rows: Selection, is_known: Bools, horizon_panes: float) -> Selection:
    """Add what the weights are expected to add, where they would say something that is not known yet."""
    adds_nothing = is_known | (rows.has_row & (rows.fresh == rows.best_free))
    lift_hits = np.where(adds_nothing, 0.0, rows.lift_hits)
    return replace(rows, lift_hits=lift_hits, gain_hits=rows.gain_hits + lift_hits * horizon_panes)


def _placed_hits(rows: Selection, bought: Bools, is_free: Bools) -> float:
    """Hits a pane that are expected of the rows that are taken; nothing is expected of probes."""
    return float(rows.hits_per_pane[bought | is_free].sum()) + float(rows.lift_hits[bought].sum())


@dataclass(frozen=True, slots=True)
class _Choice:
    """What becomes of each row of a pair.

    Attributes
    ----------
    rows : Selection
    reasons : of each row, should it be taken
    pays, is_cooling, is_free, bought, probed : bool[n]
    lifts : what is known of the weights, for the decision's record; nothing where no model answers
    """

    rows: Selection
    reasons: NDArray[np.object_]
    pays: Bools
    is_cooling: Bools
    is_free: Bools
    bought: Bools
    probed: Bools
    lifts: dict[str, float | int | bool | None]

    @property
    def taken(self) -> Bools:
        """Rows that are ordered: bought, known, or probed."""
        return self.bought | self.is_free | self.probed

    @property
    def retired(self) -> Bools:
        """Rows that their backoff serves better, and that are not ordered anew."""
        return self.rows.backs_off & ~self.taken

    @property
    def n_calls(self) -> int:
        """Rows that are asked of the engine."""
        return int(self.bought.sum() + self.probed.sum())

    @property
    def n_over_budget(self) -> int:
        """Rows that would pay and are not bought."""
        return int((self.pays & ~self.is_cooling).sum() - self.bought.sum())

    @property
    def numbers(self) -> dict[str, float | int | bool | None]:
        """Give what a decision's record says of it."""
        numbers: dict[str, float | int | bool | None] = {
            "pairs_weighed": int(self.rows.pairs.shape[0]),
            "rows_that_pay": int(self.pays.sum()),
            "rows_cooling_down": int((self.pays & self.is_cooling).sum()),
            "rows_bought": int(self.bought.sum()),
            "rows_known": int(self.is_free.sum()),
            "rows_retired": int(self.retired.sum()),
        }
        return numbers | ({"rows_probed": int(self.probed.sum()), **self.lifts} if self.lifts else {})


def _dearest(
    gain_hits: NDArray[np.float64],
    wanted: Bools,
    budget: int | None,
    ties: NDArray[np.uint64] | None = None,
) -> Bools:
    """Of the wanted rows, those that gain the most: bool[n]; of equal ones those with the smaller of `ties`."""
    chosen = np.flatnonzero(wanted)
    if budget is None or chosen.size <= budget:
        return wanted
    kept = np.zeros_like(wanted)
    order = np.arange(chosen.size) if ties is None else np.argsort(ties[chosen], kind="stable")
    chosen = chosen[order]
    kept[chosen[np.argsort(-gain_hits[chosen], kind="stable")[:budget]]] = True
    return kept
