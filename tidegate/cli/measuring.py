"""What a closed pane's window looks like: its counts, and its drift against a reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from stream.drift.front import measure_front
from stream.drift.options import DriftOptions
from stream.drift.parts import DriftPart, MatchedPairs
from stream.drift.report import to_report
from stream.drift.window import judge_window
from stream.run_reader import RunReader
from stream.sequence_kernel import ANSWERED, HITS_NEXT, HITS_SEQUENCE, SCORED
from tidegate.contracts import DriftReport, FrontDrift
from tidegate.counts import BucketedCounts
from tidegate.hashing import cluster_seeds


@dataclass(frozen=True, slots=True)
class OpenedWindow:
    """A window that is being compared: the pane that ends it, its transitions, and its pairs beside their reference.

    ``adjacent`` are the reference's counts where it is the window just before, which the newest pane is held against,
    too; else None.
    """

    pane: int
    transitions: int
    matched: MatchedPairs
    adjacent: BucketedCounts | None


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
        reference_pane = self.reference_of(pane, first_pane)
        return None if reference_pane is None else self.compare(pane, reference_pane)

    def reference_of(self, pane: int, first_pane: int) -> int | None:
        """Find the pane that ends the adjacent window before; None where that reaches before the run."""
        reference_pane = pane - self.window_panes
        return reference_pane if self.is_full(reference_pane, first_pane) else None

    def since(self, pane: int, tuned_window_end_ms: int | None) -> DriftReport | None:
        """Compare with the window that the weights were tuned on, once the two no longer overlap."""
        if tuned_window_end_ms is None:
            return None
        tuned_pane = tuned_window_end_ms // self.pane_ms - 1
        return self.compare(pane, tuned_pane) if pane - tuned_pane >= self.window_panes else None

    def compare(self, pane: int, reference_pane: int) -> DriftReport:
        """Compare the windows that end with `pane` and with `reference_pane`."""
        opened = self.open(pane, reference_pane)
        return self.judge(opened, [opened.matched.measure(0, 1)])

    def open(self, pane: int, reference_pane: int) -> OpenedWindow:
        """Read the windows that end with `pane` and with `reference_pane`, to be measured in parts."""
        window, reference = self.window(pane), self.window(reference_pane)
        seeds = cluster_seeds(self.reader.cluster_names())
        adjacent = reference if reference_pane == pane - self.window_panes else None
        return OpenedWindow(pane, window.total, MatchedPairs(window, reference, seeds, self.drift), adjacent)

    def judge(self, opened: OpenedWindow, parts: Sequence[DriftPart]) -> DriftReport:
        """Write the report of a window, all parts of which were measured."""
        stats = self.reader.stats_of_pane(opened.pane)
        scored = int(stats[SCORED])
        report = to_report(
            judge_window(opened.matched, parts, self.drift),
            run_id=self.reader.run_id,
            window_start_ms=(opened.pane - self.window_panes + 1) * self.pane_ms,
            window_end_ms=self.window_end_ms(opened.pane),
            pane_ms=self.pane_ms,
            min_support=self.drift.min_support,
            transitions=opened.transitions,
            hit_rate_next=int(stats[HITS_NEXT]) / scored if scored else None,
            hit_rate_sequence=int(stats[HITS_SEQUENCE]) / scored if scored else None,
            coverage=int(stats[ANSWERED]) / scored if scored else None,
        )
        return msgspec.structs.replace(report, front=self._front(opened))

    def _front(self, opened: OpenedWindow) -> FrontDrift | None:
        """Hold the newest pane against the reference."""
        if opened.adjacent is None:
            return None
        seeds = cluster_seeds(self.reader.cluster_names())
        newest = self.reader.counts(opened.pane, opened.pane)
        return measure_front(newest, opened.adjacent, seeds, self.drift, self.window_panes)
