"""Predictions in the codes of shards are those in cluster ids, translated."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.predictions import Predictions, index_predictions
from tidegate.cli.scoring import in_codes
from tidegate.counts import pack_pairs
from tidegate.hashing import find_slot

N_CODES = 9
rows = st.dictionaries(st.tuples(st.integers(0, 5), st.integers(0, 5)), st.integers(0, 5), max_size=12)


def _answer(predictions: Predictions, c1: int, c2: int) -> int:
    key = pack_pairs(np.array([c1]), np.array([c2])).astype(np.uint64)[0]
    slot = find_slot(key, predictions.index_keys, predictions.index_slots)
    return int(predictions.answers[slot]) if slot >= 0 else -1


def _ranked(predictions: Predictions, c2: int) -> list[int]:
    return predictions.backoff[c2].tolist() if c2 < len(predictions.backoff) else [-1, -1]


def _bits(predictions: Predictions, cluster: int) -> int:
    return int(predictions.microbits[min(cluster, len(predictions.microbits) - 1)])


@settings(deadline=None)  # the first call loads a kernel
@given(
    answers=rows,
    backoff=st.lists(st.tuples(st.integers(-1, 5), st.integers(-1, 5)), max_size=6),
    n_known=st.integers(0, 6),
    codes=st.permutations(range(N_CODES)),
)
def test_translated_predictions_answer_as_a_plain_translation_does(
    answers: dict[tuple[int, int], int], backoff: list[tuple[int, int]], n_known: int, codes: list[int]
) -> None:
    pairs = np.array(sorted(answers), np.int64).reshape(-1, 2)
    keys = pack_pairs(pairs[:, 0], pairs[:, 1])
    plain = index_predictions(
        keys,
        np.array([answers[c1, c2] for c1, c2 in pairs.tolist()], np.int32),
        np.array(backoff, np.int32).reshape(-1, 2),
        np.arange(100, 101 + n_known),
    )
    code_of_id = np.array(codes[:6], np.int32)
    coded = in_codes(plain, keys, code_of_id)
    assert coded.is_serving
    id_of_code = {code: cluster_id for cluster_id, code in enumerate(codes[:6])}
    code_of = {**dict(enumerate(codes[:6])), -1: -1}
    for code in range(N_CODES):
        cluster = id_of_code.get(code, N_CODES)
        assert _ranked(coded, code) == [code_of[each] for each in _ranked(plain, cluster)]
        assert _bits(coded, code) == _bits(plain, cluster)
        for other in range(N_CODES):
            expected = answers.get((cluster, id_of_code.get(other, N_CODES)), -1)
            assert _answer(coded, code, other) == code_of[expected]
