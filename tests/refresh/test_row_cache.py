"""Rows are paid for once, survive a crash, and a damaged file costs calls but never lies."""

from __future__ import annotations

import io
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refresh.row_cache import RowCache, context_codes
from tidegate.errors import OrderError

TOP_N = 3


def _keys(*numbers: int) -> np.ndarray:
    """Keys that all share their high word where numbers are equal modulo 4."""
    return np.array([(number % 4, number) for number in numbers], np.uint64).reshape(-1, 2)


def _answers(*numbers: int) -> tuple[np.ndarray, np.ndarray]:
    clusters = np.array([(number, number + 1, -1) for number in numbers], np.int32).reshape(-1, TOP_N)
    return clusters, (clusters / 1_000).astype(np.float32)


def _known(cache: RowCache, pane: int, *numbers: int) -> tuple[list[bool], list[bool], list[int]]:
    rows = cache.find(_keys(*numbers), pane)
    assert rows.probabilities.dtype == np.float32
    assert rows.clusters.shape == rows.probabilities.shape == (len(numbers), TOP_N)
    return rows.is_known.tolist(), rows.is_free.tolist(), rows.clusters[:, 0].tolist()


def test_an_empty_cache_knows_nothing(tmp_path: Path) -> None:
    cache = RowCache(tmp_path / "none", TOP_N)
    assert _known(cache, 1, 7, 8) == ([False, False], [False, False], [-1, -1])
    cache.keep(_keys(), 1, *_answers())
    assert not (tmp_path / "none").exists()


def test_rows_of_an_earlier_pane_are_free_and_those_of_the_same_are_not(tmp_path: Path) -> None:
    cache = RowCache(tmp_path, TOP_N)
    cache.keep(_keys(1, 2), 5, *_answers(1, 2))
    cache.keep(_keys(3), 6, *_answers(3))
    for one in (cache, RowCache(tmp_path, TOP_N)):
        assert len(one) == 3
        assert _known(one, 6, 3, 2, 9, 1) == ([True, True, False, True], [False, True, False, True], [3, 2, -1, 1])
        assert _known(one, 7, 3) == ([True], [True], [3])


@pytest.mark.parametrize("reopens", [False, True])
def test_a_second_attempt_of_a_pane_keeps_what_the_first_one_paid_for(tmp_path: Path, reopens: bool) -> None:
    cache = RowCache(tmp_path, TOP_N)
    cache.keep(_keys(1, 2), 5, *_answers(1, 2))
    if reopens:
        cache = RowCache(tmp_path, TOP_N)
    cache.keep(_keys(3), 5, *_answers(3))
    assert _known(RowCache(tmp_path, TOP_N), 6, 1, 2, 3) == ([True] * 3, [True] * 3, [1, 2, 3])


def test_probabilities_come_back_to_the_bit(tmp_path: Path) -> None:
    probabilities = np.array([[0.1, 1 / 3, 1e-30]], np.float32)
    RowCache(tmp_path, TOP_N).keep(_keys(9), 0, _answers(9)[0], probabilities)
    again = RowCache(tmp_path, TOP_N).find(_keys(9), 1)
    assert again.probabilities.tobytes() == probabilities.tobytes()


@given(
    panes=st.lists(st.sets(st.integers(0, 40), max_size=12), max_size=6),
    asked=st.lists(st.integers(0, 45), max_size=20),
)
@settings(max_examples=50, deadline=None)
def test_the_cache_answers_as_a_dictionary_would(
    tmp_path_factory: pytest.TempPathFactory, panes: list[set[int]], asked: list[int]
) -> None:
    """But for keys that share 64 bits with another: they may cost a call, never a wrong answer."""
    folder = tmp_path_factory.mktemp("rows")
    cache = RowCache(folder, TOP_N)
    pane_of: dict[int, int] = {}
    for pane, numbers in enumerate(panes):
        new = sorted(number for number in numbers if number not in pane_of)
        pane_of |= dict.fromkeys(new, pane)
        # A high word of its own for each number.
        keys = np.array([(2**64 - 1 - number, number) for number in new], np.uint64).reshape(-1, 2)
        cache.keep(keys, pane, *_answers(*new))
    wanted = np.array([(2**64 - 1 - number, number) for number in asked], np.uint64).reshape(-1, 2)
    for one in (cache, RowCache(folder, TOP_N)):
        rows = one.find(wanted, 3)
        assert rows.is_known.tolist() == [number in pane_of for number in asked]
        assert rows.is_free.tolist() == [pane_of.get(number, 9) < 3 for number in asked]
        assert rows.clusters[:, 0].tolist() == [number if number in pane_of else -1 for number in asked]


