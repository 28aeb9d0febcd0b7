"""What a candidate changes: how much of the window it answers, and how many rows answer otherwise."""

from __future__ import annotations

import numpy as np

from refresh.gates.answers import not_applicable
from refresh.gates.bounds import GateBounds
from refresh.gates.hit_rate import Comparison
from refresh.table import TransitionTable
from tidegate.contracts import GateVerdict
from tidegate.counts import SuccessorCounts, unpack_pairs


def coverage_of(table: TransitionTable, window: SuccessorCounts) -> float:
    """Share of the window's transitions whose pair has an answer. `O(p log r)`."""
    answered = table.predict(*unpack_pairs(window.pairs)) >= 0
    return float(window.totals[answered].sum() / window.total)


def coverage(
    candidate: TransitionTable, serving: TransitionTable, window: SuccessorCounts, bounds: GateBounds
) -> GateVerdict:
    """Require that no more of the window is left without an answer than before, and not too much of it.

    The floor asks for nothing that the serving table does not give: refusing a better table would mend nothing.
    """
    if not window.total:
        return not_applicable("coverage", "the window has no transition")
    found, served = coverage_of(candidate, window), coverage_of(serving, window)
    required = max(served - bounds.coverage_tolerance, min(bounds.min_coverage, served))
    sentence = (
        f"{found:.1%} of the window's transitions have an answer, {served:.1%} have one in the serving table; "
        f"at least {required:.1%} is required"
    )
    return GateVerdict(gate="coverage", found=found, required=required, is_passed=found >= required, sentence=sentence)


def changed_share(candidate: TransitionTable, serving: TransitionTable) -> float:
    """Share of the rows of either table whose first answer differs and is, or was, an engine's. `O(r log r)`.

    Rows of ``c2`` that are taken from the counts are left out of what has changed: they may turn over from pane to pane
    on a thin log, no model can spoil them, and refusing them would only let them grow old.
    """
    pairs = np.union1d(candidate.pairs, serving.pairs)
    c1, c2 = unpack_pairs(pairs)
    n_changed = int((candidate.predict(c1, c2) != serving.predict(c1, c2)).sum())
    mine, theirs = candidate.backoff_clusters[:, 0], serving.backoff_clusters[:, 0]
    is_inferred = candidate.backoff_row_keys.any(axis=1) | serving.backoff_row_keys.any(axis=1)
    n_changed += int(((mine != theirs) & is_inferred).sum())
    n_rows = pairs.shape[0] + int(((mine >= 0) | (theirs >= 0)).sum())
    return n_changed / n_rows if n_rows else 0.0


def rows_changed(
    candidate: TransitionTable, serving: TransitionTable, comparison: Comparison, bounds: GateBounds, *, is_full: bool
) -> GateVerdict:
    """Bound the share of rows whose first answer changes: one refresh must not turn the whole service over.

    But where the world itself has turned round, and the candidate hits better by more than chance, it may.
    """
    found = changed_share(candidate, serving)
    bound = bounds.max_changed_full if is_full else bounds.max_changed_selective
    kind = "full" if is_full else "selective"
    sentence = f"{found:.1%} of the rows answer otherwise, at most {bound:.1%} may by a {kind} refresh"
    is_better = comparison.hits_z > bounds.hit_loss_z
    if found > bound and is_better:
        sentence += f"; more may, since it hits better by {comparison.hits_z:.1f} standard deviations"
    is_passed = found <= bound or is_better
    return GateVerdict(gate="rows_changed", found=found, required=bound, is_passed=is_passed, sentence=sentence)
