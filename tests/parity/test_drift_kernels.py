"""The drift kernels against plain Python and against brute force."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.drift import permutation
from stream.drift.alike import choose_alike, find_compared
from stream.drift.backoff import pool_successors
from stream.drift.evidence import Evidence, Side, gather, mix_each, new_evidence, thin
from stream.drift.jaccard import binomial_table, expected_jaccard
from stream.drift.levels import add_products, judge_form
from stream.drift.matched import exchange
from stream.drift.matching import side_of
from stream.drift.overlap import depth_weights, rank_biased_overlap
from stream.drift.table import permutation_masks, signs_of_masks
from tidegate.counts import BucketedCounts, pack_transitions
from tidegate.hashing import mix64
from tidegate.jit import is_compiled

TABLE = binomial_table(64, 5)
N_BUCKETS = 64
ALL = np.ones(128, np.bool_)


def _tie_breaks(counts: list[int], k: int) -> list[frozenset[int]]:
    """All top-k sets that some tie-break gives, each with equal chance."""
    positive = sorted((count for count in counts if count > 0), reverse=True)
    if len(positive) <= k:
        return [frozenset(i for i, count in enumerate(counts) if count > 0)]
    bound = positive[k - 1]
    sure = {i for i, count in enumerate(counts) if count > bound}
    tied = [i for i, count in enumerate(counts) if count == bound]
    return [frozenset(sure | set(drawn)) for drawn in combinations(tied, k - len(sure))]


def _jaccard_by_brute_force(a: list[int], b: list[int], k: int) -> float:
    sets_a, sets_b = _tie_breaks(a, k), _tie_breaks(b, k)
    ratios = [len(x & y) / len(x | y) if x | y else 0.0 for x in sets_a for y in sets_b]
    return sum(ratios) / len(ratios)


@given(
    columns=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=9),
    k=st.integers(1, 5),
)
@settings(max_examples=300, deadline=None)
def test_expected_jaccard_is_the_mean_over_all_tie_breaks(columns: list[tuple[int, int]], k: int) -> None:
    a, b = [list(side) for side in zip(*columns, strict=True)]
    got = expected_jaccard(
        np.array(a, dtype=np.int32), np.array(b, dtype=np.int32), len(a), np.zeros(k, dtype=np.int32), TABLE
    )
    assert got == pytest.approx(_jaccard_by_brute_force(a, b, k), abs=1e-12)
    assert is_compiled(expected_jaccard)


def test_a_whole_tie_of_twenty_is_averaged_exactly() -> None:
    tied = np.ones(20, dtype=np.int32)
    # |A & B| is hypergeometric: C(5, h) C(15, 5 - h) / C(20, 5)
    chances = [TABLE[5, h] * TABLE[15, 5 - h] / TABLE[20, 5] for h in range(6)]
    expected = sum(chance * h / (10 - h) for h, chance in enumerate(chances))
    assert expected_jaccard(tied, tied, 20, np.zeros(5, dtype=np.int32), TABLE) == pytest.approx(expected)


def _one_pair(
    rng: np.random.Generator, n_window: int, n_reference: int
) -> tuple[Side, Side, dict[tuple[int, int], list[int]]]:
    cells: dict[tuple[int, int], list[int]] = {}
    sides = []
    for which, n in enumerate((n_window, n_reference)):
        drawn = rng.integers(0, 8, n) << 8 | rng.integers(0, N_BUCKETS, n)
        keys, counts = np.unique(drawn, return_counts=True)
        for key, count in zip(keys.tolist(), counts.tolist(), strict=True):
            cells.setdefault((key >> 8, key & 255), [0, 0])[which] = count
        ends = np.array([keys.shape[0]])
        sides.append(Side(keys, counts.astype(np.int64), np.zeros(1, dtype=np.int64), ends, np.array([n])))
    return sides[0], sides[1], cells


def _gathered(window: Side, reference: Side) -> tuple[Evidence, int]:
    evidence = new_evidence(256)
    seeds = mix_each(np.arange(8, dtype=np.uint64), np.uint64(0))
    return evidence, gather(window, reference, 0, seeds, evidence)


def test_gathering_keeps_every_cell_in_the_order_of_the_names_seeds() -> None:
    window, reference, cells = _one_pair(np.random.default_rng(0), 50, 40)
    evidence, n_successors = _gathered(window, reference)
    seeds = [int(mix64(np.uint64(c) + mix64(np.uint64(0)))) for c in range(8)]
    expected = sorted(cells, key=lambda cell: (seeds[cell[0]], cell[1]))
    n_cells = evidence.starts[n_successors]
    assert [(c >> 8, c & 255) for c in evidence.cells[:n_cells].tolist()] == expected
    assert evidence.counts[:, :n_cells].T.tolist() == [cells[cell] for cell in expected]
    assert is_compiled(gather)


def test_thinning_keeps_every_transition_with_the_chance_of_its_cell_and_its_own() -> None:
    window, reference, _ = _one_pair(np.random.default_rng(2), 60, 20)
    evidence, n_successors = _gathered(window, reference)
    n_cells = evidence.starts[n_successors]
    kept = np.zeros(n_cells)
    for seed in range(2_000):
        thin(evidence, n_cells, (0.5, 1.0), (0.6, 1.0), np.uint64(seed << 20))
        kept += evidence.kept[0, :n_cells]
        assert evidence.kept[1, :n_cells].tolist() == evidence.counts[1, :n_cells].tolist()
    assert kept / 2_000 == pytest.approx(evidence.counts[0, :n_cells] * 0.3, abs=0.08)
    assert is_compiled(thin)


def test_thinning_by_cells_keeps_them_whole_and_thinning_no_side_keeps_all() -> None:
    window, reference, _ = _one_pair(np.random.default_rng(2), 60, 40)
    evidence, n_successors = _gathered(window, reference)
    n_cells = evidence.starts[n_successors]
    thin(evidence, n_cells, (1.0, 0.5), (1.0, 1.0), np.uint64(5))
    kept, counts = evidence.kept[1, :n_cells], evidence.counts[1, :n_cells]
    assert 0 < kept.sum() < counts.sum()
    assert all(now in (0, before) for now, before in zip(kept.tolist(), counts.tolist(), strict=True))
    thin(evidence, n_cells, (1.0, 1.0), (1.0, 1.0), np.uint64(5))
    assert evidence.kept[:, :n_cells].tolist() == evidence.counts[:, :n_cells].tolist()


def _overlap_in_plain_python(a: list[int], b: list[int], p: float) -> float:
    """RBO_EXT of one pair of strict rankings (Webber et al. 2010, equation 32), averaged over all tie-breaks."""
    return float(np.mean([_extrapolated(x, y, p) for x in _orders(a) for y in _orders(b)]))


def _orders(counts: list[int]) -> list[list[int]]:
    ranked: list[list[int]] = [[]]
    for value in sorted({count for count in counts if count > 0}, reverse=True):
        tied = [i for i, count in enumerate(counts) if count == value]
        ranked = [order + list(broken) for order in ranked for broken in permutations(tied)]
    return ranked


def _extrapolated(x: list[int], y: list[int], p: float) -> float:
    short, long = sorted((x, y), key=len)
    s, n = len(short), len(long)
    if s == 0:
        return 0.0
    shared = [len(set(short[:d]) & set(long[:d])) for d in range(n + 1)]
    found = sum(shared[d] / d * p**d for d in range(1, n + 1))
    assumed = sum(shared[s] * (d - s) / (s * d) * p**d for d in range(s + 1, n + 1))
    return (1 - p) / p * (found + assumed) + ((shared[n] - shared[s]) / n + shared[s] / s) * p**n


@given(
    columns=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=5),
    p=st.sampled_from([0.5, 0.9]),
)
@settings(max_examples=200, deadline=None)
def test_rank_biased_overlap_is_the_mean_over_all_tie_breaks(columns: list[tuple[int, int]], p: float) -> None:
    a, b = [list(side) for side in zip(*columns, strict=True)]
    weights = depth_weights(p, 100)
    got = rank_biased_overlap(np.array(a, np.int32), np.array(b, np.int32), len(a), weights)
    assert got == pytest.approx(_overlap_in_plain_python(a, b, p), abs=1e-12)
    assert is_compiled(rank_biased_overlap)


def test_rank_biased_overlap_of_long_rankings_is_cut_where_nothing_weighs_any_more() -> None:
    rng = np.random.default_rng(5)
    a, b = (rng.permutation(300).astype(np.int32) + 1 for _ in range(2))
    got = rank_biased_overlap(a, b, 300, depth_weights(0.9, 100))
    exact = _extrapolated(np.argsort(-a).tolist(), np.argsort(-b).tolist(), 0.9)
    assert got == pytest.approx(exact, abs=3e-5)
    assert rank_biased_overlap(a, a, 300, depth_weights(0.9, 100)) == pytest.approx(1.0)


@pytest.mark.parametrize("scale", [1, 1_000])  # counted, and sorted
def test_the_alike_tables_are_those_of_the_observed_ones_block_by_imbalance(scale: int) -> None:
    imbalances = np.arange(1, 129, dtype=np.int32) * np.where(np.arange(128) % 2 == 0, scale, -scale).astype(np.int32)
    imbalances = imbalances[::-1].copy()
    imbalances[0] = 70 * scale  # the observed one ties with another
    chosen = np.empty(32, np.int64)
    assert choose_alike(imbalances, ALL, np.uint64(3), chosen) == 32
    assert chosen[0] == 0
    assert sorted((abs(imbalances[chosen]) // scale).tolist()) == [*range(65, 71), 70, *range(71, 96)]
    assert is_compiled(choose_alike)


def test_tables_that_would_not_have_been_compared_are_not_alike() -> None:
    imbalances = np.arange(64, -64, -1, dtype=np.int32)
    imbalances[0] = 30  # the observed one is among them whatever it is
    chosen = np.empty(32, np.int64)
    compared = (imbalances >= -10) & (imbalances <= 5)
    compared[0] = True
    n = choose_alike(imbalances, compared, np.uint64(3), chosen)
    assert n == 17
    assert chosen[0] == 0
    assert sorted(imbalances[chosen[1:n]].tolist()) == list(range(-10, 6))
    compared |= imbalances <= 40
    compared &= imbalances >= -10
    assert choose_alike(imbalances, compared, np.uint64(3), chosen) == 32  # of 52, in one block


@pytest.mark.parametrize("of_cells", [1.0, 0.5])
@pytest.mark.parametrize("of_transitions", [1.0, 0.4])
def test_tables_are_compared_that_have_the_support_with_what_thinning_left_out(
    of_cells: float, of_transitions: float
) -> None:
    window, reference, _ = _one_pair(np.random.default_rng(8), 30, 24)
    evidence, n_successors = _gathered(window, reference)
    n_cells = int(evidence.starts[n_successors])
    rates = (of_transitions, 1.0)
    thin(evidence, n_cells, (of_cells, 1.0), rates, np.uint64(5))
    scratch = permutation.new_scratch(256, 5, N_BUCKETS, 200)._replace(evidence=evidence)
    signs = signs_of_masks(permutation_masks(9, 0, 128), N_BUCKETS)
    signs[:, 0] = 1
    sides = np.zeros((128, 2))
    for k in range(128):
        for e in range(n_cells):
            for side in range(2):
                is_swapped = signs[evidence.buckets[e], k] < 0
                held = evidence.kept[1 - side, e] / rates[side] if is_swapped else evidence.whole[side, e]
                sides[k, side] += held + evidence.counts[side, e] - evidence.whole[side, e]
    scratch.alike.imbalances[:128] = [
        sum(int(signs[evidence.buckets[e], k]) * int(evidence.kept[0, e] - evidence.kept[1, e]) for e in range(n_cells))
        for k in range(128)
    ]
    least = int(np.median(sides.min(axis=1)))
    find_compared(scratch, n_cells, 128, signs, rates, least)
    expected = (sides >= least - 1e-9).all(axis=1)
    expected[0] = True
    assert 10 < expected.sum() < 118
    assert scratch.alike.compared[:128].tolist() == expected.tolist()


def test_tables_of_equal_imbalance_are_alike_by_chance_the_observed_one_among_them() -> None:
    times = np.zeros(128)
    chosen = np.empty(32, np.int64)
    for seed in range(2_000):
        choose_alike(np.zeros(128, np.int32), ALL, np.uint64(seed), chosen)
        assert np.unique(chosen).shape == (32,)
        times[chosen] += 1
    assert times[0] == 2_000
    near = 1 + np.flatnonzero(times[1:])
    assert near.shape[0] >= 124  # what lies a multiple of 32 odd steps away is in another block
    assert times[near] == pytest.approx(2_000 * 31 / 124, rel=0.25)


def test_gathering_orders_many_successors_as_it_does_few() -> None:
    clusters = np.arange(100, dtype=np.int64)
    side = Side(clusters << 8, np.ones(100, np.int64), np.zeros(1, np.int64), np.array([100]), np.array([100]))
    evidence = new_evidence(256)
    seeds = mix_each(clusters.astype(np.uint64), np.uint64(0))
    for n in (30, 100):
        few = side._replace(ends=np.array([n]))
        assert gather(few, few, 0, seeds, evidence) == n
        assert (evidence.cells[:n] >> 8).tolist() == np.argsort(seeds[:n]).tolist()


def test_exchanged_tables_have_the_buckets_of_negative_sign_swapped() -> None:
    window, reference, cells = _one_pair(np.random.default_rng(3), 60, 50)
    evidence, n_successors = _gathered(window, reference)
    thin(evidence, evidence.starts[n_successors], (1.0, 1.0), (1.0, 1.0), np.uint64(1))
    scratch = permutation.new_scratch(256, 5, N_BUCKETS, 200)._replace(evidence=evidence)
    signs = signs_of_masks(permutation_masks(9, 0, permutation.N_TABLES), N_BUCKETS)
    signs[:, 0] = 1
    assert exchange(scratch, n_successors, signs, (1.0, 1.0), 20, np.uint64(4)) == 32
    for i, table in enumerate(scratch.alike.chosen.tolist()):
        for s in range(n_successors):
            cluster = evidence.cells[evidence.starts[s]] >> 8
            of_cluster = [(bucket, pair) for (c, bucket), pair in cells.items() if c == cluster]
            a = sum(pair[0 if signs[bucket, table] > 0 else 1] for bucket, pair in of_cluster)
            b = sum(pair[1 if signs[bucket, table] > 0 else 0] for bucket, pair in of_cluster)
            assert (scratch.alike.totals[s], scratch.alike.differences[s, i]) == (a + b, a - b)
    assert is_compiled(exchange)


Cells = list[tuple[int, int, int, int]]


def _statistics_in_plain_python(cells: Cells, factors: tuple[int, int], signs: np.ndarray) -> tuple[np.ndarray, float]:
    """Statistic under each column of `signs`, with the slope on d^2 taken by least squares over many masks."""
    successors = sorted({s for s, *_ in cells})
    total = {s: sum(a + b for t, _, a, b in cells if t == s) * factors[0] * factors[1] for s in successors}

    def raw(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        u = {
            s: sum(
                (factors[0] * a - factors[1] * b) * columns[bucket].astype(float) for t, bucket, a, b in cells if t == s
            )
            for s in successors
        }
        return sum(u[s] ** 2 / total[s] for s in successors if total[s]), sum(u.values()) ** 2

    many = signs_of_masks(permutation_masks(77, 0, 50_000), N_BUCKETS)
    values, squares = raw(many)
    slope = float(np.cov(values, squares)[0, 1] / np.var(squares, ddof=1))
    values, squares = raw(signs)
    return values - slope * squares, slope


def _weighed(n_window: int, factors: tuple[int, int]) -> tuple[permutation.Scratch, int, Cells]:
    window, reference, _ = _one_pair(np.random.default_rng(3), n_window, 60)
    evidence, n_successors = _gathered(window, reference)
    scratch = permutation.new_scratch(256, 5, N_BUCKETS, 200)._replace(evidence=evidence)
    permutation.weigh(scratch, n_successors, evidence.counts, factors)
    cells = [
        (s, int(evidence.buckets[e]), int(evidence.counts[0, e]), int(evidence.counts[1, e]))
        for s in range(n_successors)
        for e in range(evidence.starts[s], evidence.starts[s + 1])
    ]
    return scratch, n_successors, cells


@pytest.mark.parametrize(("n_window", "factors"), [(60, (1, 1)), (120, (3, 6))])
def test_statistics_slope_and_form_agree_with_plain_python(n_window: int, factors: tuple[int, int]) -> None:
    scratch, n_successors, cells = _weighed(n_window, factors)
    slope = permutation.imbalance_slope(scratch, n_successors)
    observed, tolerance = permutation.statistic(scratch, n_successors, slope)
    form = np.zeros((N_BUCKETS, N_BUCKETS))
    permutation.add_form(scratch, n_successors, slope, form)
    signs = signs_of_masks(permutation_masks(0, 0, 200), N_BUCKETS)
    permutation.permute(scratch, n_successors, slope, signs)

    expected, expected_slope = _statistics_in_plain_python(cells, factors, signs)
    assert slope == pytest.approx(expected_slope, rel=0.05)
    assert scratch.statistics == pytest.approx(expected, abs=0.4)
    by_form = np.einsum("bk,bc,ck->k", signs.astype(float), form, signs.astype(float))
    assert scratch.statistics == pytest.approx(by_form, abs=1e-9)
    assert observed == pytest.approx(form.sum(), abs=1e-9)
    above, equal = (by_form > observed + tolerance).sum(), (abs(by_form - observed) <= tolerance).sum()
    for way in (False, True):
        p_value = permutation.p_value_of(scratch, n_successors, slope, signs[None], way)
        assert p_value == pytest.approx((above + (equal + 1) / 2) / 201)
    permutation.permute_form(form, signs, scratch.statistics)
    assert scratch.statistics == pytest.approx(by_form, abs=1e-9)
    z, p_value = judge_form(form, signs[None], scratch.statistics)
    off_diagonal = form - np.diag(np.diag(form))
    assert z == pytest.approx(off_diagonal.sum() / np.sqrt(2 * np.square(off_diagonal).sum()))
    assert p_value == pytest.approx((above + (equal + 1) / 2) / 201)
    for kernel in (
        permutation.weigh,
        permutation.imbalance_slope,
        permutation.add_form,
        permutation.permute,
        permutation.permute_form,
        permutation.p_value_of,
        judge_form,
    ):
        assert is_compiled(kernel)


@pytest.mark.parametrize(("n_window", "factors"), [(60, (1, 1)), (120, (3, 6))])
def test_products_of_a_row_are_weighed_by_what_lies_elsewhere_and_free_of_the_imbalance(
    n_window: int, factors: tuple[int, int]
) -> None:
    scratch, n_successors, cells = _weighed(n_window, factors)
    form = np.ones((N_BUCKETS, N_BUCKETS))
    add_products(scratch, n_successors, factors, form)
    products = np.zeros_like(form)
    sizes = np.zeros(N_BUCKETS)
    for s, b, *of_b in cells:
        sizes[b] += np.dot(of_b, (factors[0], -factors[1]))
        for t, c, *of_c in cells:
            if s == t and b != c:
                elsewhere = 2 + sum(x + y for u, d, x, y in cells if u == s and d not in (b, c))
                both = np.dot(of_b, (factors[0], -factors[1])) * np.dot(of_c, (factors[0], -factors[1]))
                products[b, c] += both / elsewhere / (factors[0] * factors[1])
    imbalance = np.outer(sizes, sizes)
    np.fill_diagonal(imbalance, 0)
    expected = products - (products * imbalance).sum() / (imbalance**2).sum() * imbalance
    assert form - 1 == pytest.approx(expected, abs=1e-9)
    assert is_compiled(add_products)


def test_pooled_successors_are_sums_over_all_first_clusters() -> None:
    rng = np.random.default_rng(6)
    columns = [rng.integers(0, 6, 500) for _ in range(3)]
    buckets = rng.integers(0, 4, 500)
    keys, counts = np.unique(pack_transitions(*columns, buckets), return_counts=True)
    expected: dict[int, int] = {}
    for c2, c_next, bucket in zip(*(each.tolist() for each in (columns[1], columns[2], buckets)), strict=True):
        key = (c2 << 24) | (c_next << 8) | bucket
        expected[key] = expected.get(key, 0) + (c2 in (1, 4))
    expected = {key: n for key, n in sorted(expected.items()) if n}
    pooled = pool_successors(side_of(BucketedCounts(keys, counts.astype(np.int64))), np.array([1, 4]), 6)
    assert dict(zip(pooled.keys.tolist(), pooled.counts.tolist(), strict=True)) == expected
    assert pooled.keys.tolist() == list(expected)
