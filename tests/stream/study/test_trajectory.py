from __future__ import annotations

import numpy as np
import pytest

from stream.predictions import Predictions, index_predictions
from stream.study.trajectory import follow_mapping
from stream.study.windows import StudiedLog
from tests.stream.study.logs import N_PAIRS, studied
from tidegate.counts import pack_pairs

PAIRS = pack_pairs(np.arange(N_PAIRS) * 2, np.arange(N_PAIRS) * 2 + 1)


def _leading(log: StudiedLog, rank: int) -> Predictions:
    """Answer what leads at first (rank 0) or after the shift (rank 6)."""
    answers = (2 * N_PAIRS + (rank + np.arange(N_PAIRS)) % 12).astype(np.int32)
    return index_predictions(PAIRS, answers, np.full((0, 1), -1, np.int32), log.microbits)


def test_a_mapping_that_follows_the_shift_keeps_its_hits_and_one_that_is_held_loses_them() -> None:
    log = studied(8, shift_day=4)
    held = follow_mapping(log, lambda pane: _leading(log, 0) if pane == 1 else None)
    followed = follow_mapping(log, lambda pane: _leading(log, 0 if pane < 3 else 6))
    assert held.exchanges == 0 and followed.exchanges == 5
    assert followed.hit_rate_next == pytest.approx(0.32, abs=0.03)
    by_day = [pane.hits_next / pane.scored for pane in held.by_pane]
    assert min(by_day[:2]) > 0.25
    assert max(by_day[2:]) < 0.1


def test_all_that_comes_after_the_first_window_is_scored_and_nothing_before() -> None:
    log = studied(5, a_day=100)
    found = follow_mapping(log, lambda _: _leading(log, 0))
    assert [pane.scored for pane in found.by_pane] == [100, 100, 100] and found.scored == 300
    assert found.coverage == 1.0 and found.by_pane[0].pane_end == "1970-01-04T00:00:00Z"
    assert found.hit_information_bits == pytest.approx(sum(pane.hit_bits for pane in found.by_pane) / 300)


def test_rates_are_absent_where_nothing_serves() -> None:
    found = follow_mapping(studied(4), lambda _: None)
    assert found.scored == 0 and found.hit_rate_next is None and found.coverage is None
