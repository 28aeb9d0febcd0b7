"""The engine of a run: opened once, grown with the catalogue, its model trained on the first full window."""

from __future__ import annotations

import gc
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from refresh.engines import ENGINES, Engine, open_engine
from refresh.engines.adapter import Adapter, TakesAdapters
from refresh.engines.model_files import MANIFEST, read_manifest
from refresh.finetune.candidate import base_fingerprint
from refresh.served_weights import ServedWeights, served_weights
from refresh.template import Template
from tidegate.cli.engine_settings import asking_of, engine_options, server_options, template_of
from tidegate.config import RunSettings
from tidegate.counts import BucketedCounts
from tidegate.errors import ConfigError, EngineError, EngineUnavailableError, RequestError

_LOG = logging.getLogger(__name__)
OnTraining = Callable[[str, int, int], None]
"""Called with the lesson, the steps done and the most there can be."""


class EngineKeeper(Protocol):
    """Hands the engine out, fit for the catalogue as it is at a pane's end."""

    def engine(self, names: list[str], window: BucketedCounts, pane: int, model: str | None) -> Engine:
        """Give the engine.

        Parameters
        ----------
        names : the catalogue's clusters by id
        window : counts of the last full window, to train on if there is no model yet
        model : folder that an earlier pane of the run recorded, if any
        """
        ...

    @property
    def model(self) -> str | None:
        """Folder of the weights that answer; None for an engine without weights, or with a server's."""
        ...


@dataclass(slots=True)
class FrequencyKeeper:
    """No model: rows are answered by the counts themselves.

    Attributes
    ----------
    n_retrieved : int     clusters of the retrieved line that are read
    """

    n_retrieved: int = 1
    _engine: Engine | None = None
    model: str | None = None

    def engine(self, names: list[str], window: BucketedCounts, pane: int, model: str | None) -> Engine:
        """Open the engine at the first call, grow it at the others."""
        if self._engine is None:
            self._engine = open_engine("frequency", names, n_retrieved=self.n_retrieved)
        self._engine.grow(names)
        return self._engine


class ModelKeeper:
    """An engine with weights of its own: those that were given, or those that the run trains for itself.

    Parameters
    ----------
    given : Path, optional
        Model folder to use as it is.
    folder : Path
        Where a model that is trained goes, one folder a pane.
    seed : int
    on_training : told how the training goes
    engine : ``embedded`` or ``vllm``
    opening : further arguments of `open_engine`
    template : Template, optional       that the model is to be asked with, and taught with where it is trained
    n_retrieved : int, optional         clusters of the retrieved line that it is to read

    Raises
    ------
    ConfigError
        If the model was taught otherwise.
    """

    def __init__(
        self,
        given: Path | None,
        folder: Path,
        seed: int,
        on_training: OnTraining | None = None,
        *,
        engine: str = "embedded",
        opening: Mapping[str, Any] | None = None,
        template: Template | None = None,
        n_retrieved: int | None = None,
    ) -> None:
        self._given, self._folder, self._seed = given, folder, seed
        self.on_training = on_training
        self._name, self._opening = engine, dict(opening or {})
        self._template, self._n_retrieved = template, n_retrieved
        self._engine: Engine | None = None
        self._base = ""
        self.model: str | None = None

    def engine(self, names: list[str], window: BucketedCounts, pane: int, model: str | None) -> Engine:
        """Open the model at the first call (training it before, if there is none), and where it is another one since.

        It is grown at all other calls.
        """
        if self._engine is None:
            known = Path(model) if model else self._given
            self._engine = self._opened(served_weights(known or self._trained(names, window, pane)), names)
        elif model is not None and _recorded(Path(model)) != self.model:
            self._engine = self._swapped(self._engine, served_weights(Path(model)), names)
        # The newest clusters that the model has no code for are left out: their backoff serves them.
        self._engine.grow(names[: self._engine.prompts.codebook.capacity])
        return self._engine

    def _opened(self, weights: ServedWeights, names: list[str]) -> Engine:
        # What a model that we did not teach has codes for is known once it is open.
        is_ours = self._name == "embedded" or (weights.base / MANIFEST).is_file()
        capacity = read_manifest(weights.base)[0].capacity if is_ours else len(names)
        engine = open_engine(
            self._name, names[:capacity], model_folder=weights.base, adapter=weights.adapter, **self._opening
        )
        _require_as_asked(engine, self._template, self._n_retrieved, weights.folder)
        self.model, self._base = _recorded(weights.folder), base_fingerprint(weights.base)
        return engine

    def _swapped(self, engine: Engine, weights: ServedWeights, names: list[str]) -> Engine:
        """Change the adapter where that is all that changes, and there is room for it; open the model anew else."""
        if isinstance(engine, TakesAdapters) and base_fingerprint(weights.base) == self._base:
            try:
                engine.take(weights.adapter)
                self.model = _recorded(weights.folder)
                return engine
            except EngineError as error:
                _LOG.info("the model is opened anew: %s", error)
        self._engine = None
        del engine
        gc.collect()  # two models may not fit beside each other
        return self._opened(weights, names)

    def _trained(self, names: list[str], window: BucketedCounts, pane: int) -> Path:
        """Train on the window: retrieval from one half of the users, labels from the other."""
        from refresh.training import train_model

        folder = self._folder / f"pane-{pane}"
        shutil.rmtree(folder, ignore_errors=True)  # what a crash left of the same training
        train_model(
            names,
            window.of_buckets(0).without_buckets(),
            window.of_buckets(1).without_buckets(),
            folder,
            seed=self._seed,
            template=self._template,
            n_retrieved=self._n_retrieved or 1,
            on_progress=self.on_training,
        )
        return folder


