"""The candidate and what serves take turns on one open model where they differ by an adapter alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from refresh.engines.adapter import Adapter
from refresh.served_weights import ServedWeights
from tidegate.cli.judged_engines import JudgedEngines
from tidegate.errors import EngineError

BASE = Path("base")


def adapter(name: str, rank: int = 8) -> Adapter:
    return Adapter(Path(name), name, name, rank, 1.0)


def on_base(given: Adapter | None) -> ServedWeights:
    return ServedWeights(Path("weights"), BASE, given)


class Model:
    """An open model that says which adapter it answers with."""

    name = "vllm"
    prompts: Any = SimpleNamespace()

    def __init__(self, weights: ServedWeights) -> None:
        self.weights, self.fingerprint = weights, ""
        self.take(weights.adapter)

    def take(self, adapter: Adapter | None) -> None:
        self.fingerprint = "base" if adapter is None else f"base with {adapter.name}"

    def grow(self, names: Sequence[str]) -> None:
        self.grown = list(names)

    def infer(self, contexts: Any, *, top_n: int, on_progress: Any = None) -> Any:
        return self.fingerprint

    def generate(self, prompts: Sequence[str], max_tokens: int) -> list[str]:
        return [self.fingerprint] * len(prompts)


class Still(Model):
    """One that keeps the adapter it was opened with."""

    take = None  # type: ignore[assignment]

    def __init__(self, weights: ServedWeights) -> None:
        self.weights, self.fingerprint = weights, "still"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[ServedWeights]:
    return []


def engines(
    opened: list[ServedWeights], serving: ServedWeights | None, *, one: bool = True, kind: type[Model] = Model
) -> JudgedEngines:
    def open_weights(weights: ServedWeights) -> Any:
        opened.append(weights)
        return kind(weights)

    return JudgedEngines(open_weights, serving, one)


@pytest.mark.parametrize("served", [None, adapter("former")])
def test_one_model_is_opened_and_each_answers_by_itself(opened: list[ServedWeights], served: Adapter | None) -> None:
    judged = engines(opened, on_base(served))
    mine, theirs = judged.candidate(on_base(adapter("new"))), judged.served()
    said = "base" if served is None else "base with former"
    assert len(opened) == 1
    for _ in range(2):  # in turns
        assert (mine.infer(None, top_n=1), theirs.infer(None, top_n=1)) == ("base with new", said)
    assert (theirs.generate(["a"], 1), mine.generate(["a", "b"], 1)) == ([said], ["base with new"] * 2)
    assert (mine.fingerprint, theirs.fingerprint, mine.name) == ("base with new", said, "vllm")
    assert mine.prompts is Model.prompts
    mine.grow(["a"])


def test_the_model_is_opened_with_room_for_the_larger_adapter(opened: list[ServedWeights]) -> None:
    larger = on_base(adapter("former", rank=16))
    engines(opened, larger).candidate(on_base(adapter("new", rank=8)))
    assert opened == [larger]


def test_weights_of_another_base_and_engines_with_room_are_opened_beside_each_other(
    opened: list[ServedWeights],
) -> None:
    for other, one in ((ServedWeights(Path("full"), Path("full")), True), (on_base(None), False)):
        judged = engines(opened, other, one=one)
        candidate = on_base(adapter("new"))
        assert judged.candidate(candidate).weights is candidate
        assert judged.served().weights is other
    assert len(opened) == 4


def test_where_nothing_serves_there_is_nothing_to_compare_with(opened: list[ServedWeights]) -> None:
    judged = engines(opened, None)
    assert judged.candidate(on_base(adapter("new"))).fingerprint == "base with new"
    with pytest.raises(EngineError, match="No weights serve"):
        judged.served()


def test_an_engine_that_keeps_its_adapter_cannot_take_turns(opened: list[ServedWeights]) -> None:
    with pytest.raises(EngineError, match="does not change adapters"):
        engines(opened, on_base(None), kind=Still).candidate(on_base(adapter("new")))
