"""The grammar of JSON on bytes, as kernels: where a text, a number, a literal or any value ends.

Every function takes the bytes between two addresses, and gives the address after what it read, or `BROKEN` where the
bytes are no JSON, or are JSON of a kind that is left to a full parser (`RFC 8259
<https://www.rfc-editor.org/rfc/rfc8259>`_). It may look at `N_SPARE` bytes past `stop`, but never believes them.
"""

from __future__ import annotations

import numpy as np

from stream.decoding.messages.fields import DECIMAL, FLOAT, INTEGER, NULL
from stream.decoding.messages.memory import byte_at, float_bits, trailing_zeros, word_at
from tidegate.jit import kernel

BROKEN = -1
QUOTE, COMMA, COLON, MINUS, PLUS, POINT, ZERO, NINE = 34, 44, 58, 45, 43, 46, 48, 57
OPEN_ARRAY, CLOSE_ARRAY, OPEN_OBJECT, CLOSE_OBJECT, BACKSLASH = 91, 93, 123, 125, 92
HAS_ESCAPE, HAS_NON_ASCII = 1, 2
_SPACE, _TAB, _LINE_FEED, _RETURN = 32, 9, 10, 13
_LOWER, _E, _U, _SURROGATES, _SURROGATES_END = 32, 101, 117, 0xD8, 0xE0
_ESCAPES = np.isin(np.arange(256), np.frombuffer(b'"\\/bfnrt', np.uint8))
_HEX_DIGITS = np.array([int(chr(c), 16) if chr(c) in "0123456789abcdefABCDEF" else -1 for c in range(256)], np.int64)
_MAX_DEPTH = 60  # one bit each
_MAX_DIGITS = 18  # any integer of so many digits fits 64 bits
_MAX_EXACT_DIGITS = 15  # w / 10^k is then a division of two exact floats: correctly rounded
_POWERS = np.array([10.0**k for k in range(_MAX_EXACT_DIGITS + 1)])
_MAX_DECIMAL_BYTES, _MAX_EXPONENT_DIGITS = 40, 2  # a float of so few digits neither overflows nor vanishes
_TRUE, _ALSE, _NULL = (int.from_bytes(word, "little") for word in (b"true", b"alse", b"null"))
_FOUR_BYTES = np.uint64(0xFFFF_FFFF)
# One byte, eight times, for looking at eight bytes in one word.
_ONES, _HIGHS = np.uint64(0x0101_0101_0101_0101), np.uint64(0x8080_8080_8080_8080)
_QUOTES, _BACKSLASHES = np.uint64(QUOTE) * _ONES, np.uint64(BACKSLASH) * _ONES
_CONTROL_ENDS = np.uint64(0x20) * _ONES


@kernel
def skip_blanks(at: int, stop: int) -> int:
    """Go to the next byte that is no blank, or to `stop`. `O(blanks)`, allocates nothing."""
    while at < stop:
        byte = byte_at(at)
        if byte > _SPACE or byte not in (_SPACE, _LINE_FEED, _RETURN, _TAB):
            break
        at += 1
    return at


@kernel
def end_of_text(at: int, stop: int) -> tuple[int, int]:
    """Find the quote that ends the text which begins at `at`, and what is in it: `HAS_ESCAPE` | `HAS_NON_ASCII`.

    Half a surrogate pair is left to a full parser. `O(bytes)`, allocates nothing.
    """
    found = 0
    while at < stop:
        word = word_at(at)
        # The high bit of each byte that needs a look. What borrows spoil lies above the first such byte.
        quotes = ((word ^ _QUOTES) - _ONES) & ~(word ^ _QUOTES)
        backslashes = ((word ^ _BACKSLASHES) - _ONES) & ~(word ^ _BACKSLASHES)
        marks = (quotes | backslashes | ((word - _CONTROL_ENDS) & ~word) | word) & _HIGHS
        if marks == np.uint64(0):
            at += 8
            continue
        at += trailing_zeros(marks) >> 3
        if at >= stop:
            break
        byte = byte_at(at)
        if byte == QUOTE:
            return at, found
        if byte > BACKSLASH:
            found |= HAS_NON_ASCII
            at += 1
        elif byte == BACKSLASH:
            found |= HAS_ESCAPE
            at = _end_of_escape(at + 1, stop)
            if at == BROKEN:
                break
        else:
            break  # a control byte
    return BROKEN, found


@kernel
def _end_of_escape(at: int, stop: int) -> int:
    if at >= stop:
        return BROKEN
    if _ESCAPES[byte_at(at)]:
        return at + 1
    if byte_at(at) != _U or at + 5 > stop:
        return BROKEN
    for i in range(1, 5):
        if _HEX_DIGITS[byte_at(at + i)] < 0:
            return BROKEN
    high_byte = 16 * _HEX_DIGITS[byte_at(at + 1)] + _HEX_DIGITS[byte_at(at + 2)]
    return BROKEN if _SURROGATES <= high_byte < _SURROGATES_END else at + 5


