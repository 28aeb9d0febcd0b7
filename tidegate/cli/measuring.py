"""What a closed pane's window looks like: its counts, and its drift against a reference."""

from __future__ import annotations

from dataclasses import dataclass

from stream.drift.window import DriftOptions, measure_drift, to_report
from stream.run_reader import RunReader
from stream.sequence_kernel import ANSWERED, HITS_NEXT, HITS_SEQUENCE, SCORED
from tidegate.contracts import DriftReport
from tidegate.counts import BucketedCounts
from tidegate.hashing import cluster_seeds


@dataclass(frozen=True, slots=True)
class Measuring:
    """Windows of a run, measured.

    Attributes
    ----------
    reader : RunReader
    drift : DriftOptions
    pane_ms : int
    window_panes : int
    """

    reader: RunReader
    drift: DriftOptions
    pane_ms: int
    window_panes: int

    def window_end_ms(self, pane: int) -> int:
        """End of `pane`, and of the window that it completes."""
        return (pane + 1) * self.pane_ms

    def window(self, last_pane: int) -> BucketedCounts:
        """Read the counts of the window that ends with `last_pane`."""
        return self.reader.counts(last_pane - self.window_panes + 1, last_pane)

    def is_full(self, pane: int, first_pane: int) -> bool:
        """Whether the window that ends with `pane` lies wholly in the run."""
        return pane - first_pane + 1 >= self.window_panes

    def report(self, pane: int, first_pane: int) -> DriftReport | None:
        """Compare the window with the adjacent one before it; None where that reaches before the run."""
        if not self.is_full(pane - self.window_panes, first_pane):
            return None
        return self.compare(pane, pane - self.window_panes)

    def since(self, pane: int, tuned_window_end_ms: int | None) -> DriftReport | None:
        """Compare with the window that the weights were tuned on, once the two no longer overlap."""
        if tuned_window_end_ms is None:
            return None
        tuned_pane = tuned_window_end_ms // self.pane_ms - 1
        return self.compare(pane, tuned_pane) if pane - tuned_pane >= self.window_panes else None

    def compare(self, pane: int, reference_pane: int) -> DriftReport:
        """Compare the windows that end with `pane` and with `reference_pane`."""
        window = self.window(pane)
        stats = self.reader.stats_of_pane(pane)
        scored = int(stats[SCORED])
        return to_report(
            measure_drift(window, self.window(reference_pane), cluster_seeds(self.reader.cluster_names()), self.drift),
            run_id=self.reader.run_id,
            window_start_ms=(pane - self.window_panes + 1) * self.pane_ms,
            window_end_ms=self.window_end_ms(pane),
            pane_ms=self.pane_ms,
            min_support=self.drift.min_support,
            transitions=window.total,
            hit_rate_next=int(stats[HITS_NEXT]) / scored if scored else None,
            hit_rate_sequence=int(stats[HITS_SEQUENCE]) / scored if scored else None,
            coverage=int(stats[ANSWERED]) / scored if scored else None,
        )
