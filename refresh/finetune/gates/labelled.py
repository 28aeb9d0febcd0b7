"""Transitions that answers are held against, and means over them with the noise that sampling users leaves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from refresh.prompts import RowContexts

Int32s = NDArray[np.int32]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Groups = NDArray[np.int64] | NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Labelled:
    """Transitions of users, asked as rows are asked.

    Attributes
    ----------
    contexts : RowContexts of n rows
    targets : int32[n]       the cluster that the user moved on to
    users : int or uint8[n]  whoever is drawn as one: a user, or a bucket of them
    traffic : float64[n]     transitions that the row stands for, where labels were capped; up to a factor
    """

    contexts: RowContexts
    targets: Int32s
    users: Groups
    traffic: Floats

    def __len__(self) -> int:
        return int(self.targets.shape[0])

    @property
    def n_users(self) -> int:
        """Users that the rows are of."""
        return int(np.unique(self.users).shape[0])


class Interval(NamedTuple):
    """A mean over rows, with the interval that sampling users leaves; `deviation` is its standard deviation."""

    mean: float
    low: float
    high: float
    deviation: float


def mean_by_groups(values: Floats, groups: Groups, confidence: float, weights: Floats | None = None) -> Interval:
    """Mean of `values` with an interval for groups drawn as a whole: users repeat themselves. `O(n log n)`.

    The ratio estimator's linearisation (Cochran, Sampling Techniques, 1977, §6.4) with Student's t of groups less one.

    Parameters
    ----------
    values : float64[n]
    groups : of each value
    confidence : of the two-sided interval
    weights : float64[n], optional    equal ones by default

    Examples
    --------
    >>> mean_by_groups(np.array([1.0, 1.0, 0.0, 0.0]), np.array([1, 1, 2, 2]), 0.95).mean
    0.5
    """
    weights = np.ones(values.shape[0]) if weights is None else weights
    total = float(weights.sum())
    if not total:
        return Interval(0.0, -math.inf, math.inf, math.inf)
    mean = float((weights * values).sum()) / total
    _, of_group = np.unique(groups, return_inverse=True)
    n_groups = int(of_group.max()) + 1
    if n_groups < 2:
        return Interval(mean, -math.inf, math.inf, math.inf)
    from scipy.special import stdtrit  # takes a while to import

    residuals = np.bincount(of_group, weights * (values - mean), n_groups)
    deviation = math.sqrt(float((residuals**2).sum()) * n_groups / (n_groups - 1)) / total
    reach = float(stdtrit(n_groups - 1, 0.5 + confidence / 2)) * deviation
    return Interval(mean, mean - reach, mean + reach, deviation)


def most_popular(rows: Labelled, n_clusters: int) -> Int32s:
    """Answer each row with the target of most traffic that is neither its c1 nor its c2: int32[n].

    The best that one can do without looking at the context, on these very rows.
    """
    traffic = np.bincount(rows.targets, rows.traffic, n_clusters)
    return first_allowed(np.argsort(-traffic, kind="stable").astype(np.int32), rows.contexts)


def first_allowed(order: Int32s, contexts: RowContexts) -> Int32s:
    """Answer rows with the first of an order that is neither c1 nor c2, int32[n]; -1 where it has none. `O(n)`.

    Examples
    --------
    >>> rows = RowContexts(np.array([2, -1]), np.array([0, 1]), np.zeros((2, 0)))
    >>> first_allowed(np.array([0, 2, 1], np.int32), rows).tolist()
    [1, 0]
    """
    first = np.full(len(contexts), -1, np.int32)
    for cluster in order[:3].tolist():  # two at most are not allowed
        first[(first < 0) & (contexts.c1 != cluster) & (contexts.c2 != cluster)] = cluster
    return first


def tail_of(rows: Labelled, n_clusters: int, share: float) -> Bools:
    """Tell which clusters are the tail, bool[C]: those of least traffic, which together have `share` of it."""
    traffic = np.bincount(rows.targets, rows.traffic, n_clusters)
    order = np.argsort(traffic, kind="stable")
    is_tail = np.zeros(n_clusters, np.bool_)
    is_tail[order[np.cumsum(traffic[order]) <= share * traffic.sum()]] = True
    return is_tail
