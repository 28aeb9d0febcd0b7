"""Training a candidate: steps until held-out recall no longer rises, checkpoints on the way, the best weights kept.

1. Go on from the last checkpoint; or begin: weights from nothing learn to read their retrieved line first.
2. Teach samples. Every few steps look at the loss and recall of the validation users, and write a checkpoint.
3. End when recall has not risen, nor the loss fallen, for some looks (recall peaks, then samples are learnt by heart),
   or the budget is spent.
4. Take the best weights back, write the candidate, and the report.

What a step is taught follows from the seed and its number alone, so a training that was killed anywhere ends in the
same bytes as one that was not.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from refresh.codebook import names_fingerprint
from refresh.finetune.candidate import Candidate, CandidateManifest, write_candidate
from refresh.finetune.checkpoints import Checkpoint, Checkpoints, TrainingState
from refresh.finetune.curation import CuratedSamples
from refresh.finetune.full import FullLearner
from refresh.finetune.learner import FineTuned, in_parts, most_popular, recall, traffic_recall
from refresh.finetune.recipe import FineTuneRecipe
from refresh.training.samples import Samples
from refresh.training.teach import Course, OnProgress, TrainingBudget, reading_accuracy, teach_reading, with_reading
from refresh.training.threads import single_thread
from tidegate.contracts import FineTuneReport, RecallCheck
from tidegate.errors import CatalogueError, FineTuneError
from tidegate.files import write_atomically

if TYPE_CHECKING:
    import torch

TRAINING, CANDIDATE, REPORT = "training", "candidate", "report.json"
Tensors = dict[str, "torch.Tensor"]


@dataclass(frozen=True, slots=True)
class Lesson:
    """All that a training's bytes follow from.

    Attributes
    ----------
    learner : FineTuned
    samples : CuratedSamples
    checksum : str      of the samples
    recipe : FineTuneRecipe
    seed : int
    """

    learner: FineTuned
    samples: CuratedSamples
    checksum: str
    recipe: FineTuneRecipe
    seed: int

    @property
    def digest(self) -> str:
        """Digest of it."""
        learner = self.learner
        said = [learner.kind, learner.base, learner.prompts.fingerprint, self.checksum, self.recipe.as_facts, self.seed]
        return hashlib.sha256(msgspec.json.encode(said)).hexdigest()

    @property
    def n_steps(self) -> int:
        """Steps that the budget allows."""
        return self.recipe.epochs * self.recipe.n_steps_per_epoch(len(self.samples.taught))


def fine_tune(
    lesson: Lesson,
    folder: Path,
    *,
    on_progress: OnProgress = lambda *_: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[Candidate, FineTuneReport]:
    """Train, or go on where a killed process was; the module's docstring numbers the steps.

    Parameters
    ----------
    lesson : Lesson
    folder : of the fine-tune: checkpoints and the report go to ``training/``, the candidate to ``candidate/``
    on_progress : told the lesson (``reading``, ``samples``), the steps done and the most there can be
    should_stop : asked at every check; True ends the work with an error, at a checkpoint

    Raises
    ------
    FineTuneError
        If it is stopped, or the samples are of another catalogue than the learner's.
    EngineError
        If weights from nothing do not learn to read, or another candidate is there.
    """
    _require_own_catalogue(lesson)
    started = time.monotonic()
    with single_thread():  # what is computed on a GPU does not mind
        desk = _Desk(lesson, Checkpoints(folder / TRAINING, lesson.digest), on_progress, started)
        desk.begin()  # 1
        while desk.ended_by is None:  # 2, 3
            if should_stop():
                raise FineTuneError("The training was stopped", "Nothing is to be done: its checkpoint is kept")
            desk.teach_until_check()
        candidate, report = desk.conclude(folder / CANDIDATE)  # 4
    write_atomically(folder / TRAINING / REPORT, msgspec.json.format(msgspec.json.encode(report)))
    return candidate, report


def read_report(folder: Path) -> FineTuneReport:
    """Read the report of a fine-tune's folder.

    Raises
    ------
    FineTuneError
        If there is none, or it cannot be read.
    """
    path = folder / TRAINING / REPORT
    try:
        return msgspec.json.decode(path.read_bytes(), type=FineTuneReport)
    except (OSError, msgspec.MsgspecError) as error:
        raise FineTuneError(
            f"There is no report of the training ({error})", "Run the fine-tune: it writes one", place=str(path)
        ) from None


def batch_of(taught: Samples, step: int, recipe: FineTuneRecipe, seed: int, n_readable: int) -> Samples:
    """Draw what a step (from 0 on) is taught: its part of its pass, and lines to read."""
    n_own = recipe.batch_size - recipe.n_reading
    n_pass, at = divmod(step, recipe.n_steps_per_epoch(len(taught)))
    order = np.random.default_rng((seed, 5, n_pass)).permutation(len(taught))
    own = taught[order[at * n_own : (at + 1) * n_own]]
    generator = np.random.default_rng((seed, 6, step))
    return with_reading(own, recipe.n_reading, n_readable, generator, taught.retrieved.shape[1])


class _Desk:
    """One training on its way."""

    def __init__(self, lesson: Lesson, checkpoints: Checkpoints, on_progress: OnProgress, started: float) -> None:
        self._lesson, self._checkpoints = lesson, checkpoints
        self._tell, self._started = on_progress, started
        recipe, samples = lesson.recipe, lesson.samples
        self._taught, self._validation = samples.taught, samples.validation
        self._course = Course(
            lesson.learner,
            recipe.peak_rate,
            lesson.n_steps,
            rows_at_once=recipe.rows_at_once or None,
            max_norm=recipe.max_norm or None,
        )
        self._state = TrainingState(training=lesson.digest)
        self._best: Tensors = {}

    @property
    def ended_by(self) -> str | None:
        return self._state.ended_by

    def begin(self) -> None:
        """Take the last checkpoint, or make the first."""
        known = self._checkpoints.last()
        if known is not None:
            _put(self._lesson.learner, known.weights)
            self._course.restore(known.optimizer, known.state.n_done)
            self._state, self._best = known.state, dict(known.best)
            self._started -= known.state.seconds
            return
        learner, seed = self._lesson.learner, self._lesson.seed
        if learner.base is None and isinstance(learner, FullLearner):
            losses = teach_reading(learner.pupil, TrainingBudget(), seed=seed, on_progress=self._tell)
            self._note(reading_losses=tuple(losses))
        else:
            test = self._lesson.samples.test
            self._note(base_recall=recall(learner.answers(test), test))
        self._check(())

    def teach_until_check(self) -> None:
        """Take the steps up to the next check, and make it."""
        lesson, n_steps = self._lesson, self._lesson.n_steps
        losses: list[float] = []
        until = min(self._course.n_done + lesson.recipe.check_every, n_steps)
        while self._course.n_done < until:
            step = self._course.n_done
            batch = batch_of(self._taught, step, lesson.recipe, lesson.seed, lesson.learner.n_readable)
            losses.append(self._course.step(batch))
            self._tell("samples", self._course.n_done, n_steps)
        self._check(losses)

    def _check(self, losses: list[float] | tuple[()]) -> None:
        """Look at the validation users, keep what is best, write the checkpoint."""
        learner, n_done = self._lesson.learner, self._course.n_done
        check = _look(learner, self._validation, n_done)
        checks = (*self._state.checks, check)
        best_step = best_of(checks)
        if best_step == n_done:
            self._best = _copy(learner.trained)
        self._note(
            n_done=n_done,
            losses=(*self._state.losses, *losses),
            checks=checks,
            best_step=best_step,
            ended_by=end_of(checks, self._lesson.recipe.patience, n_done >= self._lesson.n_steps),
            seconds=time.monotonic() - self._started,
        )
        self._checkpoints.save(Checkpoint(self._state, _copy(learner.trained), self._best, self._course.state()))

    def conclude(self, folder: Path) -> tuple[Candidate, FineTuneReport]:
        """Write the candidate from the best weights, and say what it is worth."""
        learner = self._lesson.learner
        _put(learner, self._best)
        facts = {**self._lesson.recipe.as_facts, "seed": self._lesson.seed, "step": self._state.best_step}
        manifest = _manifest(self._lesson, facts)
        candidate = write_candidate(folder, manifest, lambda empty: learner.write(empty, facts))
        return candidate, _report(self._lesson, self._state, candidate, time.monotonic() - self._started)

    def _note(self, **found: object) -> None:
        self._state = msgspec.structs.replace(self._state, **found)


def best_of(checks: tuple[RecallCheck, ...]) -> int:
    """Find the step of the best check: the highest recall, of equal ones the lowest loss, then the first."""
    return min(checks, key=lambda check: (-check.recall, check.loss, check.step)).step


def end_of(checks: tuple[RecallCheck, ...], patience: int, is_spent: bool) -> str | None:
    """Say what ends the training after these checks; None where it goes on.

    While the loss still falls recall may yet rise: what moves the first answer is learnt before it shows.
    """
    lowest_loss = min(checks, key=lambda check: (check.loss, check.step)).step
    n_since = sum(check.step > max(best_of(checks), lowest_loss) for check in checks)
    if n_since >= patience:
        return "patience"
    return "budget" if is_spent else None


def _look(learner: FineTuned, samples: Samples, step: int) -> RecallCheck:
    import torch

    with torch.inference_mode():
        losses = torch.cat([learner.losses(part).float().cpu() for part in in_parts(samples)])
    found = float(losses.mean())
    if not np.isfinite(found):
        raise FineTuneError(
            f"The loss is {found} after {step} steps", "Train with a lower peak_rate, from sound weights"
        )
    return RecallCheck(step=step, loss=found, recall=recall(learner.answers(samples), samples))


def _copy(weights: Mapping[str, torch.Tensor]) -> Tensors:
    return {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}


def _put(learner: FineTuned, weights: Mapping[str, torch.Tensor]) -> None:
    """Copy weights into the learner's own: their place in memory, and so their arithmetic, stays what it is."""
    import torch

    with torch.no_grad():
        for name, own in learner.trained.items():
            own.copy_(weights[name])


