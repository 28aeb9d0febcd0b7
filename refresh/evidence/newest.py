"""What the newest pane shows of pairs, by the successor or in all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from refresh.evidence.level import locate, offsets_of
from refresh.evidence.spans import PaneSpans


def newest_of(spans: PaneSpans, pairs: NDArray[np.int64], clusters: NDArray[np.int64]) -> NDArray[np.int64]:
    """Transitions of the newest pane from each pair to one cluster: int64[n], 0 for cluster -1."""
    at, is_known = locate(spans.keys, pairs << 16 | np.maximum(clusters, 0))
    counts = spans.newest[at] if spans.keys.size else np.zeros(pairs.shape[0], np.int64)
    return np.where(is_known & (clusters >= 0), counts, 0)


def newest_totals(spans: PaneSpans, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Transitions of the newest pane from each pair: int64[n]."""
    groups, offsets = offsets_of(spans.groups)
    if not groups.size:
        return np.zeros(pairs.shape[0], np.int64)
    at, is_known = locate(groups, pairs)
    return np.where(is_known, np.add.reduceat(spans.newest, offsets[:-1])[at], 0)
