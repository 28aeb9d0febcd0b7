"""The candidate against the weights that serve, on the same rows of the same held-out users."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from refresh.finetune.gates.labelled import mean_by_groups, tail_of
from refresh.finetune.gates.rows import cluster_name, context_name, named
from refresh.finetune.gates.trial import Hearing
from refresh.finetune.gates.verdicts import at_least, whole
from tidegate.contracts import GateVerdict


def regression(hearing: Hearing) -> GateVerdict:
    """Refuse a candidate that hits less than the weights that serve, surely or by much."""
    return _compared("regression", hearing, np.ones(len(hearing.samples.test), np.bool_), "transitions")


def tail(hearing: Hearing) -> GateVerdict:
    """Refuse a candidate that hits less on the tail of the catalogue, where a gain on its head would hide it."""
    trial, test = hearing.trial, hearing.samples.test
    is_tail = tail_of(test, len(trial.names), trial.bounds.tail_share)
    what = f"transitions to the {int(is_tail.sum()):,} least frequent clusters"
    return _compared("tail", hearing, is_tail[test.targets], what)


def _compared(gate: str, hearing: Hearing, is_asked: NDArray[np.bool_], what: str) -> GateVerdict:
    """Compare on some of the rows by the traffic that they stand for, paired, by users.

    It fails where the whole interval of the difference lies below zero. Few users must not be a way to pass, so it
    fails unproven, too, where the loss is larger than what is borne: a tenth of the hits that the serving weights have,
    and a standard deviation, if that is no more than another tenth.
    """
    trial, bounds, test = hearing.trial, hearing.trial.bounds, hearing.samples.test
    served = hearing.served_first
    rows = np.flatnonzero(is_asked)
    if served is None or not rows.size:
        return whole(gate, f"not applicable: {'no weights serve yet' if served is None else f'there are no {what}'}")
    is_mine, is_theirs = (first[rows] == test.targets[rows] for first in (hearing.first, served))
    traffic = test.traffic[rows]
    mine, theirs = (float(np.average(is_hit, weights=traffic)) for is_hit in (is_mine, is_theirs))
    gap = mean_by_groups(is_mine.astype(np.float64) - is_theirs, test.users[rows], bounds.confidence, traffic)
    borne = bounds.max_recall_loss * theirs
    allowed = -(borne + min(gap.deviation, borne))
    lost = rows[is_theirs & ~is_mine]
    said = (
        f"{context_name(test.contexts, row, trial.names)} it says "
        f"{cluster_name(int(hearing.first[row]), trial.names)} for {cluster_name(int(served[row]), trial.names)}"
        for row in lost.tolist()
    )
    n_users = np.unique(test.users[rows]).shape[0]
    sentence = (
        f"on {rows.size:,} {what} of {n_users:,} held-out groups of users it hits {mine:.4f} by traffic, the serving "
        f"weights {theirs:.4f}: {gap.mean:+.4f} ({bounds.confidence:.0%} interval {gap.low:+.4f} to {gap.high:+.4f}, "
        f"paired by users); a loss of more than {-allowed:.4f}, or one that is sure, is refused; {lost.size:,} hits "
        "are lost" + named(said, lost.size)
    )
    return at_least(gate, gap.mean, 0.0 if gap.high < 0 else allowed, sentence)
