"""The keeper opens a model once, and lives with a catalogue that outgrows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refresh.engines import Engine, TextGenerator
from refresh.prompts import RowContexts
from refresh.row_key import row_keys
from tests.refresh.conftest import TinyModel, tiny_model
from tests.refresh.tiny_world import NAMES, random_contexts, tiny_counts
from tidegate.cli.engine_keeper import FrequencyKeeper, ModelKeeper, open_keeper
from tidegate.config import RunSettings, load_settings
from tidegate.counts import BucketedCounts, pack_transitions, unpack_pairs
from tidegate.errors import ConfigError, RequestError

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


def test_a_model_is_recorded_so_that_a_command_given_elsewhere_finds_it(
    tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tiny_model.folder.parent)
    keeper = ModelKeeper(Path(tiny_model.folder.name), Path("unused"), seed=0)
    engine = keeper.engine(list(NAMES), NOTHING, 1, None)
    assert keeper.engine(list(NAMES), NOTHING, 2, tiny_model.folder.name) is engine  # recorded relative, before
    monkeypatch.chdir(tmp_path)
    ModelKeeper(None, Path("unused"), seed=0).engine(list(NAMES), NOTHING, 3, keeper.model)
    assert keeper.model == str(tiny_model.folder)


def test_the_frequency_engine_grows_with_the_catalogue():
    keeper = FrequencyKeeper()
    assert keeper.engine(["a"], NOTHING, 1, None) is keeper.engine(["a", "b"], NOTHING, 2, None)
    assert list(keeper.engine(["a", "b", "c"], NOTHING, 3, None).prompts.codebook.names) == ["a", "b", "c"]
    assert keeper.model is None


def test_an_unknown_engine_is_refused():
    with pytest.raises(RequestError, match="--engine"):
        open_keeper(load_settings({"source": "log.csv", "engine": "abacus"}), "run")


def settings_for(engine: str, model: TinyModel | None, **flags: Any) -> RunSettings:
    return load_settings({"source": "log.csv", "engine": engine, **({"model": model.folder} if model else {}), **flags})


def opened(settings: RunSettings) -> Engine:
    return open_keeper(settings, "run").engine(list(NAMES), NOTHING, 1, None)


def test_a_model_that_was_taught_another_template_is_refused_by_both_names(tiny_model: TinyModel, tmp_path: Path):
    path = tmp_path / "mine.v2.txt"
    path.write_text("seen {c1} and {c2} others {retrieved} so")
    with pytest.raises(ConfigError, match=r"taught the template next_interest\.v1, not mine\.v2 as asked"):
        opened(settings_for("embedded", tiny_model, template=str(path)))
    assert opened(settings_for("embedded", tiny_model, template="next_interest.v1")).name == "embedded"


def test_a_model_that_reads_fewer_clusters_than_asked_is_refused(tiny_model: TinyModel):
    with pytest.raises(ConfigError, match="taught to read 1 retrieved clusters, not 3"):
        opened(settings_for("embedded", tiny_model, n_retrieved=3))
    assert opened(settings_for("embedded", tiny_model, n_retrieved=1)).prompts.n_retrieved == 1


def test_the_frequency_engine_reads_as_many_clusters_as_asked_and_writes_no_descriptions():
    assert opened(settings_for("frequency", None, n_retrieved=3)).prompts.n_retrieved == 3
    with pytest.raises(RequestError, match=r"--scoring.*writes no text"):
        opened(settings_for("frequency", None, scoring="description"))


def test_the_embedded_model_describes_clusters_by_their_codes(tiny_model: TinyModel):
    described, coded = (opened(settings_for("embedded", tiny_model, scoring=each)) for each in ("description", "codes"))
    contexts = random_contexts(200)
    contexts = contexts[np.flatnonzero(contexts.retrieved[:, 0] >= 0)]
    answers = described.infer(contexts, top_n=1).clusters[:, 0]
    assert isinstance(described, TextGenerator)
    assert (answers >= 0).mean() > 0.9
    assert (answers[answers >= 0] == coded.infer(contexts, top_n=1).clusters[answers >= 0, 0]).all()
    keys = [row_keys(contexts, engine.prompts, engine.fingerprint) for engine in (described, coded)]
    assert not (keys[0] == keys[1]).all(axis=1).any()


def test_a_text_template_is_no_way_to_teach_the_embedded_model(tmp_path: Path):
    with pytest.raises(ConfigError, match="reads words and codes only"):
        opened(settings_for("embedded", None, template="next_interest_text.v1", home=tmp_path))


def test_a_template_and_a_line_of_ones_own_are_taught_where_the_model_is_trained(tmp_path: Path):
    path = tmp_path / "mine.v2.txt"
    path.write_text("seen {c1} and {c2} others {retrieved} so")
    counts = tiny_counts(seed=1, n=600)
    c1, c2 = unpack_pairs(np.repeat(counts.pairs, np.diff(counts.offsets)))
    columns = (c1.astype(np.int64), c2.astype(np.int64), counts.successors.astype(np.int64))
    keys = np.sort(pack_transitions(*columns, np.arange(counts.successors.shape[0]) % 2))
    window = BucketedCounts(keys, np.ones_like(keys))
    settings = settings_for("embedded", None, template=str(path), n_retrieved=2, home=tmp_path)
    keeper = open_keeper(settings, "run")
    engine = keeper.engine(list(NAMES), window, 1, None)
    assert (engine.prompts.template.name, engine.prompts.n_retrieved) == ("mine.v2", 2)
    c1, c2, first, second = (np.full(5, each, np.int32) + np.arange(5, dtype=np.int32) for each in (0, 5, 10, 15))
    contexts = RowContexts(c1, c2, np.stack([first, second], axis=1))
    np.testing.assert_array_equal(engine.infer(contexts, top_n=1).clusters[:, 0], first)
    again = open_keeper(settings, "run").engine(list(NAMES), NOTHING, 2, keeper.model)
    assert again.fingerprint == engine.fingerprint
