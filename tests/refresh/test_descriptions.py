"""Free answers: what counts as one, and that nothing else does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refresh.codebook import Codebook
from refresh.descriptions import DescriptionEngine, Descriptions, OutputFault, normalised
from refresh.prompts import TEXT_TEMPLATE, Description, PromptBuilder, Scoring, Template
from refresh.validation import Fault, validate
from tests.refresh.speakers import FakeSpeaker
from tests.refresh.tiny_world import NAMES, contexts_of, random_contexts
from tidegate.errors import CatalogueError

DESCRIBED = Descriptions.of(["Jazz & Soul", "Cooking", "Straße", "ﬁlm noir"])
PROMPTS = PromptBuilder(Template.packaged(TEXT_TEMPLATE), Codebook.of(NAMES), scoring=Scoring.DESCRIPTION)


@pytest.mark.parametrize(
    ("output", "cluster"),
    [
        ("Jazz & Soul", 0),
        ("  jazz\t&\n soul \n", 0),
        ("Ｃｏｏｋｉｎｇ", 1),
        ("STRASSE", 2),
        ("film noir", 3),
    ],
)
def test_case_white_space_and_compatibility_forms_do_not_matter(output: str, cluster: int) -> None:
    assert DESCRIBED.cluster_of(output) == cluster


@pytest.mark.parametrize(
    ("output", "fault"),
    [
        ("", OutputFault.EMPTY),
        (" \n\t", OutputFault.EMPTY),
        ("x" * 1_000_000, OutputFault.TOO_LONG),
        ("Cooking" + " " * 30 + "Cooking", OutputFault.TOO_LONG),
        ("Cook\x00ing", OutputFault.CONTROL),
        ("Cooking\u202e", OutputFault.CONTROL),
        ("Cook\u200bing", OutputFault.CONTROL),
        ("\ud800", OutputFault.CONTROL),
        ("Cookin", OutputFault.UNKNOWN),
        ("Cooking.", OutputFault.UNKNOWN),
        ('"Cooking"', OutputFault.UNKNOWN),
        ("1", OutputFault.UNKNOWN),
        ("answer Cooking", OutputFault.UNKNOWN),
    ],
)
def test_nothing_else_is_an_answer_and_nothing_is_guessed(output: str, fault: OutputFault) -> None:
    assert DESCRIBED.cluster_of(output) is fault


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_output_is_a_fault_or_exactly_a_description(output: str) -> None:
    found = DESCRIBED.cluster_of(output)
    if not isinstance(found, OutputFault):
        assert normalised(output) == normalised(DESCRIBED.texts[found])


@settings(deadline=None)
@given(st.text(max_size=60))
def test_normalising_twice_is_normalising_once(text: str) -> None:
    assert normalised(normalised(text)) == normalised(text)


@pytest.mark.parametrize("texts", [["jazz", "soul", "JAZZ "], ["jazz", "soul", "ｊａｚｚ"]])
def test_descriptions_that_mean_two_clusters_are_refused_with_both_named(texts: list[str]) -> None:
    with pytest.raises(CatalogueError, match=r"Clusters 0 \('jazz'\) and 2 \(.*Describe them differently"):
        Descriptions.of(texts)


def test_a_cluster_without_a_description_is_refused() -> None:
    with pytest.raises(CatalogueError, match="Cluster 1 has no description"):
        Descriptions.of(["jazz", ""])


def test_each_output_is_counted_by_its_fault_and_none_of_them_is_served() -> None:
    contexts = contexts_of([(1, 2, 3)] * 7)
    outputs = iter(["interest 5", "interest 1", "INTEREST  2", "", "x" * 999, "\x07", "no such interest"])
    engine = DescriptionEngine(FakeSpeaker(PROMPTS, lambda _: next(outputs)))
    answers = engine.infer(contexts, top_n=3)
    assert answers.clusters.tolist() == [[5, -1, -1]] + [[-1, -1, -1]] * 6
    assert answers.probabilities[:, 0].tolist() == [1, 0, 0, 0, 0, 0, 0] == answers.label_mass.tolist()
    assert engine.faults == {
        OutputFault.NOT_NEW: 2,
        OutputFault.EMPTY: 1,
        OutputFault.TOO_LONG: 1,
        OutputFault.CONTROL: 1,
        OutputFault.UNKNOWN: 1,
    }
    assert validate(answers, contexts, len(NAMES)).faults == {Fault.NO_ANSWER: 6}


def test_the_answer_of_a_row_does_not_depend_on_the_rows_around() -> None:
    def second_interest_reversed(prompt: str) -> str:
        fields = PROMPTS.template.parse(prompt)
        return NAMES[len(NAMES) - 1 - NAMES.index(fields["name2"][0])]

    contexts = random_contexts(300)
    engine = DescriptionEngine(FakeSpeaker(PROMPTS, second_interest_reversed))
    whole = engine.infer(contexts, top_n=2).clusters
    order = np.random.default_rng(0).permutation(300)
    np.testing.assert_array_equal(engine.infer(contexts[order], top_n=2).clusters, whole[order])
    assert (whole[:, 0] >= 0).mean() > 0.8


def test_a_catalogue_that_grows_is_described_as_it_is_now() -> None:
    engine = DescriptionEngine(FakeSpeaker(PROMPTS, lambda _: "new"))
    contexts = contexts_of([(1, 2, 3)])
    assert engine.infer(contexts, top_n=1).clusters.tolist() == [[-1]]
    engine.grow([*NAMES, "new"])
    assert engine.infer(contexts, top_n=1).clusters.tolist() == [[len(NAMES)]]
    with pytest.raises(CatalogueError, match="same description"):
        engine.grow([*NAMES, "new", "NEW"])


def test_keywords_describe_where_they_are_asked_for() -> None:
    keywords = {name: f"words of {name}" for name in NAMES}
    prompts = PromptBuilder(
        PROMPTS.template,
        PROMPTS.codebook,
        keywords=keywords,
        scoring=Scoring.DESCRIPTION,
        described_by=Description.KEYWORDS,
    )
    engine = DescriptionEngine(FakeSpeaker(prompts, lambda _: "Words of interest 9"))
    told: list[int] = []
    answers = engine.infer(contexts_of([(1, 2, 3)]), top_n=1, on_progress=told.append)
    assert (answers.clusters.tolist(), told) == ([[9]], [1])
