"""What a training needs of the model that it teaches, whether all of its weights learn or an adapter's alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from refresh.finetune.candidate import CandidateKind
from refresh.prompts import PromptBuilder
from refresh.training.samples import Samples

if TYPE_CHECKING:
    import torch

Int32s = NDArray[np.int32]
_ROWS = 1_024


class FineTuned(Protocol):
    """A model that is fine-tuned.

    Attributes
    ----------
    kind : CandidateKind
    base : str | None           fingerprint of the weights that it began from; None where they were made up
    why_from_nothing : str | None
    prompts : PromptBuilder     how rows are asked
    n_readable : int            clusters that a line may name while reading is taught
    device, dtype : str         that it is computed on, and in
    """

    kind: CandidateKind
    base: str | None
    why_from_nothing: str | None
    prompts: PromptBuilder
    n_readable: int
    device: str
    dtype: str

    @property
    def trained(self) -> Mapping[str, torch.nn.Parameter]:
        """Weights that learn, by name."""
        ...

    @property
    def n_weights(self) -> int:
        """Weights in all."""
        ...

    @property
    def tokenizer_sha256(self) -> str:
        """SHA-256 of the ``tokenizer.json`` that the candidate is asked through."""
        ...

    def losses(self, samples: Samples) -> torch.Tensor:
        """Loss of each sample over its answer's tokens alone, nats: float32[n]."""
        ...

    def answers(self, samples: Samples) -> Int32s:
        """Cluster that each row would be answered with, never c1 or c2: int32[n]."""
        ...

    def write(self, folder: Path, facts: Mapping[str, float | int | str]) -> None:
        """Write the candidate's files, safetensors and text, without a manifest of ours on top."""
        ...


def in_parts(samples: Samples, rows: int = _ROWS) -> list[Samples]:
    """Cut samples into parts of so many rows."""
    return [samples[at : at + rows] for at in range(0, len(samples), rows)]


def recall(answers: Int32s, samples: Samples) -> float:
    """Share of samples that are answered with their target; 0 without any."""
    return float((answers == samples.target).mean()) if len(samples) else 0.0


def traffic_recall(answers: Int32s, samples: Samples) -> float:
    """Return the same by traffic: what the cap per label took away is given back."""
    weight = samples.weight.astype(np.float64) ** 2
    return float(((answers == samples.target) * weight).sum() / weight.sum()) if len(samples) else 0.0


def most_popular(taught: Samples, asked: Samples) -> Int32s:
    """Answer each row with the cluster of most traffic in `taught` that is neither c1 nor c2: int32[n]."""
    traffic = np.bincount(taught.target, taught.weight.astype(np.float64) ** 2)
    best = np.argsort(-traffic, kind="stable")[:3].astype(np.int32)
    is_free = (best[None] != asked.c1[:, None]) & (best[None] != asked.c2[:, None])
    first_free = np.argmax(is_free, axis=1)
    answers: Int32s = best[first_free]
    return answers
