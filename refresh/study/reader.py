"""The model as a study asks it: rows that name a cluster without a code are not asked, and are counted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refresh.engines import Engine
from refresh.engines.remembering import RememberingEngine
from refresh.prompts import RowContexts

Int32s = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Reading:
    """Answers of some rows.

    Attributes
    ----------
    clusters : int32[n]          -1 where a row was not asked, or has no answer
    probabilities : float32[n]
    has_code : bool[n]           whether it could be asked: c1, c2 and the line are within the codebook
    """

    clusters: Int32s
    probabilities: NDArray[np.float32]
    has_code: NDArray[np.bool_]


class Reader:
    """Asks an engine; equal rows are inferred once.

    Parameters
    ----------
    engine : Engine      grown to the catalogue, as far as its codes go
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.capacity = engine.prompts.codebook.capacity
        self._remembering = RememberingEngine(engine, top_n=1)

    def codes(self, c1: Int32s, c2: Int32s, line: Int32s) -> NDArray[np.bool_]:
        """Tell which rows can be asked: bool[n]."""
        return np.asarray(np.maximum(np.maximum(c1, c2), line) < self.capacity)

    def read(self, c1: Int32s, c2: Int32s, line: Int32s) -> Reading:
        """Answer rows.

        Parameters
        ----------
        c1, c2 : int32[n]
        line : int32[n]      retrieved cluster, -1 = no retrieved line
        """
        has_code = self.codes(c1, c2, line)
        clusters, probabilities = np.full(c1.shape[0], -1, np.int32), np.zeros(c1.shape[0], np.float32)
        rows = np.flatnonzero(has_code)
        table = np.stack([c1, c2, line], axis=1)[rows]
        distinct, of_row = np.unique(table, axis=0, return_inverse=True)
        if rows.size:
            contexts = RowContexts(distinct[:, 0], distinct[:, 1], distinct[:, 2:])
            answers = self._remembering.infer(contexts, top_n=1)
            clusters[rows] = answers.clusters[of_row.ravel(), 0]
            probabilities[rows] = answers.probabilities[of_row.ravel(), 0]
        return Reading(clusters, probabilities, has_code)
