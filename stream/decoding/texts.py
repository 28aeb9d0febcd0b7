"""Columns of any type as text or as numbers, value by value the same whichever file format they came from."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_T = TypeVar("_T", bound=np.generic)
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"


def as_text(array: Any) -> Any:
    """Write a column's values as UTF-8 text: 7 and 7.0 (an integer column with gaps) as ``7``.

    Bytes that are not UTF-8 become null. Dictionary columns are written out.

    Returns
    -------
    pyarrow.StringArray[n]

    Raises
    ------
    pyarrow.ArrowNotImplementedError
        For nested types.
    """
    kind = array.type
    if pa.types.is_string(kind):
        return array
    if pa.types.is_dictionary(kind):
        return as_text(array.dictionary).take(array.indices)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return _decoded(array.cast(pa.binary()))
    if pa.types.is_floating(kind):
        return _floats_as_text(array.cast(pa.float64()))
    return array.cast(pa.string())


def _decoded(array: Any) -> Any:
    try:
        return array.cast(pa.string())  # validates and shares the bytes
    except pa.ArrowInvalid:
        return pa.array([_text_or_none(value) for value in array.to_pylist()], pa.string())


def _text_or_none(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def _floats_as_text(array: Any) -> Any:
    array = _without_nan(array)
    try:
        return array.cast(pa.int64()).cast(pa.string())  # refuses fractions and what a float cannot hold exactly
    except pa.ArrowInvalid:
        return pa.array([float_text(value) for value in array.to_pylist()], pa.string())


def float_text(value: float | None) -> str | None:
    """Write one float, without a fraction where it has none.

    Examples
    --------
    >>> float_text(7.0), float_text(7.5)
    ('7', '7.5')
    """
    if value is None:
        return None
    return str(int(value)) if value.is_integer() else repr(value)


def _without_nan(array: Any) -> Any:
    return pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)


def numbers_of(array: Any) -> Any:
    """Read a column as numbers; blanks, NaN and text that is no number become null.

    Returns
    -------
    pyarrow.DoubleArray[n]

    Raises
    ------
    pyarrow.ArrowNotImplementedError
        For types that have no number (dates, lists).
    """
    kind = array.type
    if pa.types.is_dictionary(kind):
        return numbers_of(array.dictionary).take(array.indices)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind):
        return _without_nan(_parsed_numbers(pc.ascii_trim_whitespace(as_text(array))))
    if pa.types.is_temporal(kind):
        raise pa.ArrowNotImplementedError(f"{kind} is not a number")
    return _without_nan(pc.cast(array, pa.float64(), safe=False))


def _parsed_numbers(text: Any) -> Any:
    try:
        return text.cast(pa.float64())
    except pa.ArrowInvalid:
        is_number = pc.match_substring_regex(text, _NUMBER)
        return pc.if_else(is_number, text, pa.scalar(None, pa.string())).cast(pa.float64())


def text_buffers(array: Any) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Expose a string array's memory to kernels, without a copy. Nulls read as empty text.

    Parameters
    ----------
    array : pyarrow.StringArray[n]

    Returns
    -------
    offsets : int32[n + 1]
    data : uint8[*]
    """
    if array.null_count:
        array = pc.fill_null(array, "")
    _, offsets, data = array.buffers()
    n = len(array)
    if n == 0 or offsets is None:
        return _frozen(np.zeros(n + 1, dtype=np.int32)), _frozen(np.zeros(0, dtype=np.uint8))
    starts = np.frombuffer(offsets, dtype=np.int32)[array.offset : array.offset + n + 1]
    return _frozen(starts), _frozen(np.frombuffer(data or b"", dtype=np.uint8))


def _frozen(view: NDArray[_T]) -> NDArray[_T]:
    view.flags.writeable = False  # one kernel signature, whether the buffer's owner may write or not
    return view
