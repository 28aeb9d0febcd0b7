"""What every engine keeps."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from refresh.engines import Answers, Engine, TextGenerator, open_engine
from refresh.engines.adapter import Adapter, TakesAdapters, open_adapter
from refresh.engines.code_model import Asking
from refresh.engines.completions import ServerOptions
from refresh.engines.embedded import EmbeddedEngine
from refresh.engines.model_files import MANIFEST
from refresh.finetune.fine_tuning import Lesson, fine_tune
from refresh.finetune.lora import LoraLearner, open_lora
from refresh.finetune.recipe import FineTuneRecipe
from refresh.prompts import RowContexts, Scoring, Template
from refresh.row_key import row_keys
from refresh.validation import Fault, validate
from tests.components import VLLM
from tests.refresh.adapters import write_adapter
from tests.refresh.conftest import TinyModel, tiny_model
from tests.refresh.finetune.worlds import moved_samples
from tests.refresh.random_models import write_random_model
from tests.refresh.tiny_world import N_CLUSTERS, NAMES, contexts_of, random_contexts
from tests.vllm_server import API_KEY, MAX_RANK, VllmHost
from tidegate.errors import CatalogueError, ConfigError, EngineError

__all__ = ["tiny_model"]

REAL = [pytest.param(name, marks=pytest.mark.real(VLLM.name)) for name in ("openai", "vllm")]
TOLERANCE = 1e-3  # of probabilities, where what is computed together changes the last bits


def real_engine(request: pytest.FixtureRequest, folder: Path) -> Engine:
    """Ask vLLM, in a process of its own or through its server."""
    host: VllmHost = request.getfixturevalue("vllm")
    host.begin(folder)
    if request.param == "vllm":
        return cast(Engine, host.engine(folder, NAMES))
    server = ServerOptions(host.server(folder).url, api_key=API_KEY)
    return open_engine("openai", NAMES, model_folder=folder, server=server)


@pytest.fixture(params=["frequency", "embedded", *REAL])
def engine(request: pytest.FixtureRequest, tiny_model: TinyModel) -> Engine:
    if request.param in ("openai", "vllm"):
        return real_engine(request, tiny_model.folder)
    return open_engine(request.param, NAMES, model_folder=tiny_model.folder)


@pytest.fixture(params=REAL)
def served(request: pytest.FixtureRequest, tiny_model: TinyModel) -> Engine:
    return real_engine(request, tiny_model.folder)


def is_exact(engine: Engine) -> bool:
    return engine.name in ("frequency", "embedded")


def n_many(engine: Engine) -> int:
    """Rows of more than one batch, where batches are ours."""
    return 1_300 if is_exact(engine) else 200


def assert_same(
    engine: Engine, found: Answers, expected: Answers, rows: slice | NDArray[np.int64] = slice(None)
) -> None:
    np.testing.assert_array_equal(found.clusters, expected.clusters[rows])
    for name in ("probabilities", "label_mass"):
        of_found, of_expected = getattr(found, name), getattr(expected, name)[rows]
        np.testing.assert_allclose(of_found, of_expected, rtol=0, atol=0 if is_exact(engine) else TOLERANCE)


def test_answers_come_in_the_shapes_and_types_of_the_contract(engine: Engine) -> None:
    answers = engine.infer(random_contexts(30), top_n=4)
    columns = (answers.clusters, answers.probabilities, answers.label_mass)
    assert [column.shape for column in columns] == [(30, 4), (30, 4), (30,)]
    assert [str(column.dtype) for column in columns] == ["int32", "float32", "float32"]
    assert ((answers.label_mass >= 0) & (answers.label_mass <= 1)).all()


def test_order_and_batch_do_not_change_an_answer(engine: Engine) -> None:
    n = n_many(engine)
    contexts = random_contexts(n)
    whole = engine.infer(contexts, top_n=3)
    order = np.random.default_rng(1).permutation(n)
    assert_same(engine, engine.infer(contexts[order], top_n=3), whole, order)
    assert_same(engine, engine.infer(contexts[100:101], top_n=3), whole, slice(100, 101))


def test_every_given_answer_is_valid_even_when_all_ranks_are_asked(engine: Engine) -> None:
    contexts = random_contexts(200)
    checked = validate(engine.infer(contexts, top_n=N_CLUSTERS + 50), contexts, N_CLUSTERS)
    assert set(checked.faults) <= {Fault.NO_ANSWER}
    assert checked.valid[contexts.retrieved[:, 0] >= 0].all()


def test_a_line_that_names_c1_or_c2_is_not_answered(engine: Engine) -> None:
    contexts = contexts_of([(1, 2, 1), (1, 2, 2), (-1, 2, 2)])
    checked = validate(engine.infer(contexts, top_n=1), contexts, N_CLUSTERS)
    assert Fault.NOT_NEW not in checked.faults


def test_more_ranks_extend_fewer(engine: Engine) -> None:
    contexts = random_contexts(100)
    np.testing.assert_array_equal(
        engine.infer(contexts, top_n=1).clusters, engine.infer(contexts, top_n=4).clusters[:, :1]
    )


def test_no_rows_are_no_answers(engine: Engine) -> None:
    assert engine.infer(contexts_of([]), top_n=2).clusters.shape == (0, 2)


def test_progress_ends_at_all_rows(engine: Engine) -> None:
    told: list[int] = []
    engine.infer(random_contexts(n_many(engine)), top_n=1, on_progress=told.append)
    assert told == sorted(told)
    assert told[-1] == n_many(engine)


def test_new_interests_are_answered_and_keep_all_keys(engine: Engine) -> None:
    contexts = random_contexts(50)
    before = row_keys(contexts, engine.prompts, engine.fingerprint)
    engine.grow([*NAMES, "new"])
    np.testing.assert_array_equal(row_keys(contexts, engine.prompts, engine.fingerprint), before)
    assert engine.infer(contexts_of([(1, 2, N_CLUSTERS)]), top_n=1).clusters.tolist() == [[N_CLUSTERS]]


def test_renamed_interests_are_refused(engine: Engine) -> None:
    with pytest.raises(CatalogueError, match="Cluster 0"):
        engine.grow(["renamed", *NAMES[1:]])


def test_a_served_model_gives_what_it_gives_embedded(served: Engine, tiny_model: TinyModel) -> None:
    embedded, contexts = EmbeddedEngine(tiny_model.folder, NAMES), random_contexts(200)
    assert served.fingerprint == embedded.fingerprint
    answers = served.infer(contexts, top_n=5)
    assert_same(served, answers, embedded.infer(contexts, top_n=5))
    assert (contexts.c1 < 0).any()  # rows of c2 alone are among them
    assert answers.usage.n_prompts == 200
    assert answers.usage.n_prompt_tokens == 200 * 13
    assert answers.usage.n_output_tokens == 200


def test_a_served_model_writes_what_it_writes_embedded(served: Engine, tiny_model: TinyModel) -> None:
    embedded = EmbeddedEngine(tiny_model.folder, NAMES)
    prompts = embedded.prompts.texts(random_contexts(20))
    assert isinstance(served, TextGenerator)
    assert [text.strip() for text in served.generate(prompts, 3)] == embedded.generate(prompts, 3)


def test_codes_of_two_tokens_are_ranked_exactly(vllm: VllmHost, tmp_path_factory: pytest.TempPathFactory) -> None:
    names = [f"interest {cluster}" for cluster in range(1_100)]
    folder = write_random_model(tmp_path_factory.mktemp("models") / "wide", names)
    contexts = random_contexts(24, len(names))
    found = vllm.engine(folder, names).infer(contexts, top_n=4)
    expected = EmbeddedEngine(folder, names).infer(contexts, top_n=4)
    np.testing.assert_array_equal(found.clusters, expected.clusters)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, rtol=TOLERANCE)


def test_a_foreign_model_is_asked_in_the_codes_that_its_tokenizer_has(
    vllm: VllmHost, tiny_model: TinyModel, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = Path(shutil.copytree(tiny_model.folder, tmp_path_factory.mktemp("models") / "foreign"))
    (folder / MANIFEST).unlink()
    contexts, engine = random_contexts(50), vllm.engine(folder, NAMES, dtype="float32")
    assert engine.prompts.codebook.capacity == 64
    found, expected = (each.infer(contexts, top_n=3) for each in (engine, EmbeddedEngine(tiny_model.folder, NAMES)))
    np.testing.assert_array_equal(found.clusters, expected.clusters)


@pytest.fixture(scope="session")
def adapters(tiny_model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> list[Adapter]:
    """Two adapters of the tiny model, that change many of its answers."""
    folder = tmp_path_factory.mktemp("adapters")
    return [open_adapter(write_adapter(folder / f"v{n:06d}", tiny_model.folder, seed=n)) for n in (2, 3)]


@pytest.fixture
def taking(served: Engine) -> Iterator[Engine]:
    """Give the base back afterwards: the engine is shared."""
    yield served
    assert isinstance(served, TakesAdapters)
    served.take(None)


def test_adapters_are_swapped_while_the_engine_serves_and_the_way_back_gives_the_former_answers(
    taking: Engine, tiny_model: TinyModel, adapters: list[Adapter]
) -> None:
    assert isinstance(taking, TakesAdapters)
    contexts, found, keys = random_contexts(120), [], []
    for adapter in (None, adapters[0], adapters[1], adapters[0], None):
        taking.take(adapter)
        merged = EmbeddedEngine(tiny_model.folder, NAMES, adapter=adapter)
        assert taking.fingerprint == merged.fingerprint
        found.append(taking.infer(contexts, top_n=3))
        keys.append(row_keys(contexts, taking.prompts, taking.fingerprint))
        expected = merged.infer(contexts, top_n=3)
        np.testing.assert_array_equal(found[-1].clusters[:, 0], expected.clusters[:, 0])
        np.testing.assert_allclose(found[-1].probabilities, expected.probabilities, rtol=0, atol=TOLERANCE)
    for back, first in ((3, 1), (4, 0)):
        np.testing.assert_array_equal(found[back].clusters, found[first].clusters)
        for name in ("probabilities", "label_mass"):  # requests that meet in a batch move the last bits
            np.testing.assert_allclose(getattr(found[back], name), getattr(found[first], name), rtol=0, atol=1e-6)
        np.testing.assert_array_equal(keys[back], keys[first])
    for one, other in ((0, 1), (1, 2), (0, 2)):
        assert (found[one].clusters[:, 0] != found[other].clusters[:, 0]).mean() > 0.2
        assert not (keys[one] == keys[other]).all(axis=1).any()


@pytest.fixture(scope="session")
def trained_adapter(tiny_model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[Adapter, LoraLearner]:
    """A candidate for the tiny model, taught a world in which users move on otherwise."""
    recipe = FineTuneRecipe(epochs=1, batch_size=64, peak_rate=1e-2, reading_share=0.0, rank=8, alpha=16)
    learner = open_lora(tiny_model.folder, NAMES, seed=1, recipe=recipe)
    lesson = Lesson(learner, moved_samples(), "checksum", recipe, 1)
    candidate, _ = fine_tune(lesson, tmp_path_factory.mktemp("fine-tune"))
    return open_adapter(candidate.folder), learner


def test_a_candidate_of_an_adapter_answers_as_it_was_taught_on_every_engine_that_takes_one(
    taking: Engine, tiny_model: TinyModel, trained_adapter: tuple[Adapter, LoraLearner]
) -> None:
    assert isinstance(taking, TakesAdapters)
    adapter, learner = trained_adapter
    samples = moved_samples().test
    contexts = RowContexts(samples.c1, samples.c2, samples.retrieved)
    before = taking.infer(contexts, top_n=1).clusters[:, 0]
    taking.take(adapter)
    found = taking.infer(contexts, top_n=1).clusters[:, 0]
    merged = EmbeddedEngine(tiny_model.folder, NAMES, adapter=adapter).infer(contexts, top_n=1).clusters[:, 0]
    for answers in (found, merged):  # equal but for rows that are a hair from even
        assert (answers != learner.answers(samples)).mean() < 0.02
    assert (found != before).mean() > 0.5


def test_an_adapter_that_does_not_fit_is_refused_and_what_answered_still_does(
    taking: Engine, tiny_model: TinyModel, tmp_path: Path
) -> None:
    assert isinstance(taking, TakesAdapters)
    before, contexts = taking.fingerprint, random_contexts(20)
    answers = taking.infer(contexts, top_n=1)
    wide = open_adapter(write_adapter(tmp_path / "wide", tiny_model.folder, seed=4, rank=2 * MAX_RANK))
    with pytest.raises(EngineError, match=r"rank|adapter"):
        taking.take(wide)
    assert taking.fingerprint == before
    assert_same(taking, taking.infer(contexts, top_n=1), answers)


def test_what_vllm_does_not_take_is_told(vllm: VllmHost, tiny_model: TinyModel, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model.folder, tmp_path / "copy"))
    with pytest.raises(ConfigError, match=r"--engine-options: vLLM does not take .*nonsense"):
        vllm.engine(folder, NAMES, nonsense=1)
    with pytest.raises(EngineError, match="vLLM cannot load the model"):
        vllm.engine(folder, NAMES, dtype="float33")
    with pytest.raises(EngineError, match="vLLM failed while it answered"):
        vllm.engine(tiny_model.folder, NAMES).generate(["next " * 40], 1)


def test_a_model_that_only_its_server_knows_answers_freely_and_by_the_text_of_codes(
    vllm: VllmHost, tiny_model: TinyModel
) -> None:
    server, contexts = ServerOptions(vllm.server(tiny_model.folder).url, api_key=API_KEY), random_contexts(50)
    embedded = EmbeddedEngine(tiny_model.folder, NAMES)
    by_text = open_engine("openai", NAMES, server=server).infer(contexts, top_n=1)
    np.testing.assert_array_equal(by_text.clusters, embedded.infer(contexts, top_n=1).clusters)
    asking = Asking(Template.packaged(), Scoring.DESCRIPTION)
    freely = open_engine("openai", NAMES, server=server, asking=asking).infer(contexts, top_n=1)
    written = embedded.generate(embedded.prompts.texts(contexts), 1)
    named = [f"<c{cluster:04d}>" if cluster >= 0 else None for cluster in freely.clusters[:, 0].tolist()]
    assert [code for code in named if code] == [text for text, code in zip(written, named, strict=True) if code]
    assert sum(code is not None for code in named) > 25


def test_a_server_with_another_tokenizer_is_refused(
    vllm: VllmHost, tiny_model: TinyModel, tmp_path_factory: pytest.TempPathFactory
) -> None:
    server = ServerOptions(vllm.server(tiny_model.folder).url, api_key=API_KEY)
    other = write_random_model(tmp_path_factory.mktemp("models") / "other", NAMES, capacity=128)
    with pytest.raises(EngineError, match="tokenizer is another"):
        open_engine("openai", NAMES, model_folder=other, server=server)


@pytest.mark.parametrize(
    ("wrong", "found"), [({"model": "other"}, "'other' was asked for"), ({"api_key": "no-key"}, "answers 401")]
)
def test_a_server_that_has_no_such_model_or_wants_another_key_is_named(
    vllm: VllmHost, tiny_model: TinyModel, wrong: dict[str, Any], found: str
) -> None:
    url = vllm.server(tiny_model.folder).url
    with pytest.raises(EngineError, match=found) as refused:
        open_engine("openai", NAMES, server=replace(ServerOptions(url, api_key=API_KEY), **wrong))
    assert url in str(refused.value)
    assert API_KEY not in str(refused.value)
