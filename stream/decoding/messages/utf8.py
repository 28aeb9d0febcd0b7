"""Whether bytes are UTF-8, as a kernel."""

from __future__ import annotations

import numpy as np

from stream.decoding.messages.memory import byte_at, word_at
from tidegate.jit import kernel

_HIGHS = np.uint64(0x8080_8080_8080_8080)
_ASCII_END, _TWO, _THREE, _FOUR, _END = 0x80, 0xC2, 0xE0, 0xF0, 0xF5


@kernel
def is_utf8(at: int, stop: int) -> bool:
    """Say whether the bytes between two addresses are well-formed UTF-8 (Unicode 15, table 3-7), as Python decodes it.

    `O(stop - at)`, allocates nothing.
    """
    while at + 8 <= stop and word_at(at) & _HIGHS == np.uint64(0):
        at += 8
    while at < stop:
        lead = byte_at(at)
        at += 1
        if lead < _ASCII_END:
            continue
        if lead < _TWO or lead >= _END:
            return False
        n_more = 1 if lead < _THREE else 2 if lead < _FOUR else 3
        if at + n_more > stop:
            return False
        # The second byte also keeps out longer notations than needed, surrogates, and what is past U+10FFFF.
        low = 0xA0 if lead == _THREE else 0x90 if lead == _FOUR else 0x80
        high = 0x9F if lead == 0xED else 0x8F if lead == 0xF4 else 0xBF
        if not low <= byte_at(at) <= high:
            return False
        for k in range(1, n_more):
            if byte_at(at + k) & 0xC0 != 0x80:
                return False
        at += n_more
    return True