def _recorded(folder: Path) -> str:
    """Name a model's folder as panes record it: a command that is given elsewhere finds it, too."""
    return str(folder.absolute())


def _require_as_asked(engine: Engine, template: Template | None, n_retrieved: int | None, folder: Path) -> None:
    """Refuse a model that was taught another template or line than was asked for: it knows no other."""
    prompts = engine.prompts
    if template is not None and template.sha256 != prompts.template.sha256:
        raise ConfigError(
            f"the model was taught the template {prompts.template.name}, not {template.name} as asked "
            f"({prompts.template.sha256[:12]} and {template.sha256[:12]})",
            "Leave --template out, or train a model with it (without --model)",
            place=str(folder),
        )
    if n_retrieved is not None and n_retrieved != prompts.n_retrieved:
        raise ConfigError(
            f"the model was taught to read {prompts.n_retrieved} retrieved clusters, not {n_retrieved} as asked",
            "Leave --n-retrieved out, or train a model with it (without --model)",
            place=str(folder),
        )


class ServerKeeper:
    """A server's model: nothing is trained here. Adapters are loaded by the server while it serves.

    Parameters
    ----------
    given : Path, optional
        A copy of the served model's folder, for its manifest and tokenizer.
    opening : further arguments of `open_engine`
    """

    def __init__(self, given: Path | None, opening: Mapping[str, Any]) -> None:
        self._given, self._opening = given, dict(opening)
        self._engine: Engine | None = None
        self._former: list[Adapter] = []
        self.model: str | None = None

    def engine(self, names: list[str], window: BucketedCounts, pane: int, model: str | None) -> Engine:
        """Find the server at the first call, and ask it for other weights where they changed; grow it at all others."""
        if self._engine is None or (model is not None and _recorded(Path(model)) != self.model):
            folder = Path(model) if model else self._given
            self._engine = self._found(None if folder is None else served_weights(folder), names)
            self.model = None if folder is None else _recorded(folder)
        self._engine.grow(names[: self._engine.prompts.codebook.capacity])
        return self._engine

    def _found(self, weights: ServedWeights | None, names: list[str]) -> Engine:
        """Open the engine; what an adapter replaced stays loaded for a way back, older ones are let go of."""
        base, adapter = (weights.base, weights.adapter) if weights else (None, None)
        is_ours = base is not None and (base / MANIFEST).is_file()
        capacity = read_manifest(base)[0].capacity if base is not None and is_ours else len(names)
        opening = dict(self._opening)
        if weights is not None and weights.name is not None:
            opening["server"] = replace(opening["server"], model=weights.name)
        try:
            engine = open_engine("openai", names[:capacity], model_folder=base, adapter=adapter, **opening)
        except EngineUnavailableError:
            raise
        except EngineError as error:
            if weights is None or weights.name is None:
                raise
            raise EngineUnavailableError(
                error.found, f"Serve {weights.folder} under the name {weights.name}", place=error.place
            ) from error
        self._let_go(engine, adapter)
        return engine

    def _let_go(self, engine: Engine, adapter: Adapter | None) -> None:
        from refresh.engines.openai import OpenAIEngine

        if isinstance(engine, OpenAIEngine):
            for old in self._former[:-1]:
                engine.forget(old)
        self._former = [each for each in self._former[-1:] if each != adapter] + ([adapter] if adapter else [])


def open_keeper(settings: RunSettings, run_id: str, on_training: OnTraining | None = None) -> EngineKeeper:
    """Make the keeper of the engine that `settings` name.

    Raises
    ------
    RequestError
        If there is no such engine, or it lacks a setting.
    """
    name, folder = settings.engine, settings.home / "models" / run_id
    if name == "frequency" and settings.scoring == "description":
        raise RequestError(
            "the frequency engine writes no text, so it has no descriptions",
            "Leave --scoring out, or choose another engine",
            place="--scoring",
        )
    if name == "frequency":
        return FrequencyKeeper(n_retrieved=settings.n_retrieved or 1)
    if name == "openai":
        return ServerKeeper(settings.model, {"server": server_options(settings), "asking": asking_of(settings)})
    if name in ("embedded", "vllm"):
        opening: dict[str, Any] = {"asking": asking_of(settings)}
        if name == "vllm":
            opening["options"] = engine_options(settings)
        return ModelKeeper(
            settings.model,
            folder,
            settings.seed,
            on_training,
            engine=name,
            opening=opening,
            template=template_of(settings),
            n_retrieved=settings.n_retrieved,
        )
    raise RequestError(f"there is no engine {name!r}", f"Choose one of {', '.join(ENGINES)}", place="--engine")
