"""Which interests follow which in a world, and how the planted drifts change that."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.worlds.draws import Floats, zipf_cdf
from stream.worlds.relations import Relations, make_relations
from stream.worlds.settings import Drift, DriftKind, WorldSettings

TOP = 5
_REPLACED = 3
_SPARE_CANDIDATES = 4

Clusters = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class PlantedDrift:
    """One drift as it was planted: the ground truth.

    Attributes
    ----------
    drift : Drift
    traffic_share : float     expected share of the transitions that `pairs` have before any drift
    pairs : int64[k, 2]       c1 and c2
    before, after : int16[k, 5]    first successors, the likeliest first
    """

    drift: Drift
    traffic_share: float
    pairs: NDArray[np.int64]
    before: Clusters
    after: Clusters


@dataclass(frozen=True, slots=True)
class Interests:
    """Successors of every pair; row ``c1 * C + c2`` of S successors, the likeliest first.

    Attributes
    ----------
    rank_cdf : float64[S]          of a successor's rank, up to 1 - tail
    first_cdf : float64[F]         of the rank of a first transition, up to 1 - tail
    first : int16[C, F]            clusters that follow a start
    before, after : int16[C * C, S]    successors without and with the pair's drift
    drift_of_pair : int8[C * C]    index into `planted`; the pairs without drift have len(planted)
    planted : tuple of PlantedDrift
    """

    rank_cdf: Floats
    first_cdf: Floats
    first: Clusters
    before: Clusters
    after: Clusters
    drift_of_pair: NDArray[np.int8]
    planted: tuple[PlantedDrift, ...]


def make_interests(settings: WorldSettings, start_shares: Floats, rng: np.random.Generator) -> Interests:
    """Draw successors and plant the drifts.

    The successors of (c1, c2) are those of c2 in an order of the pair's own, so that the backoff on c2 knows
    some of what the pair knows.
    """
    relations = make_relations(settings, rng) if settings.n_groups else None
    candidates = _candidates(settings, rng) if relations is None else relations.visited()
    before = _successors(settings, candidates, rng) if relations is None else relations.successors(relations.group)
    first = candidates[:, : settings.n_first]
    rank_cdf = zipf_cdf(settings.n_successors) * (1 - settings.tail)
    first_cdf = zipf_cdf(settings.n_first) * (1 - settings.tail)
    flow = _expected_flow(settings, start_shares, first, first_cdf, before, rank_cdf)
    after, drift_of_pair, planted = _plant(settings, candidates, before, flow, rng, relations)
    return Interests(rank_cdf, first_cdf, first, before, after, drift_of_pair, planted)


def _candidates(settings: WorldSettings, rng: np.random.Generator) -> Clusters:
    """Clusters that may follow each, int16[C, S + spare], never itself."""
    n_candidates = min(settings.n_clusters - 1, settings.n_successors + _SPARE_CANDIDATES)
    draws = rng.random((settings.n_clusters, settings.n_clusters))
    np.fill_diagonal(draws, np.inf)
    return np.argsort(draws, axis=1)[:, :n_candidates].astype(np.int16)


def _successors(settings: WorldSettings, candidates: Clusters, rng: np.random.Generator) -> Clusters:
    """Successors of all pairs, int16[C * C, S], never c1 or c2."""
    n_clusters, n_candidates = candidates.shape
    out = np.empty((n_clusters, n_clusters, settings.n_successors), np.int16)
    octave = np.log2(np.arange(1, n_candidates + 1))
    for c1 in range(n_clusters):
        key = octave + settings.own_order * rng.standard_normal((n_clusters, n_candidates))
        key[candidates == c1] = np.inf
        order = np.argsort(key, axis=1)[:, : settings.n_successors]
        out[c1] = np.take_along_axis(candidates, order, axis=1)
    return out.reshape(n_clusters * n_clusters, settings.n_successors)


def _expected_flow(
    settings: WorldSettings,
    start_shares: Floats,
    first: Clusters,
    first_cdf: Floats,
    successors: Clusters,
    rank_cdf: Floats,
) -> Floats:
    """Compute the expected share of each pair in the transitions without drift, float64[C * C].

    Walks the chain of pairs; that a session never returns to a cluster is left out, which moves shares by little.
    """
    n_clusters = settings.n_clusters
    c1, c2 = np.divmod(np.arange(n_clusters * n_clusters), n_clusters)
    arriving = np.zeros((n_clusters, n_clusters))
    np.put_along_axis(arriving, first.astype(np.int64), np.diff(first_cdf, prepend=0.0)[None, :], axis=1)
    flow = ((arriving + settings.tail / n_clusters) * start_shares[:, None]).ravel()
    flow[c1 == c2] = 0.0
    total = np.zeros_like(flow)
    n_lengths = settings.max_watches - settings.min_watches + 1
    for n_watches in range(3, settings.max_watches + 1):
        total += flow * min(1.0, (settings.max_watches - n_watches + 1) / n_lengths)
        step = np.repeat(np.bincount(c2, flow, n_clusters) * settings.tail / n_clusters, n_clusters)
        for rank, weight in enumerate(np.diff(rank_cdf, prepend=0.0)):
            step += np.bincount(c2 * n_clusters + successors[:, rank], flow * weight, flow.shape[0])
        step[c1 == c2] = 0.0
        flow = step
    return np.asarray(total / total.sum())


def _plant(
    settings: WorldSettings,
    candidates: Clusters,
    before: Clusters,
    flow: Floats,
    rng: np.random.Generator,
    relations: Relations | None,
) -> tuple[Clusters, NDArray[np.int8], tuple[PlantedDrift, ...]]:
    after = before.copy()
    drift_of_pair = np.full(flow.shape[0], len(settings.drifts), np.int8)
    # Only pairs that people visit on purpose: those of the tail would fill the truth with what nobody can see.
    visited = (np.arange(settings.n_clusters)[:, None] * settings.n_clusters + candidates).ravel()
    waiting = rng.permutation(visited)
    planted = []
    for index, drift in enumerate(settings.drifts):
        if drift.kind is DriftKind.RELATIONS and relations is not None:
            chosen = _moved(waiting, flow, drift.traffic_share, relations, after, rng)
        else:
            chosen = _choose(waiting, flow, drift.traffic_share)
            after[chosen] = _replace_top(before[chosen], rng)
        waiting = waiting[~np.isin(waiting, chosen)]
        drift_of_pair[chosen] = index
        pairs = np.stack(np.divmod(chosen, settings.n_clusters), axis=1)
        share = float(flow[chosen].sum())
        planted.append(PlantedDrift(drift, share, pairs, before[chosen, :TOP], after[chosen, :TOP]))
    return after, drift_of_pair, tuple(planted)


def _choose(waiting: NDArray[np.int64], flow: Floats, share: float) -> NDArray[np.int64]:
    """Take the first of `waiting` that together carry `share` of the traffic and not more, sorted."""
    chosen, carried = [], 0.0
    for pair in waiting.tolist():
        if carried + flow[pair] <= share:
            chosen.append(pair)
            carried += flow[pair]
    return np.sort(np.array(chosen, np.int64))


def _moved(
    waiting: NDArray[np.int64],
    flow: Floats,
    share: float,
    relations: Relations,
    after: Clusters,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Move clusters whose pairs carry `share` of the traffic to other groups; returns those of `waiting`, sorted."""
    n_clusters = relations.group.shape[0]
    of_first = flow.reshape(n_clusters, n_clusters).sum(axis=1)
    clusters = _choose(rng.permutation(n_clusters), of_first, share)
    chosen = np.sort(waiting[np.isin(waiting // n_clusters, clusters)])
    after[chosen] = relations.successors(relations.moved(clusters, rng))[chosen]
    return chosen


def _replace_top(rows: Clusters, rng: np.random.Generator) -> Clusters:
    """Exchange the first and two more of the first five successors with some of the last half, int16[k, S]."""
    n, n_successors = rows.shape
    half = n_successors // 2
    out_ranks = np.zeros((n, _REPLACED), np.int64)
    out_ranks[:, 1:] = 1 + np.argsort(rng.random((n, TOP - 1)), axis=1)[:, : _REPLACED - 1]
    in_ranks = half + np.argsort(rng.random((n, n_successors - half)), axis=1)[:, :_REPLACED]
    order = np.tile(np.arange(n_successors), (n, 1))
    np.put_along_axis(order, out_ranks, in_ranks, axis=1)
    np.put_along_axis(order, in_ranks, out_ranks, axis=1)
    return np.take_along_axis(rows, order, axis=1)
