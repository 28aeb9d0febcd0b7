from __future__ import annotations

import numpy as np
import pytest

from refresh.codebook import Codebook, default_capacity, names_fingerprint
from tidegate.errors import CatalogueError


def test_every_capacity_leaves_a_quarter_spare_in_steps_of_64() -> None:
    assert [default_capacity(n) for n in (1, 51, 52, 64, 761)] == [64, 64, 128, 128, 960]


def test_codes_are_distinct_and_equally_long() -> None:
    codes = Codebook.of(["a"], capacity=12_000).codes
    assert len(set(codes)) == 12_000
    assert {len(code) for code in codes} == {len("<c00000>")}


def test_growth_keeps_the_fingerprint_and_the_hashes_of_known_names() -> None:
    small = Codebook.of(["a", "b"])
    grown = small.grown(["a", "b", "c"])
    assert grown.fingerprint == small.fingerprint
    np.testing.assert_array_equal(grown.name_hashes[:2], small.name_hashes[:2])
    assert names_fingerprint(grown.names) != names_fingerprint(small.names)


def test_another_capacity_is_another_codebook() -> None:
    assert Codebook.of(["a"], 64).fingerprint != Codebook.of(["a"], 128).fingerprint


def test_a_catalogue_beyond_the_codes_asks_for_a_fine_tune() -> None:
    with pytest.raises(CatalogueError, match=r"65 clusters, the codebook 64 codes.*Fine-tune"):
        Codebook.of(["a"], 64).grown([str(n) if n else "a" for n in range(65)])


def test_a_renamed_cluster_is_refused() -> None:
    with pytest.raises(CatalogueError, match=r"Cluster 1 is 'x'.*'b'"):
        Codebook.of(["a", "b"]).grown(["a", "x", "c"])


def test_more_codes_than_ids_are_refused() -> None:
    with pytest.raises(CatalogueError, match="65536 is the most"):
        Codebook.of(["a"], 1 << 17)
