"""The free-form probe: the same sample for the same contexts, exact matches counted."""

from __future__ import annotations

import numpy as np

from refresh.codebook import Codebook
from refresh.descriptions import OutputFault
from refresh.probe import probe
from refresh.prompts import TEXT_TEMPLATE, PromptBuilder, Scoring, Template
from tests.refresh.speakers import FakeSpeaker
from tests.refresh.tiny_world import NAMES, contexts_of, random_contexts

PROMPTS = PromptBuilder(Template.packaged(TEXT_TEMPLATE), Codebook.of(NAMES), scoring=Scoring.DESCRIPTION)


def test_the_same_rows_are_asked_in_whatever_order_they_come() -> None:
    contexts = random_contexts(400)
    asked = []
    for rows in (contexts, contexts[np.random.default_rng(0).permutation(400)]):
        speaker = FakeSpeaker(PROMPTS, lambda _: "interest 1")
        assert probe(speaker, rows, seed=3, n_probes=50).n == 50
        asked.append(speaker.asked)
    assert asked[0] == asked[1]
    other = FakeSpeaker(PROMPTS, lambda _: "interest 1")
    probe(other, contexts, seed=4, n_probes=50)
    assert set(other.asked) != set(asked[0])


def test_matches_are_the_catalogues_descriptions_and_valid_ones_are_new() -> None:
    outputs = iter(["interest 5", "interest 1", "junk", ""])
    result = probe(FakeSpeaker(PROMPTS, lambda _: next(outputs)), contexts_of([(1, 2, 3)] * 4), seed=0)
    assert (result.n, result.n_matched, result.n_valid, result.exact_match) == (4, 2, 1, 0.5)
    assert result.faults == {OutputFault.NOT_NEW: 1, OutputFault.UNKNOWN: 1, OutputFault.EMPTY: 1}


def test_no_rows_are_no_probe() -> None:
    result = probe(FakeSpeaker(PROMPTS, lambda _: "x"), contexts_of([]), seed=0)
    assert (result.n, result.exact_match, result.faults) == (0, None, {})
