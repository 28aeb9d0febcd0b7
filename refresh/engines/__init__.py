"""Engines: what answers prompts. One contract, one suite of tests for all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from refresh.prompts import PromptBuilder, RowContexts, Scoring
from tidegate.errors import ConfigError, EngineError

if TYPE_CHECKING:
    from refresh.engines.adapter import Adapter
    from refresh.engines.code_model import Asking
    from refresh.engines.completions import ServerOptions
    from refresh.engines.embedded import EmbeddedEngine
    from refresh.engines.openai import OpenAIEngine
    from refresh.engines.vllm import VllmEngine

ENGINES = ("embedded", "frequency", "openai", "vllm")


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


def open_engine(
    name: str,
    names: Sequence[str],
    *,
    model_folder: Path | None = None,
    n_retrieved: int = 1,
    asking: Asking | None = None,
    server: ServerOptions | None = None,
    options: Mapping[str, Any] | None = None,
    adapter: Adapter | None = None,
) -> Engine:
    """Open an engine for a catalogue.

    Parameters
    ----------
    name : str
        ``embedded``, ``frequency``, ``openai`` or ``vllm``.
    names : sequence of str
        The catalogue's clusters by id.
    model_folder : Path, optional
        Where the model lies (`refresh.training.train_model` writes one); may be left out for ``openai``.
    n_retrieved : int
        Clusters that the frequency engine reads; a model that we taught reads as many as it was taught to.
    asking : Asking, optional
        How a model that we did not teach is asked: template, scoring, keywords.
    server : ServerOptions
        Where the server of ``openai`` is.
    options : mapping, optional
        Arguments of ``vllm.LLM``.
    adapter : Adapter, optional
        That is put on the model.

    Raises
    ------
    ConfigError
        If there is no engine of that name, vLLM is not installed, or no server was named.
    EngineError
        If the model cannot be loaded, or the server has no such model.
    CatalogueError
        If the model was taught for another catalogue.
    """
    if name == "frequency":
        from refresh.engines.frequency import FrequencyEngine

        return FrequencyEngine(names, n_retrieved=n_retrieved)
    if name not in ENGINES:
        raise ConfigError(f"There is no engine {name!r}", f"Choose one of {', '.join(ENGINES)}", place="engine")
    if name == "openai":
        return _open_server(names, model_folder, asking, server, adapter)
    if model_folder is None:
        raise EngineError(f"The {name} engine has no model", "Train one for this catalogue first", place="engine")
    if name == "vllm":
        from refresh.engines.vllm import VllmEngine

        return _answering(VllmEngine(model_folder, names, asking=asking, options=options, adapter=adapter))
    from refresh.engines.embedded import EmbeddedEngine

    scoring = Scoring.CODES if asking is None else asking.scoring
    return _answering(EmbeddedEngine(model_folder, names, scoring=scoring, adapter=adapter))


def _open_server(
    names: Sequence[str],
    model_folder: Path | None,
    asking: Asking | None,
    server: ServerOptions | None,
    adapter: Adapter | None,
) -> Engine:
    from refresh.engines.openai import OpenAIEngine

    if server is None:
        raise ConfigError(
            "The openai engine has no server", "Give its URL, such as http://localhost:8000/v1", place="--engine-url"
        )
    return _answering(OpenAIEngine(server, names, folder=model_folder, asking=asking, adapter=adapter))


def _answering(engine: EmbeddedEngine | VllmEngine | OpenAIEngine) -> Engine:
    """Take what the engine writes for answers, where it is asked for descriptions."""
    from refresh.descriptions import DescriptionEngine

    return DescriptionEngine(engine) if engine.prompts.scoring is Scoring.DESCRIPTION else engine
