"""Protobuf messages into fields without a Python object: the fast path of `stream.decoding.messages.protobuf_schema`.

`Encoding <https://protobuf.dev/programming-guides/encoding/>`_: tags and values, in any order, the last one wins.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream.decoding.messages.fields import ABSENT, FALSE, FLOAT, INSTANT, INTEGER, NULL, TEXT, TRUE
from stream.decoding.messages.memory import address_of, byte_at, integer_at, widened, word_at
from stream.decoding.messages.protobuf_plan import (
    DEFAULT_KIND,
    DOUBLE,
    EIGHT_BYTES,
    ENUM,
    FIRST_SYMBOL,
    FIXED_64,
    FOUR_BYTES,
    INT_32,
    LENGTH,
    MEMBER,
    N_SYMBOLS,
    NUMBER,
    READ,
    SIGNED_32,
    SINGLE,
    SINT_32,
    SINT_64,
    TIMESTAMP,
    TRUTH,
    UINT_32,
    VARINT,
    WIRE,
)
from stream.decoding.messages.utf8 import is_utf8
from stream.decoding.messages.varints import CUT_OFF, read_varint, zigzag
from tidegate.jit import kernel

_LONGEST_TAG, _LONGEST_LENGTH = 5, 5  # bytes
_MAX_TAG, _MAX_LENGTH = 0xFFFF_FFFF, 0x7FFF_FFFF
_LOW, _SIGN = 0xFFFF_FFFF, 0x8000_0000
_LONGEST_VARINT = 10  # a negative number's, whose last byte is 1
_NO_FIELD = -1
_SECONDS, _NANOS = 1 << 3 | VARINT, 2 << 3 | VARINT  # tags within a Timestamp
_LAST_SECOND, _PER_SECOND = 253_402_300_799, 1_000_000_000  # of the year 9999; nanoseconds


@kernel
def scan_messages(
    data: NDArray[np.uint8],
    offsets: NDArray[np.int32],
    bodies: NDArray[np.int32],
    rows: NDArray[np.int64],
    fields: NDArray[np.int64],
    symbol_numbers: NDArray[np.int64],
    symbol_starts: NDArray[np.int64],
    symbol_lengths: NDArray[np.int32],
    kinds: NDArray[np.uint8],
    numbers: NDArray[np.int64],
    lengths: NDArray[np.int32],
    is_left: NDArray[np.bool_],
) -> int:
    """Read the wanted fields of each message; `is_left` tells which ones are left to a library.

    Those are all that are no messages, and of those that are: groups, texts that are not UTF-8, wanted integers of
    more than 63 bits, values laid out otherwise than the schema says, numbers that no symbol has, instants before
    1970 or in several pieces, and tags and lengths that are written longer than they need be.

    Parameters
    ----------
    data : uint8[*]             all messages, the symbols after them, `N_SPARE` bytes more than that
    offsets : int32[n + 1]      where each message begins; the symbols begin at the last one
    bodies : int32[n]           where the body of each begins
    rows : int64[k]             which messages are meant
    fields : int64[f, 7]        of `ProtobufPlan`, as are the symbols
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
        for field in range(fields.shape[0]):
            member = fields[field, MEMBER]
            kinds[member, row] = fields[field, DEFAULT_KIND]
            numbers[member, row] = 0
            lengths[member, row] = 0
            if fields[field, READ] == ENUM and fields[field, DEFAULT_KIND] == TEXT:
                symbol = fields[field, FIRST_SYMBOL]
                numbers[member, row] = symbols_at + symbol_starts[symbol]
                lengths[member, row] = symbol_lengths[symbol]
        is_left[row] = not _scan_message(
            base, base + bodies[row], base + offsets[row + 1], fields, symbols_at, symbol_numbers, symbol_starts,
            symbol_lengths, row, kinds, numbers, lengths,
        )  # fmt: skip
        if is_left[row]:
            n_left += 1
            for member in range(kinds.shape[0]):
                kinds[member, row] = ABSENT
    return n_left


@kernel
def _scan_message(
    base: int,
    at: int,
    stop: int,
    fields: NDArray[np.int64],
    symbols_at: int,
    symbol_numbers: NDArray[np.int64],
    symbol_starts: NDArray[np.int64],
    symbol_lengths: NDArray[np.int32],
    row: int,
    kinds: NDArray[np.uint8],
    numbers: NDArray[np.int64],
    lengths: NDArray[np.int32],
) -> bool:
    while at < stop:
        start = at
        tag, at = read_varint(at, stop)
        if at == CUT_OFF or at - start > _LONGEST_TAG or tag > _MAX_TAG or tag >> 3 == 0:
            return False
        wire = tag & 7
        field = _field_of(fields, tag >> 3)
        if field == _NO_FIELD:
            at = _skip(wire, at, stop)
            if at == CUT_OFF:
                return False
            continue
        member, read = fields[field, MEMBER], fields[field, READ]
        if wire != fields[field, WIRE] or kinds[member, row] == INSTANT:
            return False
        at, kind, number, length = _read(wire, read, base, at, stop)
        if at == CUT_OFF:
            return False
        if read == ENUM:
            symbol = _symbol_of(symbol_numbers, fields[field, FIRST_SYMBOL], fields[field, N_SYMBOLS], number)
            if symbol == _NO_FIELD:
                return False
            number = symbols_at + symbol_starts[symbol]
            length = symbol_lengths[symbol]
        kinds[member, row] = kind
        numbers[member, row] = number
        lengths[member, row] = length
    return True


