"""Answers of parts, put together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from refresh.engines.contract import Answers, Usage


def joined(parts: Sequence[Answers], top_n: int, order: NDArray[np.int64]) -> Answers:
    """Put the answers of parts back into the order in which rows were asked. `O(n)`.

    Parameters
    ----------
    parts : of all rows together
    top_n : ranks of each
    order : int64[n]     which row each answer is of
    """
    n_rows = order.shape[0]
    clusters = np.full((n_rows, top_n), -1, np.int32)
    probabilities, mass = np.zeros((n_rows, top_n), np.float32), np.zeros(n_rows, np.float32)
    if parts:
        clusters[order] = np.concatenate([part.clusters for part in parts])
        probabilities[order] = np.concatenate([part.probabilities for part in parts])
        mass[order] = np.concatenate([part.label_mass for part in parts])
    return Answers(clusters, probabilities, mass, sum((part.usage for part in parts), Usage()))
