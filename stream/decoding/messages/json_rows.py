"""JSON objects as rows: only the mapped members are decoded, the rest is skipped.

A kernel reads what is simple, msgspec the rest; what msgspec says holds for both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.decoding.messages.batch import Joined
from stream.decoding.messages.fields import Fields
from stream.decoding.messages.json_kernel import scan_objects
from stream.decoding.messages.rows import LeftRows, MessageRows, rows_of

_VALUE = str | int | float | bool | None
_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class JsonRows:
    """Decodes objects into columns.

    Parameters
    ----------
    candidates : mapping
        Column -> names of the member to look for; the first one that an object has is taken.

    Examples
    --------
    >>> rows = JsonRows({"user": ("user_id", "user")}).decode([b'{"user_id": 7}', b'{"user": "x"}', b"{"])
    >>> rows.columns["user"].to_pylist(), rows.positions.tolist()
    (['7', 'x'], [0, 1])
    """

    noun = "object"
    mend = 'Send one object a message: {"user_id": 7, "category": "news", "timestamp": 0}'

    def __init__(self, candidates: Mapping[str, tuple[str, ...]]) -> None:
        members = list(dict.fromkeys(name for names in candidates.values() for name in names))
        self._columns = {column: [members.index(name) for name in names] for column, names in candidates.items()}
        self._names = Joined.of([name.encode() for name in members])
        # Members may have any name; attributes may not.
        attribute_of = {name: f"m{index}" for index, name in enumerate(members)}
        row = msgspec.defstruct(
            "Row",
            [(attribute, _VALUE, None) for attribute in attribute_of.values()],
            rename={attribute: name for name, attribute in attribute_of.items()},
            gc=False,  # holds only scalars: nothing to collect in cycles
        )
        self._one = msgspec.json.Decoder(row)
        self._getters = [attrgetter(attribute) for attribute in attribute_of.values()]

    def decode(self, values: Sequence[bytes]) -> MessageRows:
        """Decode JSON objects, one from each of `values`. `O(bytes)`."""
        messages = Joined.of(values)
        fields = Fields.empty(messages.data, len(self._getters), len(values))
        is_left = np.empty(len(values), dtype=np.bool_)
        n_left = scan_objects(
            messages.data, messages.offsets, self._names.data, self._names.offsets,
            fields.kinds, fields.numbers, fields.lengths, is_left,
        )  # fmt: skip
        left, bad = self._parse(values, np.flatnonzero(is_left) if n_left else np.empty(0, np.int64))
        return rows_of(fields, left, bad, self._columns)

    def load_kernels(self) -> None:
        """Load compiled kernels, by decoding nothing."""
        self.decode([])

    def _parse(self, values: Sequence[bytes], positions: NDArray[np.int64]) -> tuple[LeftRows, list[tuple[int, str]]]:
        parsed: list[Any] = []
        read, bad = [], []
        for position in positions.tolist():
            try:
                parsed.append(self._one.decode(values[position]))
                read.append(position)
            except _ERRORS as error:
                bad.append((position, _fault(error)))
        return LeftRows(read, [list(map(getter, parsed)) for getter in self._getters]), bad


def _fault(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it nests too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    return str(error)
