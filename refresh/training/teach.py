"""The two lessons: read the retrieved line; then fine-tune on transitions without forgetting to read.

Only the last position answers, so only its logits are computed and only they bear loss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from refresh.engines.code_tokens import CodeTokens
from refresh.prompts import PromptBuilder, RowContexts
from refresh.training.samples import Samples
from tidegate.errors import EngineError

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM

Int32s = NDArray[np.int32]
OnProgress = Callable[[str, int, int], None]
"""Called with the lesson (``reading``, ``transitions``), the steps done and the most there can be."""

_CHECK_EVERY = 10
_PROBES = 1_024
_WARM_UP = 10
_SURE = 0.5  # nats: reading that is right by a hair is forgotten as soon as transitions are taught
_FLOOR = 0.1  # of the learning rate, at the end of a lesson


@dataclass(frozen=True, slots=True)
class TrainingBudget:
    """How much to train.

    Attributes
    ----------
    reading_steps : int             the most; the lesson ends as soon as reading is accurate
    transition_epochs : int         passes over the samples
    batch_size : int
    reading_rate, transition_rate   peak learning rates
    reading_share : float           of each batch of transitions that goes on reading
    n_samples : int                 of transitions, at most
    held_out : float                share of them that is kept to measure recall
    reading_accuracy : float        required of reading, on prompts never seen
    """

    reading_steps: int = 400
    transition_epochs: int = 3
    batch_size: int = 256
    reading_rate: float = 3e-3
    transition_rate: float = 1e-3
    reading_share: float = 0.3
    n_samples: int = 8_000
    held_out: float = 0.1
    reading_accuracy: float = 0.99


@dataclass(frozen=True, slots=True)
class Pupil:
    """A model with how it is asked.

    Attributes
    ----------
    model : LlamaForCausalLM
    prompts : PromptBuilder
    vocabulary : token ids by word and code
    """

    model: LlamaForCausalLM
    prompts: PromptBuilder
    vocabulary: dict[str, int]

    @property
    def codes(self) -> CodeTokens:
        """Codes as tokens."""
        return CodeTokens.of(self.prompts.codebook, self.vocabulary)

    def losses(self, samples: Samples) -> torch.Tensor:
        """Loss of each sample, nats: float32[n]."""
        return self.codes.losses(self.model, self._tokens(samples), samples.target)

    def answers(self, samples: Samples) -> Int32s:
        """Free answers, -1 where they are no code: int32[n]."""
        import torch

        with torch.inference_mode():
            parts = [
                self.codes.free(self.model, self._tokens(samples[at : at + _PROBES]))
                for at in range(0, len(samples), _PROBES)
            ]
        return np.concatenate(parts) if parts else np.zeros(0, np.int32)

    def _tokens(self, samples: Samples) -> torch.Tensor:
        import torch

        contexts = RowContexts(samples.c1, samples.c2, samples.retrieved)
        return torch.from_numpy(self.prompts.token_ids(contexts, self.vocabulary))


def reading_samples(n: int, capacity: int, generator: np.random.Generator, n_retrieved: int = 1) -> Samples:
    """Draw prompts whose answer is the first retrieved cluster: over spare codes too; a tenth without c1."""
    c2 = generator.integers(0, capacity, n)
    c1 = (c2 + generator.integers(1, capacity, n)) % capacity
    c1 = np.where(generator.random(n) < 0.1, -1, c1)
    return counterfactual_lines(c1.astype(np.int32), c2.astype(np.int32), capacity, generator, n_retrieved)


def counterfactual_lines(
    c1: Int32s, c2: Int32s, capacity: int, generator: np.random.Generator, n_retrieved: int = 1
) -> Samples:
    """Give contexts a random line to read, its first neither c1 nor c2: what retrieval says after a drift."""
    low, high = np.minimum(c1, c2), np.maximum(c1, c2)  # low is -1 without c1 and then takes nothing away
    line = generator.integers(0, capacity - 1 - (low >= 0), c2.shape[0])
    line += (low >= 0) & (line >= low)
    line += line >= high
    first: Int32s = line.astype(np.int32)
    lines = first.reshape(-1, 1)
    if n_retrieved > 1:
        n = c2.shape[0]
        further = generator.integers(0, capacity, (n, n_retrieved - 1)).astype(np.int32)
        # Lines of thin pairs are short: all lengths are read.
        is_there = np.arange(1, n_retrieved) < generator.integers(1, n_retrieved + 1, (n, 1))
        lines = np.concatenate([lines, np.where(is_there, further, np.int32(-1))], axis=1)
    return Samples(c1, c2, lines, first, np.ones(line.shape[0], np.float32))


def reading_accuracy(pupil: Pupil, seed: int) -> float:
    """Share of fresh prompts, over all codes, that are answered with the first retrieved cluster."""
    prompts = pupil.prompts
    generator = np.random.default_rng((seed, 2))
    probes = reading_samples(_PROBES, prompts.codebook.capacity, generator, prompts.n_retrieved)
    return float((pupil.answers(probes) == probes.target).mean())


def teach_reading(pupil: Pupil, budget: TrainingBudget, *, seed: int, on_progress: OnProgress) -> list[float]:
    """Lesson one: answer the retrieved cluster, whatever it is.

    Returns
    -------
    list of float
        Loss of each step.

    Raises
    ------
    EngineError
        If the model does not read accurately enough within the budget.
    """
    generator = np.random.default_rng((seed, 3))
    capacity, n_retrieved = pupil.prompts.codebook.capacity, pupil.prompts.n_retrieved
    course = _Course(pupil, budget.reading_rate, budget.reading_steps)
    losses: list[float] = []
    for step in range(1, budget.reading_steps + 1):
        losses.append(course.step(reading_samples(budget.batch_size, capacity, generator, n_retrieved)))
        on_progress("reading", step, budget.reading_steps)
        is_sure = losses[-1] <= _SURE and step % _CHECK_EVERY == 0
        if is_sure and reading_accuracy(pupil, seed) >= budget.reading_accuracy:
            return losses
    raise EngineError(
        f"After {budget.reading_steps} steps the model copies {reading_accuracy(pupil, seed):.1%} of retrieved lines, "
        f"{budget.reading_accuracy:.0%} is required",
        "Raise the training budget's reading_steps",
    )


def teach_transitions(
    pupil: Pupil, samples: Samples, budget: TrainingBudget, *, seed: int, on_progress: OnProgress
) -> list[float]:
    """Lesson two: answer what users moved on to, while a share of each batch goes on reading.

    Half of that share reads random lines in the samples' own contexts, so that a known context whose retrieved line
    changes is answered by the new line.

    Returns
    -------
    list of float
        Loss of each step.
    """
    if not len(samples):
        return []
    generator = np.random.default_rng((seed, 4))
    n_reading = round(budget.batch_size * budget.reading_share)
    n_taught = budget.batch_size - n_reading
    n_steps = budget.transition_epochs * -(-len(samples) // n_taught)
    course = _Course(pupil, budget.transition_rate, n_steps)
    losses: list[float] = []
    for _ in range(budget.transition_epochs):
        order = generator.permutation(len(samples))
        for at in range(0, len(samples), n_taught):
            taught = samples[order[at : at + n_taught]]
            losses.append(course.step(_with_reading(taught, n_reading, pupil.prompts, generator)))
            on_progress("transitions", len(losses), n_steps)
    return losses


def _with_reading(taught: Samples, n_reading: int, prompts: PromptBuilder, generator: np.random.Generator) -> Samples:
    n_known, capacity = min(n_reading // 2, len(taught)), prompts.codebook.capacity
    c1, c2 = taught.c1[:n_known], taught.c2[:n_known]
    known = counterfactual_lines(c1, c2, capacity, generator, prompts.n_retrieved)
    unknown = reading_samples(n_reading - n_known, capacity, generator, prompts.n_retrieved)
    return Samples.concatenate([taught, known, unknown])


class _Course:
    """AdamW with a warm-up and a linear descent over a known number of steps."""

    def __init__(self, pupil: Pupil, peak_rate: float, n_steps: int) -> None:
        import torch

        self._pupil = pupil
        self._optimizer = torch.optim.AdamW(
            pupil.model.parameters(), lr=peak_rate, betas=(0.9, 0.98), weight_decay=0.0, foreach=True
        )
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: min((step + 1) / _WARM_UP, max(_FLOOR, 1 - step / n_steps))
        )

    def step(self, samples: Samples) -> float:
        """Learn from one batch; returns its weighted mean loss."""
        import torch

        loss = (self._pupil.losses(samples) * torch.from_numpy(samples.weight)).mean()
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._schedule.step()
        return float(loss.detach())
