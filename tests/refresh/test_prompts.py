from __future__ import annotations

import numpy as np
import pytest

from refresh.codebook import Codebook
from refresh.prompts import PromptBuilder, RowContexts, Template, sort_for_prefix
from refresh.training.model import new_tokenizer
from tests.refresh.tiny_world import NAMES, contexts_of, random_contexts
from tidegate.errors import CatalogueError, ConfigError

BOOK = Codebook.of(NAMES)
TEMPLATE = Template.packaged()


def test_text_tokenises_to_the_token_ids() -> None:
    prompts, contexts = PromptBuilder(TEMPLATE, BOOK), random_contexts(200)
    tokenizer = new_tokenizer(TEMPLATE, BOOK)
    expected = [tokenizer.encode(text) for text in prompts.texts(contexts)]
    np.testing.assert_array_equal(prompts.token_ids(contexts, tokenizer.get_vocab()), expected)


def test_a_prompt_stays_short_and_goes_from_static_to_specific() -> None:
    (text,) = PromptBuilder(TEMPLATE, BOOK).texts(contexts_of([(3, 4, 5)]))
    words = text.split()
    assert len(words) <= 16
    assert words.index("<c0003>") < words.index("<c0004>") < words.index("<c0005>") < len(words) - 1


def test_missing_c1_and_missing_line_read_none() -> None:
    (text,) = PromptBuilder(TEMPLATE, BOOK).texts(contexts_of([(-1, 4, -1)]))
    assert text.split().count("<none>") == 2


def test_other_engines_read_names() -> None:
    contexts = RowContexts(np.array([1], np.int32), np.array([2], np.int32), np.array([[3, 4]], np.int32))
    (text,) = PromptBuilder(TEMPLATE, BOOK, n_retrieved=2).texts(contexts, labels=NAMES, separator="; ")
    assert "interest 3; interest 4" in text


def test_lines_shorter_than_the_prompt_are_filled_and_longer_ones_cut() -> None:
    contexts = contexts_of([(1, 2, 3)])
    assert contexts.columns(3).tolist() == [[1, 2, 3, -1, -1]]
    assert contexts.columns(0).tolist() == [[1, 2]]


def test_rows_are_sorted_by_c1_then_c2() -> None:
    contexts = contexts_of([(2, 1, 0), (1, 3, 0), (1, 2, 0), (-1, 5, 0)])
    assert sort_for_prefix(contexts).tolist() == [3, 2, 1, 0]


def test_a_cluster_beyond_the_codebook_is_refused() -> None:
    with pytest.raises(CatalogueError, match="names cluster 64, the codebook ends at 63"):
        PromptBuilder(TEMPLATE, BOOK).texts(contexts_of([(1, 2, 64)]))


@pytest.mark.parametrize(
    "text", ["no placeholder", "{c2} {c1} {retrieved}", "{c1} {c2} {retrieved} {c1}", "x{c1} {c2} {retrieved}"]
)
def test_a_template_out_of_order_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"Write \{c1\} \{c2\} \{retrieved\}"):
        Template("bad.v1", text)


def test_an_unknown_template_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"next_interest\.v1"):
        Template.packaged("missing.v9")
