"""Panes of a small world, counted by user bucket, in which most users move on to c2 + `step`."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from refresh.finetune.curation import CuratedSamples, CurationRecipe, PaneCounts, curate
from tests.refresh.tiny_world import N_CLUSTERS, NAMES
from tidegate.counts import BucketedCounts, pack_transitions

WINDOW_PANES, FLAG_PANE, N_BUCKETS = 2, 19_725, 32
SMALL = CurationRecipe(n_taught=1_000, n_validation=300, n_test=300)


def pane_counts(
    seed: int, n: int = 2_000, step: int = 1, n_clusters: int = N_CLUSTERS, n_buckets: int = N_BUCKETS
) -> BucketedCounts:
    """Transitions of one pane."""
    generator = np.random.default_rng(seed)
    c1, c2, other = generator.integers(0, n_clusters, (3, n))
    c_next = np.where(generator.random(n) < 0.7, (c2 + step) % n_clusters, other)
    distinct = (c1 != c2) & (c_next != c1) & (c_next != c2)
    keys = pack_transitions(c1, c2, c_next, generator.integers(0, n_buckets, n))[distinct]
    return BucketedCounts(*np.unique(keys, return_counts=True))


def panes(n: int = 4, step: int = 1, last: int = FLAG_PANE, n_clusters: int = N_CLUSTERS) -> list[PaneCounts]:
    """Return the last panes up to `last`."""
    return [
        PaneCounts(pane, pane_counts(pane, step=step, n_clusters=n_clusters)) for pane in range(last - n + 1, last + 1)
    ]


def take(
    given: list[PaneCounts] | None = None,
    *,
    names: list[str] | None = None,
    seed: int = 3,
    recipe: CurationRecipe = SMALL,
) -> CuratedSamples:
    """Take samples of the world."""
    return curate(
        panes() if given is None else given,
        names or NAMES,
        flag_pane=FLAG_PANE,
        window_panes=WINDOW_PANES,
        seed=seed,
        recipe=recipe,
    )


@cache
def small_samples() -> CuratedSamples:
    """Samples that tests share; frozen."""
    return take()


@cache
def moved_samples() -> CuratedSamples:
    """Samples of users who move on to c2 + 5, asked with lines that still say c2 + 1: only weights can learn that."""
    curated = small_samples()
    samples = curated.samples
    to = ((samples.c2 + 5) % N_CLUSTERS).astype(np.int32)
    moved = replace(samples, target=np.where(to == samples.c1, samples.target, to))
    return replace(curated, samples=moved)
