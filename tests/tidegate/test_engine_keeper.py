"""The keeper opens a model once, and lives with a catalogue that outgrows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.refresh.conftest import TinyModel, tiny_model
from tests.refresh.tiny_world import NAMES
from tidegate.cli.engine_keeper import FrequencyKeeper, ModelKeeper, open_keeper
from tidegate.config import load_settings
from tidegate.counts import BucketedCounts
from tidegate.errors import RequestError

__all__ = ["tiny_model"]

NOTHING = BucketedCounts.empty()


def grown(model: TinyModel, n_more: int) -> list[str]:
    return [*NAMES, *(f"new-{i}" for i in range(n_more))]


def test_a_catalogue_beyond_the_codebook_is_cut_to_it_while_running_and_after_a_restart(tiny_model: TinyModel):
    names = grown(tiny_model, 10_000)
    running = ModelKeeper(tiny_model.folder, Path("unused"), seed=0)
    running.engine(list(NAMES), NOTHING, 1, None)
    grown_engine = running.engine(names, NOTHING, 2, None)
    restarted = ModelKeeper(None, Path("unused"), seed=0).engine(names, NOTHING, 3, str(tiny_model.folder))
    capacity = grown_engine.prompts.codebook.capacity
    assert len(NAMES) < capacity < len(names)
    for engine in (grown_engine, restarted):
        assert list(engine.prompts.codebook.names) == names[:capacity]


def test_the_recorded_model_wins_over_the_given_one(tiny_model: TinyModel, tmp_path: Path):
    keeper = ModelKeeper(tmp_path / "gone", Path("unused"), seed=0)
    keeper.engine(list(NAMES), NOTHING, 1, str(tiny_model.folder))
    assert keeper.model == str(tiny_model.folder)


def test_the_frequency_engine_grows_with_the_catalogue():
    keeper = FrequencyKeeper()
    assert keeper.engine(["a"], NOTHING, 1, None) is keeper.engine(["a", "b"], NOTHING, 2, None)
    assert list(keeper.engine(["a", "b", "c"], NOTHING, 3, None).prompts.codebook.names) == ["a", "b", "c"]
    assert keeper.model is None


def test_an_unknown_engine_is_refused():
    with pytest.raises(RequestError, match="--engine"):
        open_keeper(load_settings({"source": "log.csv", "engine": "abacus"}), "run")
