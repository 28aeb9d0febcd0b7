"""The worker of a group over a simulated broker: takes shards over, waits for the store, gives back, is fenced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from stream.broker import Fetched, PartitionRecords
from stream.checkpoint import Checkpoint
from stream.group.worker import GroupWorker
from stream.shard_store import ShardStore
from stream.shared_codes import SharedCodes
from tests.stream.group.world import WATCHES, World, away, event, fail_with, go_on
from tidegate.errors import FencedError, StoreUnavailableError


def test_a_partition_that_is_given_is_counted_and_one_that_is_asked_back_is_committed_first(world: World) -> None:
    worker, broker = world.worker()
    broker.assign(0)
    broker.send(0, *WATCHES)
    go_on(worker, 2)
    assert worker.partitions == [0]
    assert world.transitions() == 2
    broker.script.append(lambda assignee: assignee.on_revoked([0]))
    go_on(worker)
    assert (worker.partitions, world.offsets(), broker.mirrored) == ([], {0: 5}, {0: 5})
    other, others = world.worker()
    others.assign(0)
    go_on(other)
    assert others.starts == {0: 5}


def test_commits_are_made_less_often_where_they_would_take_all_the_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = ShardStore.commit

    def slow(store: ShardStore, checkpoint: Checkpoint) -> None:
        world.clock.sleep(0.4)
        commit(store, checkpoint)

    monkeypatch.setattr(ShardStore, "commit", slow)
    worker, broker = world.worker(checkpoint_seconds=1.0)
    broker.assign(0, 1)
    go_on(worker)
    n_commits, started = worker.figures.n_commits, world.clock.monotonic_seconds()
    for second in range(200):
        broker.send(0, event(1, "a", 20 + second), first=second)
        world.clock.sleep(1.0)
        go_on(worker)
    took_seconds = 0.4 * (worker.figures.n_commits - n_commits)
    assert 0.02 < took_seconds / (world.clock.monotonic_seconds() - started) < 0.15


def test_a_partition_that_was_lost_is_let_go_without_a_commit(world: World) -> None:
    worker, broker = world.worker()
    broker.assign(0)
    broker.send(0, *WATCHES[:3])
    broker.script.append(lambda assignee: assignee.on_lost([0]))
    broker.send(0, *WATCHES[3:], first=3)
    go_on(worker, 4)
    assert (worker.partitions, world.offsets(), worker.figures.n_commits) == ([], {}, 0)
    worker.abandon()
    assert world.offsets() == {}


def test_closing_commits_and_abandoning_does_not(world: World) -> None:
    for close, expected in ((GroupWorker.abandon, {}), (GroupWorker.close, {0: 3})):
        worker, broker = world.worker()
        broker.assign(0)
        broker.send(0, *WATCHES[:3])
        go_on(worker, 2)
        close(worker)
        assert world.offsets() == expected


def test_a_fenced_shard_is_dropped_and_a_rival_that_stays_is_refused(world: World) -> None:
    worker, broker = world.worker()
    broker.assign(0)
    go_on(worker)
    ShardStore(world.database, "run", 0, owner="a rival")
    broker.send(0, *WATCHES)
    broker.send(0, *WATCHES, first=5)
    go_on(worker, 2)
    assert (worker.partitions, worker.figures.n_fenced, world.offsets()) == ([], 1, {})
    world.clock.advance_ms(119_000)
    go_on(worker)
    world.clock.advance_ms(1_000)
    with pytest.raises(FencedError, match=r"another process has owned the partition for 120 s") as refused:
        worker.step()
    assert refused.value.place == "topic[0]"


def test_a_fenced_shard_that_the_group_gives_again_or_takes_back_is_no_rivals(world: World) -> None:
    worker, broker = world.worker()
    broker.assign(0, 1)
    go_on(worker)
    for partition in (0, 1):
        ShardStore(world.database, "run", partition)
        broker.send(partition, *WATCHES)
    go_on(worker, 2)
    assert worker.partitions == []
    broker.assign(0)
    broker.script.append(lambda assignee: assignee.on_lost([1]))
    go_on(worker, 2)
    world.clock.advance_ms(500_000)
    broker.send(0, *WATCHES)
    go_on(worker)
    assert (worker.partitions, world.transitions()) == ([0], 2)


def test_a_fenced_partition_is_no_rivals_before_the_group_has_had_its_say(world: World) -> None:
    worker, broker = world.worker()
    broker.assign(0, 1)
    go_on(worker)
    ShardStore(world.database, "run", 0)
    both = [PartitionRecords(partition, WATCHES, np.arange(5)) for partition in (0, 1)]
    broker.script.append(lambda _: Fetched(both))
    world.letters.on_flush = lambda: world.clock.advance_ms(130_000) or 0  # type: ignore[func-returns-value]
    go_on(worker)
    assert (worker.partitions, worker.figures.n_fenced) == ([1], 1)
    broker.script.append(lambda assignee: assignee.on_lost([0]))
    go_on(worker)
    assert worker.partitions == [1]


@pytest.mark.parametrize("at", ["commit", "gate", "codes", "take over"])
def test_a_store_that_is_away_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    worker, broker = world.worker()
    errors = [away() for _ in range(4)]

    def flaky(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if errors:
                raise errors.pop()
            return method(*args, **kwargs)

        return call

    if at == "gate":
        world.verdicts.errors = errors  # type: ignore[assignment]
    elif at == "codes":
        monkeypatch.setattr(SharedCodes, "of_names", flaky(SharedCodes.of_names))
    else:
        name = "commit" if at == "commit" else "_take_over"
        monkeypatch.setattr(ShardStore, name, flaky(getattr(ShardStore, name)))
    before = world.clock.monotonic_seconds()
    broker.assign(0)
    broker.send(0, *WATCHES)
    go_on(worker, 2)
    assert not errors
    assert 0 < world.clock.monotonic_seconds() - before < 10
    assert world.transitions() == 2


def test_a_store_that_idle_shards_ask_is_waited_for_too(world: World) -> None:
    worker, broker = world.worker(idle_after_seconds=30.0)
    errors = [away()]
    worker._stream_ms = lambda: fail_with(errors.pop()) if errors else None
    broker.assign(0)
    broker.send(0, end=0)
    go_on(worker, 2)
    world.clock.advance_ms(30_000)
    go_on(worker)
    assert not errors


def test_a_worker_that_is_to_stop_does_not_wait_long_for_an_absent_store(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping: list[bool] = []
    worker, broker = world.worker(patience_seconds=600.0, should_stop=lambda: bool(stopping))
    broker.assign(0)
    broker.send(0, *WATCHES)
    go_on(worker)
    monkeypatch.setattr(ShardStore, "commit", lambda *_: stopping.append(True) or fail_with(away()))
    before = world.clock.monotonic_seconds()
    with pytest.raises(StoreUnavailableError):
        worker.step()
    assert 1 < world.clock.monotonic_seconds() - before < 3
    worker.abandon()
    assert world.offsets() == {}


def test_a_store_that_stays_away_is_told_of_and_stops_the_worker(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    worker, broker = world.worker(patience_seconds=60.0)
    broker.assign(0)
    broker.send(0, *WATCHES)
    go_on(worker)
    monkeypatch.setattr(ShardStore, "commit", lambda *_: fail_with(away()))
    before = world.clock.monotonic_seconds()
    with pytest.raises(StoreUnavailableError):
        worker.step()
    assert 60 <= world.clock.monotonic_seconds() - before < 65
    told = [record.getMessage() for record in caplog.records if record.name == "tidegate.store"]
    assert len(told) == 1  # not one for each attempt
    assert "the store refuses for now; trying again: " in told[0]
