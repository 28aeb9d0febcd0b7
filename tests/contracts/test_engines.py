"""What every engine keeps."""

from __future__ import annotations

import numpy as np
import pytest

from refresh.engines import Engine, open_engine
from refresh.row_key import row_keys
from refresh.validation import Fault, validate
from tests.refresh.conftest import TinyModel, tiny_model
from tests.refresh.tiny_world import N_CLUSTERS, NAMES, contexts_of, random_contexts
from tidegate.errors import CatalogueError

__all__ = ["tiny_model"]


@pytest.fixture(params=["frequency", "embedded"])
def engine(request: pytest.FixtureRequest, tiny_model: TinyModel) -> Engine:
    return open_engine(request.param, NAMES, model_folder=tiny_model.folder)


def test_answers_come_in_the_shapes_and_types_of_the_contract(engine: Engine) -> None:
    answers = engine.infer(random_contexts(30), top_n=4)
    columns = (answers.clusters, answers.probabilities, answers.label_mass)
    assert [column.shape for column in columns] == [(30, 4), (30, 4), (30,)]
    assert [str(column.dtype) for column in columns] == ["int32", "float32", "float32"]
    assert ((answers.label_mass >= 0) & (answers.label_mass <= 1)).all()


def test_order_and_batch_do_not_change_a_bit(engine: Engine) -> None:
    contexts = random_contexts(1_300)
    whole = engine.infer(contexts, top_n=3)
    order = np.random.default_rng(1).permutation(1_300)
    shuffled = engine.infer(contexts[order], top_n=3)
    alone = engine.infer(contexts[700:701], top_n=3)
    for name in ("clusters", "probabilities", "label_mass"):
        np.testing.assert_array_equal(getattr(shuffled, name), getattr(whole, name)[order])
        np.testing.assert_array_equal(getattr(alone, name), getattr(whole, name)[700:701])


def test_every_given_answer_is_valid_even_when_all_ranks_are_asked(engine: Engine) -> None:
    contexts = random_contexts(500)
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
    engine.infer(random_contexts(1_300), top_n=1, on_progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 1_300


def test_new_interests_are_answered_and_keep_all_keys(engine: Engine) -> None:
    contexts = random_contexts(50)
    before = row_keys(contexts, engine.prompts, engine.fingerprint)
    engine.grow([*NAMES, "new"])
    np.testing.assert_array_equal(row_keys(contexts, engine.prompts, engine.fingerprint), before)
    assert engine.infer(contexts_of([(1, 2, N_CLUSTERS)]), top_n=1).clusters.tolist() == [[N_CLUSTERS]]


def test_renamed_interests_are_refused(engine: Engine) -> None:
    with pytest.raises(CatalogueError, match="Cluster 0"):
        engine.grow(["renamed", *NAMES[1:]])
