"""Which parts of an open pane are merged with the next one, so that they stay few and are rewritten seldom.

A logarithmic method (Bentley and Saxe, Decomposable searching problems, 1980): eight parts of a level become one of
the next, so a pane that a shard commits `n` times has about ``7 log8(n)`` parts at most, and each count is written
``log8(n)`` times.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

FAN = 8


class PartLevels:
    """The commits whose parts of open panes lie in the store, and their levels.

    Parameters
    ----------
    numbers : pane -> commit numbers, ascending; of parts that are there already

    Examples
    --------
    >>> levels = PartLevels({})
    >>> for number in range(1, FAN):
    ...     levels.settle({3: levels.joined_by(3)}, number)
    >>> levels.joined_by(3)
    [1, 2, 3, 4, 5, 6, 7]
    """

    def __init__(self, numbers: Mapping[int, Iterable[int]]) -> None:
        self._parts = {pane: [(number, 0) for number in of_pane] for pane, of_pane in numbers.items()}

    def joined_by(self, pane: int) -> list[int]:
        """List the commits whose parts the pane's next part is to be merged with."""
        return [number for number, _ in self._split(pane)[1]]

    def settle(self, joined: Mapping[int, list[int]], number: int, closed_pane: int | None = None) -> None:
        """Note that commit `number` wrote parts of panes, each `joined` with others, and that panes are closed."""
        for pane, numbers in joined.items():
            rest, merged, level = self._split(pane)
            assert [each for each, _ in merged] == numbers or not numbers
            self._parts[pane] = [*rest, (number, level)] if numbers else [*rest, *merged, (number, 0)]
        if closed_pane is not None:
            self._parts = {pane: parts for pane, parts in self._parts.items() if pane > closed_pane}

    def _split(self, pane: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]], int]:
        """Split a pane's parts into those that stay and those that go with the next one, which gets the level."""
        parts, level = self._parts.get(pane, []), 0
        first = len(parts)
        while True:
            before = first
            while before and parts[before - 1][1] == level:
                before -= 1
            if first - before + 1 < FAN:
                return parts[:first], parts[first:], level
            first, level = before, level + 1