@kernel
def _field_of(fields: NDArray[np.int64], number: int) -> int:
    for field in range(fields.shape[0]):
        if fields[field, NUMBER] == number:
            return field
    return _NO_FIELD


@kernel
def _symbol_of(symbol_numbers: NDArray[np.int64], first: int, n: int, number: int) -> int:
    """Find a symbol: mostly it is where its number says."""
    if 0 <= number < n and symbol_numbers[first + number] == number:
        return first + number
    for symbol in range(first, first + n):
        if symbol_numbers[symbol] == number:
            return symbol
    return _NO_FIELD


@kernel
def _skip(wire: int, at: int, stop: int) -> int:
    """Find the end of a value that is not wanted, or `CUT_OFF`."""
    if wire == VARINT:
        _, end = read_varint(at, stop)
        if end == CUT_OFF and at + _LONGEST_VARINT <= stop and byte_at(at + _LONGEST_VARINT - 1) == 1:
            return at + _LONGEST_VARINT
        return end
    if wire == LENGTH:
        n_bytes, at = _read_length(at, stop)
        return CUT_OFF if at == CUT_OFF else at + n_bytes
    if wire == EIGHT_BYTES:
        at += 8
    elif wire == FOUR_BYTES:
        at += 4
    else:
        return CUT_OFF
    return at if at <= stop else CUT_OFF


@kernel
def _read_length(at: int, stop: int) -> tuple[int, int]:
    """Read how many bytes follow, and see that they do."""
    start = at
    n_bytes, at = read_varint(at, stop)
    if at == CUT_OFF or at - start > _LONGEST_LENGTH or n_bytes > _MAX_LENGTH or n_bytes > stop - at:
        return 0, CUT_OFF
    return n_bytes, at


@kernel
def _read(wire: int, read: int, base: int, at: int, stop: int) -> tuple[int, int, int, int]:  # noqa: PLR0911
    """Read a wanted value: its end or `CUT_OFF`, kind, number (that of a symbol itself) and length."""
    if wire == VARINT:
        value, at = read_varint(at, stop)
        kind, value = _value_of(read, value)
        return at, kind, value, 0
    if wire == LENGTH:
        n_bytes, at = _read_length(at, stop)
        if at == CUT_OFF:
            return CUT_OFF, NULL, 0, 0
        if read == TIMESTAMP:
            is_instant, value = _read_instant(at, at + n_bytes)
            return (at + n_bytes if is_instant else CUT_OFF), INSTANT, value, 0
        return (at + n_bytes if is_utf8(at, at + n_bytes) else CUT_OFF), TEXT, at - base, n_bytes
    if wire == EIGHT_BYTES:
        if at + 8 > stop or (read == FIXED_64 and integer_at(at) < 0):
            return CUT_OFF, NULL, 0, 0
        return at + 8, (FLOAT if read == DOUBLE else INTEGER), integer_at(at), 0
    if at + 4 > stop:
        return CUT_OFF, NULL, 0, 0
    if read == SINGLE:
        return at + 4, FLOAT, widened(word_at(at)), 0
    value = integer_at(at) & _LOW
    return at + 4, INTEGER, (_signed(value) if read == SIGNED_32 else value), 0


@kernel
def _value_of(read: int, value: int) -> tuple[int, int]:
    """Give a varint's kind and number. Those of 32 bits are cut to their lower bits, as all libraries do."""
    if read == TRUTH:
        return (FALSE if value == 0 else TRUE), 0
    if read in (INT_32, ENUM):
        value = _signed(value & _LOW)
    elif read == UINT_32:
        value &= _LOW
    elif read == SINT_32:
        value = zigzag(value & _LOW)
    elif read == SINT_64:
        value = zigzag(value)
    return INTEGER if read != ENUM else TEXT, value


@kernel
def _signed(value: int) -> int:
    """Read 32 bits as a signed integer."""
    return (value ^ _SIGN) - _SIGN


@kernel
def _read_instant(at: int, stop: int) -> tuple[bool, int]:
    """Read a Timestamp in microseconds, if it is one from 1970 on and nothing else is in it."""
    seconds = nanos = 0
    while at < stop:
        tag = byte_at(at)
        if tag not in (_SECONDS, _NANOS):
            return False, 0
        value, at = read_varint(at + 1, stop)
        if at == CUT_OFF:
            return False, 0
        if tag == _SECONDS:
            seconds = value
        else:
            nanos = value
    if seconds > _LAST_SECOND or nanos >= _PER_SECOND:
        return False, 0
    return True, seconds * 1_000_000 + nanos // 1_000
