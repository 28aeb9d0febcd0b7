"""What a worker of a group tells of itself."""

from __future__ import annotations

import pytest

from stream.checkpoint import Checkpoint
from stream.shard_store import ShardStore
from tests.stream.group.world import WATCHES, World, event, go_on


def test_a_worker_that_owns_nothing_has_not_ended(world: World) -> None:
    worker, _ = world.worker(until_end={})
    go_on(worker)
    assert not worker.has_ended


def test_a_worker_says_where_it_stands_and_what_it_has_counted(world: World) -> None:
    worker, broker = world.worker(checkpoint_seconds=60.0)
    empty = worker.standing()
    assert (empty.positions, empty.uncommitted_seconds, empty.behind_ms, empty.watermark_ms) == ({}, 0.0, None, None)
    broker.assign(0, 1)
    broker.send(0, *WATCHES)
    broker.send(1, event(2, "a", 40), end=1)
    go_on(worker, 2)
    world.clock.advance_ms(5_000)
    go_on(worker)
    standing = worker.standing()
    assert standing.positions == {0: 5, 1: 1}
    assert standing.behind_ms == 300_000  # partition 1 is read to its end
    assert standing.watermark_ms == 30_000
    assert standing.uncommitted_seconds == 0  # the panes that were closed have been committed with all that was read
    broker.send(0, event(1, "f", 310), first=5)
    go_on(worker)
    world.clock.advance_ms(7_000)
    standing = worker.standing()
    assert (standing.uncommitted_seconds, standing.n_waiting > 0) == (7.0, True)
    assert (worker.figures.n_batches, worker.figures.n_takeovers) == (3, 2)
    broker.send(0, end=6)
    go_on(worker)
    assert worker.standing().behind_ms is None
    worker.close()
    assert worker.figures.stats.tolist() == sum(world.reader.stats().values()).tolist()
    assert worker.standing().positions == {}


def test_what_is_counted_again_after_a_restart_is_not_what_was_counted_before(world: World) -> None:
    first, broker = world.worker()
    broker.assign(0)
    broker.send(0, *WATCHES)
    go_on(first, 2)
    first.close()
    n_before = world.transitions()
    second, broker = world.worker()
    broker.assign(0)
    go_on(second)
    assert (n_before, second.figures.stats.sum()) == (2, 0)
    broker.send(0, event(1, "f", 310), event(1, "g", 500), first=5)
    go_on(second)
    second.close()
    assert second.figures.stats[0] == world.transitions() - n_before > 0


def test_how_long_commits_take_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = ShardStore.commit

    def slow(store: ShardStore, checkpoint: Checkpoint) -> None:
        world.clock.sleep(0.25)
        commit(store, checkpoint)

    monkeypatch.setattr(ShardStore, "commit", slow)
    told: list[float] = []
    worker, broker = world.worker(on_commit=told.append)
    broker.assign(0)
    broker.send(0, *WATCHES)
    go_on(worker, 2)
    assert told == pytest.approx([0.25] * worker.figures.n_commits)
    assert told
