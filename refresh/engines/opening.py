"""Engines by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refresh.engines.contract import Engine
from refresh.prompts import Scoring
from tidegate.errors import ConfigError, EngineError

if TYPE_CHECKING:
    from refresh.engines.adapter import Adapter
    from refresh.engines.code_model import Asking
    from refresh.engines.completions import ServerOptions
    from refresh.engines.embedded import EmbeddedEngine
    from refresh.engines.openai import OpenAIEngine
    from refresh.engines.vllm import VllmEngine

ENGINES = ("embedded", "frequency", "openai", "vllm")


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
