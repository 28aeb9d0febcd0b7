from __future__ import annotations

import pytest

from stream.study.persistence import DEPTHS, follow_first_window
from tests.stream.study.logs import N_PAIRS, studied


def test_the_top_holds_at_the_floor_where_nothing_drifts_and_longer_lists_hold_less() -> None:
    found = follow_first_window(studied(6, a_day=3_000), 20, 0)
    assert found.depths == list(DEPTHS) and len(found.windows) == 2
    for window in found.windows:
        assert window.all_users.pairs == N_PAIRS
        assert window.all_users.exact[0] == 1.0
        assert window.all_users.exact == sorted(window.all_users.exact, reverse=True)
        assert window.half.exact[0] == pytest.approx(window.floor.exact[0], abs=0.2)
        assert abs(window.beyond_noise[0]) <= max(2 * window.beyond_noise_spread[0], 0.05)


def test_the_top_is_lost_where_other_clusters_lead() -> None:
    before, after = follow_first_window(studied(6, a_day=3_000, shift_day=4), 20, 0).windows
    assert before.all_users.exact[0] == 1.0 and after.all_users.exact[0] == 0.0
    assert after.all_users.jaccard[4] < before.all_users.jaccard[4] - 0.3
    assert after.beyond_noise[0] > 0.5


def test_without_a_pair_of_enough_support_nothing_is_claimed() -> None:
    (window,) = follow_first_window(studied(4, a_day=20), 500, 0).windows
    assert window.all_users.exact is window.half.jaccard is window.beyond_noise is None
    assert window.floor.pairs == 0
