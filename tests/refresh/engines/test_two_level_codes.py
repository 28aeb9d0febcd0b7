"""A catalogue of 1,300 clusters: codes of two tokens, taught, scored exactly, answered with valid clusters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from refresh.codebook import Codebook
from refresh.engines.code_tokens import CodeTokens
from refresh.engines.embedded import EmbeddedEngine
from refresh.engines.model_files import read_manifest, read_model, read_vocabulary
from refresh.probe import probe
from refresh.prompts import PromptBuilder, RowContexts, Template
from refresh.row_key import row_keys
from refresh.training import TrainingBudget, TrainingReport, train_model
from refresh.training.model import ModelShape, new_model, new_tokenizer
from refresh.validation import validate
from tests.refresh.tiny_world import contexts_of, random_contexts, tiny_counts

N_CLUSTERS = 1_300
NAMES = [f"interest {cluster}" for cluster in range(N_CLUSTERS)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainingReport]:
    folder = tmp_path_factory.mktemp("models") / "large"
    budget = TrainingBudget(n_samples=512, transition_epochs=1, batch_size=128)
    counts = tiny_counts(seed=1, n=1_000, n_clusters=N_CLUSTERS), tiny_counts(seed=2, n=1_000, n_clusters=N_CLUSTERS)
    return folder, train_model(NAMES, *counts, folder, seed=7, budget=budget)


@pytest.fixture(scope="module")
def engine(trained: tuple[Path, TrainingReport]) -> EmbeddedEngine:
    return EmbeddedEngine(trained[0], NAMES)


def some_contexts(n: int) -> RowContexts:
    """Contexts with clusters from all over the catalogue."""
    small = random_contexts(n, 26)
    return RowContexts(
        *(np.where(c >= 0, c * 50 + 7, -1).astype(np.int32) for c in (small.c1, small.c2, small.retrieved))
    )


def test_it_learns_to_read_every_code_and_says_so(trained: tuple[Path, TrainingReport]) -> None:
    manifest, _ = read_manifest(trained[0])
    assert trained[1].copy_accuracy >= 0.99
    assert manifest.capacity == 1_664


def test_answers_are_clusters_of_the_catalogue_and_follow_the_line(engine: EmbeddedEngine) -> None:
    contexts = some_contexts(300)
    answers = engine.infer(contexts, top_n=5)
    assert validate(answers, contexts, N_CLUSTERS).valid.all()
    has_line = contexts.retrieved[:, 0] >= 0
    assert (answers.clusters[has_line, 0] == contexts.retrieved[has_line, 0]).mean() >= 0.95
    assert (answers.label_mass <= 1).all()
    assert (answers.label_mass >= answers.probabilities.sum(axis=1) - 1e-5).all()
    assert (answers.usage.n_prompts, answers.usage.n_output_tokens) == (300, 600)


def test_order_and_batch_do_not_change_a_bit(engine: EmbeddedEngine) -> None:
    contexts = some_contexts(600)
    whole = engine.infer(contexts, top_n=3)
    order = np.random.default_rng(1).permutation(600)
    shuffled, alone = engine.infer(contexts[order], top_n=3), engine.infer(contexts[599:], top_n=3)
    for name in ("clusters", "probabilities", "label_mass"):
        np.testing.assert_array_equal(getattr(shuffled, name), getattr(whole, name)[order])
        np.testing.assert_array_equal(getattr(alone, name), getattr(whole, name)[599:])


def test_probabilities_are_those_of_asking_once_for_each_high_token(
    trained: tuple[Path, TrainingReport], engine: EmbeddedEngine
) -> None:
    book, contexts = engine.prompts.codebook, some_contexts(8)
    model = read_model(trained[0])
    vocabulary = read_vocabulary(trained[0], engine.prompts.template, book)
    tokens = torch.from_numpy(engine.prompts.token_ids(contexts, vocabulary))
    highs, lows = ([vocabulary[token] for token in level] for level in book.levels)
    expected = np.zeros((8, len(highs) * len(lows)))
    with torch.inference_mode():
        of_high = torch.softmax(model(input_ids=tokens).logits[:, -1].double(), dim=1)
        for number, high in enumerate(highs):
            longer = torch.cat([tokens, torch.full((8, 1), high)], dim=1)
            of_low = torch.softmax(model(input_ids=longer).logits[:, -1].double(), dim=1)[:, lows]
            expected[:, number * len(lows) : (number + 1) * len(lows)] = of_high[:, [high]] * of_low
        found = CodeTokens.of(book, vocabulary).probabilities(model, tokens).numpy()
    np.testing.assert_allclose(found, expected[:, : book.capacity], rtol=1e-4, atol=1e-7)


def test_written_freely_it_writes_codes_and_the_same_ones(engine: EmbeddedEngine) -> None:
    contexts = some_contexts(100)
    contexts = contexts[np.flatnonzero(contexts.retrieved[:, 0] >= 0)]
    result = probe(engine, contexts, seed=0)
    assert result.exact_match is not None and result.exact_match >= 0.95
    (text,) = engine.generate(engine.prompts.texts(contexts[:1]), 2)
    assert text == engine.prompts.codebook.codes[engine.infer(contexts[:1], top_n=1).clusters[0, 0]]


def test_a_catalogue_that_grows_keeps_answers_and_keys_and_reads_the_new_one(engine: EmbeddedEngine) -> None:
    contexts = some_contexts(50)
    before, keys = engine.infer(contexts, top_n=3), row_keys(contexts, engine.prompts, engine.fingerprint)
    engine.grow([*NAMES, "new"])
    after = engine.infer(contexts, top_n=3)
    np.testing.assert_array_equal(before.clusters, after.clusters)
    np.testing.assert_array_equal(before.probabilities, after.probabilities)
    np.testing.assert_array_equal(row_keys(contexts, engine.prompts, engine.fingerprint), keys)
    assert engine.infer(contexts_of([(1, 2, N_CLUSTERS)]), top_n=1).clusters.tolist() == [[N_CLUSTERS]]


def test_the_largest_codebook_there_can_be_is_scored_exactly() -> None:
    template, book = Template.packaged(), Codebook.of([f"interest {n}" for n in range(65_536)])
    tokenizer = new_tokenizer(template, book)
    model, vocabulary = new_model(len(tokenizer), ModelShape(), seed=1), tokenizer.get_vocab()
    contexts = contexts_of([(60_000, 3, 65_535), (-1, 9_999, -1)])
    tokens = torch.from_numpy(PromptBuilder(template, book).token_ids(contexts, vocabulary))
    codes = CodeTokens.of(book, vocabulary)
    lows = [vocabulary[token] for token in book.levels[1]]
    with torch.inference_mode():
        found = codes.probabilities(model, tokens).numpy()
        of_high = torch.softmax(model(input_ids=tokens).logits[:, -1], dim=1)
        for number in (0, 255):
            high = vocabulary[book.levels[0][number]]
            longer = torch.cat([tokens, torch.full((2, 1), high)], dim=1)
            of_low = torch.softmax(model(input_ids=longer).logits[:, -1], dim=1)[:, lows]
            expected = (of_high[:, [high]] * of_low).numpy()
            np.testing.assert_allclose(found[:, number * 256 : number * 256 + 256], expected, rtol=1e-4)
    assert found.shape == (2, 65_536)
    assert (found.sum(axis=1) <= 1).all()
    free = codes.free(model, tokens)
    assert ((free >= -1) & (free < 65_536)).all()
