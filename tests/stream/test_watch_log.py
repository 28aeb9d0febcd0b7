"""A log read whole holds what a run would count, in the same order and under the same ids."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.events import EventBatch, Outcome
from stream.sequences import SequenceOptions
from stream.shard import ShardOptions
from stream.watch_log import WatchLog, read_watch_log
from tests.fakes import FakeEvent, FakeSource
from tests.reference import Watch, ids_by_first_sight, in_time
from tidegate.errors import EmptySourceError, SourceError
from tidegate.hashing import hash_text

PANE_MS, LATENESS_MS = 1_000, 250
OPTIONS = ShardOptions(SequenceOptions(pane_ms=PANE_MS, window_ms=2 * PANE_MS), lateness_ms=LATENESS_MS)

outcomes = st.sampled_from([Outcome.COUNTED] * 6 + [Outcome.NEGATIVE, Outcome.MALFORMED])
event = st.builds(FakeEvent, st.sampled_from("uvw"), st.sampled_from("abcde"), st.integers(0, 6_000), outcomes)
partitions = st.dictionaries(st.integers(0, 2), st.lists(event, max_size=25), min_size=1, max_size=3)


def read(partitions: dict[int, list[FakeEvent]], known: tuple[str, ...] = (), batch_records: int = 7) -> WatchLog:
    return read_watch_log(FakeSource(partitions, batch_records=batch_records), OPTIONS, known)


def kept(partitions: dict[int, list[FakeEvent]]) -> list[Watch[str]]:
    """What is in time, partition by partition, in the order of event time."""
    watches = []
    for events in partitions.values():
        counted = [each for each in events if each.outcome is Outcome.COUNTED]
        is_in_time = in_time([each.time_ms for each in counted], LATENESS_MS)
        watches += [
            Watch(each.user, each.cluster, each.time_ms) for each, ok in zip(counted, is_in_time, strict=True) if ok
        ]
    return sorted(watches, key=lambda watch: watch.time_ms)


@settings(max_examples=100, deadline=None)
@given(partitions, st.integers(1, 9), st.sampled_from([(), ("c", "x", "a", "b", "d", "e")]))
def test_positive_watches_in_time_are_kept_in_event_time_order(
    partitions: dict[int, list[FakeEvent]], batch_records: int, known: tuple[str, ...]
):
    expected = kept(partitions)
    if not expected:
        with pytest.raises(EmptySourceError):
            read(partitions, known, batch_records)
        return
    log = read(partitions, known, batch_records)
    found = [log.cluster_names[c] for c in log.watches.clusters]
    users = {hash_text(name): name for name in "uvw"}
    watches = [
        Watch(users[int(u)], name, int(t))
        for u, name, t in zip(log.watches.users, found, log.watches.times_ms, strict=True)
    ]
    assert [watch.time_ms for watch in watches] == [watch.time_ms for watch in expected]
    assert sorted(watches, key=str) == sorted(expected, key=str)
    if known:
        assert log.cluster_names == list(known)
    else:
        ids = ids_by_first_sight(expected)
        assert log.cluster_names == sorted(ids, key=ids.__getitem__)
    # Every record has an outcome, and what was kept is what counts.
    n_records = sum(len(events) for events in partitions.values())
    assert sum(log.outcomes.values()) == n_records
    assert log.outcomes[Outcome.COUNTED] == len(expected)
    assert all(log.outcomes.values())


@settings(max_examples=50, deadline=None)
@given(partitions)
def test_panes_hold_all_watches_and_the_clusters_named_so_far(partitions: dict[int, list[FakeEvent]]):
    expected = kept(partitions)
    if not expected:
        return
    log = read(partitions)
    panes = list(log.panes())
    assert [pane for pane, _ in panes] == list(range(log.first_pane, log.last_pane + 1))
    assert log.n_panes == len(panes) == log.n_known.shape[0]
    assert log.first_pane == expected[0].time_ms // PANE_MS
    timed = [each.time_ms for events in partitions.values() for each in events if each.is_timed]
    assert log.last_pane == max(timed) // PANE_MS
    for (pane, watches), n_known in zip(panes, log.n_known, strict=True):
        assert set((watches.times_ms // PANE_MS).tolist()) <= {pane}
        named = {watch.cluster for watch in expected if watch.time_ms // PANE_MS <= pane}
        assert set(log.cluster_names[:n_known]) == named
    assert sum(watches.users.shape[0] for _, watches in panes) == len(expected)


def test_watches_of_one_instant_keep_their_order():
    events = [FakeEvent("u", name, 5) for name in "cab"]
    log = read({0: events})
    assert [log.cluster_names[c] for c in log.watches.clusters] == ["c", "a", "b"]


def test_nothing_positive_is_refused_with_the_mend():
    for events in ([], [FakeEvent("u", "a", 5, Outcome.NEGATIVE)]):
        with pytest.raises(EmptySourceError, match="fake: no positive watch at all") as refused:
            read({0: events})
        assert "--positive" in refused.value.mend


def test_a_source_that_fails_fails_the_reading():
    source = FakeSource({0: [FakeEvent("u", "a", 5)] * 9}, batch_records=2, fails_after=2)
    with pytest.raises(SourceError, match="the line was cut"):
        read_watch_log(source, OPTIONS)


def test_batches_are_told_of():
    told: list[int] = []
    source = FakeSource({0: [FakeEvent("u", "a", 5)] * 9}, batch_records=4)
    read_watch_log(source, OPTIONS, (), told.append)
    assert sum(told) == 9


class WithIds(FakeSource):
    """Records with equal user, cluster and time have the same id."""

    def _batch(self, partition: int, first: int, end: int) -> EventBatch:
        from dataclasses import replace

        batch = super()._batch(partition, first, end)
        ids = [hash_text(f"{u} {c} {t}") for u, c, t in zip(batch.users, batch.clusters, batch.times_ms, strict=True)]
        return replace(batch, event_ids=np.array(ids, np.uint64))


@pytest.mark.parametrize(("duplicates_ms", "n_kept"), [(None, 3), (1_000, 2)])
def test_a_producers_duplicates_are_dropped_where_events_have_ids(duplicates_ms: int | None, n_kept: int):
    events = [FakeEvent("u", "a", 5), FakeEvent("u", "b", 6), FakeEvent("u", "a", 5)]
    options = ShardOptions(OPTIONS.sequences, LATENESS_MS, duplicates_ms=duplicates_ms)
    log = read_watch_log(WithIds({0: events}, batch_records=2), options)
    assert log.outcomes.get(Outcome.DUPLICATE, 0) == 3 - n_kept
    assert log.watches.users.shape[0] == n_kept
