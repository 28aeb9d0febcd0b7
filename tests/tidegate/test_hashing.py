"""Hashes that results and stores depend on: they may never change."""

from __future__ import annotations

import numpy as np

from tidegate.hashing import KeyIndex, cluster_seeds, hash_text


def test_texts_are_hashed_with_xxh64_of_their_utf8_bytes() -> None:
    assert hash_text("") == 0xEF46DB3751D8E999
    assert hash_text("abc") == 0x44BC2CF5AD770999
    assert hash_text("é") != hash_text("e\u0301")
    assert hash_text("abc", seed=1) != hash_text("abc")


def test_a_cluster_keeps_its_seed_whatever_its_id() -> None:
    seeds = cluster_seeds(["art", "zoo", "bee"])
    assert seeds.dtype == np.uint64
    assert seeds[[2, 0, 1]].tolist() == cluster_seeds(["bee", "art", "zoo"]).tolist()
    assert cluster_seeds([]).shape == (0,)


def test_an_empty_request_of_an_index_is_harmless() -> None:
    index = KeyIndex()
    assert index.slots(np.zeros(0, np.uint64)).tolist() == []
    assert len(index) == 0
    assert index.keys.tolist() == []
