"""What a fine-tune takes, from the counts to the gates: ``python -m bench.finetune [--quick]``.

The embedded model learns 8,000 samples of a world whose relations have moved on, once from the weights that served
before and once from nothing: curation, training until held-out recall no longer rises, the candidate, the gates. Where
there is a GPU, an adapter of a decoder of 1.7 billion random weights is trained on prompts of the paper's length
(`bench.finetune_gpu`).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.finetune_gpu import gpu_figures
from bench.processes import cores
from bench.table import Figure, publish
from refresh.engines import Engine, open_engine
from refresh.finetune.candidate import base_fingerprint
from refresh.finetune.curation import CuratedSamples, CurationRecipe, PaneCounts, curate
from refresh.finetune.fine_tuning import CANDIDATE, Lesson, fine_tune
from refresh.finetune.full import open_full
from refresh.finetune.gates.judge import sampled
from refresh.finetune.gates.judging import judge_candidate
from refresh.finetune.gates.trial import Expected, Trial
from refresh.finetune.recipe import FineTuneRecipe
from refresh.finetune.samples_folder import write_samples
from tidegate.contracts import FineTuneReport, GateVerdict
from tidegate.counts import BucketedCounts, pack_transitions

FULL_CLUSTERS, QUICK_CLUSTERS = 761, 101
WINDOW_PANES, N_PANES, FLAG_PANE, SEED = 7, 14, 19_725, 7
TRANSITIONS_A_PANE = 60_000
GOAL_SECONDS = 180


@dataclass(frozen=True, slots=True)
class Done:
    """One fine-tune with what it took; the processor's time does not mind who else works on the machine."""

    report: FineTuneReport
    verdicts: tuple[GateVerdict, ...]
    curating_seconds: float
    seconds: float
    processor_seconds: float

    @property
    def judging_seconds(self) -> float:
        """What is left for the gates."""
        return self.seconds - self.curating_seconds - self.report.seconds


