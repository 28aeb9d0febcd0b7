from __future__ import annotations

import numpy as np
import pytest

from refresh.engines.embedded import EmbeddedEngine
from refresh.evidence.plain import plain_rank
from refresh.study.repetition import Share, repeat_window
from tests.refresh.conftest import TinyModel
from tests.refresh.study.engines import ToldEngine, always, the_line
from tests.refresh.tiny_world import NAMES, tiny_counts
from tidegate.hashing import cluster_seeds

SEEDS = cluster_seeds(NAMES)


def test_the_embedded_engine_answers_the_same_again_in_any_batch_and_order(tiny_model: TinyModel) -> None:
    window = tiny_counts(seed=5, n=6_000)
    found = repeat_window(EmbeddedEngine(tiny_model.folder, NAMES), window, SEEDS)
    assert found.rows == window.pairs.shape[0] > 300 and found.rows_beyond_codebook == 0
    assert found.same_when_repeated.share == found.same_when_repeated_alone.share == 1.0
    assert found.repeats_line.share > 0.9


class _Forgetful(ToldEngine):
    """Answers otherwise each time it is asked."""

    def infer(self, contexts, *, top_n, on_progress=None):
        self.n_asked += 1
        answers = super().infer(contexts, top_n=top_n)
        answers.clusters[:, 0] = self.n_asked % 7
        return answers


def test_an_engine_that_answers_otherwise_when_repeated_is_found_out() -> None:
    found = repeat_window(_Forgetful(the_line), tiny_counts(seed=5), SEEDS)
    assert found.same_when_repeated.share < 0.5


def test_an_engine_whose_answers_hang_on_the_place_in_the_batch_is_found_out() -> None:
    by_place = ToldEngine(lambda contexts: (np.arange(len(contexts)) % 20).astype(np.int32))
    assert repeat_window(by_place, tiny_counts(seed=5), SEEDS).same_when_repeated.share < 0.5


def test_shares_tell_repeating_the_line_from_not_reading_it() -> None:
    window = tiny_counts(seed=5)
    line = plain_rank(window, SEEDS, 1).clusters[:, 0]
    reads, deaf = (repeat_window(ToldEngine(each), window, SEEDS) for each in (the_line, always(7)))
    assert reads.repeats_line.share == 1.0 and reads.same_with_and_without.share == 0.0
    assert reads.differs_from_both.share == 0.0
    assert deaf.same_with_and_without.share == 1.0 and deaf.differs_from_both.share == 0.0
    assert deaf.repeats_line.share == pytest.approx((line == 7).mean())


def test_an_answer_unlike_the_line_and_unlike_the_output_without_it_differs_from_both() -> None:
    def contrary(contexts):
        return np.where(contexts.retrieved[:, 0] < 0, 1, (contexts.retrieved[:, 0] + 5) % 20).astype(np.int32)

    found = repeat_window(ToldEngine(contrary), tiny_counts(seed=5), SEEDS)
    assert found.differs_from_both.share > 0.9


def test_rows_without_a_code_are_left_out_and_counted() -> None:
    window = tiny_counts(seed=5)
    found = repeat_window(ToldEngine(the_line, capacity=10), window, SEEDS)
    assert 0 < found.rows < window.pairs.shape[0] and found.rows + found.rows_beyond_codebook == window.pairs.shape[0]
    nothing = repeat_window(ToldEngine(the_line, capacity=1), window, SEEDS)
    assert nothing.rows == 0 and nothing.repeats_line is None


def test_the_interval_of_a_share_is_wilsons() -> None:
    share = Share.of(np.arange(100) < 8)  # newcombe (1998) and any table: 0.0411 to 0.1500
    assert (round(share.low, 4), round(share.high, 4)) == (0.0411, 0.1500)
    assert Share.of(np.ones(3, np.bool_)).high == 1.0 and Share.of(np.zeros(3, np.bool_)).low == 0.0
    assert Share.of(np.zeros(0, np.bool_)) is None
