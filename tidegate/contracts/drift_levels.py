"""Drift above pairs: by cluster, and of the backoff that stands in for thin pairs."""

from __future__ import annotations

import msgspec


class ClusterDrift(msgspec.Struct, frozen=True, kw_only=True):
    """One cluster of a drift report: its compared pairs together. Overlaps weigh pairs by their traffic in the window.

    ``z`` is in standard deviations of its pairs' summed statistic above the permutation mean; None where nothing can be
    exchanged. ``null`` and ``drift`` are at matched counts, ``jaccard`` is not, see `PairDrift`.
    """

    cluster: int
    pairs: int
    n_window: int
    n_reference: int
    jaccard: float
    null: float
    drift: float
    z: float | None
    p_value: float
    flagged: bool


class LevelDrift(msgspec.Struct, frozen=True, kw_only=True):
    """Pairs of a drift report by their first, or by their second cluster.

    ``compared`` and ``flagged`` count clusters, by false discovery rate within the level; ``clusters`` lists those with
    the smallest p-values, the heavier first among equals.
    """

    compared: int
    flagged: int
    clusters: tuple[ClusterDrift, ...] = ()


class BackoffRowDrift(msgspec.Struct, frozen=True, kw_only=True):
    """One row ``(c2 -> c_next)`` of the backoff, compared as a pair is, and the thin pairs that it stands in for."""

    c2: int
    thin_pairs: int
    n_window: int
    n_reference: int
    jaccard: float
    null: float
    drift: float
    p_value: float
    flagged: bool


class BackoffDrift(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in for pairs that are too thin to be compared: the counts of their ``c2``, pooled over all ``c1``.

    ``thin_pairs`` and ``thin_transitions`` (of the window) are those whose row is among the ``rows`` compared; means
    are over rows, as in `DriftReport`. ``heaviest`` lists flagged rows, by the transitions of the window.
    """

    rows: int
    flagged_rows: int
    thin_pairs: int
    thin_transitions: int
    jaccard_mean: float | None
    null_mean: float | None
    drift_mean: float | None
    drift_traffic_mean: float | None
    heaviest: tuple[BackoffRowDrift, ...] = ()
