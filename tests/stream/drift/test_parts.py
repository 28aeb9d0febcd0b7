"""A window that is measured in parts, by whoever, is the same window."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from stream.drift.options import DriftOptions
from stream.drift.parts import DriftPart, MatchedPairs, MeasuredPart
from stream.drift.window import judge_window, measure_drift
from tests.stream.drift.worlds import SEEDS, counted, zipf_side
from tidegate.errors import ConfigError

EMPTY = MeasuredPart(b"", b"")
OPTIONS = DriftOptions(max_permutations=400, table_permutations=1_000)


def _matched(n_pairs: int = 150) -> MatchedPairs:
    rng = np.random.default_rng(3)
    window, reference = zipf_side(rng, n_pairs, 40, thin_pairs=30), zipf_side(rng, n_pairs, 60)
    return MatchedPairs(counted(*window, drifted_pairs=20), counted(*reference), SEEDS, OPTIONS)


@pytest.mark.parametrize("n_parts", [2, 3, 64])
def test_parts_together_are_the_whole_bit_for_bit(n_parts: int) -> None:
    rng = np.random.default_rng(3)
    window, reference = zipf_side(rng, 150, 40, thin_pairs=30), zipf_side(rng, 150, 60)
    whole = measure_drift(counted(*window, drifted_pairs=20), counted(*reference), SEEDS, OPTIONS)
    parts = [_matched().measure(part, n_parts) for part in range(n_parts)]
    joined = judge_window(_matched(), parts, OPTIONS)
    assert whole.backoff.keys.size > 0
    for one, other in (
        (joined, whole),
        (joined.backoff, whole.backoff),
        (joined.by_c1, whole.by_c1),
        (joined.by_c2, whole.by_c2),
    ):
        for name in (each.name for each in fields(one) if isinstance(getattr(one, each.name), np.ndarray)):
            assert getattr(one, name).tobytes() == getattr(other, name).tobytes(), name
    assert (joined.table_z, joined.table_p) == (whole.table_z, whole.table_p)


def test_parts_are_disjoint_and_of_about_equal_size() -> None:
    matched = _matched()
    rows = [np.frombuffer(matched.measure(part, 4).pairs.rows, np.int64) for part in range(4)]
    assert sorted(np.concatenate(rows).tolist()) == list(range(matched.pairs.shape[0]))
    assert max(map(len, rows)) - min(map(len, rows)) <= 1


def test_a_window_with_fewer_pairs_than_parts_is_measured_all_the_same() -> None:
    matched = _matched(n_pairs=33)  # of which 30 are thin
    joined = matched.join([matched.measure(part, 64) for part in range(64)])
    assert np.isfinite(joined.pairs.jaccard).all()
    assert joined.pairs.jaccard.shape == (3,)


@pytest.mark.parametrize(("of", "found"), [([3, 3], "3 parts, not in 2"), ([2, 4], "2 and in 4 parts, not in 2")])
def test_parts_of_different_wholes_are_refused(of: list[int], found: str) -> None:
    with pytest.raises(ConfigError, match=found):
        _matched().join([DriftPart(n_parts, EMPTY, EMPTY, EMPTY, EMPTY, b"") for n_parts in of])
