"""The registry's framing of messages: a zero, the schema's id, for Protobuf the message's place in it; then the body.

`Confluent's wire format
<https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format>`_.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.decoding.messages.batch import Joined
from stream.decoding.messages.memory import address_of, byte_at
from tidegate.jit import kernel

UNUSUAL, TOO_SHORT, NO_MAGIC = -1, -2, -3
"""In place of a group: a header that is left to the library; no room for a frame; another first byte than zero."""

_ID_BYTES, _HEADER_BYTES = 4, 5
_MAX_GROUPS = 64  # schemas in a batch; those of more are read one by one
_MAX_PATH_BYTES = 8  # of the place in a Protobuf schema: one word


@dataclass(frozen=True, slots=True)
class Frames:
    """Where each message's body begins, and which messages share a schema.

    Attributes
    ----------
    groups : int32[n]     number of the group of those with equal headers, or why there is none
    bodies : int32[n]     where each body begins, in the joined data
    n_groups : int
    """

    groups: NDArray[np.int32]
    bodies: NDArray[np.int32]
    n_groups: int

    @classmethod
    def of(cls, messages: Joined, *, has_path: bool) -> Frames:
        r"""Read the headers. `O(n g)`, mostly `O(n)`.

        Examples
        --------
        >>> frames = Frames.of(Joined.of([b"\0\0\0\0\7ab", b"{}", b"\0\0\0\0\7c"]), has_path=False)
        >>> frames.groups.tolist(), frames.bodies.tolist()
        ([0, -3, 0], [5, 7, 14])
        """
        n = messages.offsets.shape[0] - 1
        groups, bodies = np.empty(n, np.int32), np.empty(n, np.int32)
        schema_ids, paths = np.empty(_MAX_GROUPS, np.int64), np.empty(_MAX_GROUPS, np.uint64)
        n_groups = read_headers(messages.data, messages.offsets, has_path, schema_ids, paths, groups, bodies)
        return cls(groups, bodies, n_groups)

    def members(self) -> Iterator[NDArray[np.int64]]:
        """Yield the positions of each group's messages."""
        for group in range(self.n_groups):
            yield np.flatnonzero(self.groups == group)


@kernel
def read_headers(
    data: NDArray[np.uint8],
    offsets: NDArray[np.int32],
    has_path: bool,
    schema_ids: NDArray[np.int64],
    paths: NDArray[np.uint64],
    groups: NDArray[np.int32],
    bodies: NDArray[np.int32],
) -> int:
    """Sort messages into groups of equal headers; gives the number of groups. `O(n g)`, allocates nothing.

    Parameters
    ----------
    data, offsets : of `Joined`
    has_path : bool             whether a place in the schema follows the id (Protobuf)
    schema_ids : int64[64]      of each group, to be written
    paths : uint64[64]          of each group, to be written: the bytes of its place in the schema
    groups, bodies : int32[n]   to be written
    """
    base = address_of(data)
    n_groups = 0
    last = 0
    for row in range(offsets.shape[0] - 1):
        at = base + offsets[row]
        stop = base + offsets[row + 1]
        bodies[row] = offsets[row]
        if at < stop and byte_at(at) != 0:
            groups[row] = NO_MAGIC
            continue
        if stop - at <= _HEADER_BYTES:
            groups[row] = TOO_SHORT
            continue
        schema_id = 0
        for k in range(_ID_BYTES):
            schema_id = schema_id << 8 | byte_at(at + 1 + k)
        at += _HEADER_BYTES
        path = np.uint64(0)
        if has_path:
            end = _end_of_path(at, stop)
            if end < 0:
                groups[row] = UNUSUAL
                continue
            for k in range(end - at):
                path |= np.uint64(byte_at(at + k)) << np.uint64(8 * k)
            at = end
        if not (last < n_groups and schema_ids[last] == schema_id and paths[last] == path):
            last = 0
            while last < n_groups and not (schema_ids[last] == schema_id and paths[last] == path):
                last += 1
        if last == n_groups:
            if n_groups == schema_ids.shape[0]:
                groups[row] = UNUSUAL
                continue
            schema_ids[last] = schema_id
            paths[last] = path
            n_groups += 1
        groups[row] = last
        bodies[row] = at - base
    return n_groups


@kernel
def _end_of_path(at: int, stop: int) -> int:
    """Skip a count and so many numbers, all as zigzag varints; -1 where they are cut off, too many or too long."""
    limit = min(stop, at + _MAX_PATH_BYTES)
    n_left = -1
    while n_left != 0:
        value = 0
        shift = 0
        while True:
            if at >= limit:
                return -1
            byte = byte_at(at)
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        if n_left > 0:
            n_left -= 1
        elif value & 1:
            return -1  # a negative count
        else:
            n_left = value >> 1
    return at
