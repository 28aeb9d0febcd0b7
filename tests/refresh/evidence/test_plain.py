"""The paper's retrieval: what followed most often."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refresh.evidence.plain import plain_backoff, plain_rank
from tests.refresh.logs import N_CLUSTERS, Log, counts_of, logs, seeds
from tidegate.counts import SuccessorCounts
from tidegate.hashing import mix64

SEEDS = seeds()


def ranked(counts: Counter[int], c1: int, c2: int) -> list[int]:
    of_row = mix64(SEEDS[c2]) if c1 < 0 else mix64(mix64(SEEDS[c1]) ^ SEEDS[c2])
    return sorted(counts, key=lambda c: (-counts[c], int(mix64(np.uint64(of_row) ^ SEEDS[c]))))


def test_plain_rank_is_the_plain_top_one():
    plain = plain_rank(counts_of({(0, 1, 2): 3, (0, 1, 3): 7, (2, 1, 4): 1}), SEEDS, 2)
    assert plain.clusters.tolist() == [[3, 2], [4, -1]]
    assert plain.shares[0].tolist() == [0.7, 0.3]


@settings(max_examples=25, deadline=None)
@given(logs, st.integers(1, 4))
def test_plain_ranks_are_those_of_dictionaries(log: Log, depth: int):
    counts = counts_of(log)
    by_pair = plain_rank(counts, SEEDS, depth)
    for row, pair in enumerate(counts.pairs.tolist()):
        a, b = pair >> 16, pair & 0xFFFF
        own = Counter({c: n for (x, y, c), n in log.items() if (x, y) == (a, b)})
        expected = ranked(own, a, b)[:depth]
        assert [c for c in by_pair.clusters[row].tolist() if c >= 0] == expected
        assert by_pair.shares[row, : len(expected)] == pytest.approx([own[c] / own.total() for c in expected])
    by_c2 = plain_backoff(counts, SEEDS, depth)
    for b in range(N_CLUSTERS):
        own = Counter()
        for (_, y, c), n in log.items():
            own[c] += n if y == b else 0
        own = +own
        assert [c for c in by_c2.clusters[b].tolist() if c >= 0] == ranked(own, -1, b)[:depth]


def test_no_transitions_rank_nothing():
    assert plain_rank(SuccessorCounts.empty(), SEEDS, 3).clusters.shape == (0, 3)
    assert np.all(plain_backoff(SuccessorCounts.empty(), SEEDS, 3).clusters == -1)