@kernel
def read_number(at: int, stop: int) -> tuple[int, int, int]:
    """Read a number.

    Returns
    -------
    end : int       `BROKEN` where there is no number
    kind : int      INTEGER, FLOAT, DECIMAL (to be read as text), or NULL where it is left to a full parser
    value : int     the integer, or the float's bits. `O(digits)`, allocates nothing.
    """
    start = at
    is_negative = byte_at(at) == MINUS
    first = at + 1 if is_negative else at
    value, at = _digits(first, stop, 0)
    whole = at
    if whole == first or (byte_at(first) == ZERO and whole > first + 1):
        return BROKEN, NULL, 0
    if at < stop and byte_at(at) == POINT:
        value, at = _digits(at + 1, stop, value)
        if at == whole + 1:
            return BROKEN, NULL, 0
    fraction = at
    n_exponent = 0
    if at < stop and byte_at(at) | _LOWER == _E:
        at += 1
        if at < stop and (byte_at(at) == PLUS or byte_at(at) == MINUS):
            at += 1
        digits = at
        _, at = _digits(at, stop, 0)
        n_exponent = at - digits
        if not n_exponent:
            return BROKEN, NULL, 0
    if at == whole:
        return at, (INTEGER if whole - first <= _MAX_DIGITS else NULL), (-value if is_negative else value)
    if at == fraction and at - first - 1 <= _MAX_EXACT_DIGITS:
        magnitude = float(value) / _POWERS[fraction - whole - 1]
        return at, FLOAT, float_bits(-magnitude if is_negative else magnitude)
    is_short = at - start <= _MAX_DECIMAL_BYTES and n_exponent <= _MAX_EXPONENT_DIGITS
    return at, (DECIMAL if is_short else NULL), 0


@kernel
def _digits(at: int, stop: int, value: int) -> tuple[int, int]:
    """Append digits to a value, which wraps where there are too many."""
    while at < stop:
        digit = byte_at(at) - ZERO
        if digit < 0 or digit > 9:
            break
        value = 10 * value + digit
        at += 1
    return value, at


@kernel
def end_of_literal(at: int, stop: int) -> int:
    """Match true, false or null; which one it is, its first letter says. `O(1)`, allocates nothing."""
    word = word_at(at) & _FOUR_BYTES
    if word == np.uint64(_TRUE) or word == np.uint64(_NULL):
        end = at + 4
    elif word_at(at + 1) & _FOUR_BYTES == np.uint64(_ALSE) and byte_at(at) == 102:
        end = at + 5
    else:
        return BROKEN
    return end if end <= stop else BROKEN


@kernel
def end_of_scalar(at: int, stop: int) -> int:
    """Skip a text, a number or a literal. `O(bytes)`, allocates nothing."""
    if at >= stop:
        return BROKEN
    first = byte_at(at)
    if first == QUOTE:
        end, _ = end_of_text(at + 1, stop)
        return end if end == BROKEN else end + 1
    if first == MINUS or ZERO <= first <= NINE:
        return read_number(at, stop)[0]
    return end_of_literal(at, stop)


@kernel
def end_of_key(at: int, stop: int) -> int:
    """Skip a member's name and its colon, up to its value. `O(bytes)`, allocates nothing."""
    if at >= stop or byte_at(at) != QUOTE:
        return BROKEN
    end, _ = end_of_text(at + 1, stop)
    if end == BROKEN:
        return BROKEN
    at = skip_blanks(end + 1, stop)
    if at >= stop or byte_at(at) != COLON:
        return BROKEN
    return skip_blanks(at + 1, stop)


@kernel
def end_of_value(at: int, stop: int) -> int:
    """Skip any value; one that nests deeply is left to a full parser. `O(bytes)`, allocates nothing."""
    if at < stop and byte_at(at) != OPEN_OBJECT and byte_at(at) != OPEN_ARRAY:
        return end_of_scalar(at, stop)
    return _end_of_nested(at, stop)


@kernel
def _end_of_nested(at: int, stop: int) -> int:
    is_object = np.uint64(0)  # a bit for each level, the innermost lowest
    depth = 0
    while True:
        if at < stop and (byte_at(at) == OPEN_OBJECT or byte_at(at) == OPEN_ARRAY):
            opens_object = byte_at(at) == OPEN_OBJECT
            depth += 1
            if depth > _MAX_DEPTH:
                return BROKEN
            is_object = (is_object << np.uint64(1)) | np.uint64(opens_object)
            at = skip_blanks(at + 1, stop)
            if at >= stop or byte_at(at) != (CLOSE_OBJECT if opens_object else CLOSE_ARRAY):
                at = end_of_key(at, stop) if opens_object else at
                if at == BROKEN:
                    return BROKEN
                continue
        else:
            at = end_of_scalar(at, stop)
            if at == BROKEN:
                return BROKEN
            at = skip_blanks(at, stop)
        while at < stop and byte_at(at) == (CLOSE_OBJECT if is_object & np.uint64(1) else CLOSE_ARRAY):
            depth -= 1
            if depth == 0:
                return at + 1
            is_object >>= np.uint64(1)
            at = skip_blanks(at + 1, stop)
        if at >= stop or byte_at(at) != COMMA:
            return BROKEN
        at = skip_blanks(at + 1, stop)
        if is_object & np.uint64(1):
            at = end_of_key(at, stop)
            if at == BROKEN:
                return BROKEN
