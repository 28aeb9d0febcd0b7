"""User keys: xxh64 of an id's decimal or UTF-8 text, over whole columns.

The algorithm is XXH64 with seed 0 as its specification describes it (Collet, "xxHash fast digest algorithm"), so
that keys equal those of any other xxHash implementation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream.decoding.texts import as_text, text_buffers
from tidegate.jit import kernel

_PRIME_1 = np.uint64(0x9E3779B185EBCA87)
_PRIME_2 = np.uint64(0xC2B2AE3D27D4EB4F)
_PRIME_3 = np.uint64(0x165667B19E3779F9)
_PRIME_4 = np.uint64(0x85EBCA77C2B2AE63)
_PRIME_5 = np.uint64(0x27D4EB2F165667C5)
_SPACE = 32  # all ASCII white space and control bytes are at most this
_MAX_DIGITS = 20  # "-9223372036854775808"


@kernel
def _rotated(x: np.uint64, bits: int) -> np.uint64:
    return (x << np.uint64(bits)) | (x >> np.uint64(64 - bits))


@kernel
def _word(data: NDArray[np.uint8], at: int, n_bytes: int) -> np.uint64:
    word = np.uint64(0)
    for i in range(n_bytes):
        word |= np.uint64(data[at + i]) << np.uint64(8 * i)
    return word


@kernel
def _round(lane: np.uint64, word: np.uint64) -> np.uint64:
    return _rotated(lane + word * _PRIME_2, 31) * _PRIME_1


@kernel
def _stripes(data: NDArray[np.uint8], at: int, n_stripes: int) -> np.uint64:
    """Digest `n_stripes` stripes of 32 bytes. `O(n)`, allocates nothing."""
    a = _PRIME_1 + _PRIME_2
    b = _PRIME_2
    c = np.uint64(0)
    d = np.uint64(0) - _PRIME_1
    for _ in range(n_stripes):
        a = _round(a, _word(data, at, 8))
        b = _round(b, _word(data, at + 8, 8))
        c = _round(c, _word(data, at + 16, 8))
        d = _round(d, _word(data, at + 24, 8))
        at += 32
    digest = _rotated(a, 1) + _rotated(b, 7) + _rotated(c, 12) + _rotated(d, 18)
    for lane in (a, b, c, d):
        digest = (digest ^ _round(np.uint64(0), lane)) * _PRIME_1 + _PRIME_4
    return digest


@kernel
def xxh64(data: NDArray[np.uint8], start: int, stop: int) -> np.uint64:
    """Hash ``data[start:stop]``. `O(stop - start)`, allocates nothing."""
    n = stop - start
    at = start
    digest = _PRIME_5
    if n >= 32:
        digest = _stripes(data, at, n // 32)
        at += n // 32 * 32
    digest += np.uint64(n)
    while at + 8 <= stop:
        digest = _rotated(digest ^ _round(np.uint64(0), _word(data, at, 8)), 27) * _PRIME_1 + _PRIME_4
        at += 8
    if at + 4 <= stop:
        digest = _rotated(digest ^ (_word(data, at, 4) * _PRIME_1), 23) * _PRIME_2 + _PRIME_3
        at += 4
    while at < stop:
        digest = _rotated(digest ^ (np.uint64(data[at]) * _PRIME_5), 11) * _PRIME_1
        at += 1
    digest = (digest ^ (digest >> np.uint64(33))) * _PRIME_2
    digest = (digest ^ (digest >> np.uint64(29))) * _PRIME_3
    return digest ^ (digest >> np.uint64(32))


@kernel
def trim(data: NDArray[np.uint8], start: int, stop: int) -> tuple[int, int]:
    """Leave the blanks at both ends of ``data[start:stop]`` out. `O(blanks)`, allocates nothing."""
    while start < stop and data[start] <= _SPACE:
        start += 1
    while start < stop and data[stop - 1] <= _SPACE:
        stop -= 1
    return start, stop


@kernel
def hash_texts(offsets: NDArray[np.int32], data: NDArray[np.uint8], present: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Hash texts without the blanks around them; `present` tells which have anything else.

    `O(bytes)`, allocates the result: uint64[n].
    """
    n = offsets.shape[0] - 1
    hashes = np.empty(n, dtype=np.uint64)
    for i in range(n):
        start, stop = trim(data, offsets[i], offsets[i + 1])
        present[i] = start < stop
        hashes[i] = xxh64(data, start, stop)
    return hashes


@kernel
def hash_integers(values: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Hash the decimal text of integers. `O(n)`, allocates the result: uint64[n]."""
    hashes = np.empty(values.shape[0], dtype=np.uint64)
    digits = np.empty(_MAX_DIGITS, dtype=np.uint8)
    for i in range(values.shape[0]):
        value = values[i]
        # In uint64, so that the smallest integer has an absolute value.
        rest = np.uint64(value) if value >= 0 else np.uint64(0) - np.uint64(value)
        at = _MAX_DIGITS
        while True:
            at -= 1
            digits[at] = np.uint8(48) + np.uint8(rest % np.uint64(10))
            rest //= np.uint64(10)
            if rest == np.uint64(0):
                break
        if value < 0:
            at -= 1
            digits[at] = np.uint8(45)
        hashes[i] = xxh64(digits, at, _MAX_DIGITS)
    return hashes


def hash_ids(ids: Any) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """Hash a column of ids of any flat type; 7, ``"7"`` and 7.0 agree.

    Parameters
    ----------
    ids : pyarrow.Array[n]

    Returns
    -------
    hashes : uint64[n]
    present : bool[n]    False for null, NaN, blank and undecodable ids, whose hash means nothing

    Examples
    --------
    >>> hashes, present = hash_ids(pa.array(["7", " "]))
    >>> bool(hashes[0] == hash_ids(pa.array([7]))[0][0]), present.tolist()
    (True, [True, False])
    """
    kind = ids.type
    if pa.types.is_dictionary(kind) and len(ids.dictionary) < len(ids):
        return _hash_dictionary(ids)
    if pa.types.is_integer(kind) and kind != pa.uint64():
        integers = ids.cast(pa.int64())
        present = np.asarray(integers.is_valid())
        values = np.array(integers.fill_null(0)) if integers.null_count else np.asarray(integers)
        values.flags.writeable = False
        return hash_integers(values), present
    offsets, data = text_buffers(as_text(ids))
    present = np.empty(len(ids), dtype=np.bool_)
    return hash_texts(offsets, data, present), present


def _hash_dictionary(ids: Any) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    hashes, present = hash_ids(ids.dictionary)
    at = np.asarray(ids.indices.fill_null(len(hashes)))
    return np.append(hashes, np.uint64(0))[at], np.append(present, False)[at]
