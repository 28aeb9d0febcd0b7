"""Counts over several lengths are what a dictionary recounts."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from refresh.evidence import PaneSpans
from tests.refresh.logs import Log, counts_of, logs
from tidegate.counts import SuccessorCounts

lengths = st.sets(st.integers(1, 7), min_size=1, max_size=4).map(sorted)
panes = st.lists(st.one_of(logs, st.just({})), max_size=9)


def recounted(panes: list[Log]) -> Counter[int]:
    total: Counter[int] = Counter()
    for pane in panes:
        total.update({(a << 16 | b) << 16 | c: n for (a, b, c), n in pane.items()})
    return total


def column(spans: PaneSpans, counts: np.ndarray) -> dict[int, int]:
    return {int(key): int(n) for key, n in zip(spans.keys, counts, strict=True) if n}


@settings(max_examples=25, deadline=None)
@given(panes, lengths)
def test_spans_are_recounted_by_a_dictionary(panes: list[Log], lengths: list[int]):
    spans = PaneSpans.of_panes([counts_of(pane) for pane in panes], lengths)
    assert spans.lengths.tolist() == lengths
    for j, length in enumerate(lengths):
        assert column(spans, spans.now[:, j]) == recounted(panes[-length:])
        assert column(spans, spans.before[:, j]) == recounted(panes[:-1][-length:])
        assert spans.n_panes[j] == min(length, len(panes))
    assert column(spans, spans.newest) == recounted(panes[-1:])
    assert np.all(np.diff(spans.keys) > 0)
    assert set(spans.keys.tolist()) == set(recounted(panes[-(lengths[-1] + 1) :]))


@settings(max_examples=25, deadline=None)
@given(panes, lengths)
def test_spans_by_c2_are_those_of_the_panes_by_c2(panes: list[Log], lengths: list[int]):
    spans = PaneSpans.of_panes([counts_of(pane) for pane in panes], lengths)
    coarse = spans.by_group(spans.groups & 0xFFFF)
    by_c2: list[Counter[int]] = []
    for pane in panes:
        by_c2.append(Counter())
        for (_, b, c), n in pane.items():
            by_c2[-1][b << 16 | c] += n
    assert np.all(np.diff(coarse.keys) > 0)
    for j, length in enumerate(lengths):
        assert column(coarse, coarse.now[:, j]) == sum(by_c2[-length:], Counter())
        assert column(coarse, coarse.before[:, j]) == sum(by_c2[:-1][-length:], Counter())
    assert column(coarse, coarse.newest) == sum(by_c2[-1:], Counter())


def test_panes_beyond_the_longest_length_are_not_looked_at():
    old, new = {(0, 1, 2): 5}, {(0, 1, 3): 1}
    spans = PaneSpans.of_panes([counts_of(pane) for pane in (old, new, new, new)], [1, 2])
    assert spans.keys.tolist() == [(0 << 16 | 1) << 16 | 3]
    assert spans.clusters.tolist() == [3]
    assert spans.groups.tolist() == [1]


def test_no_panes_at_all_are_empty_spans():
    for panes in ([], [SuccessorCounts.empty()]):
        spans = PaneSpans.of_panes(panes, [1, 3])
        assert spans.keys.size == 0
        assert spans.now.shape == spans.before.shape == (0, 2)
        assert spans.by_group(spans.groups).keys.size == 0
