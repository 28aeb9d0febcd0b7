"""A run's evidence is read pane by pane, each pane once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from refresh.evidence import Evidence, Memory, PaneSpans, memory_lengths
from tests.refresh.logs import NAMES, counts_of, seeds
from tidegate.cli.history import History, reach_panes
from tidegate.counts import BucketedCounts

WINDOW_PANES = 2


class Reader:
    """Panes whose counts tell their number, in two user buckets."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def counts(self, first_pane: int, last_pane: int) -> BucketedCounts:
        assert first_pane == last_pane
        self.read.append(first_pane)
        keys = ((0 << 16 | 1) << 16 | 2) << 8 | np.array([0, 1])
        return BucketedCounts(keys.astype(np.int64), np.array([first_pane, 1], np.int64))


def history() -> tuple[History, Reader]:
    reader: Any = Reader()
    return History(reader, WINDOW_PANES), reader


def test_a_pane_is_read_once_while_it_is_looked_at():
    past, reader = history()
    for pane in range(10, 40):
        past.evidence(pane, 10, list(NAMES), None)
    assert reader.read == list(range(10, 40))


@pytest.mark.parametrize("pane", [10, 11, 15, 60])
def test_evidence_is_that_of_the_last_panes_without_user_buckets(pane: int):
    past, reader = history()
    found = past.evidence(pane, 10, list(NAMES), None)
    wanted = range(max(10, pane - past.n_panes + 1), pane + 1)
    assert reader.read == list(wanted)
    panes = [counts_of({(0, 1, 2): each + 1}) for each in wanted]
    expected = PaneSpans.of_panes(panes, memory_lengths(WINDOW_PANES))
    assert found.spans.now.tolist() == expected.now.tolist()
    assert found.spans.before.tolist() == expected.before.tolist()
    assert found.spans.n_panes.tolist() == expected.n_panes.tolist()


def test_what_was_learned_before_is_gone_on_from():
    past, _ = history()
    memory = Memory()
    for pane in (10, 11, 12):
        found = past.evidence(pane, 10, list(NAMES), memory)
        memory = found.learned
    resumed, _ = history()
    again = resumed.evidence(12, 10, list(NAMES), past.evidence(11, 10, list(NAMES), None).learned)
    assert isinstance(again, Evidence)
    assert memory.pairs
    assert resumed.evidence(12, 10, list(NAMES), None).learned != memory


def test_a_process_that_starts_in_the_middle_sees_the_same():
    past, _ = history()
    for pane in range(10, 30):
        going_on = past.evidence(pane, 10, list(NAMES), None)
    started, _ = history()
    assert started.evidence(29, 10, list(NAMES), None).learned == going_on.learned


def test_clusters_that_were_named_since_are_not_looked_at():
    past, _ = history()
    assert past.evidence(10, 10, list(NAMES[:5]), None).popularity.shape == (5,)
    assert np.array_equal(past.evidence(10, 10, list(NAMES), None)._seeds, seeds())


def test_evidence_reaches_one_pane_beyond_its_longest_length():
    assert reach_panes(3) == max(memory_lengths(3)) + 1
