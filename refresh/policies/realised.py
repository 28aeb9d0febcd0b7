"""What became of the gains that were expected: rows bought a pane ago, judged by the pane that they have served.

An engine may answer worse than its context, and evidence may mislead; then expected gains do not come true and rows
must promise more to be bought. The correction is one number for all rows: single rows are too thin to be judged.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np

from refresh.evidence.newest import newest_of
from refresh.policies.plan import PolicyState, View
from tidegate.contracts import Reason
from tidegate.counts import pack_pairs

_PRIOR_HITS = 50.0  # expected hits that the belief that all of them come true is worth
_HALF_LIFE_PANES = 30.0
_BOUNDS = (0.0, 1.0)  # what came true by luck does not lower the bar


def observe(view: View) -> PolicyState:
    """Fold what the rows of the last order did in the newest pane into the state."""
    state, order, table = view.state, view.last_order, view.table
    fade = 0.5 ** (1.0 / _HALF_LIFE_PANES)
    realised = exposed = expected = 0.0
    if order is not None and table is not None and order.rows:
        # Of a probe nothing was expected.
        rows = [row for row in order.rows if row.c1 >= 0 and row.reason is not Reason.PROBE]
        pairs = pack_pairs(np.array([row.c1 for row in rows], np.int64), np.array([row.c2 for row in rows], np.int64))
        at, replaced = table.rows_of(pairs), np.array([row.replaces for row in rows], np.int64)
        # A row whose answer was invalid is not there: what would have been replaced goes on answering.
        answers = np.where(at >= 0, table.clusters[at, 0] if table.n_rows else -1, replaced)
        now = newest_of(view.evidence.spans, pairs, answers)
        before = newest_of(view.evidence.spans, pairs, replaced)
        realised, exposed = float((now - before).sum()), float((now + before).sum())
        expected = state.placed_hits
    return msgspec.structs.replace(
        state,
        expected_hits=state.expected_hits * fade + expected,
        realised_hits=state.realised_hits * fade + realised,
        exposed_hits=state.exposed_hits * fade + exposed,
        placed_hits=0.0,
    )


def realised_share(state: PolicyState, confidence_z: float) -> float:
    """Lower confidence bound of the share of expected gains that came true, between 0 and 1.

    Examples
    --------
    >>> realised_share(PolicyState(), confidence_z=0.0)
    1.0
    >>> bad = PolicyState(expected_hits=950.0, realised_hits=190.0, exposed_hits=400.0)
    >>> round(realised_share(bad, confidence_z=0.0), 2)
    0.24
    """
    weight = state.expected_hits + _PRIOR_HITS
    share = (state.realised_hits + _PRIOR_HITS) / weight
    deviation = math.sqrt(state.exposed_hits) / weight
    return min(max(share - confidence_z * deviation, _BOUNDS[0]), _BOUNDS[1])
