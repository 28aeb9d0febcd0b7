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


def test_up_to_1024_clusters_a_code_is_one_token_and_above_two() -> None:
    assert [Codebook.of([str(n) for n in range(count)]).n_levels for count in (1, 1_024, 1_025)] == [1, 1, 2]


def test_a_small_catalogues_codes_are_what_they_always_were() -> None:
    assert Codebook.of(["a"]).fingerprint == "ddbab028cfaf4a557423959c76fe5fe891c701a972798653883dee16c908f530"


@pytest.mark.parametrize("n_clusters", [1_025, 1_650, 12_000, 65_536])
def test_two_levels_have_a_distinct_code_for_every_cluster_and_no_level_is_wider_than_engines_allow(
    n_clusters: int,
) -> None:
    book = Codebook.of([str(n) for n in range(n_clusters)])
    assert len(set(book.codes)) == book.capacity >= n_clusters
    assert all(len(level) <= 256 for level in book.levels)
    digits = book.digits(np.arange(book.capacity, dtype=np.int32))
    high, low = book.levels
    assert [f"{high[h]} {low[lo]}" for h, lo in digits.tolist()] == book.codes
    np.testing.assert_array_equal(digits[:, 0] * book.n_low + digits[:, 1], np.arange(book.capacity))


def test_a_catalogue_that_grows_past_1024_keeps_the_codes_it_began_with() -> None:
    names = [str(n) for n in range(1_100)]
    assert Codebook.of(names[:1_000]).grown(names).n_levels == 1
    assert Codebook.of(names[:1_050]).grown(names).fingerprint == Codebook.of(names[:1_050]).fingerprint


def test_a_codebook_is_found_again_by_its_fingerprint() -> None:
    for book in (Codebook.of(["a"]), Codebook.of([str(n) for n in range(1_300)])):
        assert Codebook.of_fingerprint(book.names, book.capacity, book.fingerprint) == book
    assert Codebook.of_fingerprint(["a"], 64, "of another version") is None
