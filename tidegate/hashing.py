"""Seeded 64-bit mixing, and an open-addressing index from 64-bit keys to dense slots.

Every random choice that a result depends on (tie-breaks, permutations, thinning) is drawn from `mix64` of what it
belongs to, never from a shared generator: so it does not depend on the order, the threads or the batch it is
computed in. `mix64` is the finaliser of SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number
Generators", OOPSLA 2014).
"""

from __future__ import annotations

import numpy as np
import xxhash
from numpy.typing import NDArray

from tidegate.jit import inlined_kernel, kernel

EMPTY_SLOT = -1
_FILL_LIMIT = 0.6  # linear probing stays near one cache line per look-up below this share


@inlined_kernel
def mix64(value: np.uint64) -> np.uint64:
    """Mix the bits of a uint64 so that every input bit moves half the output bits. `O(1)`, allocates nothing.

    Examples
    --------
    >>> bool(mix64(np.uint64(1)) != mix64(np.uint64(2)))
    True
    """
    z = np.uint64(value) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@kernel
def mix64_array(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Mix an array element by element: uint64[n] to uint64[n]. `O(n)`."""
    out = np.empty_like(values)
    for i in range(values.shape[0]):
        out[i] = mix64(values[i])
    return out


def hash_text(text: str, seed: int = 0) -> int:
    """Hash a text's UTF-8 bytes with xxh64: the user key, the bucket's source and every cluster's seed."""
    return xxhash.xxh64_intdigest(text.encode(), seed)


def cluster_seeds(names: list[str]) -> NDArray[np.uint64]:
    """Give each cluster a seed that follows its name, so that results do not depend on how ids were handed out.

    Returns
    -------
    uint64[C]
    """
    return np.fromiter((hash_text(name) for name in names), dtype=np.uint64, count=len(names))


@kernel
def _insert_all(
    keys: NDArray[np.uint64],
    table_keys: NDArray[np.uint64],
    table_slots: NDArray[np.int64],
    n_used: int,
    out: NDArray[np.int64],
    key_of_slot: NDArray[np.uint64],
) -> int:
    """Find or insert `keys`; returns how many slots are used after it. `O(n)` expected, allocates nothing."""
    mask = np.uint64(table_keys.shape[0] - 1)
    for i in range(keys.shape[0]):
        key = keys[i]
        at = mix64(key) & mask
        while table_slots[at] != EMPTY_SLOT and table_keys[at] != key:
            at = (at + np.uint64(1)) & mask
        if table_slots[at] == EMPTY_SLOT:
            table_keys[at] = key
            table_slots[at] = n_used
            key_of_slot[n_used] = key
            n_used += 1
        out[i] = table_slots[at]
    return n_used


@kernel
def find_slot(key: np.uint64, table_keys: NDArray[np.uint64], table_slots: NDArray[np.int64]) -> int:
    """Slot of `key`, or -1. For use inside kernels. `O(1)` expected, allocates nothing."""
    mask = np.uint64(table_keys.shape[0] - 1)
    at = mix64(np.uint64(key)) & mask
    while table_slots[at] != EMPTY_SLOT:
        if table_keys[at] == np.uint64(key):
            return int(table_slots[at])
        at = (at + np.uint64(1)) & mask
    return EMPTY_SLOT


class KeyIndex:
    """Dense slots 0, 1, 2, … for 64-bit keys, in the order in which they were first seen.

    Examples
    --------
    >>> index = KeyIndex()
    >>> index.slots(np.array([70, 50, 70], dtype=np.uint64)).tolist(), len(index)
    ([0, 1, 0], 2)
    """

    def __init__(self, capacity: int = 1024) -> None:
        self._n_used = 0
        self._key_of_slot = np.zeros(capacity, dtype=np.uint64)
        self._allocate(capacity)

    def _allocate(self, capacity: int) -> None:
        n_cells = 1 << int(np.ceil(np.log2(max(capacity, 16) / _FILL_LIMIT)))
        self.table_keys = np.zeros(n_cells, dtype=np.uint64)
        self.table_slots = np.full(n_cells, EMPTY_SLOT, dtype=np.int64)

    def __len__(self) -> int:
        return self._n_used

    @property
    def keys(self) -> NDArray[np.uint64]:
        """The keys by slot: uint64[len(self)]."""
        return self._key_of_slot[: self._n_used]

    def slots(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Slots of `keys`, new ones handed out as needed.

        Parameters
        ----------
        keys : uint64[n]

        Returns
        -------
        int64[n]
        """
        self._reserve(self._n_used + keys.shape[0])
        out = np.empty(keys.shape[0], dtype=np.int64)
        self._n_used = int(_insert_all(keys, self.table_keys, self.table_slots, self._n_used, out, self._key_of_slot))
        return out

    def _reserve(self, n_keys: int) -> None:
        if n_keys > self._key_of_slot.shape[0]:
            grown = np.zeros(max(n_keys, 2 * self._key_of_slot.shape[0]), dtype=np.uint64)
            grown[: self._n_used] = self._key_of_slot[: self._n_used]
            self._key_of_slot = grown
        if n_keys > self.table_keys.shape[0] * _FILL_LIMIT:
            known = self.keys
            self._allocate(2 * n_keys)
            out = np.empty(known.shape[0], dtype=np.int64)
            _insert_all(known, self.table_keys, self.table_slots, 0, out, self._key_of_slot)
