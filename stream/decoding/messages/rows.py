"""What every format's messages become: rows of columns, and the messages that are no rows, each with its fault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import reduce
from math import isnan
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stream.decoding.messages.fields import Fields
from stream.decoding.texts import as_text, float_text


@dataclass(frozen=True, slots=True)
class MessageRows:
    """Decoded messages.

    Attributes
    ----------
    columns : mapping        name -> pyarrow.Array[n]
    positions : int64[n]     position of each row among the values; None where every value is a row
    bad : list               position and fault of each value that is not readable, by position
    """

    columns: Mapping[str, Any]
    positions: NDArray[np.int64] | None
    bad: list[tuple[int, str]]


class MessageParser(Protocol):
    """Makes rows of messages of one format."""

    @property
    def noun(self) -> str:
        """What a message should be."""
        ...

    @property
    def mend(self) -> str:
        """What a producer is to do about messages that cannot be read."""
        ...

    def decode(self, values: Sequence[bytes]) -> MessageRows:
        """Decode messages; one that is not readable spoils no other."""
        ...

    def load_kernels(self) -> None:
        """Load compiled kernels, which takes longer than many messages do."""
        ...


@dataclass(slots=True)
class LeftRows:
    """Messages that a kernel left to a library, as Python values.

    Attributes
    ----------
    positions : list of int    among all messages, ascending
    members : list of lists    member by member, the values of these messages
    """

    positions: list[int]
    members: list[list[Any]]


def rows_of(
    fields: Fields, left: LeftRows, bad: list[tuple[int, str]], columns: Mapping[str, Sequence[int]]
) -> MessageRows:
    """Put together what a kernel and a library have read. `O(n)` for a column that has one type.

    Parameters
    ----------
    fields : Fields      of all messages; those that are left or bad hold nothing
    left : LeftRows
    bad : list           position and fault, by position
    columns : mapping    column -> its members; the first one that a message has is taken
    """
    n = fields.kinds.shape[1]
    good = None if not bad else np.delete(np.arange(n), [position for position, _ in bad])
    arrays: dict[int, Any] = {}
    for member in {member for members in columns.values() for member in members}:
        array = _merged(fields, member, left)
        arrays[member] = array if good is None or array is None else array.take(pa.array(good))
    n_rows = n - len(bad)
    return MessageRows(
        {name: _first_of([arrays[member] for member in members], n_rows) for name, members in columns.items()},
        good,
        bad,
    )


def _merged(fields: Fields, member: int, left: LeftRows) -> Any:
    column = fields.column(member)
    more = left.members[member] if left.members else []
    if any(value is not None for value in more):
        added = _array(more)
        if column is not None and not isinstance(column, list) and column.type == added.type:
            at = np.arange(len(column))
            at[left.positions] = np.arange(len(column), len(column) + len(more))
            return pa.concat_arrays([column, added]).take(pa.array(at))
        column = fields.values(member)
        for position, value in zip(left.positions, more, strict=True):
            column[position] = value
    return _array(column) if isinstance(column, list) else column


def _array(values: list[Any]) -> Any:
    try:
        array = pa.array(values)
    except (pa.ArrowException, OverflowError):  # types differ from row to row, or an integer is past 64 bits
        return _texts(values)
    if _is_forced(array.type, values):
        return _texts(values)
    return array.cast(pa.string()) if pa.types.is_null(array.type) else array


def _is_forced(kind: Any, values: list[Any]) -> bool:
    """Whether pyarrow has made floats of truth values, instants of integers, or decimals of other numbers."""
    if pa.types.is_floating(kind):
        return any(isinstance(value, bool) for value in values)
    if pa.types.is_timestamp(kind):
        return not all(isinstance(value, datetime | None) for value in values)
    return pa.types.is_decimal(kind) and not all(isinstance(value, Decimal | None) for value in values)


def _texts(values: list[Any]) -> Any:
    return pa.array([_text(value) for value in values], pa.string())


def _text(value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return None if isnan(value) else float_text(value)
    if isinstance(value, datetime):
        return value.isoformat()
    return None if value is None else str(value)


def _first_of(arrays: list[Any], n: int) -> Any:
    present = [array for array in arrays if array is not None]
    return reduce(_either, present) if present else pa.nulls(n, pa.string())


def _either(first: Any, second: Any) -> Any:
    if second.null_count == len(second):
        return first
    if first.null_count == len(first):
        return second
    if first.type != second.type:
        first, second = as_text(first), as_text(second)
    return pc.coalesce(first, second)
