"""One suite for the databases under a store: what a commit, a fence, a closed pane and an outage mean on each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from sqlalchemy import select, update

from refresh.finetune.lifecycle import take
from stream import database as database_module
from stream import shard_store, shared_codes
from stream import store as store_module
from stream.checkpoint import Checkpoint, EventIds, Marks, Progress, StoredIssue, WaitingEvents
from stream.closing import PaneCloser, PaneClosing, expire_panes
from stream.database import Database
from stream.fine_tune_book import StoredFineTunes
from stream.ledger import DECISIONS, RECORDS, REPORTS, RESULTS, Ledger
from stream.pane_merge import merge_parts, parts_of
from stream.reorder import BEGINNING_OF_TIME_MS, END_OF_TIME_MS
from stream.run_reader import RunReader, RunState
from stream.schema import clusters, event_id_segments, pane_counts, pane_parts, runs, shards, waiting_segments
from stream.sequences import UserSegment
from stream.shard_store import ShardStore, join_run, open_run
from stream.shared_codes import ShardCodes, SharedCodes
from stream.store import RunStore
from tests.components import POSTGRES
from tests.fine_tunes import ANN, MACHINE, in_status
from tests.postgres import PostgresServer
from tidegate.contracts import FineTuneAction, FineTuneStatus
from tidegate.counts import BucketedCounts, pack_transitions
from tidegate.errors import CatalogueError, ConfigError, FencedError, StoreError, StoreUnavailableError

PANE_MS = 100
_numbers = count()


@dataclass
class Store:
    """A run of its own on one kind of database."""

    url: str
    run_id: str = ""
    opened: list[Database] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.run_id = f"run-{next(_numbers)}"
        self.database = self.open()

    def open(self) -> Database:
        self.opened.append(Database(self.url))
        return self.opened[-1]

    def close(self) -> None:
        for database in self.opened:
            database.close()

    def shard(self, number: int = 0, owner: str = "") -> ShardStore:
        return ShardStore(self.database, self.run_id, number, owner=owner)

    def join(self, n_partitions: int = 2) -> None:
        join_run(self.database, self.run_id, "topic", "{}", n_partitions)

    def closer(self, database: Database | None = None) -> PaneCloser:
        return PaneCloser(database or self.database, self.run_id, PANE_MS, 10)

    @property
    def reader(self) -> RunReader:
        return RunReader(self.database, self.run_id)

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.database, self.run_id)


@pytest.fixture(scope="session")
def postgres_url(request: pytest.FixtureRequest) -> str:
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.create_database("contracts-stores")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.real(POSTGRES.name))])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    is_sqlite = request.param == "sqlite"
    opened = Store(str(tmp_path / "new" / "runs.db") if is_sqlite else request.getfixturevalue("postgres_url"))
    yield opened
    opened.close()


def _counts(*of_key: tuple[int, int]) -> BucketedCounts:
    return BucketedCounts(np.array([key for key, _ in of_key]), np.array([n for _, n in of_key]))


def _transitions(c1: int, c2: int, c_next: int, n: int) -> BucketedCounts:
    keys = pack_transitions(np.array([c1]), np.array([c2]), np.array([c_next]), np.array([0]))
    return BucketedCounts(keys, np.array([n]))


def _waiting(*times_ms: int) -> WaitingEvents:
    n = len(times_ms)
    users = np.arange(n, dtype=np.uint64) + np.uint64(2**63)
    return WaitingEvents(("a", "b"), users, np.arange(n, dtype=np.int32) % 2, np.array(times_ms))


def _ids(*times_ms: int) -> EventIds:
    return EventIds(np.arange(1, len(times_ms) + 1, dtype=np.uint64), np.array(times_ms))


def _segment(user: int) -> UserSegment:
    one = np.ones(1, np.int32)
    return UserSegment(np.array([user], np.uint64), np.array([7]), one, one, np.array([7]), -one)


def _full_checkpoint() -> Checkpoint:
    return Checkpoint(
        progress=Progress(
            earliest_ms=-3,
            latest_ms=7,
            first_pane=-1,
            closed_pane=4,
            counted_ms=500,
            outcomes={"counted": 3},
            issues=(StoredIssue("malformed", "topic[0]@2", "no time", "Add one"),),
        ),
        marks=Marks(-3, 7, 550, 500, is_idle=True),
        offsets={0: (2**40, -5)},
        new_clusters={0: "naïve", 1: "b"},
        first_seen={1: 12},
        segment=_segment(2**64 - 1),
        waiting=_waiting(500, 600),
        event_ids=_ids(1, 900),
        counts={5: _counts((2**62, 2), (2**62 + 1, 1)), 6: _counts()},
        stats={5: np.arange(7, dtype=np.int64)},
    )


def _content(shard: ShardStore) -> dict[str, Any]:
    with shard.database.reading() as connection:
        parts = connection.execute(
            select(pane_parts.c.pane, pane_parts.c["keys"], pane_parts.c.counts)
            .where(pane_parts.c.run_id == shard.run_id, pane_parts.c.shard == shard.shard)
            .order_by(pane_parts.c.pane, pane_parts.c.commit_number)
        ).all()
    return {
        "progress": shard.progress(),
        "marks": shard.marks()[shard.shard],
        "offsets": shard.offsets(),
        "codes": shard.cluster_codes(),
        "segments": [(s.users.tolist(), s.clusters.tolist()) for s in shard.segments()],
        "waiting": [(w.names, w.users.tolist(), w.clusters.tolist(), w.times_ms.tolist()) for w in shard.waiting()],
        "ids": [(e.ids.tolist(), e.times_ms.tolist()) for e in shard.event_ids()],
        "stats": {pane: np.frombuffer(body, np.int64).tolist() for pane, body in shard.shard_stats().items()},
        "parts": [
            (pane, np.frombuffer(keys, np.int64).tolist(), np.frombuffer(n, np.int64).tolist())
            for pane, keys, n in parts
        ],
    }


def _first_ms(store: Store) -> dict[int, int | None]:
    with store.database.reading() as connection:
        rows = connection.execute(
            select(clusters.c.code, clusters.c.first_ms).where(clusters.c.run_id == store.run_id)
        ).all()
    return {row.code: row.first_ms for row in rows}


def test_a_commit_is_read_back_whole_by_the_next_owner(store: Store) -> None:
    checkpoint = _full_checkpoint()
    store.shard().commit(checkpoint)
    content = _content(store.shard())
    assert content == {
        "progress": checkpoint.progress,
        "marks": checkpoint.marks,
        "offsets": {0: (2**40, -5)},
        "codes": {"naïve": 0, "b": 1},
        "segments": [([2**64 - 1], [1])],
        "waiting": [(("a", "b"), [2**63, 2**63 + 1], [0, 1], [500, 600])],
        "ids": [([1, 2], [1, 900])],
        "stats": {5: list(range(7))},
        "parts": [(5, [2**62, 2**62 + 1], [2, 1])],
    }


def test_a_new_shard_has_nothing_and_tells_nothing(store: Store) -> None:
    shard = store.shard()
    assert shard.progress() == Progress()
    assert shard.marks() == {0: Marks()}
    assert (shard.offsets(), list(shard.segments()), list(shard.waiting()), list(shard.event_ids())) == ({}, [], [], [])
    assert shard.state() == RunState(None, None, None, None, False)


@pytest.mark.parametrize("table", ["pane_parts", "sequence_segments", "waiting_segments", "offsets", "pane_stats"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_commit_that_fails_inside_changes_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch, table: str, when: str
) -> None:
    shard = store.shard()
    shard.commit(Checkpoint(Progress(), offsets={0: (1, 1)}))
    before, put_all = _content(shard), shard._put_all

    def fail_at(connection: Any, target: Any, rows: Any) -> None:
        if target.name != table or when == "after":
            put_all(connection, target, rows)
        if target.name == table:
            raise RuntimeError("killed")

    monkeypatch.setattr(shard, "_put_all", fail_at)
    with pytest.raises(RuntimeError, match="killed"):
        shard.commit(_full_checkpoint())
    assert _content(shard) == before
    monkeypatch.undo()
    shard.commit(_full_checkpoint())
    assert _content(shard)["progress"] == _full_checkpoint().progress


def test_an_owner_that_was_replaced_is_fenced_before_and_after_the_new_ones_first_commit(store: Store) -> None:
    zombie = store.shard(owner="the old one")
    zombie.commit(_full_checkpoint())
    owner = store.shard(owner="the new one")
    before = _content(owner)
    with pytest.raises(FencedError, match=r"taken over by another process \(the new one\)"):
        zombie.commit(_full_checkpoint())
    assert _content(owner) == before
    owner.commit(Checkpoint(Progress(closed_pane=9)))
    after = _content(owner)
    with pytest.raises(FencedError, match="the new one"):
        zombie.commit(_full_checkpoint())
    assert _content(owner) == after


@contextmanager
def _answers_getting_lost(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    writing = store.database.writing

    class Lost:
        def __enter__(self) -> Any:
            self.block = writing()
            return self.block.__enter__()

        def __exit__(self, *args: Any) -> None:
            self.block.__exit__(*args)
            raise StoreUnavailableError("the connection broke", "Wait", place="store")

    with monkeypatch.context() as patch:
        patch.setattr(store.database, "writing", Lost)
        yield


def test_a_commit_whose_answer_got_lost_is_applied_once_when_it_is_repeated(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = store.shard()
    with _answers_getting_lost(store, monkeypatch), pytest.raises(StoreUnavailableError):
        shard.commit(_full_checkpoint())
    applied = _content(shard)
    assert applied["parts"] == [(5, [2**62, 2**62 + 1], [2, 1])]
    shard.commit(_full_checkpoint())
    assert _content(shard) == applied
    shard.commit(Checkpoint(Progress(counted_ms=500), counts={5: _counts((1, 1))}))
    assert len(_content(shard)["parts"]) == 2


def test_state_of_many_users_is_stored_in_pieces_and_comes_back_whole(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_store, "USERS_A_PIECE", 2)
    lengths = np.array([2, 0, 3, 1, 1], np.int32)
    cells = np.arange(7)
    columns = {"clusters": cells.astype(np.int32), "times_ms": 10 * cells, "predictions": -cells.astype(np.int32)}
    users = np.arange(5, dtype=np.uint64)
    segment = UserSegment(users=users, last_ms=np.arange(5), lengths=lengths, **columns)
    shard = store.shard()
    shard.commit(Checkpoint(Progress(), segment=segment))
    found = list(shard.segments())
    assert [piece.users.tolist() for piece in found] == [[0, 1], [2, 3], [4]]
    for name in ("users", "last_ms", "lengths", *columns):
        whole = np.concatenate([getattr(piece, name) for piece in found])
        assert whole.tolist() == getattr(segment, name).tolist(), name
    shard.commit(Checkpoint(Progress(), segment=segment, replaces_segments=True))
    assert len(list(shard.segments())) == 3


def test_waiting_segments_are_dropped_once_all_of_them_is_counted(store: Store) -> None:
    shard = store.shard()
    shard.commit(Checkpoint(Progress(counted_ms=0), waiting=_waiting(10, 50)))
    shard.commit(Checkpoint(Progress(counted_ms=50), waiting=_waiting(60, 70)))
    assert [w.times_ms.tolist() for w in shard.waiting()] == [[10, 50], [60, 70]]  # one of the first still waits
    shard.commit(Checkpoint(Progress(counted_ms=51)))
    assert [w.times_ms.tolist() for w in shard.waiting()] == [[60, 70]]
    shard.commit(Checkpoint(Progress(counted_ms=END_OF_TIME_MS), waiting=_waiting()))
    assert shard.n_rows(waiting_segments) == 0


def test_event_ids_are_forgotten_a_segment_at_a_time(store: Store) -> None:
    shard = store.shard()
    shard.commit(Checkpoint(Progress(), event_ids=_ids(10, 20)))
    shard.commit(Checkpoint(Progress(), event_ids=_ids(30), forget_ids_before_ms=20))
    assert [e.times_ms.tolist() for e in shard.event_ids()] == [[10, 20], [30]]
    shard.commit(Checkpoint(Progress(), event_ids=_ids(), forget_ids_before_ms=21))
    assert [e.times_ms.tolist() for e in shard.event_ids()] == [[30]]
    assert shard.n_rows(event_id_segments) == 1


def test_a_cluster_keeps_the_earliest_time_that_any_shard_saw_it(store: Store) -> None:
    store.join()
    SharedCodes(store.database, store.run_id).of_names(["a", "b", "c"])
    one, other = store.shard(0), store.shard(1)
    one.commit(Checkpoint(Progress(), first_seen={1: 50, 0: 70}))
    other.commit(Checkpoint(Progress(), first_seen={0: 60, 1: 55}))
    assert _first_ms(store) == {0: 60, 1: 50, 2: None}


def test_two_shards_do_not_disturb_each_other(store: Store) -> None:
    one, other = store.shard(0), store.shard(1)
    other.commit(_full_checkpoint_of(1))
    before = _content(other)
    one.commit(_full_checkpoint())
    one.commit(Checkpoint(Progress(counted_ms=END_OF_TIME_MS), replaces_segments=True, forget_ids_before_ms=10**6))
    store.shard(0)
    assert _content(other) == before
    assert list(store.reader.marks()) == [0, 1]
    other.commit(Checkpoint(Progress(closed_pane=5)))  # its epoch is still its own


def _full_checkpoint_of(partition: int) -> Checkpoint:
    return replace(_full_checkpoint(), offsets={partition: (3, 4)})


def test_figures_add_up_over_shards(store: Store) -> None:
    for number in (0, 1):
        figures = np.full(7, number + 1, np.int64)
        store.shard(number).commit(Checkpoint(Progress(), stats={3: figures, 4 + number: figures}))
    assert {pane: row.tolist() for pane, row in store.reader.stats().items()} == {3: [3] * 7, 4: [1] * 7, 5: [2] * 7}
    assert store.reader.stats_of_pane(3).tolist() == [3] * 7
    assert store.reader.stats_of_pane(9).tolist() == [0] * 7


def test_workers_that_meet_the_same_new_names_together_agree_on_dense_codes(store: Store) -> None:
    store.join()
    databases = [store.open() for _ in range(2)]
    start = threading.Barrier(2)

    def meet(database: Database, order: int) -> dict[str, int]:
        codes = SharedCodes(database, store.run_id)
        start.wait()
        for number in range(0, 30, 3):
            codes.of_names([f"n{number + i}" for i in range(3)][::order])
        names = [f"n{number}" for number in range(30)]
        return dict(zip(names, codes.of_names(names).tolist(), strict=True))

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(meet, databases, (1, -1))
    assert one == other == store.reader.cluster_codes()
    assert sorted(one.values()) == list(range(30))


def test_clusters_of_a_catalogue_come_first_in_its_order(store: Store) -> None:
    store.join()
    codes = SharedCodes(store.database, store.run_id, ["z", "a"])
    assert codes.of_names(["b", "z", "b", "a"]).tolist() == [2, 0, 2, 1]
    assert _first_ms(store) == {0: BEGINNING_OF_TIME_MS, 1: BEGINNING_OF_TIME_MS + 1, 2: None}
    assert SharedCodes(store.database, store.run_id, ["z", "a"]).of_names(["a"]).tolist() == [1]


def test_a_shard_tells_only_those_first_sights_that_are_news(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_codes, "_FEW", 2)
    store.join()
    shared = SharedCodes(store.database, store.run_id)
    names = ["a", "b", "c"]
    first, second = ShardCodes(shared), ShardCodes(shared)
    first.ids(np.arange(3, dtype=np.int32), np.array([10, 20, 30]), names)
    store.shard().commit(Checkpoint(Progress(), first_seen=first.take_first_seen()))
    assert (first.take_first_seen(), _first_ms(store)) == ({}, {0: 10, 1: 20, 2: 30})
    second.ids(np.array([1, 0, 2], np.int32), np.array([15, 16, 30]), names)
    monkeypatch.setattr(SharedCodes, "first_seen", _refuse)
    with pytest.raises(StoreUnavailableError):
        second.take_first_seen()
    monkeypatch.undo()
    monkeypatch.setattr(shared_codes, "_FEW", 2)
    assert second.take_first_seen() == {1: 15}
    assert second.take_first_seen() == {}


def _refuse(_: SharedCodes) -> dict[int, int | None]:
    raise StoreUnavailableError("the database refused", "Wait", place="store")


def test_more_clusters_than_a_key_has_room_for_are_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_codes, "MAX_CLUSTERS", 3)
    store.join()
    codes = SharedCodes(store.database, store.run_id)
    codes.of_names(["a", "b"])
    with pytest.raises(CatalogueError, match=r"more than 3 clusters, the latest 'd'"):
        codes.of_names(["a", "c", "d"])
    assert store.reader.cluster_codes() == {"a": 0, "b": 1}
    assert codes.of_names(["c"]).tolist() == [2]


def _mark(store: Store, number: int, marks: Marks, **parts: Any) -> None:
    store.shard(number).commit(Checkpoint(Progress(counted_ms=marks.counted_ms), marks=marks, **parts))


def test_a_pane_waits_for_shards_that_are_missing_and_for_those_that_have_not_counted_it(store: Store) -> None:
    assert store.closer().close_next() is None  # there is no such run yet
    store.join(2)
    _mark(store, 0, Marks(310, 460, 450, 450))
    assert store.closer().close_next() is None
    assert store.reader.state() == RunState(2, None, None, None, False)
    _mark(store, 1, Marks(320, 405, 395, 395))
    assert store.closer().close_next() is None
    assert store.reader.state() == RunState(2, 395, 3, None, False)
    _mark(store, 1, Marks(320, 410, 400, 399))  # it waits at its gate
    assert store.closer().close_next() is None
    _mark(store, 1, Marks(320, 410, 400, 400))
    assert store.closer().close_next() == PaneClosing(3, 3, is_last=False)
    assert store.closer().close_next() is None
    assert store.reader.state() == RunState(2, 400, 3, 3, False)


def test_shards_that_idle_are_not_waited_for_but_must_have_gone_along(store: Store) -> None:
    store.join(2)
    _mark(store, 0, Marks(310, 460, 450, 450))
    _mark(store, 1, Marks(is_idle=True))
    assert store.closer().close_next() is None
    assert store.reader.state() == RunState(2, 450, None, None, False)  # an earlier event could come in time
    _mark(store, 1, Marks(watermark_ms=450, counted_ms=450, is_idle=True))
    assert store.closer().close_next() == PaneClosing(3, 3, is_last=False)


def test_the_stream_does_not_go_back_and_its_first_pane_stays(store: Store) -> None:
    store.join(1)
    _mark(store, 0, Marks(310, 460, 450, 350))
    store.closer().close_next()
    _mark(store, 0, Marks(10, 460, 300, 300))
    store.closer().close_next()
    assert store.reader.state() == RunState(1, 450, 3, None, False)


def test_an_evaluator_that_looked_too_early_does_not_take_the_first_pane_back(store: Store) -> None:
    store.join(1)
    _mark(store, 0, Marks(310, 460, 450, 350))
    late = store.closer()
    seen = late._reader.state()
    store.closer().close_next()
    late._advance_stream(seen, {0: Marks(310, 460, 450, 350), 1: Marks(is_idle=True)})
    assert store.reader.state().first_pane == 3


def test_a_run_ends_with_the_pane_of_its_last_event_once_all_shards_are_finished(store: Store) -> None:
    store.join(2)
    _mark(store, 0, Marks(110, 150, END_OF_TIME_MS, END_OF_TIME_MS, is_finished=True))
    _mark(store, 1, Marks(None, None, END_OF_TIME_MS, END_OF_TIME_MS, is_finished=True))
    _mark(store, 0, Marks(110, 250, END_OF_TIME_MS, END_OF_TIME_MS, is_finished=True))
    closer = store.closer()
    assert closer.close_next() == PaneClosing(1, 1, is_last=False)
    assert closer.close_next() == PaneClosing(2, 1, is_last=True)
    assert store.reader.state() == RunState(2, END_OF_TIME_MS, 1, 2, True)
    assert closer.close_next() is None


def test_one_of_two_evaluators_closes_a_pane(store: Store) -> None:
    store.join(1)
    _mark(store, 0, Marks(110, 1_000, 990, 990), counts={1: _transitions(0, 1, 2, 5)})
    closers, start = [store.closer(store.open()) for _ in range(2)], threading.Barrier(2)

    def close(closer: PaneCloser) -> list[PaneClosing]:
        start.wait()
        return [closed for _ in range(12) if (closed := closer.close_next()) is not None]

    with ThreadPoolExecutor(2) as pool:
        closed = [each for of_one in pool.map(close, closers) for each in of_one]
    assert sorted(each.pane for each in closed) == list(range(1, 9))
    assert store.reader.counts(0, 20).total == 5


def test_an_evaluator_that_was_overtaken_between_its_look_and_its_write_closes_nothing(store: Store) -> None:
    store.join(1)
    _mark(store, 0, Marks(110, 1_000, 990, 250))
    slow, fast = store.closer(), store.closer()
    advance = slow._advance_stream

    def overtaken(*args: Any) -> int | None:
        assert fast.close_next() is not None
        return advance(*args)

    slow._advance_stream = overtaken  # type: ignore[method-assign]
    assert slow.close_next() is None
    assert store.reader.state().closed_pane == 1


def test_a_run_without_an_event_ends_without_a_pane(store: Store) -> None:
    store.join(2)
    closer = store.closer()
    _mark(store, 0, Marks(None, None, END_OF_TIME_MS, END_OF_TIME_MS, is_finished=True))
    _mark(store, 1, Marks())
    assert closer.close_next() is None
    assert not store.reader.state().has_ended
    _mark(store, 1, Marks(None, None, END_OF_TIME_MS, END_OF_TIME_MS, is_finished=True))
    assert closer.close_next() is None
    state = store.reader.state()
    assert (state.has_ended, state.first_pane, state.closed_pane) == (True, None, None)
    assert closer.close_next() is None


def test_closed_panes_speak_in_ids_by_first_event_time_and_then_name(store: Store) -> None:
    store.join(2)
    SharedCodes(store.database, store.run_id).of_names(["later", "b", "a", "never", "first"])
    marks = Marks(10, 300, 250, 200)
    _mark(store, 0, marks, first_seen={0: 150, 1: 20, 2: 60}, counts={0: _transitions(1, 2, 4, 3)})
    _mark(store, 1, marks, first_seen={2: 20, 4: 10}, counts={0: _transitions(1, 2, 4, 2), 1: _transitions(4, 0, 2, 1)})
    closer = store.closer()
    assert closer.close_next() == PaneClosing(0, 0, is_last=False)
    assert store.reader.cluster_names() == ["first", "a", "b"]
    assert _same(store.reader.counts(0, 0), _transitions(2, 1, 0, 5))
    assert closer.close_next() == PaneClosing(1, 0, is_last=False)
    assert store.reader.cluster_names() == ["first", "a", "b", "later"]
    assert _same(store.reader.counts(1, 1), _transitions(0, 3, 1, 1))
    assert store.reader.n_rows(pane_parts) == 0
    assert store.reader.n_rows(pane_counts) == 2


def test_parts_of_an_open_pane_stay_few_and_sum_up_whoever_owns_the_shard(store: Store) -> None:
    store.join(1)
    shard = store.shard()
    for number in range(1, 201):
        if number % 30 == 0:
            shard = store.shard()
        counts = {0: _counts((number % 5, 1)), 1: _counts((7, number))}
        shard.commit(Checkpoint(Progress(), counts=counts))
    assert store.reader.n_rows(pane_parts) <= 2 * 7 * 3
    closing = Checkpoint(Progress(closed_pane=0), marks=Marks(0, 200, 200, 100), counts={0: _counts((9, 1))})
    n_parts = store.reader.n_rows(pane_parts)
    shard.commit(closing)
    assert store.reader.n_rows(pane_parts) == n_parts + 1  # what is being closed is the evaluator's
    assert store.closer().close_next() == PaneClosing(0, 0, is_last=False)
    assert _same(store.reader.counts(0, 0), _counts(*((key, 40) for key in range(5)), (9, 1)))
    shard.commit(Checkpoint(Progress(closed_pane=1), marks=Marks(0, 300, 300, 200)))
    assert store.closer().close_next() == PaneClosing(1, 0, is_last=False)
    assert _same(store.reader.counts(1, 1), _counts((7, sum(range(1, 201)))))


def test_a_merge_of_parts_whose_answer_got_lost_happened_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.join(1)
    shard = store.shard()
    for number in range(1, 100):
        checkpoint = Checkpoint(Progress(), counts={1: _counts((7, number))})
        with _answers_getting_lost(store, monkeypatch), pytest.raises(StoreUnavailableError):
            shard.commit(checkpoint)
        shard.commit(checkpoint)
    with store.database.reading() as connection:
        assert _same(parts_of(connection, store.run_id, 1), _counts((7, sum(range(100)))))


def _same(one: BucketedCounts, other: BucketedCounts) -> bool:
    return one.keys.tolist() == other.keys.tolist() and one.counts.tolist() == other.counts.tolist()


def test_merging_a_pane_again_changes_nothing_and_adds_what_came_meanwhile(store: Store) -> None:
    store.join(1)
    shard = store.shard()
    shard.commit(Checkpoint(Progress(), counts={2: _counts((5, 1), (7, 2))}))
    for _ in range(2):
        with store.database.writing() as connection:
            merge_parts(connection, store.run_id, 2)
        assert _same(store.reader.counts(2, 2), _counts((5, 1), (7, 2)))
    shard.commit(Checkpoint(Progress(), counts={2: _counts((7, 1))}))
    with store.database.writing() as connection:
        merge_parts(connection, store.run_id, 2)
    assert _same(store.reader.counts(2, 2), _counts((5, 1), (7, 3)))


def test_panes_expire_but_for_those_that_are_kept_and_rows_stay_few(store: Store) -> None:
    store.join(1)
    shard, ledger, closer = store.shard(), store.ledger, store.closer()
    tables = (pane_counts, pane_parts, shards, *(REPORTS, DECISIONS, RESULTS, RECORDS))
    most = 0
    for pane in range(40):
        end_ms = (pane + 1) * PANE_MS
        shard.commit(
            Checkpoint(
                Progress(counted_ms=end_ms),
                marks=Marks(0, end_ms, end_ms, end_ms),
                counts={pane: _transitions(0, 1, 2, 1)},
                stats={pane: np.ones(7, np.int64)},
                waiting=_waiting(end_ms - 1),
                event_ids=_ids(end_ms),
                forget_ids_before_ms=end_ms - 2 * PANE_MS,
            )
        )
        assert closer.close_next() == PaneClosing(pane, 0, is_last=False)
        for table in (REPORTS, DECISIONS, RESULTS, RECORDS):
            assert ledger.put(table, pane, b"body")
        expire_panes(store.database, store.run_id, pane - 4, frozenset({0, 1, 7}))
        most = max(most, *(ledger.n_rows(table) for table in (*tables, waiting_segments, event_id_segments)))
    assert most <= 8
    assert list(ledger.reports()) == [0, 1, 7, 35, 36, 37, 38, 39]
    assert list(ledger.stats()) == list(ledger.records()) == list(ledger.reports())
    assert ledger.counts(0, 40).total == 8
    assert expire_panes(store.database, store.run_id, 38) == 6
    assert expire_panes(store.database, store.run_id, 38) == 0


def test_an_answer_is_written_by_whoever_is_first(store: Store) -> None:
    ledgers, start = [Ledger(store.open(), store.run_id) for _ in range(2)], threading.Barrier(2)
    assert (store.ledger.last_pane(RECORDS), store.ledger.get(RECORDS, 0)) == (None, None)

    def put(ledger: Ledger, body: bytes) -> list[bool]:
        start.wait()
        return [ledger.put(RECORDS, pane, body) for pane in range(-3, 20)]

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(put, ledgers, (b"one", b"other"))
    assert [a + b for a, b in zip(one, other, strict=True)] == [1] * 23
    assert [store.ledger.get(RECORDS, pane) for pane in range(-3, 20)] == [b"one" if a else b"other" for a in one]
    assert store.ledger.last_pane(RECORDS) == 19
    assert store.ledger.last_pane(RESULTS) is None


def test_a_run_of_one_process_resumes_until_it_is_finished(store: Store) -> None:
    assert not open_run(store.database, store.run_id, "log", "{}")
    zombie = store.shard(-1)
    zombie.commit(_full_checkpoint())
    assert open_run(store.database, store.run_id, "log", "{}")
    with store.database.writing() as connection:
        connection.execute(update(runs).where(runs.c.run_id == store.run_id).values(is_finished=True))
    assert not open_run(store.database, store.run_id, "log", "{}")
    with pytest.raises(FencedError):
        zombie.commit(_full_checkpoint())
    fresh = store.shard(-1)
    assert _content(fresh) | {"progress": None, "marks": None} == {
        "progress": None,
        "marks": None,
        "offsets": {},
        "codes": {},
        "stats": {},
        "segments": [],
        "waiting": [],
        "ids": [],
        "parts": [],
    }
    assert (fresh.progress(), fresh.marks()) == (Progress(), {-1: Marks()})


def test_workers_join_one_run_whose_partitions_may_become_more_but_not_fewer(store: Store) -> None:
    def join(n_partitions: int) -> None:
        join_run(store.database, store.run_id, "topic", "{}", n_partitions)

    for n_partitions, expected in ((3, 3), (2, 3), (5, 5)):
        join(n_partitions)
        assert store.reader.state() == RunState(expected, None, None, None, False)


def test_processes_that_open_a_new_store_together_create_it_once(store: Store, tmp_path: Path) -> None:
    if store.database.is_sqlite:
        url: str = str(tmp_path / "together.db")
    else:
        with store.database._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql('CREATE DATABASE "contracts-together"')
        url = store.url.replace("contracts-stores", "contracts-together")
    start = threading.Barrier(3)

    def open_it(_: int) -> Database:
        start.wait()
        return Database(url)

    with ThreadPoolExecutor(3) as pool:
        for database in pool.map(open_it, range(3)):
            store.opened.append(database)
    assert open_run(store.opened[-1], "run", "log", "{}") is False


def test_readers_see_what_was_committed_and_do_not_wait_for_a_writer(store: Store) -> None:
    other = RunReader(store.open(), store.run_id)
    store.join(1)
    with store.database.writing() as connection:
        connection.execute(update(runs).where(runs.c.run_id == store.run_id).values(n_partitions=9))
        assert other.state().n_partitions == 1
    assert other.state().n_partitions == 9


@pytest.mark.real(POSTGRES.name)
def test_a_server_that_is_away_is_told_as_such_and_the_same_object_goes_on_after_it_is_back(tmp_path: Path) -> None:
    with PostgresServer(POSTGRES.find(), tmp_path, settings={"fsync": "off"}) as server:
        url = server.url.replace("tidegate@", "tidegate:hush-hush@")
        database = Database(url)
        shard = ShardStore(database, "run", 0)
        shard.commit(_full_checkpoint())
        server.stop()
        actions: list[Callable[[], object]] = [
            shard.progress,
            lambda: shard.commit(Checkpoint(Progress(closed_pane=7))),
            lambda: Database(url),
        ]
        for act in actions:
            with pytest.raises(StoreUnavailableError, match="the database refused") as away:
                act()
            assert "hush-hush" not in str(away.value)
            assert away.value.place == database.place
        server.start()
        assert shard.progress() == _full_checkpoint().progress
        shard.commit(Checkpoint(Progress(closed_pane=7)))
        assert shard.progress().closed_pane == 7
        database.close()


def test_a_host_that_cannot_be_reached_is_told_without_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "_CONNECT_SECONDS", 1)
    with pytest.raises(StoreUnavailableError, match="the database refused") as away:
        Database("postgresql://someone:hush-hush@127.0.0.1:1/runs")
    assert "hush-hush" not in f"{away.value} {away.value.__cause__}"
    assert away.value.place == "postgresql+psycopg://someone:***@127.0.0.1:1/runs"


@pytest.mark.parametrize("url", ["postgresql://someone:hush-hush@host:port/runs", "://hush-hush", "a b://hush-hush"])
def test_an_address_that_is_no_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigError, match="--store: the store's address is no URL") as refused:
        Database(url)
    assert "hush-hush" not in str(refused.value)


@pytest.mark.parametrize("url", ["mysql://someone:hush-hush@host/runs", "oracle+thing://hush-hush@host/runs"])
def test_a_kind_of_database_that_is_not_known_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"there is no store on (mysql|oracle)") as refused:
        Database(url)
    assert "hush-hush" not in str(refused.value)


def test_a_postgresql_database_that_does_not_exist_is_refused(postgres: PostgresServer) -> None:
    with pytest.raises(StoreError, match="does not exist"):
        Database(postgres.url_of("contracts-nowhere"))


def test_a_url_may_name_a_file_too(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'runs.db'}")
    assert (database.is_sqlite, database.place) == (True, str(tmp_path / "runs.db"))
    database.close()
    database.close()


def test_a_fine_tune_is_written_once_and_changed_by_compare_and_set(store: Store) -> None:
    book, record = StoredFineTunes(store.database), in_status(FineTuneStatus.FLAGGED, 7, store.run_id)
    assert book.get(record.fine_tune_id) is None
    assert [book.put(record) for _ in range(2)] == [True, True]  # what stands may be put again
    other = msgspec.structs.replace(record, run_id="another")
    assert not book.put(other)
    begun = take(record, FineTuneAction.BEGIN, MACHINE, "")
    rejected = take(record, FineTuneAction.REJECT, ANN, "not now")
    assert [book.put(each) for each in (begun, rejected, begun)] == [True, False, True]
    assert book.get(record.fine_tune_id) == begun
    assert not book.put(msgspec.structs.replace(begun, revision=9))
    assert not StoredFineTunes(store.open()).put(in_status(FineTuneStatus.CURATING, 8, store.run_id))  # no such yet


def test_fine_tunes_are_listed_by_run_the_latest_flag_first(store: Store) -> None:
    book = StoredFineTunes(store.database)
    for number in (3, 9, 5):
        book.put(in_status(FineTuneStatus.FLAGGED, number, store.run_id))
    other = in_status(FineTuneStatus.FLAGGED, 7, f"{store.run_id}-other")
    book.put(other)
    assert [each.flag.window_end_ms for each in book.list(store.run_id)] == [9, 5, 3]
    assert other in book.list()


def test_of_competing_decisions_one_stands(store: Store) -> None:
    books = [StoredFineTunes(store.open()) for _ in range(2)]
    start = threading.Barrier(2)

    def decide(book: StoredFineTunes, action: FineTuneAction) -> bool:
        start.wait()
        return [book.put(take(record, action, ANN, "why")) for record in records].count(True) == 10

    records = [in_status(FineTuneStatus.FLAGGED, number, store.run_id) for number in range(10)]
    assert all(books[0].put(record) for record in records)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(decide, books, (FineTuneAction.BEGIN, FineTuneAction.REJECT)))
    found = [book.list(store.run_id) for book in books]
    assert found[0] == found[1]
    assert all(len(each.steps) == 2 for each in found[0])


def test_a_flag_and_its_fine_tune_are_recorded_together_or_not_at_all(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunStore(store.database, f"log of {store.run_id}", "{}")
    record = in_status(FineTuneStatus.FLAGGED, 1, run.run_id)
    book = StoredFineTunes(store.database)
    with monkeypatch.context() as patch:
        patch.setattr(store_module, "add_flagged", _refuse_to_add)
        with pytest.raises(RuntimeError, match="killed"):
            run.record_pane(1, b"body", record)
    assert (run.records(), book.get(record.fine_tune_id)) == ({}, None)
    run.record_pane(1, b"body", record)
    run.record_pane(1, b"body", record)  # the pane is done again: its fine-tune is there
    assert (run.records(), book.get(record.fine_tune_id)) == ({1: b"body"}, record)


def _refuse_to_add(*_: object) -> bool:
    raise RuntimeError("killed")


def test_whoever_records_a_pane_flags_its_fine_tune_and_nobody_else(store: Store) -> None:
    ledger, book = store.ledger, StoredFineTunes(store.database)
    first, second = (in_status(FineTuneStatus.FLAGGED, number, store.run_id) for number in (1, 2))
    assert ledger.put(RECORDS, 1, b"one", first)
    assert not ledger.put(RECORDS, 1, b"other", second)
    assert book.list(store.run_id) == [first]


def test_a_run_that_is_begun_anew_finds_what_persons_have_answered(store: Store) -> None:
    source = f"log of {store.run_id} again"
    run = RunStore(store.database, source, "{}")
    answered = in_status(FineTuneStatus.REJECTED, 1, run.run_id)
    flagged = in_status(FineTuneStatus.FLAGGED, 1, run.run_id)
    book = StoredFineTunes(store.database)
    assert book.put(flagged)
    assert book.put(answered)
    run.finish()
    again = RunStore(store.database, source, "{}")
    again.record_pane(1, b"body", flagged)
    assert book.list(run.run_id) == [answered]
