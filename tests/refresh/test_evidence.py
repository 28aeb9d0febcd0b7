"""Evidence is a posterior mean that a dictionary can recompute, and ties follow names."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refresh.evidence import Evidence
from tidegate.counts import SuccessorCounts
from tidegate.hashing import cluster_seeds

N_CLUSTERS = 8


def counts_of(transitions: dict[tuple[int, int, int], int]) -> SuccessorCounts:
    ordered = sorted(transitions.items())
    triples = np.array([(a << 16 | b) << 16 | c for (a, b, c), _ in ordered], np.int64)
    return SuccessorCounts.from_triples(triples, np.array([n for _, n in ordered], np.int64))


def seeds(n: int = N_CLUSTERS) -> np.ndarray:
    return cluster_seeds([f"interest-{i}" for i in range(n)])


triples = st.tuples(*[st.integers(0, N_CLUSTERS - 1)] * 3).filter(lambda t: len(set(t)) == 3)
logs = st.dictionaries(triples, st.integers(1, 30), min_size=1, max_size=40)


def backoff_share(log: dict, c2: int, cluster: int, m2: float) -> float:
    own = sum(n for (_, b, c), n in log.items() if b == c2 and c == cluster)
    total = sum(n for (_, b, _), n in log.items() if b == c2)
    popular = sum(n for (_, _, c), n in log.items() if c == cluster) + 0.5
    return (own + m2 * popular / (sum(log.values()) + 0.5 * N_CLUSTERS)) / (total + m2)


@settings(max_examples=60, deadline=None)
@given(logs, st.floats(0.2, 50))
def test_share_is_the_posterior_mean_that_a_dictionary_gives(log, concentration):
    evidence = Evidence(counts_of(log), seeds(), concentration)
    for (a, b, c), n in log.items():
        total = sum(k for (x, y, _), k in log.items() if (x, y) == (a, b))
        prior = backoff_share(log, b, c, evidence.backoff_concentration)
        expected = (n + concentration * prior) / (total + concentration)
        found = evidence.share(np.array([a << 16 | b]), np.array([c], np.int32))[0]
        assert found == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(logs)
def test_the_first_rank_has_the_largest_share_of_all_clusters(log):
    evidence = Evidence(counts_of(log), seeds())
    pairs = evidence.counts.pairs
    best = evidence.rank(pairs, 3)
    for row, pair in enumerate(pairs):
        a, b = int(pair) >> 16, int(pair) & 0xFFFF
        others = np.array([c for c in range(N_CLUSTERS) if c not in (a, b)], np.int32)
        shares = evidence.share(np.full(others.shape, pair), others)
        candidates = set(best.clusters[row]) - {-1}
        assert a not in candidates
        assert b not in candidates
        assert best.shares[row, 0] == pytest.approx(max(s for s in shares), rel=1e-9) or best.clusters[row, 0] == -1
        assert list(best.shares[row]) == sorted(best.shares[row], reverse=True)


def test_plain_rank_is_the_plain_top_one():
    evidence = Evidence(counts_of({(0, 1, 2): 3, (0, 1, 3): 7, (2, 1, 4): 1}), seeds())
    plain = evidence.plain_rank(2)
    assert plain.clusters.tolist() == [[3, 2], [4, -1]]
    assert plain.shares[0].tolist() == [0.7, 0.3]


def test_alike_pairs_are_shrunk_hard_and_unlike_pairs_hardly():
    rng = np.random.default_rng(0)
    alike, unlike = {}, {}
    for a in range(2, N_CLUSTERS):
        for b in (0, 1):
            for _ in range(30):
                successors = [c for c in range(2, N_CLUSTERS) if c != a]
                c = int(rng.choice(successors))
                alike[a, b, c] = alike.get((a, b, c), 0) + 1
                own = successors[(a * 3 + b) % len(successors)]
                unlike[a, b, own] = unlike.get((a, b, own), 0) + 1
    learned = [Evidence(counts_of(log), seeds()).concentration for log in (alike, unlike)]
    assert learned[0] > 10
    assert learned[1] < 1


def test_an_unseen_pair_gets_its_backoff():
    evidence = Evidence(counts_of({(0, 1, 2): 5, (0, 1, 3): 2}), seeds())
    assert evidence.rank(np.array([4 << 16 | 1]), 2).clusters.tolist() == [[2, 3]]
    assert evidence.rank(np.array([2 << 16 | 1]), 1).clusters.tolist() == [[3]]  # never c1


def test_ties_follow_names_and_not_ids():
    log = {(0, 1, 2): 1, (0, 1, 3): 1, (0, 1, 4): 1, (0, 1, 5): 1}
    names = [f"interest-{i}" for i in range(N_CLUSTERS)]
    order = np.random.default_rng(3).permutation(N_CLUSTERS)
    renamed = [""] * N_CLUSTERS
    for old, new in enumerate(order):
        renamed[new] = names[old]
    moved = {tuple(int(order[c]) for c in triple): n for triple, n in log.items()}
    one = Evidence(counts_of(log), cluster_seeds(names)).plain_rank(4).clusters[0]
    other = Evidence(counts_of(moved), cluster_seeds(renamed)).plain_rank(4).clusters[0]
    assert [names[c] for c in one] == [renamed[c] for c in other]


def test_no_transitions_at_all_rank_nothing():
    evidence = Evidence(SuccessorCounts.empty(), seeds())
    assert evidence.rank(np.array([1 << 16 | 2]), 1).clusters.tolist() == [[-1]]
    assert evidence.totals(np.array([7])).tolist() == [0]
