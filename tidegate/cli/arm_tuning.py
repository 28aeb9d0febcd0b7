"""Fine-tunes of a study's arms: the real ones, without a store: samples, training, gates.

Arms that begin from the same weights at the same pane come to the same candidate, so it is made once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from refresh.engines import Engine, open_engine
from refresh.engines.model_files import read_manifest
from refresh.engines.remembering import RememberingEngine
from refresh.finetune.curation import CuratedSamples, CurationRecipe, PaneCounts, curate
from refresh.finetune.fine_tuning import Lesson, fine_tune
from refresh.finetune.full import open_full
from refresh.finetune.gates import CandidateBounds, Expected, Trial, judge_candidate, sampled
from refresh.finetune.recipe import FineTuneRecipe
from refresh.finetune.samples_folder import write_samples
from refresh.study.gpu_time import Work, rows_of_steps
from refresh.training import TrainingBudget
from tidegate.contracts import FineTuneReport, GateVerdict
from tidegate.counts import BucketedCounts
from tidegate.errors import TidegateError

OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class ArmWeights:
    """Weights that answer for an arm.

    Attributes
    ----------
    folder : Path                  of the model
    engine : Engine                that has it open, and answers equal rows once
    """

    folder: Path
    engine: Engine


@dataclass(frozen=True, slots=True)
class Tuned:
    """How a fine-tune ended.

    Attributes
    ----------
    weights : ArmWeights, optional       None where they may not serve
    report : FineTuneReport, optional    None where nothing was trained
    verdicts : of its gates
    fault : str, optional                why it failed
    work : Work                          what was computed for it
    """

    weights: ArmWeights | None = None
    report: FineTuneReport | None = None
    verdicts: tuple[GateVerdict, ...] = ()
    fault: str | None = None
    work: Work = field(default_factory=Work)

    @property
    def gates_lost(self) -> list[str]:
        """Names of the gates that stopped it."""
        return [verdict.gate for verdict in self.verdicts if not verdict.is_passed]


@dataclass(frozen=True, slots=True)
class Teaching:
    """How fine-tunes are made: by default as ``tidegate finetune run`` does for the embedded model."""

    curation: CurationRecipe = field(default_factory=CurationRecipe)
    recipe: FineTuneRecipe = field(default_factory=FineTuneRecipe)
    bounds: CandidateBounds = field(default_factory=CandidateBounds)


@dataclass(frozen=True, slots=True)
class Tuning:
    """Makes fine-tunes on a log in memory.

    Attributes
    ----------
    counts : of each pane of the log
    first_pane : int        of the log
    window_panes, reach_panes : int    of the run's window; panes that samples look back over
    seed : int
    top_n : int             ranks that engines are asked for
    folder : Path           for what is made; kept as long as its engines are
    """

    counts: Sequence[BucketedCounts]
    first_pane: int
    window_panes: int
    reach_panes: int
    seed: int
    top_n: int
    folder: Path
    teaching: Teaching = field(default_factory=Teaching)
    on_progress: OnProgress = lambda *_: None
    _made: dict[tuple[Path, int, bool], Tuned] = field(default_factory=dict)

    def tune(self, base: ArmWeights, names: Sequence[str], pane: int, *, shows_lines: bool) -> Tuned:
        """Train on the panes up to and with `pane`, from `base`, and judge.

        Parameters
        ----------
        names : the catalogue at the pane's end, by id
        shows_lines : whether rows are asked with retrieved lines; else they are neither taught nor judged with any
        """
        key = (base.folder, pane, shows_lines)
        if key not in self._made:
            self._made[key] = self._tuned(base, tuple(names), pane, shows_lines=shows_lines)
        return self._made[key]

    def _tuned(self, base: ArmWeights, names: tuple[str, ...], pane: int, *, shows_lines: bool) -> Tuned:
        folder = self.folder / f"fine-tune-{len(self._made):03d}"
        try:
            curated = self._curated(names, pane, shows_lines=shows_lines)
            checksum = write_samples(folder / "samples", curated)
            learner = open_full(base.folder, names, seed=self.seed)
            lesson = Lesson(learner, curated, checksum, self.teaching.recipe, self.seed)
            candidate, report = fine_tune(lesson, folder, on_progress=self.on_progress)
        except TidegateError as error:  # a run writes it down as failed, and goes on with the weights it has
            return Tuned(fault=str(error))
        trial = self._trial(base, candidate.folder, report, curated)
        verdicts = judge_candidate(trial, on_progress=self.on_progress)
        passed = all(verdict.is_passed for verdict in verdicts)
        weights = ArmWeights(candidate.folder, self._opened(candidate.folder, names)) if passed else None
        return Tuned(weights, report, verdicts, work=_work_of(report, self.teaching.recipe))

    def _curated(self, names: tuple[str, ...], pane: int, *, shows_lines: bool) -> CuratedSamples:
        at = pane - self.first_pane
        begin = max(0, at + 1 - self.reach_panes)
        curated = curate(
            [PaneCounts(self.first_pane + each, self.counts[each]) for each in range(begin, at + 1)],
            names,
            flag_pane=pane,
            window_panes=self.window_panes,
            seed=self.seed,
            recipe=self.teaching.curation,
        )
        if shows_lines:
            return curated
        samples = replace(curated.samples, retrieved=np.full_like(curated.samples.retrieved, -1))
        return replace(curated, samples=samples)

    def _trial(self, base: ArmWeights, folder: Path, report: FineTuneReport, curated: CuratedSamples) -> Trial:
        """Hold the candidate against the weights that it began from; there are none where it began from nothing."""
        goes_on = report.base is not None
        return Trial(
            folder=folder,
            names=curated.names,
            expected=Expected(report.base, report.samples, curated.flag_pane, report.candidate),
            base_folder=base.folder if goes_on else None,
            samples=lambda: sampled(curated, report.samples),
            open_candidate=lambda: open_engine("embedded", curated.names, model_folder=folder),
            open_serving=(lambda: open_engine("embedded", curated.names, model_folder=base.folder))
            if goes_on
            else None,
            bounds=self.teaching.bounds,
        )

    def _opened(self, folder: Path, names: tuple[str, ...]) -> RememberingEngine:
        capacity = read_manifest(folder)[0].capacity
        return RememberingEngine(open_engine("embedded", names[:capacity], model_folder=folder), self.top_n)


def _work_of(report: FineTuneReport, recipe: FineTuneRecipe) -> Work:
    """Count the rows of a training and of what looks at it; test rows are asked of the weights before, too."""
    n_reading = len(report.reading_losses) * TrainingBudget().batch_size
    n_judged = report.n_test * (1 if report.base is None else 2)
    return Work(
        n_taught=n_reading + rows_of_steps(len(report.losses), report.n_taught, recipe),
        n_looked_at=report.n_validation * len(report.checks) + n_judged,
    )
