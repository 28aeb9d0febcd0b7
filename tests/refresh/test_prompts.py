from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refresh.codebook import Codebook
from refresh.prompts import (
    TEXT_TEMPLATE,
    Description,
    PromptBuilder,
    RowContexts,
    Scoring,
    Template,
    sort_for_prefix,
)
from refresh.template import GROUPS
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


TEXT = Template.packaged(TEXT_TEMPLATE)
KEYWORDS = {"interest 1": "opera, arias", "interest 4": "chess"}


def test_a_text_template_says_names_and_keywords_in_quotes_and_none_without() -> None:
    contexts = RowContexts(np.array([1], np.int32), np.array([2], np.int32), np.array([[3, 4]], np.int32))
    (text,) = PromptBuilder(TEXT, BOOK, n_retrieved=2, keywords=KEYWORDS).texts(contexts)
    assert 'First interest: "interest 1"\nKeywords: "opera, arias"\n' in text
    assert 'Second interest: "interest 2"\nKeywords: none\n' in text
    assert text.endswith('moved on to: "interest 3", "interest 4"\nNext new interest:')


def test_a_row_of_c2_alone_has_no_first_interest_and_a_thin_one_no_line() -> None:
    (text,) = PromptBuilder(TEXT, BOOK).texts(contexts_of([(-1, 4, -1)]))
    assert "First interest: none\nKeywords: none\n" in text
    assert "moved on to: none\n" in text


def test_prompts_of_one_c1_share_all_text_before_c2() -> None:
    one, other = PromptBuilder(TEXT, BOOK).texts(contexts_of([(1, 2, 3), (1, 5, 7)]))
    shared = one.index("Second interest: ")
    assert one[:shared] == other[:shared]


def test_a_template_may_say_codes_and_names() -> None:
    both = Template("both.v1", "{c1} {name1} then {c2} {name2}, others {retrieved}. Next code:")
    (text,) = PromptBuilder(both, BOOK).texts(contexts_of([(-1, 2, 3)]))
    assert text == '<none> none then <c0002> "interest 2", others <c0003>. Next code:'


def test_every_placeholder_is_filled() -> None:
    names = " ".join(f"{{{name}}}" for group in GROUPS for name in group)
    (text,) = PromptBuilder(Template("all.v1", names), BOOK, 2, KEYWORDS).texts(
        RowContexts(np.array([1], np.int32), np.array([4], np.int32), np.array([[5, 1]], np.int32))
    )
    assert text == (
        '<c0001> "interest 1" "opera, arias" <c0004> "interest 4" "chess" '
        '<c0005> <c0001> "interest 5", "interest 1" "", "opera, arias"'
    )


def test_a_cluster_without_a_name_yet_cannot_be_said() -> None:
    with pytest.raises(CatalogueError, match="names cluster 20, the codebook ends at 19"):
        PromptBuilder(TEXT, BOOK).texts(contexts_of([(1, 2, 20)]))


def test_a_model_of_words_is_given_no_text_template() -> None:
    with pytest.raises(ConfigError, match="reads words and codes only"):
        PromptBuilder(TEXT, BOOK).token_ids(contexts_of([(1, 2, 3)]), {})


def test_no_rows_are_no_prompts() -> None:
    vocabulary = new_tokenizer(TEMPLATE, BOOK).get_vocab()
    builder = PromptBuilder(TEMPLATE, BOOK)
    assert builder.token_ids(contexts_of([]), vocabulary).shape == (0, builder.n_tokens)
    assert builder.texts(contexts_of([])) == []


def test_free_answers_may_be_as_long_as_the_longest_description_in_bytes() -> None:
    book = Codebook.of(["日本料理", "jazz"])
    assert PromptBuilder(TEXT, book, scoring=Scoring.DESCRIPTION).max_answer_tokens == 12 + 1


def test_codes_of_two_levels_take_two_tokens_each() -> None:
    book = Codebook.of([f"interest {n}" for n in range(1_300)])
    prompts, contexts = PromptBuilder(TEMPLATE, book, n_retrieved=2), random_contexts(200, 1_300)
    tokenizer = new_tokenizer(TEMPLATE, book)
    texts = prompts.texts(contexts)
    tokens = prompts.token_ids(contexts, tokenizer.get_vocab())
    np.testing.assert_array_equal(tokens, [tokenizer.encode(text) for text in texts])
    assert tokens.shape[1] == len(TEMPLATE.text.split()) - 3 + 2 * 4


def test_free_answers_are_codes_or_names_or_keywords() -> None:
    codes = PromptBuilder(TEXT, BOOK)
    by_name = PromptBuilder(TEXT, BOOK, scoring=Scoring.DESCRIPTION)
    by_keywords = replace(by_name, keywords=KEYWORDS, described_by=Description.KEYWORDS)
    assert codes.answers[1] == "<c0001>" and codes.max_answer_tokens == 1
    assert by_name.answers[1] == "interest 1" and by_name.max_answer_tokens == len("interest 19") + 1
    assert by_keywords.answers[1] == "opera, arias"
    assert PromptBuilder(TEMPLATE, BOOK, scoring=Scoring.DESCRIPTION).answers[1] == "<c0001>"


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
