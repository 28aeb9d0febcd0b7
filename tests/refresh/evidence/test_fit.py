"""The strength of a prior by maximum likelihood, against the likelihood itself."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import dirichlet_multinomial

from refresh.evidence.fit import fit_strength


def drawn(rng: np.random.Generator, parent: np.ndarray, strength: float, n_groups: int, n: int) -> np.ndarray:
    shares = rng.dirichlet(strength * parent, n_groups)
    return np.stack([rng.multinomial(n, share) for share in shares])


@pytest.mark.parametrize("strength", [0.5, 5.0, 50.0])
def test_the_strength_that_groups_were_drawn_with_is_found(strength: float):
    rng, parent = np.random.default_rng(3), np.array([0.5, 0.3, 0.15, 0.05])
    counts = drawn(rng, parent, strength, n_groups=400, n=60)
    offsets = np.arange(0, counts.size + 1, 4)
    found = fit_strength(offsets, counts.ravel(), np.tile(parent, 400))
    assert found == pytest.approx(strength, rel=0.25)

    def likelihood(m: float) -> float:
        return float(sum(dirichlet_multinomial(m * parent, 60).logpmf(row) for row in counts))

    assert likelihood(found) >= max(likelihood(found * factor) for factor in (0.8, 0.95, 1.05, 1.25)) - 1e-6


def test_the_same_groups_are_fitted_to_the_same_strength_in_any_order():
    rng, parent = np.random.default_rng(5), np.array([0.6, 0.4])
    counts = drawn(rng, parent, 3.0, n_groups=50, n=20)
    offsets, shares = np.arange(0, 101, 2), np.tile(parent, 50)
    one = fit_strength(offsets, counts.ravel(), shares)
    assert fit_strength(offsets, counts[::-1].ravel(), shares) == pytest.approx(one, rel=1e-4)


@pytest.mark.parametrize("counts", [[], [1, 1, 1]])
def test_groups_that_were_seen_once_say_nothing(counts: list[int]):
    """Nor does no group at all; a strength is needed all the same."""
    offsets = np.arange(len(counts) + 1)
    found = fit_strength(offsets, np.array(counts, np.int64), np.full(len(counts), 0.5))
    assert np.isfinite(found)
    assert found > 0


def test_one_group_larger_than_all_that_is_looked_at_is_still_looked_at():
    n = 60_000
    counts = np.ones(n, np.int64)
    found = fit_strength(np.array([0, n]), counts, np.full(n, 1 / n))
    assert found > 1_000  # as even as its parent


def test_more_groups_than_are_looked_at_do_not_change_the_fit():
    few, many = 2_000, 40_000
    pattern, shares = np.array([5, 0, 3, 2]), np.full(4, 0.25)

    def fitted(n_groups: int) -> float:
        return fit_strength(np.arange(0, 4 * n_groups + 1, 4), np.tile(pattern, n_groups), np.tile(shares, n_groups))

    assert fitted(many) == pytest.approx(fitted(few), rel=1e-3)
