"""Values of members as kernels write them, whichever the format: what kind each is, and its number or where it lies."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidegate.jit import kernel

ABSENT, NULL, TEXT, INTEGER, FLOAT, DECIMAL, FALSE, TRUE, INSTANT = range(9)
"""Kinds. A DECIMAL is the text of a float that is yet to be read, an INSTANT microseconds since the Unix epoch."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_EXACT = 1 << 53  # integers up to here are exact as floats
_INSTANTS = pa.timestamp("us", "UTC")  # what pyarrow makes of Python's
_NOTHING = 1 << ABSENT | 1 << NULL
_NUMERIC = 1 << INTEGER | 1 << FLOAT | 1 << DECIMAL
_FRACTIONAL = 1 << FLOAT | 1 << DECIMAL
_BOOLEAN = 1 << FALSE | 1 << TRUE


@dataclass(frozen=True, slots=True)
class Fields:
    """Members of many messages, member by member.

    Attributes
    ----------
    data : uint8[*]            what the texts are parts of
    kinds : uint8[m, n]
    numbers : int64[m, n]      an integer's or instant's value, a float's bits, where a text begins; else nothing
    lengths : int32[m, n]      bytes of a text
    """

    data: NDArray[np.uint8]
    kinds: NDArray[np.uint8]
    numbers: NDArray[np.int64]
    lengths: NDArray[np.int32]

    @classmethod
    def empty(cls, data: NDArray[np.uint8], n_members: int, n: int) -> Fields:
        """Make room for `n` messages in which nothing was found yet."""
        shape = (n_members, n)
        return cls(data, np.zeros(shape, np.uint8), np.empty(shape, np.int64), np.empty(shape, np.int32))

    @property
    def floats(self) -> NDArray[np.float64]:
        """The numbers' memory as floats: float64[m, n]."""
        return self.numbers.view(np.float64)

    def column(self, member: int) -> Any:  # noqa: PLR0911 - one for each type
        """One member as a column, of the type that `pyarrow.array` gives to the same Python values.

        Returns
        -------
        pyarrow.Array[n] or list or None
            A list of Python values where no one type holds them all; None where no message has the member.
        """
        kinds, numbers = self.kinds[member], self.numbers[member]
        seen = int(kinds_seen(kinds))
        values = seen & ~_NOTHING
        if values == 0:
            return None
        validity = _bitmap(kinds > NULL) if seen & _NOTHING else None
        if values == 1 << TEXT:
            return self._texts(member, validity)
        if values == 1 << INTEGER:
            return pa.Array.from_buffers(pa.int64(), len(kinds), [validity, pa.py_buffer(numbers)])
        if values == 1 << INSTANT:
            return pa.Array.from_buffers(_INSTANTS, len(kinds), [validity, pa.py_buffer(numbers)])
        if values & ~_BOOLEAN == 0:
            return pa.Array.from_buffers(pa.bool_(), len(kinds), [validity, _bitmap(kinds == TRUE)])
        if values & ~_NUMERIC == 0 and values & _FRACTIONAL:
            floats = self._floats(member)
            if floats is not None:
                return pa.Array.from_buffers(pa.float64(), len(kinds), [validity, pa.py_buffer(floats)])
        return self.values(member)

    def values(self, member: int) -> list[Any]:
        """One member as Python values, None where a message lacks it."""
        kinds = self.kinds[member]
        out = np.full(len(kinds), None, dtype=object)
        for kind, numbers in ((INTEGER, self.numbers), (FLOAT, self.floats)):
            out[kinds == kind] = numbers[member, kinds == kind].tolist()
        at = np.flatnonzero(kinds == INSTANT)
        out[at] = [EPOCH + timedelta(microseconds=int(self.numbers[member, i])) for i in at.tolist()]
        at = np.flatnonzero(kinds == DECIMAL)
        out[at] = [float(self._bytes(member, i)) for i in at.tolist()]
        at = np.flatnonzero(kinds == TEXT)
        out[at] = [self._bytes(member, i).decode() for i in at.tolist()]
        out[kinds == TRUE], out[kinds == FALSE] = True, False
        values: list[Any] = out.tolist()
        return values

    def _bytes(self, member: int, row: int) -> bytes:
        start = int(self.numbers[member, row])
        return self.data[start : start + int(self.lengths[member, row])].tobytes()

    def _texts(self, member: int, validity: Any) -> Any:
        kinds, starts, lengths = self.kinds[member], self.numbers[member], self.lengths[member]
        offsets = np.empty(len(kinds) + 1, dtype=np.int32)
        text = np.empty(text_offsets(kinds, lengths, TEXT, offsets), dtype=np.uint8)
        gather(self.data, kinds, starts, TEXT, offsets, text)
        return pa.StringArray.from_buffers(len(kinds), pa.py_buffer(offsets), pa.py_buffer(text), validity)

    def _floats(self, member: int) -> NDArray[np.float64] | None:
        """Write integers as floats and read the decimals; None where an integer is not exact as a float."""
        kinds, numbers = self.kinds[member], self.numbers[member]
        floats = np.empty(len(kinds), dtype=np.float64)
        if not as_floats(kinds, numbers, self.floats[member], floats):
            return None
        at = np.flatnonzero(kinds == DECIMAL)
        if at.size:
            part = Fields(self.data, *(rows[None, at] for rows in (kinds, numbers, self.lengths[member])))
            part.kinds[:] = TEXT
            floats[at] = part._texts(0, None).cast(pa.float64()).to_numpy()
        return floats


def _bitmap(flags: NDArray[np.bool_]) -> Any:
    return pa.py_buffer(np.packbits(flags, bitorder="little"))


@kernel
def kinds_seen(kinds: NDArray[np.uint8]) -> int:
    """Say which kinds occur, one bit each. `O(n)`, allocates nothing."""
    seen = 0
    for kind in kinds:
        seen |= 1 << kind
    return seen


@kernel
def text_offsets(kinds: NDArray[np.uint8], lengths: NDArray[np.int32], kind: int, offsets: NDArray[np.int32]) -> int:
    """Add up the texts' lengths into `offsets`: int32[n + 1]; gives their sum. `O(n)`, allocates nothing."""
    total = 0
    offsets[0] = 0
    for i in range(kinds.shape[0]):
        if kinds[i] == kind:
            total += lengths[i]
        offsets[i + 1] = total
    return total


@kernel
def gather(
    data: NDArray[np.uint8],
    kinds: NDArray[np.uint8],
    starts: NDArray[np.int64],
    kind: int,
    offsets: NDArray[np.int32],
    out: NDArray[np.uint8],
) -> None:
    """Copy texts to where `offsets` say. `O(bytes)`, allocates nothing."""
    for i in range(kinds.shape[0]):
        if kinds[i] == kind:
            first = offsets[i]
            start = starts[i]
            for k in range(offsets[i + 1] - first):
                out[first + k] = data[start + k]


@kernel
def as_floats(
    kinds: NDArray[np.uint8], integers: NDArray[np.int64], floats: NDArray[np.float64], out: NDArray[np.float64]
) -> bool:
    """Write numbers as floats, 0 where there is none; False where an integer is not exact. `O(n)`."""
    for i in range(kinds.shape[0]):
        out[i] = 0.0
        if kinds[i] == FLOAT:
            out[i] = floats[i]
        elif kinds[i] == INTEGER:
            if not -_EXACT <= integers[i] <= _EXACT:
                return False
            out[i] = float(integers[i])
    return True