def main() -> None:
    """Measure and publish the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.finetune", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK_CLUSTERS} clusters, 1,000 samples, a small decoder"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = cpu_figures(Path(folder), is_full=not given.quick)
        figures += gpu_figures(Path(folder), is_full=not given.quick)
    publish("finetune", figures)


def cpu_figures(home: Path, *, is_full: bool) -> list[Figure]:
    """Fine-tune from nothing on the world as it was, then from those weights on the world as it is."""
    n_clusters = FULL_CLUSTERS if is_full else QUICK_CLUSTERS
    names = [f"interest {cluster}" for cluster in range(n_clusters)]
    before, now = (World(names, seed, is_full=is_full) for seed in (1, 2))
    first = before.fine_tune(None, home / "first")
    second = now.fine_tune(home / "first" / CANDIDATE, home / "second")
    n_taught = second.report.n_taught
    of = f"{n_taught:,} samples of {n_clusters} clusters, {now.n_transitions:,} transitions, {cores()}; one run"
    goal = f"<= {GOAL_SECONDS}" if is_full else ""
    return [
        Figure("fine-tune from the weights that serve", second.seconds, "s", goal, f"{of}; counts to verdicts"),
        *_parts("from the weights that serve", second),
        Figure("fine-tune from nothing", first.seconds, "s", goal, "the same, and reading is taught first"),
        *_parts("from nothing", first),
    ]


def _parts(name: str, done: Done) -> list[Figure]:
    report = done.report
    n_steps = len(report.losses) + len(report.reading_losses)
    before = "" if report.base_recall is None else f"the weights before: {report.base_recall:.3f}; "
    lost = [verdict.gate for verdict in done.verdicts if not verdict.is_passed]
    return [
        Figure(f"{name}: processor time", done.processor_seconds, "s", "", "of all threads, in the same span"),
        Figure(f"{name}: curation", done.curating_seconds, "s", "", "folds of users, their evidence, the artefact"),
        Figure(f"{name}: training", report.seconds, "s", "", f"{n_steps:,} steps, {len(report.checks)} checks"),
        Figure(f"{name}: gates", done.judging_seconds, "s", "", f"{len(done.verdicts)} gates, lost: {lost or 'none'}"),
        Figure(
            f"{name}: recall of test users",
            report.recall,
            "share",
            "",
            f"{before}retrieved line {report.line_recall:.3f}, popular {report.popular_recall:.3f}, "
            f"best at step {report.best_step:,}, ended by {report.ended_by}",
        ),
    ]


class World:
    """Counts of a catalogue in which a pair's second cluster, shifted by its first, decides what follows (Zipf's law).

    Another seed gives every cluster other successors. What is measured is time: whether new weights pay is what
    `bench.finetune_recovery` measures.
    """

    def __init__(self, names: list[str], seed: int, *, is_full: bool) -> None:
        self.names = names
        n = TRANSITIONS_A_PANE if is_full else TRANSITIONS_A_PANE // 20
        self.panes = [PaneCounts(FLAG_PANE - N_PANES + 1 + at, self._pane(seed, at, n)) for at in range(N_PANES)]
        self.n_transitions = sum(each.counts.total for each in self.panes)
        self._curation = CurationRecipe() if is_full else CurationRecipe(n_taught=1_000, n_validation=300, n_test=400)

    def _pane(self, seed: int, at: int, n: int) -> BucketedCounts:
        generator, n_clusters = np.random.default_rng((SEED, at)), len(self.names)
        favourites = np.random.default_rng(seed).permutation(n_clusters)
        popular = 1 / np.arange(1, n_clusters + 1) ** 0.8
        c1, c2 = generator.choice(n_clusters, (2, n), p=popular / popular.sum())
        rank = np.minimum(generator.zipf(1.6, n), n_clusters)
        c_next = favourites[(favourites[c2] + rank + 7 * (c1 % 3)) % n_clusters]
        is_triple = (c1 != c2) & (c_next != c1) & (c_next != c2)
        keys = pack_transitions(c1, c2, c_next, generator.integers(0, 64, n))[is_triple]
        return BucketedCounts(*np.unique(keys, return_counts=True))

    def fine_tune(self, base: Path | None, folder: Path) -> Done:
        """Curate, train, judge."""
        started, busy = time.perf_counter(), time.process_time()
        curated = curate(
            self.panes,
            self.names,
            flag_pane=FLAG_PANE,
            window_panes=WINDOW_PANES,
            seed=SEED,
            recipe=self._curation,
        )
        checksum = write_samples(folder / "samples", curated)
        curating_seconds = time.perf_counter() - started
        learner = open_full(base, self.names, seed=SEED)
        candidate, report = fine_tune(Lesson(learner, curated, checksum, FineTuneRecipe(), SEED), folder)
        verdicts = self._judged(base, folder, curated, checksum, candidate.fingerprint)
        seconds, processor_seconds = time.perf_counter() - started, time.process_time() - busy
        return Done(report, verdicts, curating_seconds, seconds, processor_seconds)

    def _judged(
        self, base: Path | None, folder: Path, curated: CuratedSamples, checksum: str, fingerprint: str
    ) -> tuple[GateVerdict, ...]:
        def opened(model: Path) -> Engine:
            return open_engine("embedded", list(self.names), model_folder=model)

        trial = Trial(
            folder=folder / CANDIDATE,
            names=self.names,
            expected=Expected(
                base=None if base is None else base_fingerprint(base),
                samples=checksum,
                flag_pane=FLAG_PANE,
                fingerprint=fingerprint,
            ),
            base_folder=base,
            samples=lambda: sampled(curated, checksum),
            open_candidate=lambda: opened(folder / CANDIDATE),
            open_serving=None if base is None else lambda: opened(base),
        )
        return judge_candidate(trial)


if __name__ == "__main__":
    main()
