"""Flat Avro records into fields without a Python object: the fast path of `stream.decoding.messages.avro_schema`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream.decoding.messages.avro_plan import (
    BOOLEAN,
    DOUBLE,
    ENUM,
    FIRST_SYMBOL,
    FIXED,
    MEMBER,
    MICROS,
    MILLIS,
    NO_MEMBER,
    NO_UNION,
    NOTHING,
    NULL_BRANCH,
    RECORD,
    SINGLE,
    SIZE,
    SIZED,
    STEP,
    WHOLE,
)
from stream.decoding.messages.fields import ABSENT, FALSE, FLOAT, INSTANT, INTEGER, NULL, TEXT, TRUE
from stream.decoding.messages.memory import address_of, byte_at, integer_at, widened, word_at
from stream.decoding.messages.utf8 import is_utf8
from stream.decoding.messages.varints import CUT_OFF, read_varint, zigzag
from tidegate.jit import kernel

_FIRST_US, _LAST_US = -62_135_596_800_000_000, 253_402_300_799_999_999  # of the years 1 and 9999, as Python counts
_SINGLE_BYTES, _DOUBLE_BYTES = 4, 8


@kernel
def scan_records(
    data: NDArray[np.uint8],
    offsets: NDArray[np.int32],
    bodies: NDArray[np.int32],
    rows: NDArray[np.int64],
    steps: NDArray[np.int64],
    symbol_starts: NDArray[np.int64],
    symbol_lengths: NDArray[np.int32],
    kinds: NDArray[np.uint8],
    numbers: NDArray[np.int64],
    lengths: NDArray[np.int32],
    is_left: NDArray[np.bool_],
) -> int:
    """Read the wanted fields of each record; `is_left` tells which ones are left to a library.

    Those are all that are cut off, and of those that are not: texts that are not UTF-8, integers of more than 63 bits,
    instants outside the years 1 to 9999, and branches and symbols that the schema does not have.

    Parameters
    ----------
    data : uint8[*]             all messages, the symbols after them, `N_SPARE` bytes more than that
    offsets : int32[n + 1]      where each message begins; the symbols begin at the last one
    bodies : int32[n]           where the body of each begins
    rows : int64[k]             which messages are meant
    steps : int64[f, 5]         of `AvroPlan`, as are the symbols
    kinds, numbers, lengths     [m, n], to be written (`Fields`); `kinds` is ABSENT at `rows` before
    is_left : bool[n]           to be written at `rows`

    Returns
    -------
    int
        How many are left. `O(bytes)`, allocates nothing.
    """
    base = address_of(data)
    symbols_at = offsets[offsets.shape[0] - 1]
    n_left = 0
    for row in rows:
        is_left[row] = not _scan_record(
            base, base + bodies[row], base + offsets[row + 1], steps, symbols_at, symbol_starts, symbol_lengths,
            row, kinds, numbers, lengths,
        )  # fmt: skip
        if is_left[row]:
            n_left += 1
            for member in range(kinds.shape[0]):
                kinds[member, row] = ABSENT
    return n_left


@kernel
def _scan_record(
    base: int,
    at: int,
    stop: int,
    steps: NDArray[np.int64],
    symbols_at: int,
    symbol_starts: NDArray[np.int64],
    symbol_lengths: NDArray[np.int32],
    row: int,
    kinds: NDArray[np.uint8],
    numbers: NDArray[np.int64],
    lengths: NDArray[np.int32],
) -> bool:
    i = 0
    while i < steps.shape[0]:
        step, member, size = steps[i, STEP], steps[i, MEMBER], steps[i, SIZE]
        null_branch = steps[i, NULL_BRANCH]
        i += 1
        if null_branch != NO_UNION:
            if at >= stop or (byte_at(at) != 0 and byte_at(at) != 2):
                return False
            branch = byte_at(at) >> 1
            at += 1
            if branch == null_branch:
                if step == RECORD:
                    i += size
                if member != NO_MEMBER:
                    kinds[member, row] = NULL
                continue
        if step == RECORD:
            continue
        if member == NO_MEMBER:
            at = _skip(step, size, at, stop)
            if at == CUT_OFF:
                return False
            continue
        at, kind, number, length = _read(step, size, base, at, stop)
        if at == CUT_OFF:
            return False
        if step == ENUM:
            symbol = steps[i - 1, FIRST_SYMBOL] + number
            number = symbols_at + symbol_starts[symbol]
            length = symbol_lengths[symbol]
        kinds[member, row] = kind
        numbers[member, row] = number
        lengths[member, row] = length
    return True


@kernel
def _skip(step: int, size: int, at: int, stop: int) -> int:
    """Find the end of a value that is not wanted, or `CUT_OFF`."""
    if step == WHOLE:
        _, at = read_varint(at, stop)
        return at
    if step == SIZED:
        n_bytes, at = read_varint(at, stop)
        n_bytes = zigzag(n_bytes)
        if at == CUT_OFF or n_bytes < 0 or n_bytes > stop - at:
            return CUT_OFF
        return at + n_bytes
    if step == SINGLE:
        at += _SINGLE_BYTES
    elif step == DOUBLE:
        at += _DOUBLE_BYTES
    elif step == FIXED:
        at += size
    elif step == BOOLEAN:
        at += 1
    return at if at <= stop else CUT_OFF


@kernel
def _read(step: int, size: int, base: int, at: int, stop: int) -> tuple[int, int, int, int]:  # noqa: PLR0911
    """Read a wanted value: its end or `CUT_OFF`, kind, number (a symbol's, within its enumeration) and length."""
    if step in (SIZED, FIXED):
        n_bytes = size
        if step == SIZED:
            n_bytes, at = read_varint(at, stop)
            n_bytes = zigzag(n_bytes)
        if at == CUT_OFF or n_bytes < 0 or n_bytes > stop - at or not is_utf8(at, at + n_bytes):
            return CUT_OFF, NULL, 0, 0
        return at + n_bytes, TEXT, at - base, n_bytes
    if step in (WHOLE, ENUM, MILLIS, MICROS):
        value, at = read_varint(at, stop)
        value = zigzag(value)
        if step == WHOLE or at == CUT_OFF:
            return at, INTEGER, value, 0
        if step == ENUM:
            return (at if 0 <= value < size else CUT_OFF), TEXT, value, 0
        if step == MILLIS:
            if not _FIRST_US // 1_000 <= value <= _LAST_US // 1_000:
                return CUT_OFF, NULL, 0, 0
            value *= 1_000
        return (at if _FIRST_US <= value <= _LAST_US else CUT_OFF), INSTANT, value, 0
    if step == NOTHING:
        return at, NULL, 0, 0
    end = _skip(step, size, at, stop)
    if end == CUT_OFF:
        return CUT_OFF, NULL, 0, 0
    if step == BOOLEAN:
        byte = byte_at(at)
        return (end if byte <= 1 else CUT_OFF), (TRUE if byte == 1 else FALSE), 0, 0
    return end, FLOAT, (widened(word_at(at)) if step == SINGLE else integer_at(at)), 0
