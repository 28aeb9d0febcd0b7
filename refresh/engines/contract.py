"""What all engines keep to, and what they answer with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from refresh.prompts import PromptBuilder, RowContexts


@dataclass(frozen=True, slots=True)
class Usage:
    """What answers took; sums of many are the usage of all.

    Attributes
    ----------
    n_prompts : int          sent to the model, repetitions included
    n_prompt_tokens : int    in them
    n_cached_tokens : int    of those, not computed anew: an equal prefix was at hand
    n_output_tokens : int
    """

    n_prompts: int = 0
    n_prompt_tokens: int = 0
    n_cached_tokens: int = 0
    n_output_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.n_prompts + other.n_prompts,
            self.n_prompt_tokens + other.n_prompt_tokens,
            self.n_cached_tokens + other.n_cached_tokens,
            self.n_output_tokens + other.n_output_tokens,
        )


@dataclass(frozen=True, slots=True)
class Answers:
    """Ranked answers of the rows that were asked, in their order.

    Attributes
    ----------
    clusters : int32[n, top_n]            best first; -1 = no (further) answer
    probabilities : float32[n, top_n]     descending; 0 where there is no answer
    label_mass : float32[n]               probability that a free answer would have been one that is allowed
    usage : Usage                         nothing for an engine that asks no model
    """

    clusters: NDArray[np.int32]
    probabilities: NDArray[np.float32]
    label_mass: NDArray[np.float32]
    usage: Usage = Usage()


class Engine(Protocol):
    """Answers rows.

    A row's answer follows from its prompt and the engine's fingerprint alone: not from the rows around it, their
    order or the size of the batch, and not from clusters that the prompt does not name and the engine was not taught.
    """

    name: str
    fingerprint: str
    """All that determines answers besides the prompt: weights, tokenizer, codebook."""

    @property
    def prompts(self) -> PromptBuilder:
        """How rows are asked, with the catalogue as it is now; row keys are made from it."""
        ...

    def grow(self, names: Sequence[str]) -> None:
        """Take the catalogue as it is now. Ids that were known keep their names.

        Raises
        ------
        CatalogueError
            If a known cluster has another name, or there are more clusters than codes.
        """
        ...

    def infer(self, contexts: RowContexts, *, top_n: int, on_progress: Callable[[int], None] | None = None) -> Answers:
        """Answer rows; never with c1 or c2.

        Parameters
        ----------
        contexts : RowContexts of n rows
        top_n : ranks to return
        on_progress : called with the number of rows answered so far
        """
        ...


@runtime_checkable
class TextGenerator(Protocol):
    """Continues prompts freely, without constraint: the description mode and the exact-match probe ask one.

    Not every engine is one: ask with ``isinstance``. The continuation is untrusted text.
    """

    fingerprint: str
    """All that determines the text besides the prompt."""

    def generate(self, prompts: Sequence[str], max_tokens: int) -> list[str]:
        """Continue each prompt greedily (temperature 0).

        Parameters
        ----------
        prompts : texts, tokenised by the model's own tokenizer
        max_tokens : tokens after which a continuation ends, if its end token does not come first

        Returns
        -------
        list of str
            One continuation a prompt, in the order of the prompts, without the prompt and special tokens.

        Raises
        ------
        EngineError
            If the model fails.
        """
        ...
