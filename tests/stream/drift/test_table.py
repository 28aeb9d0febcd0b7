from __future__ import annotations

import numpy as np
import pytest

from stream.drift.table import permutation_masks, signs_of_masks, table_shift


def test_masks_swap_every_bucket_about_half_the_time_and_follow_the_seed() -> None:
    signs = signs_of_masks(permutation_masks(3, 0, 4_000), 64)
    assert np.abs(signs.mean(axis=1)).max() < 0.08
    assert not np.array_equal(permutation_masks(3, 0, 10), permutation_masks(4, 0, 10))
    assert np.array_equal(permutation_masks(3, 5, 5), permutation_masks(3, 0, 10)[5:])


def test_a_negative_seed_is_a_seed() -> None:
    assert permutation_masks(-1, 0, 2).dtype == np.uint64


def test_table_z_is_the_exact_standardisation_over_all_masks() -> None:
    rng = np.random.default_rng(0)
    half = rng.normal(size=(8, 8))
    form = half + half.T
    every = signs_of_masks(np.arange(256, dtype=np.uint64), 8).astype(float)
    sums = np.einsum("bk,bc,ck->k", every, form, every)
    shift = table_shift(form, 0, 20_000)
    assert shift.z == pytest.approx((form.sum() - sums.mean()) / sums.std())
    assert shift.p_value == pytest.approx((sums >= form.sum() - 1e-9).mean(), abs=0.02)


@pytest.mark.parametrize("n_buckets", [2, 6, 7, 64])
def test_the_p_value_counts_exchanges_as_the_plain_product_with_their_signs_does(n_buckets: int) -> None:
    rng = np.random.default_rng(n_buckets)
    form = rng.normal(size=(n_buckets, n_buckets))  # of any shape: what lies above the diagonal and below may differ
    np.fill_diagonal(form, 0.0)
    signs = signs_of_masks(permutation_masks(5 ^ 0x7AB1E, 0, 900), n_buckets).astype(float)
    n_reached = sum(float(sign @ form @ sign) >= form.sum() - 1e-6 for sign in signs.T)
    assert table_shift(form, 5, 900).p_value == (1 + n_reached) / 901


def test_a_table_in_which_nothing_can_be_exchanged_has_no_z_and_never_alarms() -> None:
    shift = table_shift(np.diag(np.arange(4.0)), 0, 100)
    assert shift.z is None
    assert shift.p_value == 1.0


def test_one_heavy_bucket_alone_cannot_alarm_however_far_it_moves() -> None:
    direction = np.r_[1_000.0, 1.0, np.zeros(62)]
    assert table_shift(np.outer(direction, direction), 0, 10_000).p_value > 0.4
