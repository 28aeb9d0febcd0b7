from __future__ import annotations

from stream.sources.kafka_partition import PartitionProgress


def test_records_are_taken_once_and_only_before_the_stop() -> None:
    progress = PartitionProgress(position=5, stop=8)
    assert [progress.accepts(offset) for offset in (4, 5, 7, 8)] == [False, True, True, False]


def test_a_finite_partition_finishes_at_its_stop_even_if_the_log_has_grown() -> None:
    progress = PartitionProgress(position=5, stop=8)
    progress.move_past(6)
    assert (progress.position, progress.is_finished) == (7, False)
    progress.move_past(11)
    assert (progress.position, progress.is_finished) == (8, True)


def test_a_finite_partition_finishes_where_the_log_ends_without_a_record_there() -> None:
    progress = PartitionProgress(position=5, stop=8)
    assert progress.ends_at(8, 0.0)
    assert progress.position == 8
    assert not progress.ends_at(8, 0.0)


def test_a_followed_partition_never_finishes() -> None:
    progress = PartitionProgress(position=5)
    progress.move_past(5)
    assert not progress.ends_at(6, 0.0)
    assert not progress.is_finished


def test_idleness_is_said_once_until_something_comes() -> None:
    progress = PartitionProgress(position=0)
    assert not progress.turns_idle(100.0, 30.0)
    progress.ends_at(0, 100.0)
    assert [progress.turns_idle(now, 30.0) for now in (129.0, 130.0, 131.0)] == [False, True, False]
    progress.move_past(0)
    assert not progress.turns_idle(200.0, 30.0)
    progress.ends_at(1, 200.0)
    assert progress.turns_idle(230.0, 30.0)


def test_a_paused_partition_is_not_idle() -> None:
    progress = PartitionProgress(position=0, is_paused=True)
    progress.ends_at(0, 0.0)
    assert not progress.turns_idle(100.0, 30.0)


def test_being_ahead_needs_a_time_on_both_sides() -> None:
    progress = PartitionProgress(position=0)
    assert not progress.is_ahead_of(5)
    progress.see_time(None)
    progress.see_time(7)
    progress.see_time(6)
    assert (progress.is_ahead_of(6), progress.is_ahead_of(7), progress.is_ahead_of(None)) == (True, False, False)
