"""When to refresh everything: the calendars and detectors that others use, as baselines in the same frame.

Each is pure: a view and what it accumulated come in; whether a refresh is due, and what to accumulate, go out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import msgspec
import numpy as np

from refresh.evidence.plain import plain_rank
from refresh.policies.plan import PolicyState, View
from tidegate.counts import unpack_pairs

_REFRESHED = {"statistic": 0.0, "level": None, "n_panes_since_refresh": 0}


class Trigger(Protocol):
    """Says when a refresh is due."""

    def observe(self, view: View) -> tuple[bool, PolicyState]:
        """Fold a pane in: whether a refresh is due now, and the state if none is made."""
        ...


def after_refresh(state: PolicyState) -> PolicyState:
    """State once a refresh was ordered."""
    return msgspec.structs.replace(state, **_REFRESHED)


@dataclass(frozen=True, slots=True)
class Calendar:
    """Every so many panes after the first table, as the paper does; 0: never."""

    every_panes: int

    def observe(self, view: View) -> tuple[bool, PolicyState]:
        """Look at the calendar."""
        since = view.panes_since_first_table
        return self.every_panes > 0 and since % self.every_panes == 0, view.state


@dataclass(frozen=True, slots=True)
class RawJaccard:
    """When the mean top-5 Jaccard of window and reference, as the paper reports it, falls below a threshold."""

    threshold: float

    def observe(self, view: View) -> tuple[bool, PolicyState]:
        """Compare the report's mean with the threshold."""
        mean = view.report.jaccard_mean if view.report is not None else None
        return mean is not None and mean < self.threshold, view.state


@dataclass(frozen=True, slots=True)
class HitRateCusum:
    """One-sided CUSUM of the served hit rate below its level since the last refresh (Page, Biometrika 41, 1954).

    Attributes
    ----------
    slack : float       standard deviations a pane that are no loss yet
    threshold : float   accumulated deviations at which it signals
    """

    slack: float = 0.5
    threshold: float = 5.0

    def observe(self, view: View) -> tuple[bool, PolicyState]:
        """Accumulate how far the newest pane's hit rate lies below the level."""
        state, rate = view.state, view.hits / view.scored if view.scored else None
        if rate is None:
            return False, state
        n, level = state.n_panes_since_refresh, state.level
        if level is None:
            return False, msgspec.structs.replace(state, level=rate, n_panes_since_refresh=1)
        deviation = math.sqrt(max(level * (1.0 - level), 1e-12) / view.scored)
        statistic = max(0.0, state.statistic + (level - rate) / deviation - self.slack)
        level = level + (rate - level) / (n + 1) if statistic == 0.0 else level
        return statistic > self.threshold, msgspec.structs.replace(
            state, statistic=statistic, level=level, n_panes_since_refresh=n + 1
        )


@dataclass(frozen=True, slots=True)
class CumulativeStaleness:
    """When hits lost to staleness since the last refresh add up to what a refresh costs.

    The cumulative-threshold variant of cost-aware retraining (CARA, Mahadevan and Mathioudakis, arXiv 2310.04216) with
    its threshold at the point where the two costs meet. Staleness of a pane is what the window's plain top-1 would have
    hit more than what serves, by the window's own counts.
    """

    price: float

    def observe(self, view: View) -> tuple[bool, PolicyState]:
        """Add the pane's staleness."""
        lost = stale_hits_per_pane(view)
        statistic = view.state.statistic + lost
        is_due = statistic >= self.price * view.window.pairs.shape[0]
        return is_due, msgspec.structs.replace(view.state, statistic=statistic)


@dataclass(frozen=True, slots=True)
class Budget:
    """A full refresh whenever the calls saved up suffice for it and the table is staler than it usually was then.

    After Verachtert, Jeunen and Goethals, "Scheduling on a budget" (Machine Learning with Applications 11, 2023):
    a fixed budget is spent at the times when staleness is worst instead of at equal intervals. Calls are granted
    evenly, `calls_per_window`; ``statistic`` holds those saved up, ``level`` the staleness that is usual.
    """

    calls_per_window: int
    window_panes: int

    def observe(self, view: View) -> tuple[bool, PolicyState]:
        """Grant a pane's calls, and look whether a refresh can and should be had."""
        state, lost = view.state, stale_hits_per_pane(view)
        granted = self.calls_per_window / self.window_panes
        cost = view.window.pairs.shape[0]
        saved = min(state.statistic + granted, 2.0 * max(cost, self.calls_per_window))
        level = lost if state.level is None else 0.8 * state.level + 0.2 * lost
        is_due = saved >= cost and (lost >= level or saved >= 1.5 * cost)
        return is_due, msgspec.structs.replace(state, statistic=saved - cost if is_due else saved, level=level)


def stale_hits_per_pane(view: View) -> float:
    """Hits a pane that the window's plain top-1 makes more than what serves, both by the window's counts."""
    window, table = view.window, view.table
    if table is None or not window.pairs.size:
        return 0.0
    fresh = plain_rank(window, view.seeds, 1)
    served = table.predict(*unpack_pairs(window.pairs))
    keys = np.repeat(window.pairs, np.diff(window.offsets)) << 16 | window.successors
    wanted = window.pairs << 16 | np.maximum(served, 0)
    at = np.minimum(np.searchsorted(keys, wanted), keys.shape[0] - 1)
    of_served = np.where((keys[at] == wanted) & (served >= 0), window.counts[at], 0)
    of_fresh = fresh.shares[:, 0] * window.totals
    n_panes = max(1, int(view.evidence.spans.n_panes[view.evidence.window_index]))
    return float((of_fresh - of_served).sum()) / n_panes
