"""What settings say of engines: the server, vLLM's own arguments, and how a model that we did not teach is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from refresh.engines.code_model import Asking
from refresh.engines.completions import ServerOptions
from refresh.prompts import Description, Scoring
from refresh.retrieval import Kind, Level, Retrieval
from refresh.template import Template
from stream.decoding.catalogue_file import load_catalogue
from tidegate.config import RunSettings
from tidegate.durations import parse_duration
from tidegate.errors import ConfigError


def server_options(settings: RunSettings) -> ServerOptions:
    """Say where the server is, and how it is asked.

    Raises
    ------
    ConfigError
        If no URL was given.
    """
    if settings.engine_url is None:
        raise ConfigError(
            "the openai engine asks a server, and none is named",
            "Give its URL, such as http://localhost:8000/v1",
            place="--engine-url",
        )
    return ServerOptions(
        url=settings.engine_url,
        model=settings.engine_model or "",
        api_key=settings.api_key.get_secret_value() if settings.api_key else "",
        concurrency=settings.engine_concurrency,
        timeout_seconds=parse_duration(settings.engine_timeout, name="--engine-timeout") / 1_000,
        patience_seconds=parse_duration(settings.engine_patience, name="--engine-patience") / 1_000,
    )


def retrieval_of(settings: RunSettings) -> Retrieval:
    """Say how the lines of prompts are retrieved."""
    return Retrieval(
        level=Level(settings.retrieval),
        kind=Kind(settings.retrieval_by),
        n_retrieved=settings.n_retrieved or 1,
        min_support=settings.retrieval_support,
    )


def template_of(settings: RunSettings) -> Template | None:
    """Read the template that was asked for, if one was.

    Raises
    ------
    ConfigError
        If there is none, or it is no template.
    """
    return None if settings.template is None else _template(settings.template)


def asking_of(settings: RunSettings) -> Asking:
    """Say how a model that we did not teach is asked.

    Raises
    ------
    ConfigError
        If there is no such template.
    CatalogueError
        If the catalogue cannot be read.
    """
    return Asking(
        template=template_of(settings),
        scoring=Scoring(settings.scoring),
        described_by=Description(settings.described_by),
        n_retrieved=settings.n_retrieved or 1,
        keywords=load_catalogue(settings.catalogue).keywords if settings.catalogue else {},
    )


def _template(name: str) -> Template:
    """Read a template of one's own, told by its path, or a packaged one."""
    path = Path(name)
    return Template.of_file(path) if path.suffix == ".txt" or len(path.parts) > 1 else Template.packaged(name)


def engine_options(settings: RunSettings) -> dict[str, Any]:
    """Arguments of ``vllm.LLM``: numbers, ``true`` and ``false`` as in JSON, anything else as text."""
    return {name: _value(text) for name, text in settings.engine_options.items()}


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
