from __future__ import annotations

import decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.decoding.id_hashes import hash_ids, hash_integers, hash_texts
from tidegate.hashing import hash_text
from tidegate.jit import is_compiled


@settings(deadline=None)  # the first example compiles
@given(st.lists(st.text(st.characters(min_codepoint=33, exclude_categories=["Cs"]), max_size=100)))
def test_texts_hash_like_the_reference_implementation(texts: list[str]) -> None:
    hashes, present = hash_ids(pa.array(texts, pa.string()))
    assert is_compiled(hash_texts)
    assert present.tolist() == [bool(text) for text in texts]
    assert hashes.tolist() == [hash_text(text) for text in texts]


@settings(deadline=None)  # the first example compiles
@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_integers_hash_like_their_text(values: list[int]) -> None:
    hashes, _ = hash_ids(pa.array(values, pa.int64()))
    assert is_compiled(hash_integers)
    assert hashes.tolist() == [hash_text(str(value)) for value in values]


@pytest.mark.parametrize(
    "ids",
    [
        pa.array([7, None]),
        pa.array([7, None], pa.int16()),
        pa.array([7, None], pa.uint64()),
        pa.array([7.0, None]),
        pa.array([7.0, np.nan]),
        pa.array([7.0, None], pa.float32()),
        pa.array(["7", None]),
        pa.array(["7", None], pa.large_string()),
        pa.array([" 7\t", " "]),
        pa.array([b"7", b"\xff"]),
        pa.array([decimal.Decimal(7), None]),
        pa.array(["7", None]).dictionary_encode(),
        pa.array([7, None]).dictionary_encode(),
    ],
    ids=lambda ids: str(ids.type),
)
def test_seven_is_seven_in_every_type_and_a_gap_is_a_gap(ids: pa.Array) -> None:
    hashes, present = hash_ids(ids)
    assert int(hashes[0]) == hash_text("7")
    assert present.tolist() == [True, False]


def test_a_dictionary_of_few_values_hashes_only_those() -> None:
    ids = pa.array(["a", "b", None, "a", "", "a", "b"]).dictionary_encode()
    hashes, present = hash_ids(ids)
    assert present.tolist() == [True, True, False, True, False, True, True]
    assert hashes[present].tolist() == [hash_text(text) for text in "abaab"]


def test_floats_with_fractions_keep_them() -> None:
    hashes, present = hash_ids(pa.array([7.0, 7.5, 1e300, None]))
    assert present.tolist() == [True, True, True, False]
    assert hashes[:3].tolist() == [hash_text("7"), hash_text("7.5"), hash_text(str(int(1e300)))]


def test_a_slice_hashes_its_own_rows() -> None:
    hashes, _ = hash_ids(pa.array(["a", "bb", "ccc", "d"]).slice(1, 2))
    assert hashes.tolist() == [hash_text("bb"), hash_text("ccc")]


def test_no_ids_have_no_hashes() -> None:
    assert [len(part) for part in hash_ids(pa.array([], pa.string()))] == [0, 0]
