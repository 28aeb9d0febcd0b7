"""Flat JSON objects into fields without a Python object: the fast path of `stream.decoding.messages.json_rows`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream.decoding.messages.fields import ABSENT, DECIMAL, FALSE, NULL, TEXT, TRUE
from stream.decoding.messages.json_text import (
    BROKEN,
    CLOSE_OBJECT,
    COLON,
    COMMA,
    HAS_ESCAPE,
    HAS_NON_ASCII,
    MINUS,
    NINE,
    OPEN_OBJECT,
    QUOTE,
    ZERO,
    end_of_literal,
    end_of_text,
    end_of_value,
    read_number,
    skip_blanks,
)
from stream.decoding.messages.memory import address_of, byte_at, word_at
from stream.decoding.messages.utf8 import is_utf8
from tidegate.jit import inlined_kernel, kernel

_N_GUESSED = 16  # members whose place in the object is remembered from the object before
_SKIPPED = -1
_LETTER_F, _LETTER_N = 102, 110


@kernel
def scan_objects(
    data: NDArray[np.uint8],
    offsets: NDArray[np.int32],
    names: NDArray[np.uint8],
    name_offsets: NDArray[np.int32],
    kinds: NDArray[np.uint8],
    numbers: NDArray[np.int64],
    lengths: NDArray[np.int32],
    is_left: NDArray[np.bool_],
) -> int:
    """Read the wanted members of each object; `is_left` tells which messages are left to a full parser.

    Those are all that are no JSON, and of those that are: escapes in a wanted member's text or in any name, half
    surrogates, values that nest deeply, repeated members, and numbers that 64 bits do not hold at once.

    Parameters
    ----------
    data : uint8[*]             all messages, `N_SPARE` bytes more than that
    offsets : int32[n + 1]      where each begins
    names : uint8[*]            of the wanted members, in UTF-8, `N_SPARE` bytes more than that
    name_offsets : int32[m + 1]
    kinds, numbers, lengths     [m, n], to be written (`Fields`); `kinds` is ABSENT everywhere before
    is_left : bool[n]           to be written

    Returns
    -------
    int
        How many are left. `O(bytes)`, allocates nothing to speak of.
    """
    n_left = 0
    guesses = np.full(_N_GUESSED, _SKIPPED, dtype=np.int64)
    base = address_of(data)
    for row in range(offsets.shape[0] - 1):
        is_left[row] = not _scan_object(
            base, base + offsets[row], base + offsets[row + 1], address_of(names), name_offsets, guesses,
            row, kinds, numbers, lengths,
        )  # fmt: skip
        if is_left[row]:
            n_left += 1
            for member in range(kinds.shape[0]):
                kinds[member, row] = ABSENT
    return n_left


@kernel
def _scan_object(  # noqa: PLR0911, PLR0912 - a state machine: what follows is in the order of the bytes
    base: int,
    at: int,
    stop: int,
    names: int,
    name_offsets: NDArray[np.int32],
    guesses: NDArray[np.int64],
    row: int,
    kinds: NDArray[np.uint8],
    numbers: NDArray[np.int64],
    lengths: NDArray[np.int32],
) -> bool:
    at = skip_blanks(at, stop)
    if at >= stop or byte_at(at) != OPEN_OBJECT:
        return False
    at = skip_blanks(at + 1, stop)
    if at < stop and byte_at(at) == CLOSE_OBJECT:
        return skip_blanks(at + 1, stop) == stop
    ordinal = 0
    while True:
        if at >= stop or byte_at(at) != QUOTE:
            return False
        # 1. Which member it is.
        at, member = _read_name(at + 1, stop, names, name_offsets, guesses, ordinal)
        if at == BROKEN:
            return False
        # 2. The colon.
        at = skip_blanks(at + 1, stop)
        if at >= stop or byte_at(at) != COLON:
            return False
        at = skip_blanks(at + 1, stop)
        # 3. The value.
        if member == _SKIPPED:
            at = end_of_value(at, stop)
            if at == BROKEN:
                return False
        else:
            if kinds[member, row] != ABSENT:
                return False
            end, kind, number, length = _read_value(base, at, stop)
            if end == BROKEN:
                return False
            at = end
            kinds[member, row] = kind
            numbers[member, row] = number
            lengths[member, row] = length
        # 4. What follows.
        at = skip_blanks(at, stop)
        if at >= stop:
            return False
        if byte_at(at) == CLOSE_OBJECT:
            return skip_blanks(at + 1, stop) == stop
        if byte_at(at) != COMMA:
            return False
        at = skip_blanks(at + 1, stop)
        ordinal += 1


@inlined_kernel
def _read_name(
    at: int, stop: int, names: int, name_offsets: NDArray[np.int32], guesses: NDArray[np.int64], ordinal: int
) -> tuple[int, int]:
    """Read a member's name: where it ends, and which wanted member it is; mostly the one of the message before."""
    member = guesses[ordinal] if ordinal < _N_GUESSED else _SKIPPED
    if member != _SKIPPED:
        n_bytes = name_offsets[member + 1] - name_offsets[member]
        if (
            at + n_bytes < stop
            and byte_at(at + n_bytes) == QUOTE
            and is_same(at, names + name_offsets[member], n_bytes)
        ):
            return at + n_bytes, member
    end, found = end_of_text(at, stop)
    if end == BROKEN or found & HAS_ESCAPE:
        return BROKEN, _SKIPPED
    member = _SKIPPED
    for each in range(name_offsets.shape[0] - 1):
        n_bytes = name_offsets[each + 1] - name_offsets[each]
        if n_bytes == end - at and is_same(at, names + name_offsets[each], n_bytes):
            member = each
    if member != _SKIPPED and ordinal < _N_GUESSED:
        guesses[ordinal] = member
    return end, member


@kernel
def is_same(a: int, b: int, n_bytes: int) -> bool:
    """Compare bytes, eight at a time. `O(n_bytes)`, allocates nothing."""
    while n_bytes > 0:
        difference = word_at(a) ^ word_at(b)
        if n_bytes < 8:
            difference <<= np.uint64(8 * (8 - n_bytes))
        if difference != np.uint64(0):
            return False
        a += 8
        b += 8
        n_bytes -= 8
    return True


@kernel
def _read_value(base: int, at: int, stop: int) -> tuple[int, int, int, int]:
    """Read a wanted value: its end, kind, number and length; `BROKEN` where it is left to a full parser."""
    if at >= stop:
        return BROKEN, NULL, 0, 0
    first = byte_at(at)
    if first == QUOTE:
        end, found = end_of_text(at + 1, stop)
        if end == BROKEN or found & HAS_ESCAPE or (found & HAS_NON_ASCII and not is_utf8(at + 1, end)):
            return BROKEN, NULL, 0, 0
        return end + 1, TEXT, at + 1 - base, end - at - 1
    if first == MINUS or ZERO <= first <= NINE:
        end, kind, number = read_number(at, stop)
        if kind == NULL:
            end = BROKEN
        return end, kind, (at - base if kind == DECIMAL else number), end - at
    return end_of_literal(at, stop), (NULL if first == _LETTER_N else FALSE if first == _LETTER_F else TRUE), 0, 0
