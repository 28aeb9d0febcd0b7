"""The sequencing kernel against the glossary in plain Python, whole and cut into batches with restarts between."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.predictions import NO_ANSWER, Predictions, hit_microbits, index_predictions, no_predictions, predict_one
from stream.sequence_kernel import extend_sequences
from stream.sequences import Dedup, SequenceOptions, SequenceState
from tests.reference import Recount, Rules, Watch, answer, nothing_serves, recount
from tidegate.counts import bucket_of_key, pack_pairs, pair_of_key, successor_of_key, unpack_pairs
from tidegate.jit import is_compiled

USERS = (0, 1, 7, 2**63 + 5, 2**64 - 1)
N_CLUSTERS = 6
N_BUCKETS = 4


@dataclass(frozen=True, slots=True)
class Table:
    """What serves: rows of pairs, ranked answers by c2, information by cluster."""

    pairs: dict[tuple[int, int], int]
    backoff: list[list[int]]
    microbits: list[int]

    def predictions(self) -> Predictions:
        c1, c2 = np.array(list(self.pairs), np.int64).reshape(-1, 2).T
        return index_predictions(
            pack_pairs(c1, c2),
            np.array(list(self.pairs.values()), np.int32),
            np.array(self.backoff, np.int32).reshape(len(self.backoff), 3),
            np.array(self.microbits, np.int64),
        )

    def predict(self, _pane: int, c1: int, c2: int) -> int:
        return answer(self.pairs, self.backoff, c1, c2)

    def information(self, cluster: int) -> int:
        return self.microbits[min(cluster, len(self.microbits) - 1)]


clusters = st.integers(0, N_CLUSTERS - 1)
answers = st.integers(NO_ANSWER, N_CLUSTERS)
tables = st.builds(
    Table,
    pairs=st.dictionaries(st.tuples(clusters, clusters), answers, max_size=12),
    backoff=st.lists(st.lists(answers, min_size=3, max_size=3), max_size=N_CLUSTERS),
    microbits=st.lists(st.integers(0, 9_000_000), min_size=1, max_size=N_CLUSTERS + 1),
).map(lambda table: Table(table.pairs, [_closed(row) for row in table.backoff], table.microbits))
# Steps of 10 and 11 lie on both sides of the gap of 10, 40 and 41 of the window; zeros are ties.
steps = st.sampled_from([0, 0, 1, 3, 9, 10, 11, 40, 41])
logs = st.lists(st.tuples(st.sampled_from(USERS), clusters, steps), max_size=60)
rules = st.builds(
    Rules,
    pane_ms=st.sampled_from([10, 20]),
    window_ms=st.just(40),
    gap_ms=st.sampled_from([None, 10, 60]),
    adjacent=st.booleans(),
    allow_return=st.booleans(),
)


def _closed(row: list[int]) -> list[int]:
    """Ranked answers end at the first -1."""
    n = row.index(NO_ANSWER) if NO_ANSWER in row else len(row)
    return row[:n] + [NO_ANSWER] * (len(row) - n)


def _watches(log: list[tuple[int, int, int]], start_ms: int = 1_000) -> list[Watch[int]]:
    times_ms = start_ms + np.cumsum([step for _, _, step in log], dtype=np.int64)
    return [Watch(user, cluster, time_ms) for (user, cluster, _), time_ms in zip(log, times_ms.tolist(), strict=True)]


def _options(rules: Rules) -> SequenceOptions:
    return SequenceOptions(
        pane_ms=rules.pane_ms,
        window_ms=rules.window_ms,
        gap_ms=rules.gap_ms,
        dedup=Dedup.ADJACENT if rules.adjacent else Dedup.FIRST,
        allow_return=rules.allow_return,
        n_buckets=N_BUCKETS,
    )


def _extend(state: SequenceState, watches: list[Watch[int]], predictions: Predictions) -> list[int]:
    keys: list[int] = state.extend(
        np.array([watch.user for watch in watches], np.uint64),
        np.array([watch.cluster for watch in watches], np.int32),
        np.array([watch.time_ms for watch in watches], np.int64),
        predictions,
    ).tolist()
    return keys


def _assert_same(keys: list[int], state: SequenceState, expected: Recount[int]) -> None:
    packed = np.array(keys, np.int64)
    c1, c2 = unpack_pairs(pair_of_key(packed))
    columns = (c1, c2, successor_of_key(packed), bucket_of_key(packed))
    got = list(zip(*(column.tolist() for column in columns), strict=True))
    assert got == [(a, b, c, int(user) % N_BUCKETS) for user, a, b, c in expected.transitions]  # type: ignore[call-overload]
    figures = {state.stats.base_pane + i: row for i, row in enumerate(state.stats.values.tolist()) if any(row)}
    assert figures == dict(expected.figures)


@given(log=logs, rules=rules, table=st.none() | tables)
@settings(max_examples=400, deadline=None)
def test_the_kernel_counts_and_scores_as_the_glossary_says(
    log: list[tuple[int, int, int]], rules: Rules, table: Table | None
) -> None:
    watches = _watches(log)
    state = SequenceState(_options(rules))
    keys = _extend(state, watches, table.predictions() if table else no_predictions())
    predict, information = (table.predict, table.information) if table else (nothing_serves, lambda _: 0)
    _assert_same(keys, state, recount(watches, rules, predict, information))


@given(log=logs, rules=rules, table=tables, data=st.data())
@settings(max_examples=200, deadline=None)
def test_batches_with_restarts_between_count_what_one_batch_counts(
    log: list[tuple[int, int, int]], rules: Rules, table: Table, data: st.DataObject
) -> None:
    watches = _watches(log)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(log)), max_size=6)))
    state, segments, keys = SequenceState(_options(rules)), [], []
    for first, end in zip([0, *cuts], [*cuts, len(log)], strict=True):
        keys += _extend(state, watches[first:end], table.predictions())
        if data.draw(st.booleans(), label="replaces all segments"):
            segments = [state.take_all()]
        else:
            segments.append(state.take_dirty())
        restarted = SequenceState(state.options)
        for segment in segments:
            restarted.load(segment)
        for row, figures in enumerate(state.stats.values):
            restarted.stats.set_pane(state.stats.base_pane + row, figures)
        state = restarted
    _assert_same(keys, state, recount(watches, rules, table.predict, table.information))


@pytest.mark.parametrize("adjacent", [False, True])
def test_many_users_and_long_sequences_move_through_a_growing_pool(adjacent: bool) -> None:
    random = np.random.default_rng(5)
    rules = Rules(pane_ms=500, window_ms=2_000, gap_ms=None, adjacent=adjacent)
    # Sequences of very unlike lengths, interleaved: 3,000 users, a few of whom watch all the time.
    users = np.where(random.random(30_000) < 0.5, random.integers(0, 3_000, 30_000), random.integers(0, 12, 30_000))
    watches = [
        Watch(user, cluster, time_ms)
        for user, cluster, time_ms in zip(
            users.tolist(), random.integers(0, 400, 30_000).tolist(), range(30_000), strict=True
        )
    ]
    table = Table({}, [[(c * 7 + 1) % 400, (c * 5 + 2) % 400, NO_ANSWER] for c in range(400)], [3, 1, 2])
    state = SequenceState(_options(rules))
    keys: list[int] = []
    for first in range(0, 30_000, 7_001):
        keys += _extend(state, watches[first : first + 7_001], table.predictions())
    _assert_same(keys, state, recount(watches, rules, table.predict, table.information))
    assert is_compiled(extend_sequences)


@pytest.mark.parametrize("window_ms", [10, 1_000, 20_000])
def test_one_endless_sequence_is_trimmed_without_changing_what_it_yields(window_ms: int) -> None:
    """Its older cells are forgotten where they can; where the window holds on to them, the pool makes room."""
    n = 20_000
    rules = Rules(pane_ms=window_ms, window_ms=window_ms, adjacent=True, allow_return=True)
    watches = [Watch(7, (i * i) % 5, i) for i in range(n)]
    table = Table({(1, 4): 2, (0, 1): 4}, [], [1])
    state = SequenceState(_options(rules))
    keys = _extend(state, watches, table.predictions())
    cut = recount(watches[:2_000], Rules(window_ms, window_ms, adjacent=True, allow_return=True))
    assert keys[: len(cut.transitions)] == _extend(SequenceState(_options(rules)), watches[:2_000], no_predictions())
    assert state.stats.values[:, 1].sum() == 1  # one sequence, however often its beginning was forgotten
    whole = SequenceState(_options(Rules(window_ms, window_ms, adjacent=True, allow_return=True)))
    by_batch = [
        key for at in range(0, n, 4_000) for key in _extend(whole, watches[at : at + 4_000], table.predictions())
    ]
    assert by_batch == keys
    assert whole.stats.values.tolist() == state.stats.values.tolist()


def test_a_first_only_sequence_can_hold_more_clusters_than_the_first_pool() -> None:
    n = 9_000
    state = SequenceState(SequenceOptions(pane_ms=n, window_ms=n))
    keys = _extend(state, [Watch(3, i, i) for i in range(n)], no_predictions())
    assert len(keys) == n - 2


@given(table=tables, pair=st.tuples(clusters, clusters))
@settings(max_examples=200, deadline=None)
def test_a_pair_is_answered_by_its_row_then_by_its_backoff(table: Table, pair: tuple[int, int]) -> None:
    assert predict_one(*pair, table.predictions()) == table.predict(0, *pair)
    assert is_compiled(predict_one)


def test_a_hit_on_a_popular_cluster_informs_little() -> None:
    bits = hit_microbits(np.array([96, 3, 0])) / 1e6
    assert bits[0] < 0.1
    assert 4 < bits[1] < bits[2]
    assert bits[2] == bits[3]  # as much as a cluster that was not known then