def _require_own_catalogue(lesson: Lesson) -> None:
    asked, taken = lesson.learner.prompts.codebook.names, lesson.samples.names
    if tuple(asked) != tuple(taken):
        raise CatalogueError(
            f"The samples are of a catalogue of {len(taken)} clusters that is not the model's of {len(asked)}",
            "Open the model for the catalogue that the samples were taken with",
        )


def _manifest(lesson: Lesson, facts: Mapping[str, float | int]) -> CandidateManifest:
    prompts = lesson.learner.prompts
    book = prompts.codebook
    return CandidateManifest(
        kind=lesson.learner.kind,
        base=lesson.learner.base,
        tokenizer=lesson.learner.tokenizer_sha256,
        codebook=book.fingerprint,
        capacity=book.capacity,
        n_clusters=len(book.names),
        names=names_fingerprint(book.names),
        template_name=prompts.template.name,
        template_text=prompts.template.text,
        n_retrieved=prompts.n_retrieved,
        samples=lesson.checksum,
        seed=lesson.seed,
        recipe=dict(facts),
    )


def _report(lesson: Lesson, state: TrainingState, candidate: Candidate, seconds: float) -> FineTuneReport:
    learner, samples = lesson.learner, lesson.samples
    taught, test = samples.taught, samples.test
    answers = learner.answers(test)
    return FineTuneReport(
        kind=learner.kind,
        candidate=candidate.fingerprint,
        samples=lesson.checksum,
        base=learner.base,
        why_from_nothing=learner.why_from_nothing,
        n_clusters=len(samples.names),
        n_taught=len(taught),
        n_validation=len(samples.validation),
        n_test=len(test),
        n_weights=learner.n_weights,
        n_trained_weights=sum(weights.numel() for weights in learner.trained.values()),
        device=learner.device,
        dtype=learner.dtype,
        seed=lesson.seed,
        recipe=lesson.recipe.as_facts,
        reading_losses=state.reading_losses,
        losses=state.losses,
        checks=state.checks,
        best_step=state.best_step,
        ended_by=state.ended_by or "",
        recall=recall(answers, test),
        traffic_recall=traffic_recall(answers, test),
        base_recall=state.base_recall,
        line_recall=recall(test.retrieved[:, 0], test),
        popular_recall=recall(most_popular(taught, test), test),
        chance=1 / max(1, len(samples.names) - 2),
        copy_accuracy=reading_accuracy(learner.pupil, lesson.seed) if isinstance(learner, FullLearner) else None,
        seconds=seconds,
    )
