"""One training, from counts to a sealed model folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from refresh.codebook import Codebook, names_fingerprint
from refresh.engines.model_files import ModelManifest, require_new, write_model
from refresh.evidence import Evidence
from refresh.prompts import PromptBuilder, Template
from refresh.training.model import ModelShape, new_model, new_tokenizer, shape_for
from refresh.training.samples import Samples, build_samples, split_samples
from refresh.training.teach import (
    OnProgress,
    Pupil,
    TrainingBudget,
    reading_accuracy,
    teach_reading,
    teach_transitions,
)
from refresh.training.threads import single_thread
from tidegate.counts import SuccessorCounts
from tidegate.hashing import cluster_seeds


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """What a training came to.

    Attributes
    ----------
    reading_losses, transition_losses : loss of each step, nats
    copy_accuracy : share of fresh random prompts answered with the retrieved cluster, after both lessons
    recall_at_1 : share of held-out samples answered with their target; None without any
    line_recall_at_1 : the same, had the retrieved line been the answer
    n_samples, n_held_out : of transitions
    seconds : wall clock
    """

    reading_losses: list[float]
    transition_losses: list[float]
    copy_accuracy: float
    recall_at_1: float | None
    line_recall_at_1: float | None
    n_samples: int
    n_held_out: int
    seconds: float


def train_model(
    names: Sequence[str],
    evidence: SuccessorCounts,
    labels: SuccessorCounts,
    folder: Path,
    *,
    seed: int,
    capacity: int | None = None,
    budget: TrainingBudget | None = None,
    shape: ModelShape | None = None,
    template: Template | None = None,
    n_retrieved: int = 1,
    on_progress: OnProgress | None = None,
) -> TrainingReport:
    """Teach a new model and write its folder.

    Equal input and seed give the same bytes on the same machine.

    Parameters
    ----------
    names : the catalogue's clusters by id
    evidence, labels : SuccessorCounts
        Transitions of different users: what is retrieved, and what is to be answered. May be empty: then the model
        is taught to read only.
    folder : Path
        Must not exist yet.
    capacity : int, optional
        Codes, spare ones included (`refresh.codebook.default_capacity`).
    template : Template, optional
        One that names clusters by codes alone.
    n_retrieved : int
        Clusters of the retrieved line that the model learns to read, 8 at most.

    Raises
    ------
    CatalogueError
        If the catalogue exceeds the capacity.
    EngineError
        If the model does not learn to read within the budget, or `folder` exists.
    ConfigError
        If the template is text.
    """
    started = time.monotonic()
    require_new(folder)
    budget, report_progress = budget or TrainingBudget(), on_progress or _silently
    template, codebook = template or Template.packaged(), Codebook.of(names, capacity)
    prompts = PromptBuilder(template, codebook, n_retrieved)
    shape = shape or shape_for(prompts.n_tokens + codebook.n_levels)
    tokenizer = new_tokenizer(template, codebook)
    pupil = Pupil(new_model(len(tokenizer), shape, seed=seed), prompts, tokenizer.get_vocab())
    samples = build_samples(
        Evidence.of_counts(evidence, cluster_seeds(list(names))),
        labels,
        seed=seed,
        n_samples=budget.n_samples,
        n_retrieved=n_retrieved,
    )
    with single_thread():
        report = _teach(pupil, samples, budget, seed, report_progress)
    write_model(folder, pupil.model, tokenizer, _manifest(pupil.prompts, seed, budget, shape))
    return replace(report, seconds=time.monotonic() - started)


def _teach(
    pupil: Pupil, samples: Samples, budget: TrainingBudget, seed: int, on_progress: OnProgress
) -> TrainingReport:
    """Give both lessons, and ask what came of them; how long it took is not known yet."""
    taught, held_out = split_samples(samples, budget.held_out, seed=seed)
    reading = teach_reading(pupil, budget, seed=seed, on_progress=on_progress)
    transitions = teach_transitions(pupil, taught, budget, seed=seed, on_progress=on_progress)
    accuracy = reading_accuracy(pupil, seed)
    return TrainingReport(
        reading_losses=reading,
        transition_losses=transitions,
        copy_accuracy=accuracy,
        recall_at_1=_recall(pupil.answers(held_out), held_out),
        line_recall_at_1=_recall(held_out.retrieved[:, 0], held_out),
        n_samples=len(taught),
        n_held_out=len(held_out),
        seconds=0.0,
    )


def _silently(_lesson: str, _step: int, _n_steps: int) -> None:
    """Report no progress."""


def _recall(answers: np.ndarray[tuple[int, ...], np.dtype[np.int32]], samples: Samples) -> float | None:
    return float((answers == samples.target).mean()) if len(samples) else None


def _manifest(prompts: PromptBuilder, seed: int, budget: TrainingBudget, shape: ModelShape) -> ModelManifest:
    names = prompts.codebook.names
    return ModelManifest(
        template_name=prompts.template.name,
        template_text=prompts.template.text,
        n_retrieved=prompts.n_retrieved,
        capacity=prompts.codebook.capacity,
        codebook_fingerprint=prompts.codebook.fingerprint,
        n_clusters=len(names),
        names_fingerprint=names_fingerprint(names),
        recipe={"seed": seed, **asdict(shape), **asdict(budget)},
    )
