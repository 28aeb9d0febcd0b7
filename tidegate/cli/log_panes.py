"""A log in memory, pane by pane, as everybody sees it at each pane's end: counts, evidence, report, engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from refresh.engines import Engine
from refresh.engines.remembering import RememberingEngine
from refresh.evidence import Evidence, Memory, PaneSpans, memory_lengths
from refresh.retrieval import Kind, Retrieval
from stream.drift.course import CourseOptions, CourseState, fold_course
from stream.drift.front import measure_front
from stream.drift.options import DriftOptions
from stream.drift.report import to_report
from stream.drift.window import measure_drift
from stream.predictions import hit_microbits, no_predictions
from stream.sequences import SequenceOptions, SequenceState
from stream.shard import count_keys
from stream.watch_log import Watches, WatchLog
from tidegate.cli.engine_keeper import EngineKeeper
from tidegate.contracts import DriftReport
from tidegate.counts import BucketedCounts, SuccessorCounts
from tidegate.hashing import cluster_seeds


@dataclass(frozen=True, slots=True)
class PaneFacts:
    """What everybody may know at a pane's end.

    Attributes
    ----------
    index : int              panes since the first table's
    is_last : bool           no pane is left that a table could serve
    counts : SuccessorCounts of the pane, `window` of its window
    seeds : uint64[C]        of `names`, the clusters named so far
    microbits : int64[m]     information of a hit by cluster
    before : SuccessorCounts of the window before, nothing where that is not full
    """

    pane: int
    pane_ms: int
    index: int
    is_last: bool
    evidence: Evidence
    counts: SuccessorCounts
    window: SuccessorCounts
    seeds: NDArray[np.uint64]
    names: tuple[str, ...]
    report: DriftReport | None
    microbits: NDArray[np.int64]
    engine: Engine
    before: SuccessorCounts = field(default_factory=SuccessorCounts.empty)

    @property
    def window_end_ms(self) -> int:
        """End of the pane."""
        return (self.pane + 1) * self.pane_ms


@dataclass(slots=True)
class LogPanes:
    """Goes over a log.

    Attributes
    ----------
    keeper : EngineKeeper
    top_n : int                 ranks that the engine is asked for
    retrieval : Retrieval       how lines are retrieved
    transitions : of all panes gone over
    """

    log: WatchLog
    sequences: SequenceOptions
    drift: DriftOptions
    course: CourseOptions
    keeper: EngineKeeper
    top_n: int
    retrieval: Retrieval = field(default_factory=Retrieval)
    transitions: int = 0
    _course: CourseState | None = field(default=None, init=False)
    _engine: RememberingEngine | None = field(default=None, init=False)
    _microbits: NDArray[np.int64] | None = field(default=None, init=False)

    def facts(self, *, with_reports: bool, with_evidence: bool = True) -> Iterator[tuple[list[Watches], PaneFacts]]:
        """Yield panes from the first full window's on; the first one comes with the watches of all panes before it.

        Parameters
        ----------
        with_reports : measure each window against its reference
        with_evidence : else the evidence is empty
        """
        window_panes, lengths = self.sequences.window_panes, memory_lengths(self.sequences.window_panes)
        self._course = None
        state, memory, waiting = SequenceState(self.sequences), Memory(), list[Watches]()
        buckets, plain = list[BucketedCounts](), list[SuccessorCounts]()
        for at, (pane, watches) in enumerate(self.log.panes()):
            keys = state.extend(watches.users, watches.clusters, watches.times_ms, no_predictions())
            self.transitions += keys.shape[0]
            waiting.append(watches)
            buckets = [*buckets, count_keys([keys])][-2 * window_panes :]
            plain = [*plain, buckets[-1].without_buckets()][-(lengths[-1] + 1) :]
            names = self.log.cluster_names[: int(self.log.n_known[at])]
            seeds = cluster_seeds(names)
            evidence = Evidence.of_counts(SuccessorCounts.empty(), seeds)
            if with_evidence:
                evidence = Evidence(PaneSpans.of_panes(plain, lengths), seeds, memory, window_panes)
                memory = evidence.learned
            if at + 1 < window_panes:
                continue
            window = BucketedCounts.merge(buckets[-window_panes:])
            report = None
            if with_reports and len(buckets) == 2 * window_panes:
                report = self._report(pane, (buckets[-1], window, BucketedCounts.merge(buckets[:window_panes])), seeds)
            yield (
                waiting,
                PaneFacts(
                    pane=pane,
                    pane_ms=self.sequences.pane_ms,
                    index=at + 1 - window_panes,
                    is_last=pane == self.log.last_pane,
                    evidence=evidence,
                    counts=plain[-1],
                    window=window.without_buckets(),
                    seeds=seeds,
                    names=tuple(names),
                    report=report,
                    microbits=self._bits(window),
                    engine=self._engine_for(names, window, pane),
                    before=self._before(buckets),
                ),
            )
            waiting = []

    def _before(self, buckets: list[BucketedCounts]) -> SuccessorCounts:
        """Add up the window before, where trends are retrieved and it is full."""
        window_panes = self.sequences.window_panes
        if self.retrieval.kind is not Kind.TREND or len(buckets) < 2 * window_panes:
            return SuccessorCounts.empty()
        return BucketedCounts.merge(buckets[:window_panes]).without_buckets()

    def _bits(self, window: BucketedCounts) -> NDArray[np.int64]:
        """Information of hits, from the first window that it is asked for."""
        if self._microbits is None:
            first = window.without_buckets()
            self._microbits = hit_microbits(first.successor_totals(int(first.successors.max(initial=-1)) + 1))
        return self._microbits

    def _engine_for(self, names: list[str], window: BucketedCounts, pane: int) -> RememberingEngine:
        if self._engine is None or len(names) > len(self._engine.prompts.codebook.names):
            engine = self.keeper.engine(names, window, pane, None)
            self._engine = self._engine or RememberingEngine(engine, self.top_n)
        return self._engine

    def compare(
        self, pane: int, window: BucketedCounts, reference: BucketedCounts, seeds: NDArray[np.uint64]
    ) -> DriftReport:
        """Compare the window that ends with a pane with another one; nobody's hits are told."""
        return to_report(
            measure_drift(window, reference, seeds, self.drift),
            run_id="",
            window_start_ms=(pane + 1 - self.sequences.window_panes) * self.sequences.pane_ms,
            window_end_ms=(pane + 1) * self.sequences.pane_ms,
            pane_ms=self.sequences.pane_ms,
            min_support=self.drift.min_support,
            transitions=window.total,
            hit_rate_next=None,
            hit_rate_sequence=None,
            coverage=None,
        )

    def _report(
        self, pane: int, counts: tuple[BucketedCounts, BucketedCounts, BucketedCounts], seeds: NDArray[np.uint64]
    ) -> DriftReport:
        """Compare newest pane and window with the reference, as `tidegate.cli.measuring` does; follow the course."""
        newest, window, reference = counts
        report = self.compare(pane, window, reference, seeds)
        front = measure_front(newest, reference, seeds, self.drift, self.sequences.window_panes)
        self._course, report = fold_course(self._course, msgspec.structs.replace(report, front=front), self.course)
        return report
