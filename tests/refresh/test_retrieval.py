from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from refresh.evidence import Evidence
from refresh.evidence.plain import plain_rank
from refresh.retrieval import Kind, Level, Retrieval, Seen, retrieve
from tests.refresh.study.origins import plain
from tidegate.counts import SuccessorCounts, unpack_pairs
from tidegate.hashing import cluster_seeds

N = 15
SEEDS = cluster_seeds([f"interest {i}" for i in range(N)])


def _random(seed: int) -> dict[tuple[int, int, int], int]:
    generator = np.random.default_rng(seed)
    triples = [tuple(generator.permutation(N)[:3].tolist()) for _ in range(400)]
    return {triple: int(generator.integers(1, 9)) for triple in triples}


def _best_by_hand(
    level: Level, kind: Kind, window: dict[tuple[int, int, int], int], before: dict[tuple[int, int, int], int], pair
) -> float:
    """Largest value that a cluster other than c1 and c2 has in the pair's group."""

    def shares(counts: dict[tuple[int, int, int], int]) -> dict[int, float]:
        group = {
            Level.INSTANCE: lambda c1, c2: (c1, c2) == pair,
            Level.C2: lambda _, c2: c2 == pair[1],
            Level.GLOBAL: lambda *_: True,
        }[level]
        totals = Counter[int]()
        for (c1, c2, c_next), n in counts.items():
            if group(c1, c2):
                totals[c_next] += n
        return {cluster: n / totals.total() for cluster, n in totals.items()}

    now, past = shares(window), shares(before)
    values = {c: share - (past.get(c, 0.0) if kind is Kind.TREND else 0.0) for c, share in now.items()}
    return max((value for c, value in values.items() if c not in pair), default=0.0)


@pytest.mark.parametrize("level", list(Level))
@pytest.mark.parametrize("kind", list(Kind))
def test_the_line_is_what_plain_python_finds_best(level: Level, kind: Kind) -> None:
    window, before = _random(1), _random(2)
    pairs = plain(window).pairs
    ranked = retrieve(level, kind, plain(window), plain(before), pairs, SEEDS, 3)
    for pair, clusters, shares in zip(
        zip(*unpack_pairs(pairs), strict=True), ranked.clusters, ranked.shares, strict=True
    ):
        expected = _best_by_hand(level, kind, window, before, tuple(map(int, pair)))
        assert shares[0] == pytest.approx(expected)
        assert not set(clusters.tolist()) & set(map(int, pair))
        assert list(shares[clusters >= 0]) == sorted(shares[clusters >= 0], reverse=True)


def test_instance_level_by_frequency_is_the_papers_retrieval() -> None:
    window = plain(_random(3))
    ranked = retrieve(Level.INSTANCE, Kind.FREQUENCY, window, SuccessorCounts.empty(), window.pairs, SEEDS, 5)
    expected = plain_rank(window, SEEDS, 5)
    assert np.array_equal(ranked.clusters, expected.clusters)
    assert np.allclose(ranked.shares, expected.shares)


def test_an_unknown_pair_has_no_line_of_its_own_and_all_of_it_has_grown_where_the_window_before_is_silent() -> None:
    window = {(1, 2, 3): 3, (1, 2, 4): 1}
    unknown = np.array([5 << 16 | 6])
    assert (retrieve(Level.INSTANCE, Kind.FREQUENCY, plain(window), plain({}), unknown, SEEDS, 2).clusters == -1).all()
    trend = retrieve(Level.INSTANCE, Kind.TREND, plain(window), plain({}), np.array([1 << 16 | 2]), SEEDS, 2)
    assert trend.clusters.tolist() == [[3, 4]] and trend.shares.tolist() == [[0.75, 0.25]]
    nothing = retrieve(Level.GLOBAL, Kind.FREQUENCY, plain({}), plain({}), unknown, SEEDS, 2)
    assert nothing.clusters.tolist() == [[-1, -1]]


def test_what_grows_is_retrieved_before_what_is_frequent() -> None:
    before, window = {(1, 2, 3): 8, (1, 2, 4): 2}, {(1, 2, 3): 6, (1, 2, 4): 4}
    pair = np.array([1 << 16 | 2])
    by_kind = {kind: retrieve(Level.INSTANCE, kind, plain(window), plain(before), pair, SEEDS, 1) for kind in Kind}
    assert by_kind[Kind.FREQUENCY].clusters.tolist() == [[3]] and by_kind[Kind.TREND].clusters.tolist() == [[4]]


def _seen(window: dict[tuple[int, int, int], int], before: dict[tuple[int, int, int], int]) -> Seen:
    return Seen(Evidence.of_counts(plain(window), SEEDS), plain(window), plain(before), SEEDS)


def test_a_thin_pairs_line_comes_from_c2() -> None:
    window = {(1, 2, 3): 4, (5, 2, 6): 40, (7, 2, 8): 5}
    pairs = np.array([1 << 16 | 2, 5 << 16 | 2, 7 << 16 | 2, 9 << 16 | 2])
    trend = Retrieval(kind=Kind.TREND, min_support=5)
    assert trend.of_pairs(_seen(window, {}), pairs, 1).clusters[:, 0].tolist() == [6, 6, 8, 6]
    never = Retrieval(kind=Kind.TREND, min_support=0)
    assert never.of_pairs(_seen(window, {}), pairs, 1).clusters[:, 0].tolist() == [3, 6, 8, -1]


def test_the_default_way_is_the_evidences_ranking() -> None:
    seen, pairs = _seen(_random(1), _random(2)), plain(_random(1)).pairs
    ranked, expected = Retrieval().of_pairs(seen, pairs, 3), seen.evidence.rank(pairs, 3)
    np.testing.assert_array_equal(ranked.clusters, expected.clusters)
    np.testing.assert_array_equal(ranked.shares, expected.shares)
    c2 = np.arange(N, dtype=np.int32)
    np.testing.assert_array_equal(Retrieval().of_c2(seen, c2, 3).clusters, seen.evidence.backoff(3).clusters)


@pytest.mark.parametrize("level", [Level.INSTANCE, Level.GLOBAL])
@pytest.mark.parametrize("kind", list(Kind))
def test_lines_do_not_depend_on_the_rows_around_and_their_shares_are_never_negative(level: Level, kind: Kind) -> None:
    seen, pairs = _seen(_random(1), _random(2)), plain(_random(1)).pairs
    retrieval, order = Retrieval(level, kind), np.random.default_rng(0).permutation(pairs.shape[0])
    whole, shuffled = (retrieval.of_pairs(seen, rows, 3) for rows in (pairs, pairs[order]))
    np.testing.assert_array_equal(shuffled.clusters, whole.clusters[order])
    np.testing.assert_array_equal(retrieval.of_pairs(seen, pairs[7:8], 3).clusters, whole.clusters[7:8])
    assert (whole.shares >= 0).all()
