"""What a refresh of everything asks for: in the paper's frame, or in ours.

In the paper's *plain* frame each pair of the window is asked with its plain top-1, nothing answers pairs without a row
but never the backoff, and all rows are inferred anew. Our *own* frame gives the same calendar our evidence: shrunk
shares, a backoff that is kept fresh for nothing, and no second call for an equal row key.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from refresh.evidence import Ranked
from refresh.evidence.plain import plain_backoff, plain_rank
from refresh.policies.plan import View


class Frame(Protocol):
    """How a policy that decides on nothing but the time has its rows made."""

    suffix: str
    replaces_rows: bool

    def ranked(self, view: View, depth: int) -> Ranked:
        """Retrieve the line of each pair of the window."""
        ...

    def backoff(self, view: View, depth: int) -> Ranked:
        """Rank the successors of each ``c2``."""
        ...

    def free_backoff(self, view: View, depth: int) -> Ranked | None:
        """Give the backoff that goes with rows of pairs, if there is one."""
        ...


class PlainFrame:
    """The paper's frame."""

    suffix = ""
    replaces_rows = True

    def ranked(self, view: View, depth: int) -> Ranked:
        """Rank by plain counts of the window, unless lines are retrieved in another way."""
        if view.retrieval.is_shrunk:
            return plain_rank(view.window, view.seeds, max(depth, view.retrieval.n_retrieved))
        return view.lines(view.window.pairs, depth)

    def backoff(self, view: View, depth: int) -> Ranked:
        """Rank by plain counts of the window."""
        return plain_backoff(view.window, view.seeds, depth)

    def free_backoff(self, view: View, depth: int) -> Ranked | None:
        """Give none: pairs without a row are not answered."""
        return None


class OwnFrame:
    """Our evidence and backoff."""

    suffix = "+own"
    replaces_rows = False

    def ranked(self, view: View, depth: int) -> Ranked:
        """Retrieve lines: ranked by shrunk shares, if in no other way."""
        return view.lines(view.window.pairs, depth)

    def backoff(self, view: View, depth: int) -> Ranked:
        """Rank by shrunk shares."""
        return view.evidence.backoff(depth)

    def free_backoff(self, view: View, depth: int) -> Ranked | None:
        """As `backoff`."""
        return view.evidence.backoff(depth)


def most_popular(view: View, depth: int) -> Ranked:
    """Answer every ``c2`` with the one cluster that followed most often in the window (none where it is c2)."""
    n_clusters = view.seeds.shape[0]
    ranked = Ranked.nothing(n_clusters, depth)
    totals = view.window.successor_totals(n_clusters)
    if totals.any():
        best = int(np.lexsort((view.seeds, -totals))[0])
        ranked.clusters[:, 0], ranked.shares[:, 0] = best, totals[best] / totals.sum()
        ranked.clusters[best, 0], ranked.shares[best, 0] = -1, 0.0
    return ranked
