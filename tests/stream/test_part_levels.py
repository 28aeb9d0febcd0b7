"""Parts of an open pane stay few, and none is lost or merged twice."""

from __future__ import annotations

import math

from stream.part_levels import FAN, PartLevels


def _commit(levels: PartLevels, parts: dict[int, int], number: int) -> int:
    """Write a part of one count as a store would; returns how many counts were written."""
    joined = levels.joined_by(0)
    parts[number] = 1 + sum(parts.pop(other) for other in joined)
    levels.settle({0: joined}, number)
    return parts[number]


def test_parts_are_few_and_each_count_is_written_seldom() -> None:
    levels, parts, n_written = PartLevels({}), dict[int, int](), 0
    for number in range(1, 5_001):
        n_written += _commit(levels, parts, number)
        assert sum(parts.values()) == number
        assert len(parts) <= (FAN - 1) * (math.log(number, FAN) + 1)
    assert n_written <= 5_000 * (math.log(5_000, FAN) + 1)


def test_whoever_takes_over_many_parts_merges_them_at_once() -> None:
    levels = PartLevels({0: range(1, 100)})
    assert levels.joined_by(0) == list(range(1, 100))
    assert levels.joined_by(1) == []


def test_parts_that_were_written_alone_stay_as_they_are() -> None:
    levels = PartLevels({0: range(1, FAN)})
    levels.settle({0: []}, FAN)  # the pane was closed by this commit: nothing of it is merged any more
    assert levels.joined_by(0) == list(range(1, FAN + 1))


def test_closed_panes_are_forgotten() -> None:
    levels = PartLevels({0: range(1, 10), 1: range(1, 10)})
    levels.settle({2: []}, 10, closed_pane=0)
    assert (levels.joined_by(0), len(levels.joined_by(1))) == ([], 9)
