"""Ranks from the best tokens of prompts are those of all tokens, with as few prompts as that takes."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import pytest
import xxhash
from numpy.typing import NDArray

from refresh.codebook import Codebook
from refresh.engines import Usage
from refresh.engines.code_model import CodeModel, Prompt
from refresh.engines.code_scoring import SharedTokens, TokenScores, score_rows
from refresh.prompts import PromptBuilder, RowContexts, Template
from tests.refresh.tiny_world import random_contexts
from tidegate.errors import EngineError

N_WORDS = 30


class TableScorer:
    """A model whose logits follow from the prompt; returns the `n_best` tokens, and the best that is allowed."""

    def __init__(self, n_tokens: int, n_best: int, *, is_restrictable: bool = True, scale: float = 1.0) -> None:
        self.n_tokens, self.n_best, self.is_restrictable, self.scale = n_tokens, n_best, is_restrictable, scale
        self.heeds, self.n_asked = True, 0

    def logprobs(self, prompt: Prompt) -> NDArray[np.float64]:
        generator = np.random.default_rng(xxhash.xxh3_64_intdigest(repr(prompt).encode()))
        logits = self.scale * generator.normal(size=self.n_tokens)
        return logits - np.log(np.exp(logits).sum())

    def score(self, prompts: Sequence[Prompt], allowed: Sequence[SharedTokens]) -> TokenScores:
        self.n_asked += len(prompts)
        tokens = np.full((len(prompts), self.n_best + 1), -1, np.int64)
        for row, (prompt, of_row) in enumerate(zip(prompts, allowed, strict=True)):
            logprobs = self.logprobs(prompt)
            tokens[row, : self.n_best] = np.argsort(-logprobs)[: self.n_best]
            if self.is_restrictable and self.heeds:
                tokens[row, -1] = max(of_row, key=lambda token: logprobs[token])
        known = [np.append(self.logprobs(prompt), -np.inf)[row] for prompt, row in zip(prompts, tokens, strict=True)]
        logprobs_of = np.array(known, np.float32).reshape(tokens.shape)
        return TokenScores(tokens, logprobs_of, Usage(n_prompts=len(prompts)))


def model_of(n_clusters: int, capacity: int, n_levels: int = 1) -> tuple[CodeModel, int]:
    """Make a model whose codes' tokens stand in no order among words; returns the number of tokens as well."""
    book = Codebook(tuple(f"interest {cluster}" for cluster in range(n_clusters)), capacity, n_levels)
    template = Template.packaged()
    words = [
        *(f"word {n}" for n in range(N_WORDS)),
        "<none>",
        *template.words,
        *(token for level in book.levels for token in level),
    ]
    order = np.random.default_rng(5).permutation(len(words))
    vocabulary = {words[at]: int(token) for token, at in enumerate(order)}
    levels = tuple(np.array([vocabulary[token] for token in level], np.int64) for level in book.levels)
    builder = PromptBuilder(template, book)
    return CodeModel(builder, "f", n_clusters, levels, vocabulary=vocabulary), len(words)


def expected(scorer: TableScorer, model: CodeModel, contexts: RowContexts, top_n: int) -> NDArray[np.int64]:
    """Rank by the probabilities of all codes, plainly."""
    ranked = np.full((len(contexts), top_n), -1)
    for row, (prompt, allowed) in enumerate(zip(model.rendered(contexts), model.allowed(contexts), strict=True)):
        assert not isinstance(prompt, str)
        logprobs = scorer.logprobs(prompt)[model.level_tokens[0]]
        if len(model.level_tokens) == 2:
            low = [scorer.logprobs([*prompt, int(high)])[model.level_tokens[1]] for high in model.level_tokens[0]]
            logprobs = (logprobs[:, None] + np.array(low)).ravel()[: allowed.shape[0]]
        best = [cluster for cluster in np.argsort(-logprobs) if allowed[cluster]][:top_n]
        ranked[row, : len(best)] = best
    return ranked


@pytest.mark.parametrize("n_best", [1, 4, 100])
def test_ranks_are_those_of_all_codes_however_few_tokens_are_returned(n_best: int) -> None:
    model, n_tokens = model_of(20, 64)
    scorer, contexts = TableScorer(n_tokens, n_best), random_contexts(40)
    answers = score_rows(scorer, model, contexts, 5)
    np.testing.assert_array_equal(answers.clusters, expected(scorer, model, contexts, 5))
    assert (np.diff(answers.probabilities, axis=1) <= 0).all()
    assert answers.usage.n_prompts == scorer.n_asked
    assert scorer.n_asked == 40 or n_best < 100


def test_label_mass_is_the_probability_of_all_that_is_allowed() -> None:
    model, n_tokens = model_of(20, 64)
    scorer, contexts = TableScorer(n_tokens, n_tokens), random_contexts(10)
    mass = score_rows(scorer, model, contexts, 2).label_mass
    allowed = model.allowed(contexts)
    wanted = [
        np.exp(scorer.logprobs(prompt)[model.level_tokens[0][of_row]]).sum()
        for prompt, of_row in zip(model.rendered(contexts), allowed, strict=True)
    ]
    np.testing.assert_allclose(mass, wanted, rtol=1e-5)


@pytest.mark.parametrize(("n_best", "scale"), [(1, 1.0), (40, 1.0), (2_000, 1.0), (2_000, 4.0)])
def test_two_levels_give_the_ranks_of_all_products(n_best: int, scale: float) -> None:
    model, n_tokens = model_of(1_200, 2_112, n_levels=2)
    scorer, contexts = TableScorer(n_tokens, min(n_best, n_tokens), scale=scale), random_contexts(12, 1_200)
    answers = score_rows(scorer, model, contexts, 3)
    np.testing.assert_array_equal(answers.clusters, expected(scorer, model, contexts, 3))


def test_low_tokens_are_not_asked_for_where_the_high_one_alone_is_too_unlikely() -> None:
    model, n_tokens = model_of(1_200, 2_112, n_levels=2)
    contexts, asked = random_contexts(30, 1_200), []
    for scale in (0.1, 6.0):  # the flatter, the more high tokens may hold a rank
        scorer = TableScorer(n_tokens, n_tokens, scale=scale)
        score_rows(scorer, model, contexts, 1)
        asked.append(scorer.n_asked)
    n_high = -(-1_200 // model.prompts.codebook.n_low)
    assert asked[0] == 30 * (1 + n_high)  # the high token, and all of those that clusters have
    assert 30 * 2 <= asked[1] < asked[0]


def test_a_server_that_cannot_restrict_gives_the_ranks_that_it_shows() -> None:
    model, n_tokens = model_of(20, 64)
    scorer, contexts = TableScorer(n_tokens, 30, is_restrictable=False), random_contexts(30)
    answers = score_rows(scorer, model, contexts, 20)
    assert scorer.n_asked == 30
    shown, plain = answers.clusters >= 0, expected(scorer, model, contexts, 20)
    assert 0 < shown.mean() < 1
    np.testing.assert_array_equal(answers.clusters[shown], plain[shown])


def test_an_engine_that_does_not_heed_what_is_allowed_is_refused() -> None:
    model, n_tokens = model_of(20, 64)
    scorer = TableScorer(n_tokens, 1)
    scorer.heeds = False
    with pytest.raises(EngineError, match="not allowed"):
        score_rows(scorer, model, random_contexts(30), 5)


def test_shared_tokens_are_shared_by_deep_copies() -> None:
    tokens = SharedTokens([1, 2])
    assert copy.deepcopy({"allowed": tokens})["allowed"] is tokens
