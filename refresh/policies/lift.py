"""What weights know beyond the counts: learned from rows that a model answered, on the transitions that followed.

A model that was fine-tuned on all pairs may answer one that was seen twice better than the pair's line does. The counts
cannot say so. So each pane the answers of the rows that serve are held against the lines that they were asked with:
both were known before the pane, and both are judged by the same transitions. The difference is the *lift*, in hits a
transition, by how much of a pair's share is its own evidence. An engine that answers with the line has none.

Two figures are taken of each class::

    lift   = (hits of the answers - hits of the lines) / (n + n0)         all rows: what asking one more may bring
    rate   = hits of the answers that left their line / (n_left + n0)     what such an answer is worth, once it is known

both as lower confidence bounds; the variance is summed up by pair, for transitions of a pair hit or miss together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from refresh.evidence import Evidence
from refresh.evidence.newest import newest_of, newest_totals
from refresh.table import TransitionTable

Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]

CLASSES = ("scarce", "thin", "middling", "dense")
"""Classes of pairs, by the part of their share that is their own evidence; the rest comes from the backoff."""

_OWN_SHARES = (1 / 16, 1 / 8, 1 / 4)  # where the next class begins
_PRIOR_TRANSITIONS = 50.0  # that the belief in no lift is worth


class Lift(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of one class of pairs, older transitions fading.

    ``n`` transitions went by rows of a model, ``n_left`` of them by answers that left their line. Those answers have
    ``hits``, their lines would have had ``line_hits``. ``spread`` is the sum over pairs and panes of the squared
    difference of both.
    """

    n: float = 0.0
    n_left: float = 0.0
    hits: float = 0.0
    line_hits: float = 0.0
    spread: float = 0.0

    def bound(self, z: float) -> float:
        """Lower confidence bound of the hits a transition that an answer adds to its line, from 0 on.

        Examples
        --------
        >>> Lift(n=350.0, n_left=200.0, hits=60.0, line_hits=20.0, spread=100.0).bound(z=0.0)
        0.1
        """
        added = self.hits - self.line_hits - z * math.sqrt(self.spread)
        return max(0.0, added / (self.n + _PRIOR_TRANSITIONS))

    def rate(self, z: float) -> float:
        """Lower confidence bound of the hit rate of answers that left their line, from 0 on."""
        return max(0.0, (self.hits - z * math.sqrt(self.hits)) / (self.n_left + _PRIOR_TRANSITIONS))


@dataclass(frozen=True, slots=True)
class Lifts:
    """Lower bounds by class: what asking a row adds to its line, and what a known answer that left it is worth.

    Attributes
    ----------
    added : float64[k]    hits a transition
    rates : float64[k]    hits a transition
    """

    added: Floats
    rates: Floats

    @classmethod
    def of(cls, asked: Sequence[Lift], served: Sequence[Lift], z: float) -> Lifts:
        """Take the bounds of what is known of the weights that are asked, and of those whose rows serve."""
        return cls(np.array([lift.bound(z) for lift in _all(asked)]), np.array([lift.rate(z) for lift in _all(served)]))


def own_shares(evidence: Evidence, pairs: Int64s, without: Int64s | None = None) -> Floats:
    """Part of each pair's share that is its own evidence: float64[n], 0 to below 1.

    Parameters
    ----------
    pairs : int64[n]
    without : int64[n], optional    transitions of each that are not to count
    """
    mass = evidence.pairs.mass_of(pairs)
    if without is not None:
        mass = np.maximum(0.0, mass - without)
    return np.asarray(mass / (mass + evidence.pair_setting.strength), np.float64)


def classes_of(own: Floats) -> Int64s:
    """Class of each own share, as a position in `CLASSES`: int64[n]."""
    return np.searchsorted(np.array(_OWN_SHARES), own, side="right").astype(np.int64)


def observed(
    lifts: Sequence[Lift], table: TransitionTable | None, evidence: Evidence, half_life_panes: float
) -> tuple[Lift, ...]:
    """Fold what the table's rows did in the newest pane into what is known. `O(t + r log t)`.

    Parameters
    ----------
    lifts : by class, nothing where nothing is known
    table : that served in the newest pane
    """
    fade = 0.5 ** (1.0 / half_life_panes)
    known = [_faded(lift, fade) for lift in _all(lifts)]
    if table is None or not table.n_rows:
        return tuple(known)
    answers, lines = table.clusters[:, 0].astype(np.int64), table.contexts.astype(np.int64)
    n = newest_totals(evidence.spans, table.pairs)
    judged = (n > 0) & (answers >= 0) & (lines >= 0)
    pairs, answers, lines, n = table.pairs[judged], answers[judged], lines[judged], n[judged]
    has_left = answers != lines
    hits = np.where(has_left, newest_of(evidence.spans, pairs, answers), 0)
    line_hits = np.where(has_left, newest_of(evidence.spans, pairs, lines), 0)
    classes = classes_of(own_shares(evidence, pairs, without=n))
    columns = (n, n * has_left, hits, line_hits, (hits - line_hits) ** 2)
    sums = [np.bincount(classes, column, len(CLASSES)).tolist() for column in columns]
    return tuple(_added(lift, *new) for lift, *new in zip(known, *sums, strict=True))


def lift_inputs(lifts: Sequence[Lift], bounds: Lifts) -> dict[str, float | int | bool | None]:
    """Say what is known by class, for a decision's record: the lower bound, and the transitions behind it."""
    inputs: dict[str, float | int | bool | None] = {}
    for name, lift, added in zip(CLASSES, _all(lifts), bounds.added.tolist(), strict=True):
        inputs[f"lift_{name}"] = added
        inputs[f"lift_{name}_transitions"] = lift.n
    return inputs


def _all(lifts: Sequence[Lift]) -> Sequence[Lift]:
    return lifts or (Lift(),) * len(CLASSES)


def _faded(lift: Lift, fade: float) -> Lift:
    return Lift(
        n=lift.n * fade,
        n_left=lift.n_left * fade,
        hits=lift.hits * fade,
        line_hits=lift.line_hits * fade,
        spread=lift.spread * fade,
    )


def _added(lift: Lift, n: float, n_left: float, hits: float, line_hits: float, spread: float) -> Lift:
    return Lift(
        n=lift.n + n,
        n_left=lift.n_left + n_left,
        hits=lift.hits + hits,
        line_hits=lift.line_hits + line_hits,
        spread=lift.spread + spread,
    )
