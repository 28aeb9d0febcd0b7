"""The hashing kernels against integers without a size, and against a dictionary."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tidegate.hashing import EMPTY_SLOT, KeyIndex, _insert_all, find_slot, mix64, mix64_array
from tidegate.jit import is_compiled

WORD = 2**64 - 1
words = st.one_of(st.integers(0, WORD), st.integers(0, 40), st.sampled_from([0, 1, WORD, WORD - 1, 1 << 63]))


def _mixed(value: int) -> int:
    """Mix as SplitMix64 does after its increment, in integers that do not wrap by themselves."""
    z = (value + 0x9E3779B97F4A7C15) & WORD
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & WORD
    return z ^ (z >> 31)


def test_the_first_words_of_splitmix64_come_out() -> None:
    """The published generator with seed 1234567 yields these."""
    golden = 0x9E3779B97F4A7C15
    states = np.array([(1234567 + i * golden) & WORD for i in range(3)], np.uint64)
    assert mix64_array(states).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@given(values=arrays(np.uint64, st.integers(0, 50), elements=words))
@settings(deadline=None)
def test_mixing_wraps_as_64_bit_words_do(values: np.ndarray) -> None:
    assert mix64_array(values).tolist() == [_mixed(value) for value in values.tolist()]
    assert is_compiled(mix64_array)


def test_each_input_bit_moves_about_half_of_the_output() -> None:
    moved = [
        (_mixed(value) ^ int(mix64(np.uint64(value ^ (1 << bit))))).bit_count()
        for value in (0, 12345, WORD)
        for bit in range(64)
    ]
    assert min(moved) >= 16
    assert np.mean(moved) == pytest.approx(32, abs=1)


@given(batches=st.lists(st.lists(words, max_size=60), max_size=6), capacity=st.sampled_from([16, 1024]))
@settings(deadline=None)
def test_slots_are_handed_out_in_order_of_first_sight(batches: list[list[int]], capacity: int) -> None:
    index = KeyIndex(capacity)
    expected: dict[int, int] = {}
    for batch in batches:
        slots = index.slots(np.array(batch, np.uint64))
        assert slots.tolist() == [expected.setdefault(key, len(expected)) for key in batch]
    assert len(index) == len(expected)
    assert index.keys.tolist() == list(expected)
    for key in [*expected, 17, WORD // 3]:
        assert find_slot(np.uint64(key), index.table_keys, index.table_slots) == expected.get(key, EMPTY_SLOT)
    assert is_compiled(find_slot)


def test_an_index_that_grows_many_times_forgets_nothing() -> None:
    keys = mix64_array(np.arange(50_000, dtype=np.uint64))
    index = KeyIndex(16)
    for first in range(0, 50_000, 777):
        index.slots(keys[first : first + 777])
    assert index.slots(keys).tolist() == list(range(50_000))
    assert (index.table_slots != EMPTY_SLOT).sum() == 50_000
    assert (index.table_slots != EMPTY_SLOT).mean() <= 0.6
    assert is_compiled(_insert_all)


def test_keys_that_fall_on_one_cell_keep_slots_of_their_own() -> None:
    index = KeyIndex(16)
    mask = index.table_keys.shape[0] - 1
    clashing = [key for key in range(2_000) if _mixed(key) & mask == mask][:12]  # the last cell: probing wraps around
    assert index.slots(np.array(clashing + clashing, np.uint64)).tolist() == list(range(12)) * 2
