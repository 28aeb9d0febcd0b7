"""Retrieval ablations: which line, and how many of them, foretell the next window best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refresh.evidence import Ranked
from refresh.retrieval import Kind, Level, retrieve
from refresh.study.origins import Origin, Rows
from refresh.study.reader import Reader
from refresh.study.scores import Gain, Result, Scores
from tidegate.counts import SuccessorCounts

TOP_N = (1, 3, 5)
_DEFAULT = (Level.INSTANCE, Kind.FREQUENCY, 1)


@dataclass(frozen=True, slots=True)
class Retrieved:
    """One way to retrieve.

    Attributes
    ----------
    level, kind, top_n
    among : Result                how often the next cluster was among the n retrieved (n = 1: what `frequency` answers)
    model : Result | None         what the model made of them: its answers to each line, weighed; n calls a row
    model_gain : Gain | None      over the model with the paper's line (instance, frequency, top 1)
    among_gain : Gain             the same of the lines alone, at equal n
    """

    level: str
    kind: str
    top_n: int
    among: Result
    among_gain: Gain
    model: Result | None
    model_gain: Gain | None


@dataclass(frozen=True, slots=True)
class Ablation:
    """All ways to retrieve, on the pairs that both windows have.

    Attributes
    ----------
    windows : int       that were answered from the one before them
    rows : int          pairs asked, over all windows
    has_trend : bool    a window had one before it; else only what is frequent was retrieved
    ways : list of Retrieved
    """

    windows: int
    rows: int
    has_trend: bool
    ways: list[Retrieved]


def ablate_retrieval(origins: Sequence[Origin], reader: Reader | None) -> Ablation:
    """Retrieve in every way at each origin that has a window before it; at all, where none has.

    Rows are the pairs of the window that come again in the next one: those can be asked for, and are scored.
    """
    with_before = [origin for origin in origins if origin.before is not None]
    used, kinds = (with_before, tuple(Kind)) if with_before else (origins, (Kind.FREQUENCY,))
    variants = [(level, kind, n) for level in Level for kind in kinds for n in TOP_N]
    among, read = ({variant: Scores.none() for variant in variants} for _ in range(2))
    n_rows = 0
    for origin in used:
        rows = Rows.of_origin(origin)
        rows = rows.only(rows.support > 0, origin)
        n_rows += rows.pairs.shape[0]
        for level in Level:
            for kind in kinds:
                before = origin.before or SuccessorCounts.empty()
                lines = retrieve(level, kind, origin.window, before, rows.pairs, origin.seeds, max(TOP_N))
                answers = None if reader is None else _weighed(reader, rows, lines)
                for n in TOP_N:
                    among[level, kind, n] += Scores.of_answers(rows.asked, lines.clusters[:, :n], origin.microbits)
                    if answers is not None:
                        read[level, kind, n] += Scores.of_answers(rows.asked, answers[n], origin.microbits)
    return Ablation(
        windows=len(used),
        rows=n_rows,
        has_trend=bool(with_before),
        ways=[
            Retrieved(
                level=str(level),
                kind=str(kind),
                top_n=n,
                among=Result.of_scores(among[level, kind, n]),
                among_gain=Gain.of_scores(among[level, kind, n], among[*_DEFAULT[:2], n]),
                model=None if reader is None else Result.of_scores(read[level, kind, n]),
                model_gain=None if reader is None else Gain.of_scores(read[level, kind, n], read[_DEFAULT]),
            )
            for level, kind, n in variants
        ],
    )


def _weighed(reader: Reader, rows: Rows, lines: Ranked) -> dict[int, NDArray[np.int32]]:
    """Ask once a line; of the first n answers the one with the most weight, by n.

    An answer weighs its probability times its line's share, summed over the lines that led to it; without a share
    above 0 only the first line counts. A row without a code is answered by its line.
    """
    n_rows, depth = lines.clusters.shape
    answers, weights = np.full((n_rows, depth), -1, np.int32), np.zeros((n_rows, depth))
    for rank in range(depth):
        line = lines.clusters[:, rank]
        reading = reader.read(*rows.contexts, line)
        answers[:, rank] = np.where(reading.has_code, reading.clusters, line)
        probability = np.where(reading.has_code, reading.probabilities, 1.0)
        weights[:, rank] = np.where(line >= 0, probability * np.maximum(lines.shares[:, rank], 0.0), 0.0)
    is_same = answers[:, :, None] == answers[:, None, :]
    every = np.arange(n_rows)
    best = {n: (is_same[:, :n, :n] * weights[:, None, :n]).sum(axis=2).argmax(axis=1) for n in TOP_N}
    return {n: answers[every, each] for n, each in best.items()}
