"""Rows that are asked to learn what the weights know beyond the counts (docs/adr/0018-what-weights-add-is-learned.md).

A pair whose line is its backoff gains nothing by the counts, so its row would never be bought, and nobody would learn
that the model answers it better. So as long as little is known of a class of pairs, some are bought in the hope of a
lift: those of most traffic first, until the next pane shows enough of their transitions, or a twentieth of all; only
such as would pay if the hope came true, and no more than the class would then be worth. New weights that a person has
approved are tried on all that may pay: what they know is what they were made for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refresh.policies.lift import CLASSES, Lift
from tidegate.counts import unpack_pairs
from tidegate.hashing import mix64_array

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]

HOPE = 0.1
"""Hits a transition that are hoped for: less is seldom worth a call, and takes long to be told from chance."""

_ENOUGH = 400.0  # transitions: a lift of `HOPE` is then two standard deviations from none, where a quarter differ
_SHARE = 0.05  # of all traffic, that a class of weights nobody has approved is tried on at a time
_FORGOTTEN = 100.0  # below so many a class is not known any more
_CHANCE = 0.5  # that the hope comes true


@dataclass(frozen=True, slots=True)
class Prospects:
    """What is weighed for probes, by pair.

    Attributes
    ----------
    pairs : int64[n]
    classes : int64[n]       position in `CLASSES`
    traffic : float64[n]     transitions a pane to expect
    gain_hits : float64[n]   over the horizon, without any hope
    serves : bool[n]         a row will serve the pair in the next pane anyway
    may : bool[n]            a row could be asked: there is none, and its answer is not known
    """

    pairs: Int64s
    classes: Int64s
    traffic: Floats
    gain_hits: Floats
    serves: Bools
    may: Bools


def probes(
    prospects: Prospects,
    lifts: Sequence[Lift],
    seeds: NDArray[np.uint64],
    *,
    price: float,
    horizon_panes: float,
    budget: int | None,
    is_new: bool,
) -> Bools:
    """Choose the rows to probe: bool[n]. `O(n log n)`; ties go by the seeded hash of the pair.

    Parameters
    ----------
    lifts : by class, of the weights that are asked; nothing where nothing is known
    seeds : uint64[C]
    budget : calls that are left
    is_new : whether the weights are new: what serves is of others
    """
    chosen = np.zeros(prospects.pairs.shape[0], np.bool_)
    hoped = prospects.gain_hits + HOPE * prospects.traffic * horizon_panes
    for at in range(len(CLASSES)):
        n_known = lifts[at].n if lifts else 0.0
        if n_known >= _FORGOTTEN:
            continue
        in_class = prospects.classes == at
        candidates = np.flatnonzero(in_class & prospects.may & (hoped > price))
        standing = float(prospects.traffic[in_class & prospects.serves].sum())
        enough = min(_ENOUGH - n_known, _SHARE * float(prospects.traffic.sum()))
        most = int(_CHANCE * (hoped[candidates] - price).sum() / price) if price else candidates.size
        if budget is not None:
            most = min(most, budget - int(chosen.sum()))
        hashes = pair_hashes(prospects.pairs[candidates], seeds)
        order = candidates[np.lexsort((hashes, -prospects.traffic[candidates]))]
        before = np.cumsum(prospects.traffic[order]) - prospects.traffic[order]
        n_wanted = order.size if is_new else int((standing + before < enough).sum())
        chosen[order[: max(0, min(n_wanted, most))]] = True
    return chosen


def pair_hashes(pairs: Int64s, seeds: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Seeded hash of each pair: uint64[n], the same whatever its clusters are numbered."""
    c1, c2 = unpack_pairs(pairs)
    return mix64_array(mix64_array(seeds[c1]) ^ seeds[c2])
