"""Seconds of a GPU, reckoned by a rule and not clocked: what refreshing and fine-tuning would keep one busy for.

A decoder of N weights computes about 2N operations for each token that it reads (a product and a sum a weight), and
training takes about 6N (forward, and twice as much backward): Kaplan et al. 2020 (arXiv 2001.08361, section 2.1), and
Hoffmann et al. 2022 (arXiv 2203.15556) reckon alike. Divided by what the GPU can do, times the share of it that such
work reaches, that is its time. Equal work is equal seconds, on any machine.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from refresh.finetune.recipe import FineTuneRecipe
from tidegate.errors import ConfigError

READING, LEARNING = 2.0, 6.0  # operations a weight and token
_PLACES = {
    "parameters": "--gpu-parameters",
    "peak_tflops": "--gpu-peak-tflops",
    "inference_utilisation": "--gpu-utilisation-inference",
    "training_utilisation": "--gpu-utilisation-training",
    "prompt_tokens": "--gpu-prompt-tokens",
    "rows_per_second": "--gpu-rows-per-second",
    "train_tokens_per_second": "--gpu-train-tokens-per-second",
}
_SHARES = ("inference_utilisation", "training_utilisation")


@dataclass(frozen=True, slots=True)
class Work:
    """Rows that a GPU would have to compute; sums of many are the work of all.

    Attributes
    ----------
    n_asked : int     rows of tables
    n_taught : int    rows that weights were changed by, each as often as it was taught
    n_looked_at : int    held-out rows that were asked for, to end a training and to judge its candidate
    """

    n_asked: int = 0
    n_taught: int = 0
    n_looked_at: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(self.n_asked + other.n_asked, self.n_taught + other.n_taught, self.n_looked_at + other.n_looked_at)


@dataclass(frozen=True, slots=True)
class GpuSeconds:
    """Time of one GPU: what it answers tables for, and what it trains and judges weights for."""

    inference: float
    training: float

    @property
    def total(self) -> float:
        """Both."""
        return self.inference + self.training

    @property
    def as_facts(self) -> dict[str, float]:
        """All three, as the JSON has them."""
        return {"inference": self.inference, "training": self.training, "total": self.total}


@dataclass(frozen=True, slots=True)
class GpuRule:
    """How work becomes time. The defaults are a decoder of 1.7 billion weights on one H100 in dense bf16.

    Attributes
    ----------
    parameters : float                weights of the decoder
    peak_tflops : float               of the GPU, 10^12 operations a second
    inference_utilisation : float     share of the peak that prefill reaches
    training_utilisation : float      share of the peak that training reaches
    prompt_tokens : int, optional     of a prompt; as many as the studied engine's have where it is left out
    rows_per_second : float, optional           measured; in place of the rule for rows that are asked
    train_tokens_per_second : float, optional   measured; in place of the rule for training

    Raises
    ------
    ConfigError
        If one of them is not above 0, or a share is above 1.

    Examples
    --------
    >>> rule = GpuRule(parameters=1e9, peak_tflops=100, inference_utilisation=0.5, training_utilisation=0.5)
    >>> rule.seconds(Work(n_asked=1_000, n_taught=1_000), 250)
    GpuSeconds(inference=10.0, training=30.0)
    """

    parameters: float = 1.7e9
    peak_tflops: float = 989.0
    inference_utilisation: float = 0.4
    training_utilisation: float = 0.35
    prompt_tokens: int | None = None
    rows_per_second: float | None = None
    train_tokens_per_second: float | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None and not (0 < value < math.inf and (name not in _SHARES or value <= 1)):
                bound = "a share above 0, 1 at most" if name in _SHARES else "more than 0"
                raise ConfigError(f"{name} is {value:g}, required is {bound}", "Choose another", place=_PLACES[name])

    def seconds(self, work: Work, prompt_tokens: int) -> GpuSeconds:
        """Reckon what work takes.

        Parameters
        ----------
        prompt_tokens : of the studied engine's prompts, where the rule has none of its own
        """
        n_tokens = self.prompt_tokens or prompt_tokens
        per_row = n_tokens * READING * self.parameters / (self.peak_tflops * 1e12 * self.inference_utilisation)
        per_row = per_row if self.rows_per_second is None else 1 / self.rows_per_second
        per_token = LEARNING * self.parameters / (self.peak_tflops * 1e12 * self.training_utilisation)
        per_token = per_token if self.train_tokens_per_second is None else 1 / self.train_tokens_per_second
        taught = work.n_taught * n_tokens * per_token
        return GpuSeconds(inference=work.n_asked * per_row, training=taught + work.n_looked_at * per_row)


def rows_of_steps(n_steps: int, n_samples: int, recipe: FineTuneRecipe) -> int:
    """Count the rows of a training's first steps: of each pass the samples once, and what goes on reading.

    Examples
    --------
    >>> rows_of_steps(3, 100, FineTuneRecipe(batch_size=100, reading_share=0.4))  # 60, then 40, then 60 of its own
    280
    """
    n_own, n_per_pass = recipe.batch_size - recipe.n_reading, recipe.n_steps_per_epoch(n_samples)
    n_passes, n_more = divmod(n_steps, n_per_pass)
    return n_passes * n_samples + min(n_more * n_own, n_samples) + n_steps * recipe.n_reading
