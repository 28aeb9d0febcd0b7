"""Integers of variable length, as Avro and Protobuf write them: seven bits a byte, the lowest first."""

from __future__ import annotations

from stream.decoding.messages.memory import byte_at
from tidegate.jit import kernel

CUT_OFF = -1
"""In place of an address: the bytes end too early, or there are too many for one integer of 63 bits."""

_BITS = 63


@kernel
def read_varint(at: int, stop: int) -> tuple[int, int]:
    """Read an integer of at most 63 bits: its value, and the address after it or `CUT_OFF`.

    Longer ones, which negative numbers of Protobuf are, are left to a library. `O(bytes)`, allocates nothing.
    """
    value = 0
    shift = 0
    while at < stop and shift < _BITS:
        byte = byte_at(at)
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    return 0, CUT_OFF


@kernel
def zigzag(value: int) -> int:
    """Undo the zigzag: 0, 1, 2, 3 are 0, -1, 1, -2. `O(1)`, allocates nothing."""
    return (value >> 1) ^ -(value & 1)
