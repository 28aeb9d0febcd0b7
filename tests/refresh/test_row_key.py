from __future__ import annotations

from dataclasses import replace

import numpy as np

from refresh.codebook import Codebook
from refresh.engines.frequency import FrequencyEngine
from refresh.prompts import TEXT_TEMPLATE, Description, PromptBuilder, RowContexts, Scoring, Template
from refresh.row_key import row_keys
from tests.refresh.tiny_world import NAMES, contexts_of, random_contexts

PROMPTS = PromptBuilder(Template.packaged(), Codebook.of(NAMES))
ROW = contexts_of([(1, 2, 3)])


def key(contexts: RowContexts = ROW, prompts: PromptBuilder = PROMPTS, model: str = "m", adapter: str = "") -> bytes:
    return row_keys(contexts, prompts, model, adapter).tobytes()


def test_everything_that_determines_a_row_changes_its_key() -> None:
    renamed = Codebook.of([*NAMES[:3], "renamed", *NAMES[4:]])
    keys = [
        key(),
        key(contexts_of([(2, 1, 3)])),
        key(contexts_of([(-1, 2, 3)])),
        key(contexts_of([(1, 2, -1)])),
        key(contexts_of([(1, 2, 4)])),
        key(model="other"),
        key(adapter="a"),
        key(prompts=replace(PROMPTS, template=Template("t.v2", PROMPTS.template.text + " please"))),
        key(prompts=replace(PROMPTS, codebook=Codebook.of(NAMES, 128))),
        key(prompts=replace(PROMPTS, codebook=renamed)),
        key(prompts=replace(PROMPTS, n_retrieved=2)),
    ]
    assert len(set(keys)) == len(keys)


def test_a_new_cluster_leaves_all_keys_as_they_are() -> None:
    contexts = random_contexts(300)
    before, after = (row_keys(contexts, p, "m") for p in (PROMPTS, PROMPTS.grown([*NAMES, "new"])))
    np.testing.assert_array_equal(before, after)


def test_keys_do_not_depend_on_the_rows_around() -> None:
    contexts = random_contexts(300)
    order = np.random.default_rng(0).permutation(300)
    keys = row_keys(contexts, PROMPTS, "m")
    np.testing.assert_array_equal(row_keys(contexts[order], PROMPTS, "m"), keys[order])
    distinct_rows = np.unique(contexts.columns(1), axis=0).shape[0]
    assert np.unique(keys, axis=0).shape[0] == distinct_rows


def test_retrieved_clusters_that_the_prompt_leaves_out_do_not_matter() -> None:
    wider = replace(ROW, retrieved=np.array([[3, 9]], np.int32))
    assert key(wider) == key()


def test_no_rows_have_no_keys() -> None:
    assert row_keys(contexts_of([]), PROMPTS, "m").shape == (0, 2)


def test_keys_are_what_they_always_were() -> None:
    contexts = contexts_of([(1, 2, 3), (-1, 4, 5), (6, 7, -1)])
    engine = FrequencyEngine(NAMES)
    assert [f"{high:016x}{low:016x}" for high, low in row_keys(contexts, PROMPTS, "m").tolist()] == [
        "8080f53eefc9e147c5c506f3d5b75d13",
        "4287285a42b8c3ea19b7647b04986f31",
        "10aaa92908e85f9c68edc9c6957e0e50",
    ]
    assert [
        f"{high:016x}{low:016x}" for high, low in row_keys(contexts, engine.prompts, engine.fingerprint).tolist()
    ] == [
        "48e39febf1919ff412ad82339a97602a",
        "b7d40c3e7e081db3cbca9065019c0a40",
        "7954db095420e487eab2e96bacb2374a",
    ]


def test_keywords_and_the_way_to_answer_change_keys_where_they_are_part_of_the_prompt() -> None:
    text = replace(PROMPTS, template=Template.packaged(TEXT_TEMPLATE))
    said = {NAMES[1]: "opera"}
    keys = [
        key(prompts=text),
        key(prompts=replace(text, keywords=said)),
        key(prompts=replace(text, scoring=Scoring.DESCRIPTION)),
        key(prompts=replace(text, scoring=Scoring.DESCRIPTION, described_by=Description.KEYWORDS)),
    ]
    assert len(set(keys)) == len(keys)
    assert key(prompts=replace(text, keywords={NAMES[9]: "of none of them"})) == keys[0]
    assert key(prompts=replace(PROMPTS, keywords=said)) == key()
