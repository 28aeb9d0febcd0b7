"""What the model adds to the counts that it reads, on which pairs, with the same calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refresh.evidence import Evidence, Ranked
from refresh.evidence.plain import plain_backoff, plain_rank
from refresh.study.origins import Origin, Rows
from refresh.study.reader import Reader
from refresh.study.scores import Gain, Result, Scores

Int32s = NDArray[np.int32]

GROUPS = ("all", "unseen", "thin", "dense")
_GAINS = (
    ("frequency", "backoff"),
    ("model", "frequency"),
    ("model", "backoff"),
    ("model_alone", "backoff"),
    ("frequency_shrunk", "backoff"),
    ("model_shrunk", "frequency_shrunk"),
    ("model_shrunk", "backoff"),
)


@dataclass(frozen=True, slots=True)
class GroupComparison:
    """Pairs of one group: all, unseen in the window, thin (below the support), dense.

    Attributes
    ----------
    rows : int                     asked over all windows: the calls of whoever answers from a line
    rows_beyond_codebook : int     among them, without a code: their backoff answers in the model's stead
    line_repeated : float | None   share of rows that the model answers with the line it reads
    ways : results by way to answer
    gains : by ``ours - theirs``
    """

    rows: int
    rows_beyond_codebook: int
    line_repeated: float | None
    ways: dict[str, Result]
    gains: dict[str, Gain]


@dataclass(frozen=True, slots=True)
class Comparison:
    """All ways to answer, on the same transitions.

    Attributes
    ----------
    windows : int                        that were answered from the one before them
    min_support : int                    transitions from which a pair is dense
    transitions_of_new_clusters : int    left out
    groups : by `GROUPS`
    """

    windows: int
    min_support: int
    transitions_of_new_clusters: int
    groups: dict[str, GroupComparison]


@dataclass(frozen=True, slots=True)
class _Answered:
    """Answers of all ways at one origin, int32[n] each, and what became of the model's rows."""

    ways: dict[str, Int32s]
    has_code: NDArray[np.bool_]
    repeats_line: NDArray[np.bool_]


def compare_ways(origins: Sequence[Origin], reader: Reader | None, min_support: int) -> Comparison:
    """Answer each origin's next window in every way, and compare.

    Parameters
    ----------
    reader : the model; without it only counts answer
    min_support : transitions in the window from which a pair is dense
    """
    scores: dict[tuple[str, str], Scores] = {}
    n_rows, n_beyond, n_repeated, n_read = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    n_new = 0
    for origin in origins:
        rows = Rows.of_origin(origin)
        n_new += rows.n_of_new_clusters
        answered = _answer(origin, rows, reader)
        for group, which in _groups(rows.support, min_support).items():
            n_rows[group] += int(which.sum())
            n_beyond[group] += int((which & ~answered.has_code).sum())
            n_read[group] += int((which & answered.has_code).sum())
            n_repeated[group] += int((which & answered.has_code & answered.repeats_line).sum())
            for way, answers in answered.ways.items():
                fresh = Scores.of_answers(rows.asked, answers, origin.microbits, which)
                scores[group, way] = scores.get((group, way), Scores.none()) + fresh
    return Comparison(
        windows=len(origins),
        min_support=min_support,
        transitions_of_new_clusters=n_new,
        groups={
            group: GroupComparison(
                rows=n_rows[group],
                rows_beyond_codebook=n_beyond[group],
                line_repeated=n_repeated[group] / n_read[group] if reader is not None and n_read[group] else None,
                ways={way: Result.of_scores(each) for (of, way), each in scores.items() if of == group},
                gains={
                    f"{ours} - {theirs}": Gain.of_scores(scores[group, ours], scores[group, theirs])
                    for ours, theirs in _GAINS
                    if (group, ours) in scores and (group, theirs) in scores
                },
            )
            for group in GROUPS
        },
    )


def _groups(support: NDArray[np.int64], min_support: int) -> dict[str, NDArray[np.bool_]]:
    return {
        "all": np.ones(support.shape[0], np.bool_),
        "unseen": support == 0,
        "thin": (support > 0) & (support < min_support),
        "dense": support >= min_support,
    }


def _answer(origin: Origin, rows: Rows, reader: Reader | None) -> _Answered:
    backoff = backoff_answers(plain_backoff(origin.window, origin.seeds, 3), rows)
    plain = own_or_backoff(origin, rows, backoff)
    shrunk = Evidence.of_counts(origin.window, origin.seeds).rank(rows.pairs, 1).clusters[:, 0]
    ways = {"backoff": backoff, "frequency": plain, "frequency_shrunk": shrunk}
    everywhere = np.ones(rows.pairs.shape[0], np.bool_)
    if reader is None:
        return _Answered(ways, everywhere, ~everywhere)
    with_line = {
        "model": reader.read(*rows.contexts, plain),
        "model_shrunk": reader.read(*rows.contexts, shrunk),
        "model_alone": reader.read(*rows.contexts, np.full_like(plain, -1)),
    }
    read = {way: np.where(each.has_code, each.clusters, backoff) for way, each in with_line.items()}
    return _Answered(ways | read, with_line["model"].has_code, read["model"] == plain)


def backoff_answers(ranked: Ranked, rows: Rows) -> Int32s:
    """Best answer of each row's ``c2`` that is not c1, -1 where there is none: int32[n]."""
    c1, c2 = rows.contexts
    candidates = np.pad(ranked.clusters[c2], ((0, 0), (0, 1)), constant_values=-1)
    usable = candidates != c1[:, None]
    return np.asarray(candidates[np.arange(c1.shape[0]), usable.argmax(axis=1)], np.int32)


def own_or_backoff(origin: Origin, rows: Rows, backoff: Int32s) -> Int32s:
    """Give the plain top-1 of each pair that was seen in the window, and the backoff's of the others: int32[n]."""
    lines = backoff.copy()
    _, of_window, of_rows = np.intersect1d(origin.window.pairs, rows.pairs, assume_unique=True, return_indices=True)
    own = plain_rank(origin.window, origin.seeds, 1).clusters[of_window, 0]
    lines[of_rows] = np.where(own >= 0, own, backoff[of_rows])
    return lines
