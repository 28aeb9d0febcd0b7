"""The table in memory: how the next one is built, compared and asked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refresh.table import TransitionTable
from refresh.table_diff import diff_tables
from refresh.table_rows import rank_answers
from tests.tables import BACKOFF, NAMES, PAIRS, backoff_rows, pair_rows, small_table
from tidegate.errors import TableError
from tidegate.jit import is_compiled

N = 6
CONTEXTS = st.tuples(st.integers(0, N - 1), st.integers(0, N - 1)).filter(lambda pair: pair[0] != pair[1])


@st.composite
def answered(draw: st.DrawFn) -> dict[tuple[int, int], list[int]]:
    contexts = draw(st.lists(CONTEXTS, unique=True, max_size=12))
    return {
        pair: draw(st.permutations(sorted(set(range(N)) - set(pair))))[: draw(st.integers(0, 3))] for pair in contexts
    }


BACKED = st.dictionaries(st.integers(0, N - 1), st.permutations(range(N)).map(lambda row: row[:3]), max_size=N).map(
    lambda rows: {c2: [c for c in row if c != c2] for c2, row in rows.items()}
)
SIX = tuple("abcdef")


def plain_prediction(pairs: dict, backoff: dict, c1: int, c2: int) -> int:
    if pairs.get((c1, c2)):
        return pairs[c1, c2][0]
    return next((c for c in backoff.get(c2, ()) if c not in (c1, c2)), -1)


def contents(table: TransitionTable) -> dict[tuple[int, int], list[int]]:
    rows = zip(table.pairs.tolist(), table.clusters.tolist(), strict=True)
    return {(pair >> 16, pair & 0xFFFF): [c for c in row if c >= 0] for pair, row in rows}


@given(answered(), BACKED)
@settings(max_examples=60, deadline=None)
def test_compiled_predictions_equal_plain_python(pairs: dict, backoff: dict) -> None:
    table = small_table(pairs, backoff, SIX)
    c1, c2 = (grid.reshape(-1).astype(np.int32) for grid in np.meshgrid(np.arange(-1, N + 1), np.arange(-1, N + 1)))
    expected = [plain_prediction(pairs, backoff, *pair) for pair in zip(c1.tolist(), c2.tolist(), strict=True)]
    assert table.predict(c1, c2).tolist() == expected
    assert is_compiled(rank_answers)


@given(answered(), answered(), st.sets(CONTEXTS, max_size=5))
@settings(max_examples=60, deadline=None)
def test_changes_equal_a_dictionary_update_and_leave_the_old_table_alone(old: dict, new: dict, retired: set) -> None:
    before = small_table(old, {}, SIX)
    checksum = before.content_checksum()
    retired -= set(new)
    keys = np.array([c1 << 16 | c2 for c1, c2 in retired], dtype=np.int64)
    after = before.with_changes(pair_rows(new, refreshed_ms=2_000), keys)
    expected = {pair: row for pair, row in (old | new).items() if pair not in retired}
    assert contents(after) == {pair: list(row) for pair, row in expected.items()}
    assert np.all(np.diff(after.pairs) > 0)
    refreshed = {(key >> 16, key & 0xFFFF) for key in after.pairs[after.refreshed_ms == 2_000].tolist()}
    assert refreshed == set(new)
    assert before.content_checksum() == checksum


@given(answered(), answered(), BACKED, BACKED)
@settings(max_examples=60, deadline=None)
def test_changed_rows_are_those_added_removed_or_ranked_differently(a: dict, b: dict, c: dict, d: dict) -> None:
    rows = {pair for pair in set(a) | set(b) if (pair in a, a.get(pair)) != (pair in b, b.get(pair))}
    levels = {c2 for c2 in set(c) | set(d) if c.get(c2, []) != d.get(c2, [])}
    assert diff_tables(small_table(a, c, SIX), small_table(b, d, SIX)).rows_changed == len(rows) + len(levels)


def test_a_change_of_probabilities_alone_is_no_changed_row_but_is_counted() -> None:
    table = small_table()
    other = replace(table, probabilities=table.probabilities * np.float32(0.5))
    assert diff_tables(other, table).rows_changed == 0
    assert diff_tables(other, table).rows_reweighted == 3
    backoff = replace(table, backoff_probabilities=table.backoff_probabilities * np.float32(0.5))
    assert diff_tables(backoff, table).rows_reweighted == 2


def test_diff_names_the_pairs_of_each_kind() -> None:
    new = small_table({(0, 1): (3, 2), (1, 2): (0,), (2, 0): (1,)}, {1: (0, 2), 2: (0,)})
    found = diff_tables(new, small_table())
    assert found.added.tolist() == [2 << 16]
    assert found.removed.tolist() == [3 << 16 | 1]
    assert found.reranked.tolist() == [1]
    assert (found.backoff_added.tolist(), found.backoff_removed.tolist()) == ([2], [4])
    assert found.backoff_reranked.tolist() == [1]
    assert found.rows_changed == 6


def test_tables_of_different_widths_are_compared_rank_by_rank() -> None:
    wide = TransitionTable.empty(NAMES, 5).with_changes(pair_rows(PAIRS, top_n=5), backoff=backoff_rows(BACKOFF, 5))
    assert diff_tables(wide, small_table()).rows_changed == 0


def test_tables_of_different_catalogues_are_not_compared() -> None:
    with pytest.raises(TableError, match="different catalogues"):
        diff_tables(small_table(), small_table(names=tuple(reversed(NAMES))))


def test_a_grown_catalogue_keeps_its_ids_and_rows() -> None:
    grown = small_table().with_changes(backoff=backoff_rows({5: (0,)}), cluster_names=(*NAMES, "dub"))
    assert contents(grown) == {pair: list(row) for pair, row in PAIRS.items()}
    assert grown.n_backoff_rows == 3
    assert diff_tables(grown, small_table()).rows_changed == 1
    assert small_table().with_changes(cluster_names=NAMES).content_checksum() == small_table().content_checksum()


def test_names_that_do_not_extend_the_old_ones_are_refused() -> None:
    with pytest.raises(TableError, match="do not begin with the table's own"):
        small_table().with_changes(cluster_names=("rock", *NAMES[1:]))


def test_a_row_without_an_answer_counts_as_no_row() -> None:
    table = small_table({(0, 1): ()}, {1: (0, 2)})
    assert table.predict(np.array([0]), np.array([1])).tolist() == [2]


def test_a_backoff_row_is_removed_by_an_empty_one() -> None:
    assert small_table().with_changes(backoff=backoff_rows({1: ()})).n_backoff_rows == 1


def test_retiring_a_pair_without_a_row_changes_nothing() -> None:
    assert (
        diff_tables(small_table().with_changes(retired_pairs=np.array([4 << 16 | 4])), small_table()).rows_changed == 0
    )


def test_the_checksum_leaves_times_out_and_nothing_else() -> None:
    table = small_table()
    assert small_table(refreshed_ms=9).content_checksum() == table.content_checksum()
    for name, array in table.arrays().items():
        other = replace(table, **{name: array + array.dtype.type(1)})
        assert (other.content_checksum() == table.content_checksum()) is (name == "refreshed_ms"), name
    assert small_table(names=(*NAMES[:4], "dub")).content_checksum() != table.content_checksum()


@pytest.mark.parametrize(
    ("answers", "fault"),
    [
        ({(0, 9): (1,)}, "a context that is not in the catalogue"),
        ({(0, 1): (5,)}, "a cluster that is not in the catalogue"),
        ({(0, 1): (-2,)}, "an id below -1"),
        ({(0, 1): (-1, 2)}, "an answer behind a gap"),
        ({(0, 1): (2, 0)}, "its own context as an answer"),
        ({(0, 1): (2, 2)}, "one cluster twice"),
    ],
)
def test_unsound_rows_are_refused(answers: dict, fault: str) -> None:
    with pytest.raises(TableError, match=fault):
        small_table().with_changes(pair_rows(answers))


def test_a_pair_is_upserted_once_and_not_retired_too() -> None:
    rows = pair_rows({(0, 1): (2,), (1, 2): (3,)})
    with pytest.raises(TableError, match="both upserted and retired"):
        small_table().with_changes(rows, rows.pairs[:1])
    with pytest.raises(TableError, match="a pair is given twice"):
        small_table().with_changes(replace(rows, pairs=np.array([1, 1])))
    with pytest.raises(TableError, match="a backoff row is given twice"):
        small_table().with_changes(backoff=replace(backoff_rows(BACKOFF), c2=np.array([1, 1], dtype=np.int32)))


def test_rows_of_another_width_are_refused() -> None:
    with pytest.raises(TableError, match=r"shape \[1, 2\], required is \[1, 3\]"):
        small_table().with_changes(pair_rows({(0, 1): (2,)}, top_n=2))


def test_arrays_of_another_shape_or_dtype_are_refused() -> None:
    table = small_table()
    with pytest.raises(TableError, match=r"contexts is int32\[2\], required is int32\[3\]"):
        replace(table, contexts=table.contexts[:2])
    with pytest.raises(TableError, match=r"probabilities is float64"):
        replace(table, probabilities=table.probabilities.astype(np.float64))
    with pytest.raises(TableError, match="no room for an answer"):
        TransitionTable.empty(NAMES, 0)
    with pytest.raises(TableError, match="65537 clusters"):
        TransitionTable.empty(("x",) * 65_537, 1)
