"""The engines that gates ask: the candidate's, and that of the weights that serve."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from refresh.engines.adapter import Adapter, TakesAdapters
from refresh.engines.contract import Answers, Engine, TextGenerator
from refresh.prompts import PromptBuilder, RowContexts
from refresh.served_weights import ServedWeights
from tidegate.errors import EngineError


@dataclass(slots=True)
class JudgedEngines:
    """Opens the candidate and what serves: on one open model in turns, where they differ by an adapter alone.

    A model that an engine holds in memory takes most of a GPU, so a second one does not fit beside it.

    Attributes
    ----------
    open_weights : opens weights as an engine
    serving : ServedWeights, optional    None: nothing that the candidate could be compared with
    has_room_for_one : bool              the engine loads the model into this process
    """

    open_weights: Callable[[ServedWeights], Engine]
    serving: ServedWeights | None
    has_room_for_one: bool
    _shared: Engine | None = field(default=None, init=False)

    def candidate(self, weights: ServedWeights) -> Engine:
        """Open the candidate; asked before `served`.

        Raises
        ------
        EngineError
            If it cannot be opened.
        """
        serving = self.serving
        if not self.has_room_for_one or serving is None or serving.base != weights.base:
            return self.open_weights(weights)
        self._shared = self.open_weights(max(weights, serving, key=_rank))  # room for the larger adapter
        return _turn(self._shared, weights.adapter)

    def served(self) -> Engine:
        """Open what serves.

        Raises
        ------
        EngineError
            If it cannot be opened, or nothing serves.
        """
        if self.serving is None:
            raise EngineError("No weights serve", "Judge the candidate by itself")
        if self._shared is not None:
            return _turn(self._shared, self.serving.adapter)
        return self.open_weights(self.serving)


def _rank(weights: ServedWeights) -> int:
    return 0 if weights.adapter is None else weights.adapter.rank


def _turn(engine: Engine, adapter: Adapter | None) -> _Turn:
    if not isinstance(engine, TakesAdapters) or not isinstance(engine, TextGenerator):
        raise EngineError(
            f"The {engine.name} engine does not change adapters, or writes no text", "Open a model of its own for each"
        )
    return _Turn(engine, engine, engine, adapter)


@dataclass(slots=True)
class _Turn:
    """One open model, that answers with an adapter of its own (None: the base alone) whenever it is asked."""

    engine: Engine
    speaker: TextGenerator
    changing: TakesAdapters
    adapter: Adapter | None
    name: str = field(init=False)
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        self.changing.take(self.adapter)
        self.name, self.fingerprint = self.engine.name, self.changing.fingerprint

    @property
    def prompts(self) -> PromptBuilder:
        """How rows are asked."""
        return self.engine.prompts

    def grow(self, names: Sequence[str]) -> None:
        """Take the catalogue as it is now."""
        self.engine.grow(names)

    def infer(self, contexts: RowContexts, *, top_n: int, on_progress: Callable[[int], None] | None = None) -> Answers:
        """Answer rows."""
        self.changing.take(self.adapter)
        return self.engine.infer(contexts, top_n=top_n, on_progress=on_progress)

    def generate(self, prompts: Sequence[str], max_tokens: int) -> list[str]:
        """Continue prompts freely."""
        self.changing.take(self.adapter)
        return self.speaker.generate(prompts, max_tokens)
