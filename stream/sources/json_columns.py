"""JSON objects as columns, in bulk: only the mapped members are decoded, the rest is skipped unread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import attrgetter
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from stream.decoding.texts import as_text, float_text

_VALUE = str | int | float | bool | None
_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


@dataclass(frozen=True, slots=True)
class JsonRows:
    """Decoded objects.

    Attributes
    ----------
    columns : mapping        name -> pyarrow.Array[n]
    positions : list[int]    position of each row among the values; None where every value is a row
    bad : list               position and fault of each value that is not a readable object
    """

    columns: Mapping[str, Any]
    positions: list[int] | None
    bad: list[tuple[int, str]]


class JsonColumns:
    """Decodes objects into columns.

    Parameters
    ----------
    candidates : mapping
        Column -> names of the member to look for; the first one that an object has is taken.

    Examples
    --------
    >>> rows = JsonColumns({"user": ("user_id", "user")}).decode([b'{"user_id": 7}', b'{"user": "x"}', b"{"])
    >>> rows.columns["user"].to_pylist(), rows.positions
    (['7', 'x'], [0, 1])
    """

    def __init__(self, candidates: Mapping[str, tuple[str, ...]]) -> None:
        members = list(dict.fromkeys(name for names in candidates.values() for name in names))
        # Members may have any name; attributes may not.
        attribute_of = {name: f"m{index}" for index, name in enumerate(members)}
        row = msgspec.defstruct(
            "Row",
            [(attribute, _VALUE, None) for attribute in attribute_of.values()],
            rename={attribute: name for name, attribute in attribute_of.items()},
            gc=False,  # holds only scalars: nothing to collect in cycles
        )
        self._one = msgspec.json.Decoder(row)
        self._many = msgspec.json.Decoder(list[row])  # type: ignore[valid-type]
        self._getters = {
            column: [attrgetter(attribute_of[name]) for name in names] for column, names in candidates.items()
        }

    def decode(self, values: Sequence[bytes]) -> JsonRows:
        """Decode JSON objects, one from each of `values`. `O(bytes)`; a fault costs its batch the bulk decoder."""
        try:
            rows: list[Any] = self._many.decode(b"[" + b",".join(values) + b"]")
        except _ERRORS:
            return self._decode_one_by_one(values)
        if len(rows) != len(values):  # one value held two objects
            return self._decode_one_by_one(values)
        return JsonRows(self._columns(rows), None, [])

    def _decode_one_by_one(self, values: Sequence[bytes]) -> JsonRows:
        rows, positions, bad = [], [], []
        for position, value in enumerate(values):
            try:
                rows.append(self._one.decode(value))
                positions.append(position)
            except _ERRORS as error:
                bad.append((position, _fault(error)))
        return JsonRows(self._columns(rows), positions, bad)

    def _columns(self, rows: list[Any]) -> dict[str, Any]:
        return {
            column: reduce(_either, (_array(list(map(getter, rows))) for getter in getters))
            for column, getters in self._getters.items()
        }


def _fault(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it nests too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    return str(error)


def _array(values: list[Any]) -> Any:
    try:
        array = pa.array(values)
    except (pa.ArrowException, OverflowError):  # types differ from row to row, or an integer is past 64 bits
        return pa.array([_text(value) for value in values], pa.string())
    return array.cast(pa.string()) if pa.types.is_null(array.type) else array


def _text(value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return float_text(value)
    return None if value is None else str(value)


def _either(first: Any, second: Any) -> Any:
    if second.null_count == len(second):
        return first
    if first.null_count == len(first):
        return second
    if first.type != second.type:
        first, second = as_text(first), as_text(second)
    return pc.coalesce(first, second)
