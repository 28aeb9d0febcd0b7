"""The two lessons: read the retrieved line; then fine-tune on transitions without forgetting to read.

Only the last position answers, so only its logits are computed and only they bear loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

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


class Learner(Protocol):
    """What a course teaches."""

    @property
    def trained(self) -> Mapping[str, torch.nn.Parameter]:
        """Weights that are taught, by name."""
        ...

    def losses(self, samples: Samples) -> torch.Tensor:
        """Loss of each sample, nats: float32[n]."""
        ...


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
    def trained(self) -> dict[str, torch.nn.Parameter]:
        """Weights that are taught, by name: all of them."""
        return dict(self.model.named_parameters())

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
    course = Course(pupil, budget.reading_rate, budget.reading_steps)
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
    course = Course(pupil, budget.transition_rate, n_steps)
    losses: list[float] = []
    for _ in range(budget.transition_epochs):
        order = generator.permutation(len(samples))
        for at in range(0, len(samples), n_taught):
            taught = samples[order[at : at + n_taught]]
            prompts = pupil.prompts
            batch = with_reading(taught, n_reading, prompts.codebook.capacity, generator, prompts.n_retrieved)
            losses.append(course.step(batch))
            on_progress("transitions", len(losses), n_steps)
    return losses


def with_reading(
    taught: Samples, n_reading: int, capacity: int, generator: np.random.Generator, n_retrieved: int = 1
) -> Samples:
    """Add samples that read a random line: half of them in contexts of `taught`, the others anywhere."""
    if not n_reading:
        return taught
    n_known = min(n_reading // 2, len(taught))
    c1, c2 = taught.c1[:n_known], taught.c2[:n_known]
    known = counterfactual_lines(c1, c2, capacity, generator, n_retrieved)
    unknown = reading_samples(n_reading - n_known, capacity, generator, n_retrieved)
    return Samples.concatenate([taught, known, unknown])


class Course:
    """AdamW with a warm-up and a linear descent over a known number of steps.

    Parameters
    ----------
    learner : Learner
    peak_rate : float              learning rate
    n_steps : int                  the most there can be
    rows_at_once : int, optional   of a batch; the gradients of its parts are added up
    max_norm : float, optional     that gradients are cut to

    Attributes
    ----------
    n_done : int     steps taken
    """

    def __init__(
        self,
        learner: Learner,
        peak_rate: float,
        n_steps: int,
        *,
        rows_at_once: int | None = None,
        max_norm: float | None = None,
    ) -> None:
        import torch

        self._learner, self._trained = learner, dict(learner.trained)
        self._peak_rate, self._n_steps = peak_rate, n_steps
        self._rows_at_once, self._max_norm = rows_at_once, max_norm
        self._optimizer = torch.optim.AdamW(
            list(self._trained.values()), lr=peak_rate, betas=(0.9, 0.98), weight_decay=0.0, foreach=True
        )
        self.n_done = 0

    def step(self, samples: Samples) -> float:
        """Learn from one batch; returns its weighted mean loss."""
        import torch

        for group in self._optimizer.param_groups:
            group["lr"] = self._rate
        self._optimizer.zero_grad()
        loss = sum(self._backward(part, len(samples)) for part in self._parts(samples))
        if self._max_norm is not None:
            torch.nn.utils.clip_grad_norm_(self._trained.values(), self._max_norm)
        self._optimizer.step()
        self.n_done += 1
        return loss

    @property
    def _rate(self) -> float:
        return self._peak_rate * min((self.n_done + 1) / _WARM_UP, max(_FLOOR, 1 - self.n_done / self._n_steps))

    def _parts(self, samples: Samples) -> list[Samples]:
        rows = self._rows_at_once or len(samples)
        return [samples[at : at + rows] for at in range(0, len(samples), rows)]

    def _backward(self, part: Samples, n_samples: int) -> float:
        import torch

        losses = self._learner.losses(part)
        weighted = losses * torch.from_numpy(part.weight).to(losses.device)
        loss = weighted.mean() if len(part) == n_samples else weighted.sum() / n_samples
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    def state(self) -> dict[str, torch.Tensor]:
        """Return what the optimizer remembers, by ``KIND.WEIGHT``; with weights and `n_done` it is all of a course."""
        return {
            f"{kind}.{name}": tensor.detach().cpu()
            for name, weights in self._trained.items()
            for kind, tensor in self._optimizer.state.get(weights, {}).items()
        }

    def restore(self, state: Mapping[str, torch.Tensor], n_done: int) -> None:
        """Go on where a course was that had this state after so many steps."""
        for name, weights in self._trained.items():
            known = {key.partition(".")[0]: tensor for key, tensor in state.items() if key.partition(".")[2] == name}
            self._optimizer.state[weights] = {
                kind: tensor.clone() if kind == "step" else tensor.to(weights.device, copy=True)
                for kind, tensor in known.items()
            }
        self.n_done = n_done
