"""What is remembered of earlier panes, and what is chosen by it."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from refresh.evidence import Memory, memory_lengths
from refresh.evidence.memory import STRENGTHS, choose, faded, length_prior


@pytest.mark.parametrize("window_panes", [1, 2, 3, 7, 10])
def test_lengths_go_from_one_pane_to_several_windows_and_hold_the_window_itself(window_panes: int):
    lengths = memory_lengths(window_panes)
    assert lengths == sorted(set(lengths))
    assert lengths[0] == 1
    assert window_panes in lengths
    assert lengths[-1] > window_panes


def test_losses_fade_by_half_in_a_half_life():
    kept = faded((), np.array([[8.0, 4.0]]), 2.0)
    assert kept == ((8.0, 4.0),)
    for _ in range(2):
        kept = faded(kept, np.zeros((1, 2)), 2.0)
    assert kept[0] == pytest.approx((4.0, 2.0))
    assert faded(((8.0,),), np.array([[1.0]]), 1.0) == ((5.0,),)


def test_nothing_is_chosen_before_anything_was_foretold():
    assert choose(()) is None
    assert choose(((0.0, 0.0), (0.0, 0.0))) is None


def test_the_least_loss_is_chosen():
    losses = np.full((3, STRENGTHS.shape[0]), 9.0)
    losses[2, 4] = 1.0
    assert choose(tuple(map(tuple, losses.tolist()))) == (2, STRENGTHS[4])


@pytest.mark.parametrize("n_lengths", [1, 2, 5])
def test_the_chosen_length_is_believed_most_and_none_is_ruled_out(n_lengths: int):
    for chosen in range(n_lengths):
        prior = length_prior(chosen, n_lengths)
        assert prior.sum() == pytest.approx(1)
        assert prior.argmax() == chosen
        assert prior.min() > 0


def test_a_memory_comes_back_from_json_to_the_bit():
    memory = Memory(popularity=((1 / 3,),), clusters=((0.1, 2**-60),), pairs=((1e300, 5e-324),))
    assert msgspec.json.decode(msgspec.json.encode(memory), type=Memory) == memory
