"""Instants beside plain numbers in one column of times, in one notation.

A schema evolves: ``timestamp`` was a number of seconds, and is an instant since. Both may stand in one batch, and what
a number means is known by the time unit alone, so instants become numbers of that unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from stream.decoding.messages.fields import EPOCH, FLOAT, INSTANT, INTEGER, NULL, Fields, kinds_seen
from stream.decoding.messages.rows import LeftRows

_MICROSECOND = timedelta(microseconds=1)
_PER_MICROSECOND = {"s": (1, 1_000_000), "ms": (1, 1_000), "us": (1, 1), "ns": (1_000, 1)}


def in_one_notation(fields: Fields, left: LeftRows, members: Sequence[int], unit: str) -> None:
    """Write instants as numbers of a unit where other values than instants stand beside them.

    With the unit ``iso`` nothing is to do: such columns are read as text, and instants are written as ISO 8601.

    Parameters
    ----------
    fields, left : what a kernel and a library have read, to be changed
    members : those that hold times
    unit : {'s', 'ms', 'us', 'ns', 'iso'}
    """
    if unit == "iso" or not _is_mixed(fields, left, members):
        return
    factor, divisor = _PER_MICROSECOND[unit]
    for member in members:
        rows = np.flatnonzero(fields.kinds[member] == INSTANT)
        numbers = fields.numbers[member, rows]
        is_whole = _is_whole(np.abs(numbers), factor, divisor)
        fields.kinds[member, rows] = np.where(is_whole, INTEGER, FLOAT)
        fields.numbers[member, rows[is_whole]] = numbers[is_whole] * factor
        # Times are rounded from floats to the microsecond; these are rounded once, also beyond 2^53 (the year 2255).
        floats = [microseconds * factor / divisor for microseconds in numbers[~is_whole].tolist()]
        fields.floats[member, rows[~is_whole]] = floats
        if left.members:
            left.members[member] = [_number(value, factor, divisor) for value in left.members[member]]


def _is_whole(microseconds: Any, factor: int, divisor: int) -> Any:
    """Whether so many microseconds, none negative, are a whole number of the unit that 64 bits hold."""
    return (microseconds < (1 << 63) // factor) & (divisor == 1)


def _is_mixed(fields: Fields, left: LeftRows, members: Sequence[int]) -> bool:
    seen = 0
    for member in members:
        seen |= int(kinds_seen(fields.kinds[member]))
    given = [value for member in members if left.members for value in left.members[member] if value is not None]
    n_instants = sum(isinstance(value, datetime) for value in given)
    has_others = bool(seen & ~(1 << INSTANT) & ~((1 << NULL + 1) - 1)) or n_instants < len(given)
    return has_others and bool(seen & 1 << INSTANT or n_instants)


def _number(value: Any, factor: int, divisor: int) -> Any:
    if not isinstance(value, datetime):
        return value
    microseconds = (value - EPOCH) // _MICROSECOND
    is_whole = _is_whole(abs(microseconds), factor, divisor)
    return microseconds * factor if is_whole else microseconds * factor / divisor
