"""The last panes of a run by pair, as the evidence looks at them: read once, kept while they are looked at."""

from __future__ import annotations

from dataclasses import dataclass, field

from refresh.evidence import Evidence, Memory, PaneSpans, memory_lengths
from stream.run_reader import RunReader
from tidegate.counts import SuccessorCounts
from tidegate.hashing import cluster_seeds


@dataclass(slots=True)
class History:
    """Evidence of a run, pane by pane.

    Attributes
    ----------
    reader : RunReader
    window_panes : int
    """

    reader: RunReader
    window_panes: int
    _panes: dict[int, SuccessorCounts] = field(default_factory=dict, init=False)

    @property
    def n_panes(self) -> int:
        """Panes that the evidence of one looks at, itself among them."""
        return reach_panes(self.window_panes)

    def evidence(self, pane: int, first_pane: int, names: list[str], memory: Memory | None) -> Evidence:
        """Sum up what the panes up to and with `pane` say, where `memory` was learned up to the one before.

        Parameters
        ----------
        names : clusters that had one by then, by id
        """
        wanted = range(max(first_pane, pane - self.n_panes + 1), pane + 1)
        self._panes = {
            each: self._panes[each] if each in self._panes else self.reader.counts(each, each).without_buckets()
            for each in wanted
        }
        spans = PaneSpans.of_panes([self._panes[each] for each in wanted], memory_lengths(self.window_panes))
        return Evidence(spans, cluster_seeds(names), memory, self.window_panes)


def reach_panes(window_panes: int) -> int:
    """Panes that evidence reaches back: the longest length, and one more that it is tried on."""
    return max(memory_lengths(window_panes)) + 1
