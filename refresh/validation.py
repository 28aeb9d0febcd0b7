"""Model output is untrusted: which answers may enter the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from refresh.engines import Answers
from refresh.prompts import RowContexts
from tidegate.errors import EngineError

_MASS_SLACK = 1e-3


class Fault(StrEnum):
    """What may be wrong with a row's answer."""

    NO_ANSWER = "no_answer"  # no cluster in the first rank
    UNKNOWN_CLUSTER = "unknown_cluster"  # an id outside the catalogue
    NOT_NEW = "not_new"  # c1 or c2
    DUPLICATE = "duplicate"  # a cluster twice
    GAP = "gap"  # an answer behind a rank without one
    PROBABILITY = "probability"  # not finite, outside [0, 1], not descending, or of no answer
    LABEL_MASS = "label_mass"  # infinite, or outside [0, 1]


@dataclass(frozen=True, slots=True)
class Validation:
    """Which rows are sound.

    Attributes
    ----------
    valid : bool[n]
    faults : rows by fault; a row with several is counted once, by the first in the order of `Fault`
    """

    valid: NDArray[np.bool_]
    faults: dict[Fault, int]


def validate(answers: Answers, contexts: RowContexts, n_clusters: int, *, top_n: int | None = None) -> Validation:
    """Check answers against the catalogue and their contexts. `O(n k²)`.

    A row that is not valid keeps its old value: that is the caller's to do.

    Parameters
    ----------
    top_n : ranks that were asked for; default: whatever came

    Raises
    ------
    EngineError
        If the arrays do not have the shapes and kinds of the contract: then no row can be told from another.
    """
    require_contract(answers, len(contexts), top_n)
    sound = np.ones(len(contexts), dtype=np.bool_)
    faults: dict[Fault, int] = {}
    for fault, is_faulty in _faulty_rows(answers, contexts, n_clusters).items():
        n_rows = int((sound & is_faulty).sum())
        if n_rows:
            faults[fault] = n_rows
        sound &= ~is_faulty
    return Validation(sound, faults)


def require_contract(answers: Answers, n_rows: int, top_n: int | None = None) -> None:
    """Refuse answers that are not one row of ranks for each row asked.

    Raises
    ------
    EngineError
        If an array has another shape, or another kind of numbers.
    """
    n_ranks = answers.clusters.shape[-1] if top_n is None and answers.clusters.ndim else top_n
    columns = {
        "clusters": (answers.clusters, np.integer, (n_rows, n_ranks)),
        "probabilities": (answers.probabilities, np.floating, (n_rows, n_ranks)),
        "label_mass": (answers.label_mass, np.floating, (n_rows,)),
    }
    for name, (column, kind, shape) in columns.items():
        if column.shape != shape or not np.issubdtype(column.dtype, kind):
            raise EngineError(
                f"{name} of the answers are {column.dtype}{list(column.shape)}, "
                f"required are {kind.__name__} {list(shape)}",
                "Nothing was taken over; mend the engine, or choose another with --engine",
                place="engine",
            )


def by_output(faults: Mapping[str, int], outputs: Mapping[str, int]) -> dict[str, int]:
    """Say of rows without an answer what was written instead, where an engine reads free text.

    Parameters
    ----------
    faults : rows by `Fault`
    outputs : texts that were no answers by what was wrong with them, counted while these rows were asked

    Examples
    --------
    >>> by_output({"no_answer": 5, "gap": 1}, {"empty": 2, "unknown": 2})
    {'no_answer': 1, 'gap': 1, 'output_empty': 2, 'output_unknown': 2}
    """
    left = faults.get(Fault.NO_ANSWER, 0) - sum(outputs.values())
    kept = {str(fault): left if fault == Fault.NO_ANSWER else n for fault, n in faults.items()}
    said = {f"output_{fault}": n for fault, n in outputs.items()}
    return {fault: n for fault, n in {**kept, **said}.items() if n > 0}


def _faulty_rows(answers: Answers, contexts: RowContexts, n_clusters: int) -> dict[Fault, NDArray[np.bool_]]:
    clusters, probabilities = answers.clusters, answers.probabilities
    given = clusters != -1
    ranked = np.sort(np.where(given, clusters.astype(np.int64), -1 - np.arange(clusters.shape[1])), axis=1)
    is_context = (clusters == contexts.c1[:, None]) | (clusters == contexts.c2[:, None])
    in_range = np.isfinite(probabilities) & (probabilities >= 0) & (probabilities <= 1)
    rising = probabilities[:, 1:] > probabilities[:, :-1]
    # Sums of many small probabilities may come out a little above one; not a number is for engines that do not tell.
    mass = answers.label_mass
    is_mass = np.isnan(mass) | ((mass >= 0) & (mass <= 1 + _MASS_SLACK))
    return {
        Fault.NO_ANSWER: ~given[:, :1].any(axis=1),
        Fault.UNKNOWN_CLUSTER: ((clusters < -1) | (clusters >= n_clusters)).any(axis=1),
        Fault.NOT_NEW: (given & is_context).any(axis=1),
        Fault.DUPLICATE: (ranked[:, 1:] == ranked[:, :-1]).any(axis=1),
        Fault.GAP: (given[:, 1:] & ~given[:, :-1]).any(axis=1),
        Fault.PROBABILITY: np.where(given, ~in_range, probabilities != 0).any(axis=1)
        | (rising & given[:, 1:]).any(axis=1),
        Fault.LABEL_MASS: ~is_mass,
    }
