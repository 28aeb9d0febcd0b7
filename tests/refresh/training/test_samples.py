from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refresh.evidence import Evidence
from refresh.training.samples import Samples, build_samples, cap_for, split_samples
from tests.refresh.tiny_world import NAMES, tiny_counts
from tidegate.counts import SuccessorCounts, pack_pairs
from tidegate.hashing import cluster_seeds

LABELS = tiny_counts(seed=2)
EVIDENCE = Evidence.of_counts(tiny_counts(seed=1), cluster_seeds(NAMES))


def columns(samples: Samples) -> list[list[float]]:
    return [c.tolist() for c in (samples.c1, samples.c2, samples.retrieved, samples.target, samples.weight)]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=20), st.integers(20, 400))
def test_the_cap_is_the_largest_that_fits(traffic: list[int], n_samples: int) -> None:
    counts = np.array(traffic, dtype=np.int64)
    cap = cap_for(counts, n_samples)
    assert np.minimum(counts, cap).sum() <= n_samples
    assert cap >= counts.max() or np.minimum(counts, cap + 1).sum() > n_samples


def test_equal_seeds_draw_equal_samples_and_others_do_not() -> None:
    first, second, other = (columns(build_samples(EVIDENCE, LABELS, seed=seed, n_samples=500)) for seed in (1, 1, 2))
    assert first == second
    assert first != other


def test_without_a_limit_every_transition_is_drawn_once() -> None:
    samples = build_samples(EVIDENCE, LABELS, seed=1, n_samples=10**6, without_c1=0)
    triples, counts = np.unique(pack_pairs(samples.c1, samples.c2) << 16 | samples.target, return_counts=True)
    expected = np.repeat(LABELS.pairs, np.diff(LABELS.offsets)) << 16 | LABELS.successors
    np.testing.assert_array_equal(triples, expected)
    np.testing.assert_array_equal(counts, LABELS.counts)
    np.testing.assert_allclose(samples.weight, 1)


def test_heads_are_capped_and_weigh_more() -> None:
    samples = build_samples(EVIDENCE, LABELS, seed=1, n_samples=200)
    drawn = np.bincount(samples.target, minlength=len(NAMES))
    assert len(samples) <= 200
    assert drawn.max() == 10
    assert samples.weight.mean() == pytest.approx(1)


def test_lines_are_what_retrieval_says_to_the_row_as_it_is_asked() -> None:
    samples = build_samples(EVIDENCE, LABELS, seed=1, without_line=0.5, without_c1=0.5)
    of_pair = samples[(samples.c1 >= 0) & (samples.retrieved[:, 0] >= 0)]
    expected = EVIDENCE.rank(pack_pairs(of_pair.c1, of_pair.c2), 1).clusters
    np.testing.assert_array_equal(of_pair.retrieved, expected)
    of_c2 = samples[(samples.c1 < 0) & (samples.retrieved[:, 0] >= 0)]
    np.testing.assert_array_equal(of_c2.retrieved, EVIDENCE.backoff(1).clusters[of_c2.c2])
    assert 0.4 < (samples.c1 < 0).mean() < 0.6
    assert 0.4 < (samples.retrieved < 0).mean() < 0.6


def test_longer_lines_go_on_where_shorter_ones_end_and_leave_everything_else_as_it_is() -> None:
    one, three = (build_samples(EVIDENCE, LABELS, seed=1, n_samples=500, n_retrieved=n) for n in (1, 3))
    assert three.retrieved.shape == (len(one), 3)
    np.testing.assert_array_equal(three.retrieved[:, :1], one.retrieved)
    np.testing.assert_array_equal(three.target, one.target)
    assert (three.retrieved[three.retrieved[:, 0] < 0] == -1).all()


def test_no_labels_give_no_samples() -> None:
    assert len(build_samples(EVIDENCE, SuccessorCounts.empty(), seed=1)) == 0


def test_a_split_keeps_every_sample() -> None:
    samples = build_samples(EVIDENCE, LABELS, seed=1, n_samples=500)
    taught, held_out = split_samples(samples, 0.2, seed=1)
    assert len(taught) + len(held_out) == len(samples)
    assert 50 < len(held_out) < 150