def test_keys_that_share_their_first_word_are_never_confused(tmp_path: Path) -> None:
    cache = RowCache(tmp_path, TOP_N)
    cache.keep(_keys(1, 5), 0, *_answers(1, 5))
    is_known, _, clusters = _known(cache, 1, 1, 5, 9)
    assert not is_known[2]
    assert all(cluster in (-1, number) for cluster, number in zip(clusters, (1, 5, 9), strict=True))


def _file(tmp_path: Path) -> Path:
    RowCache(tmp_path, TOP_N).keep(_keys(1, 2), 5, *_answers(1, 2))
    (path,) = tmp_path.glob("pane-*.npz")
    return path


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.9, 0.999])
def test_a_file_that_was_cut_short_is_dropped(tmp_path: Path, share: float) -> None:
    path = _file(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert len(RowCache(tmp_path, TOP_N)) == 0
    assert not path.exists()


def test_a_file_with_flipped_bytes_is_dropped_or_right(tmp_path: Path) -> None:
    path = _file(tmp_path)
    content = path.read_bytes()
    for at, flipped in product(range(len(content)), (0x01, 0xFF)):
        path.write_bytes(content[:at] + bytes([content[at] ^ flipped]) + content[at + 1 :])
        is_known, _, clusters = _known(RowCache(tmp_path, TOP_N), 9, 1, 2)
        assert clusters == [number if known else -1 for number, known in zip((1, 2), is_known, strict=True)]


def test_a_file_of_another_shape_is_dropped_whole(tmp_path: Path) -> None:
    path = _file(tmp_path)
    RowCache(tmp_path, TOP_N).keep(_keys(3), 6, *_answers(3))
    content = io.BytesIO()
    np.savez(content, keys=_keys(1), clusters=np.zeros((1, 9), np.int32), probabilities=np.zeros((1, 9), np.float32))
    path.write_bytes(content.getvalue())
    cache = RowCache(tmp_path, TOP_N)
    assert len(cache) == 1
    assert _known(cache, 9, 1, 3) == ([False, True], [False, True], [-1, 3])
    assert not path.exists()


def test_a_cache_that_was_cleared_is_empty_on_disk_too(tmp_path: Path) -> None:
    path = _file(tmp_path)
    cache = RowCache(tmp_path, TOP_N)
    cache.clear()
    assert len(cache) == 0
    assert not path.exists()
    cache.keep(_keys(4), 1, *_answers(4))
    assert _known(RowCache(tmp_path, TOP_N), 2, 4, 1) == ([True, False], [True, False], [4, -1])


# --- what a policy may expect to have for nothing ------------------------------------------------------------------

PAIRS = np.array([1, 2, 3], np.int64)


def _keep(cache: RowCache, pane: int, number: int, pair: int, retrieved: int) -> None:
    codes = context_codes(np.array([pair], np.int64), np.array([retrieved], np.int32))
    cache.keep(_keys(number), pane, *_answers(number), codes)


def _knows(cache: RowCache, retrieved: list[int], before_pane: int) -> list[bool]:
    return cache.knows(PAIRS, np.array(retrieved, np.int32), before_pane).tolist()


def test_a_pair_is_known_with_the_line_that_it_was_asked_with_and_only_from_earlier_panes(tmp_path: Path) -> None:
    cache = RowCache(tmp_path, TOP_N)
    _keep(cache, 5, 1, pair=1, retrieved=7)
    _keep(cache, 6, 2, pair=2, retrieved=7)
    for one in (cache, RowCache(tmp_path, TOP_N)):
        assert _knows(one, [7, 7, 7], 5) == [False, False, False]
        assert _knows(one, [7, 7, 7], 6) == [True, False, False]
        assert _knows(one, [7, 7, 7], 7) == [True, True, False]
        assert _knows(one, [8, 7, 7], 7) == [False, True, False]


def test_a_second_attempt_of_a_pane_adds_to_what_is_known_of_it(tmp_path: Path) -> None:
    _keep(RowCache(tmp_path, TOP_N), 5, 1, pair=1, retrieved=7)
    _keep(RowCache(tmp_path, TOP_N), 5, 2, pair=2, retrieved=8)
    assert _knows(RowCache(tmp_path, TOP_N), [7, 8, 9], 6) == [True, True, False]


def test_another_process_catches_up_with_what_was_kept_since(tmp_path: Path) -> None:
    controller, refresher = RowCache(tmp_path, TOP_N), RowCache(tmp_path, TOP_N)
    _keep(refresher, 5, 1, pair=1, retrieved=7)
    assert _knows(controller, [7, 7, 7], 6) == [False] * 3
    for _ in range(2):
        controller.catch_up()
        assert _knows(controller, [7, 7, 7], 6) == [True, False, False]
        assert len(controller) == 1
    _keep(refresher, 6, 2, pair=2, retrieved=7)
    controller.catch_up()
    assert _knows(controller, [7, 7, 7], 7) == [True, True, False]
    assert _known(controller, 7, 1, 2)[0] == [True, True]


def test_catching_up_with_oneself_changes_nothing(tmp_path: Path) -> None:
    cache = RowCache(tmp_path, TOP_N)
    _keep(cache, 5, 1, pair=1, retrieved=7)
    cache.catch_up()
    assert len(cache) == 1


def test_rows_can_be_kept_in_memory_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cache = RowCache(None, TOP_N)
    _keep(cache, 5, 1, pair=1, retrieved=7)
    cache.catch_up()
    assert _known(cache, 6, 1) == ([True], [True], [1])
    assert _knows(cache, [7, 7, 7], 6) == [True, False, False]
    cache.clear()
    assert _known(cache, 6, 1)[0] == [False]
    assert _knows(cache, [7, 7, 7], 6) == [False] * 3
    assert not list(tmp_path.iterdir())


def test_a_file_from_before_contexts_were_kept_still_answers(tmp_path: Path) -> None:
    clusters, probabilities = _answers(1)
    np.savez(tmp_path / "pane-000000000005.npz", keys=_keys(1), clusters=clusters, probabilities=probabilities)
    cache = RowCache(tmp_path, TOP_N)
    assert _known(cache, 6, 1) == ([True], [True], [1])
    assert _knows(cache, [7, 7, 7], 6) == [False] * 3


def test_a_file_that_another_process_has_dropped_meanwhile_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _file(tmp_path)
    content = path.read_bytes()

    def gone(_: Path) -> bytes:
        path.unlink()
        return content[:20]

    monkeypatch.setattr(Path, "read_bytes", gone)
    assert len(RowCache(tmp_path, TOP_N)) == 0


def test_the_label_mass_comes_back_and_is_not_a_number_where_nobody_told(tmp_path: Path) -> None:
    cache = RowCache(tmp_path, TOP_N)
    cache.keep(_keys(1, 2), 5, *_answers(1, 2), label_mass=np.array([0.25, 0.5], np.float32))
    cache.keep(_keys(3), 6, *_answers(3))
    for one in (cache, RowCache(tmp_path, TOP_N)):
        found = one.find(_keys(2, 3, 9), 7).label_mass
        assert found.dtype == np.float32
        assert found[0] == 0.5
        assert np.isnan(found[1:]).all()


def test_a_file_whose_columns_differ_in_length_is_dropped_whole(tmp_path: Path) -> None:
    clusters, probabilities = _answers(1, 2)
    content = {"keys": _keys(1, 2), "clusters": clusters, "probabilities": probabilities}
    np.savez(tmp_path / "pane-000000000005.npz", **content, label_mass=np.ones(3, np.float32))
    assert len(RowCache(tmp_path, TOP_N)) == 0
    assert not list(tmp_path.iterdir())


# --- several processes, full disks ----------------------------------------------------------------------------------


def test_of_two_processes_that_keep_rows_of_one_pane_none_loses_the_others(tmp_path: Path) -> None:
    one, other = RowCache(tmp_path, TOP_N), RowCache(tmp_path, TOP_N)
    _keep(one, 5, 1, pair=1, retrieved=7)
    _keep(other, 5, 2, pair=2, retrieved=7)
    one.catch_up()
    for cache in (one, other, RowCache(tmp_path, TOP_N)):
        assert _known(cache, 6, 1, 2)[0] == [True, True]
        assert _knows(cache, [7, 7, 7], 6) == [True, True, False]


def test_rows_that_are_known_by_now_are_kept_once(tmp_path: Path) -> None:
    one, other = RowCache(tmp_path, TOP_N), RowCache(tmp_path, TOP_N)
    _keep(one, 5, 1, pair=1, retrieved=7)
    _keep(other, 5, 1, pair=1, retrieved=7)
    assert len(other) == len(RowCache(tmp_path, TOP_N)) == 1


def test_rows_that_cannot_be_written_fail_and_are_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    cache = RowCache(tmp_path, TOP_N)
    monkeypatch.setattr("refresh.row_cache.write_atomically", refuse)
    with pytest.raises(OrderError, match=r"No space left on device. Make room"):
        _keep(cache, 5, 1, pair=1, retrieved=7)
    assert len(cache) == 0


def test_a_cache_that_was_cleared_has_no_orders_either(tmp_path: Path) -> None:
    cache = RowCache(tmp_path, TOP_N)
    assert cache.orders is not None
    (cache.orders / "some").mkdir(parents=True)
    cache.clear()
    assert not cache.orders.exists()
    assert RowCache(None, TOP_N).orders is None
