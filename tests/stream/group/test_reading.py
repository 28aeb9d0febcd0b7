"""What a worker of a group reads and when it stops: dead letters, shut gates, ends, gaps, idle partitions."""

from __future__ import annotations

import numpy as np
import pytest

from stream.broker import Fetched, PartitionRecords
from stream.group.worker import GroupWorker
from stream.run_reader import RunReader
from stream.shard_store import ShardStore
from tests.stream.group.world import WATCHES, FakeBroker, World, event, go_on
from tidegate.errors import BadRecordsError


def test_dead_letters_say_what_was_where_and_are_safe_before_the_commit(world: World) -> None:
    worker, broker = world.worker()
    broker.assign(0)
    broker.send(0, event(1, "a", 100), b"{nonsense", event(1, "b", 50), event(1, "c", 120), first=40)
    go_on(worker, 2)
    worker.close()
    letters = sorted(world.letters.sent, key=lambda letter: letter.offset)
    assert [(x.topic, x.partition, x.offset, str(x.outcome), x.key, x.value) for x in letters] == [
        ("topic", 0, 41, "malformed", b"key 1", b"{nonsense"),
        ("topic", 0, 42, "late", b"key 2", event(1, "b", 50)),
    ]
    assert "the message is no readable object" in letters[0].error
    assert letters[1].error == "It came behind the watermark"
    assert world.letters.flushed[0] == 0
    assert world.offsets() == {0: 44}
    assert worker.figures.n_dead_letters == 2
    assert worker.figures.outcomes == {"malformed": 1, "late": 1, "counted": 2}


def test_too_many_bad_records_stop_the_worker_before_anything_is_dead_lettered_or_committed(world: World) -> None:
    worker, broker = world.worker(limit=0.5)
    broker.assign(0)
    broker.send(0, event(1, "a", 1), b"x", b"y", first=7)
    go_on(worker)
    with pytest.raises(BadRecordsError, match=r"67% of the last 3 records") as refused:
        worker.step()
    assert refused.value.place == "topic[0]@7"
    worker.abandon()
    assert (world.letters.sent, world.offsets()) == ([], {})


def test_a_partition_whose_gate_is_shut_is_paused_when_it_holds_enough_and_resumed_when_it_opens(world: World) -> None:
    world.verdicts.decided = -1
    worker, broker = world.worker(max_waiting=3)
    broker.assign(0)
    broker.send(0, *WATCHES)
    go_on(worker, 2)
    assert broker.paused == set()  # two wait
    broker.send(0, event(2, "a", 301), first=5, end=6)
    go_on(worker)
    assert (broker.paused, world.transitions()) == ({0}, 1)
    world.clock.advance_ms(60_000)
    broker.send(0, end=6)
    go_on(worker, 2)
    assert not RunReader(world.database, "run").marks()[0].is_idle  # nothing is asked of it
    world.verdicts.decided = 5
    go_on(worker)
    assert (broker.paused, world.transitions()) == (set(), 2)


def test_reading_to_an_end_stops_there_though_the_last_offsets_hold_no_record(world: World) -> None:
    worker, broker = world.worker(until_end={0: 8, 1: 0})
    broker.assign(0, 1)
    broker.send(0, *WATCHES)
    go_on(worker, 2)
    assert not worker.has_ended
    broker.send(0, end=8)
    go_on(worker)
    world.clock.advance_ms(1_000)
    go_on(worker)
    assert worker.has_ended
    assert all(marks.is_finished for marks in world.reader.marks().values())
    assert world.transitions() == 3


def test_reading_to_an_end_leaves_out_what_lies_behind_it_and_needs_no_word_of_it(world: World) -> None:
    worker, broker = world.worker(until_end={0: 8})
    broker.assign(0)
    broker.send(0, *WATCHES)
    broker.send(0, *WATCHES, first=9)  # the log has grown meanwhile, over a gap
    go_on(worker, 3)
    world.clock.advance_ms(1_000)
    go_on(worker)
    assert worker.has_ended
    assert (world.offsets(), world.transitions()) == ({0: 5}, 3)


def test_a_fetch_that_reaches_over_a_gap_at_the_stop_ends_the_partition(world: World) -> None:
    worker, broker = world.worker(until_end={0: 8})
    broker.assign(0)
    offsets = np.array([0, 1, 2, 9])  # 3 to 8 hold no record
    broker.script.append(lambda _: Fetched([PartitionRecords(0, [*WATCHES[:3], WATCHES[3]], offsets)]))
    go_on(worker, 2)
    world.clock.advance_ms(1_000)
    go_on(worker)
    assert worker.has_ended
    assert (world.offsets(), world.transitions()) == ({0: 3}, 1)


def test_records_that_were_read_before_are_left_out(world: World) -> None:
    worker, broker = world.worker()
    broker.assign(0)
    broker.send(0, *WATCHES[:3])
    broker.send(0, *WATCHES, first=0)
    broker.send(0, *WATCHES, first=0)
    go_on(worker, 4)
    assert worker.figures.outcomes == {"counted": 5}


def test_a_partition_at_its_end_turns_idle_after_a_while_and_follows_the_stream(world: World) -> None:
    worker, broker = world.worker(idle_after_seconds=30.0)
    broker.assign(0)
    broker.send(0, *WATCHES[:3], end=3)
    go_on(worker, 2)
    world.clock.advance_ms(29_000)
    go_on(worker)
    assert not world.reader.marks()[0].is_idle
    world.clock.advance_ms(1_000)
    go_on(worker)
    assert world.reader.marks()[0].is_idle
    world.stream_ms = 200_000
    world.clock.advance_ms(1_000)
    go_on(worker, 2)
    assert world.reader.marks()[0].watermark_ms == 200_000
    assert world.transitions() == 1
    broker.send(0, event(1, "d", 250), first=3)
    world.clock.advance_ms(1_000)
    go_on(worker)
    assert not world.reader.marks()[0].is_idle


def _gone_along(world: World) -> tuple[GroupWorker, FakeBroker]:
    """A worker with an idle partition that has gone along to 50 s, which is not committed yet."""
    worker, broker = world.worker(idle_after_seconds=30.0, checkpoint_seconds=1e6)
    broker.assign(0)
    broker.send(0, *WATCHES[:3], end=3)
    go_on(worker, 2)
    world.clock.advance_ms(30_000)
    world.stream_ms = 50_000
    go_on(worker)
    assert world.offsets() == {}
    return worker, broker


def test_how_far_an_idle_partition_has_gone_along_is_committed_before_it_reads_on(world: World) -> None:
    worker, broker = _gone_along(world)
    broker.send(0, event(1, "d", 40), first=3)
    go_on(worker)
    assert [(letter.offset, str(letter.outcome)) for letter in world.letters.sent] == [(3, "late")]
    assert (world.offsets(), world.reader.marks()[0].watermark_ms) == ({0: 3}, 50_000)
    worker.abandon()
    other, others = world.worker()
    others.assign(0)
    others.send(0, event(1, "d", 40), first=3)
    go_on(other, 2)
    assert other.figures.outcomes == {"late": 1}


def test_an_idle_partition_that_was_taken_over_reads_nothing(world: World) -> None:
    worker, broker = _gone_along(world)
    ShardStore(world.database, "run", 0)
    broker.send(0, event(1, "d", 40), first=3)
    go_on(worker)
    assert (worker.partitions, worker.figures.n_fenced, world.letters.sent) == ([], 1, [])
