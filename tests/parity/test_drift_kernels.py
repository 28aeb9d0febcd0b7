"""The drift kernels against plain Python and against brute force."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.drift import permutation
from stream.drift.evidence import Evidence, Side, gather, keep_cells, mix_each, new_evidence, thin
from stream.drift.jaccard import binomial_table, expected_jaccard
from stream.drift.table import permutation_masks, signs_of_masks
from tidegate.hashing import mix64
from tidegate.jit import is_compiled

TABLE = binomial_table(64, 5)
N_BUCKETS = 64


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


@pytest.mark.parametrize("event_share", [0.0, 0.5, 1.0])
def test_thinning_draws_the_larger_side_down_to_the_smaller_ones_size(event_share: float) -> None:
    window, reference, _ = _one_pair(np.random.default_rng(1), 90, 30)
    evidence, n_successors = _gathered(window, reference)
    n_cells = evidence.starts[n_successors]
    thin(evidence, n_cells, (90, 30), event_share, np.uint64(5))
    matched = evidence.matched[:, :n_cells]
    assert matched[0].sum() == matched[1].sum() == 30
    assert np.all(matched[0] <= evidence.counts[0, :n_cells])
    assert matched[1].tolist() == evidence.counts[1, :n_cells].tolist()
    assert matched[2].tolist() == (matched[0] - matched[1]).tolist()
    assert is_compiled(thin)


def test_thinning_keeps_every_transition_with_equal_chance() -> None:
    window, reference, _ = _one_pair(np.random.default_rng(2), 60, 20)
    evidence, n_successors = _gathered(window, reference)
    n_cells = evidence.starts[n_successors]
    kept = np.zeros(n_cells)
    for seed in range(2_000):
        thin(evidence, n_cells, (60, 20), 1.0, np.uint64(seed << 20))
        kept += evidence.matched[0, :n_cells]
    assert kept / 2_000 == pytest.approx(evidence.counts[0, :n_cells] / 3, abs=0.07)


def test_keeping_cells_stops_once_enough_is_held() -> None:
    counts = np.array([3, 0, 3, 3, 3], dtype=np.int32)
    held = keep_cells(counts, np.zeros(5, dtype=np.int64), 5, 5, np.uint64(9))
    assert held == counts.sum() == 6
    assert is_compiled(keep_cells)


def _statistics_in_plain_python(cells: list[tuple[int, int, int, int]], signs: np.ndarray) -> tuple[np.ndarray, float]:
    """Statistic under each column of `signs`, with the slope on d^2 taken by least squares over many masks."""
    successors = sorted({s for s, *_ in cells})
    total = {s: sum(a + b for t, _, a, b in cells if t == s) for s in successors}

    def raw(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        u = {s: sum((a - b) * columns[bucket].astype(float) for t, bucket, a, b in cells if t == s) for s in successors}
        return sum(u[s] ** 2 / total[s] for s in successors if total[s]), sum(u.values()) ** 2

    many = signs_of_masks(permutation_masks(77, 0, 50_000), N_BUCKETS)
    values, squares = raw(many)
    slope = float(np.cov(values, squares)[0, 1] / np.var(squares, ddof=1))
    values, squares = raw(signs)
    return values - slope * squares, slope


def test_statistics_slope_and_form_agree_with_plain_python() -> None:
    window, reference, _ = _one_pair(np.random.default_rng(3), 60, 60)
    evidence, n_successors = _gathered(window, reference)
    n_cells = evidence.starts[n_successors]
    thin(evidence, n_cells, (60, 60), 1.0, np.uint64(1))
    scratch = permutation.new_scratch(256, 5, N_BUCKETS, 200)._replace(evidence=evidence)
    slope = permutation.imbalance_slope(scratch, n_successors)
    form = np.zeros((N_BUCKETS, N_BUCKETS))
    observed = permutation.add_form(scratch, n_successors, slope, form)
    signs = signs_of_masks(permutation_masks(0, 0, 200), N_BUCKETS)
    permutation.permute(scratch, n_successors, slope, signs)

    cells = [
        (int(evidence.successors[e]), int(evidence.buckets[e]), int(evidence.counts[0, e]), int(evidence.counts[1, e]))
        for e in range(n_cells)
    ]
    expected, expected_slope = _statistics_in_plain_python(cells, signs)
    assert slope == pytest.approx(expected_slope, abs=4e-4)
    assert scratch.statistics == pytest.approx(expected, abs=0.4)
    by_form = np.einsum("bk,bc,ck->k", signs.astype(float), form, signs.astype(float))
    assert scratch.statistics == pytest.approx(by_form, abs=1e-9)
    assert observed == pytest.approx(form.sum(), abs=1e-9)
    differences: dict[int, int] = {}
    for _, bucket, a, b in cells:
        differences[bucket] = differences.get(bucket, 0) + a - b
    near = abs(slope) * sum(difference**2 for difference in differences.values()) + 1e-6
    above, equal = (by_form > observed + near).sum(), (abs(by_form - observed) <= near).sum()
    p_value = permutation.p_value_of(scratch, n_successors, slope, observed, signs[None])
    assert p_value == pytest.approx((above + (equal + 1) / 2) / 201)
    for kernel in (permutation.imbalance_slope, permutation.add_form, permutation.permute, permutation.p_value_of):
        assert is_compiled(kernel)
